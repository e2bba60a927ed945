"""A tf.data service: machines that read records and make batches of them for those that train.

    python -m trainers.data_service --role=dispatcher --host=reader0 --port=5050
    python -m trainers.data_service --role=worker --host=reader1 --port=5051 --dispatcher=reader0:5050
    python -m trainers.train --config configs/bach/vrnn.py --workdir runs/bach_vrnn \
        --config.training.records=data/bach --config.training.data_service=grpc://reader0:5050

One dispatcher, any number of workers, each on a machine of its own or several on one; they end on SIGTERM or Ctrl-C.
Workers must see the folder of records at the path at which those that train see it. A name that others cannot reach
a machine by, such as localhost, is for trials on one machine. Whoever reaches a port can have the service run
what he likes: it belongs into a network of its own.
"""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

import tensorflow as tf
from absl import flags

from trainers import settings

__all__ = ["dispatcher", "worker"]

ROLES = ("dispatcher", "worker")


@contextlib.contextmanager
def dispatcher(host: str = "localhost", port: int = 0) -> Iterator[str]:
    """A dispatcher in this process, as long as the context lasts.

    Args:
        host: by which others reach this machine.
        port: 0 chooses one that is free.

    Yields:
        Its address, "grpc://HOST:PORT".

    Raises:
        OSError: the port is taken.
    """
    service = tf.data.experimental.service
    with _taken(port):
        server = service.DispatchServer(service.DispatcherConfig(port=_port(port)))
    try:
        yield f"grpc://{host}:{server.target.rpartition(':')[2]}"
    finally:
        del server  # which ends it


@contextlib.contextmanager
def worker(address: str, host: str = "localhost", port: int = 0, patience: float = 60.0) -> Iterator[str]:
    """A worker in this process, as long as the context lasts.

    Args:
        address: of its dispatcher, "HOST:PORT" with or without "grpc://".
        host: by which others reach this machine.
        port: 0 chooses one that is free.
        patience: seconds to wait for the dispatcher.

    Yields:
        Its address, "grpc://HOST:PORT".

    Raises:
        ValueError: `address` is none.
        ConnectionError: no dispatcher there.
        OSError: the port is taken.
    """
    address = address.removeprefix("grpc://")
    _wait_for(address, patience)
    service = tf.data.experimental.service
    with _taken(port):
        port = _port(port)
        # Jobs that are over leave a worker with its next word to the dispatcher, and one that ends waits for that.
        server = service.WorkerServer(service.WorkerConfig(address, f"{host}:{port}", port, heartbeat_interval_ms=1000))
    try:
        yield f"grpc://{host}:{port}"
    finally:
        del server


def _port(port: int) -> int:
    """The port, or one that is free; raises OSError where it is taken."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("", port))
        return one.getsockname()[1]


@contextlib.contextmanager
def _taken(port: int) -> Iterator[None]:
    """Makes OSErrors of what is said where a port cannot be listened to."""
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        raise OSError(f"Nobody can listen at port {port} here: {error}. Choose another --port.") from error


def _wait_for(address: str, patience: float) -> None:
    """Raises ConnectionError where nobody listens at the address within `patience` seconds."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"--dispatcher must be HOST:PORT, got {address!r}.")
    deadline = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), 5.0).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ConnectionError(
                    f"There is no dispatcher at {address} ({error}): start it there first, by --role=dispatcher."
                ) from error
        time.sleep(0.2)


def main() -> None:
    values = flags.FLAGS
    if (values.role == "worker") != (values.dispatcher is not None):
        raise ValueError("--dispatcher=HOST:PORT goes with --role=worker, and with it alone.")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if values.role == "dispatcher":
        running = dispatcher(values.host, values.port)
    else:
        running = worker(values.dispatcher, values.host, values.port, values.patience)
    with running as address:
        print(f"{values.role} listens at {address}", flush=True)
        ended.wait()


if __name__ == "__main__":
    flags.DEFINE_enum("role", None, ROLES, "What this process is: one dispatcher, and workers.")
    flags.DEFINE_string("host", "localhost", "Name or address by which others reach this machine.")
    flags.DEFINE_integer("port", 0, "Where to listen; 0: any that is free.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_string("dispatcher", None, "With --role=worker: HOST:PORT of the dispatcher.")
    flags.DEFINE_float("patience", 60.0, "With --role=worker: seconds to wait for the dispatcher.", lower_bound=0.0)
    flags.mark_flag_as_required("role")
    settings.run_app(main)
