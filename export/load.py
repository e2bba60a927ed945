"""How fast a model server answers: latencies with several clients at once.

python -m export.load --rest http://localhost:8501 --model balls --signature encode --inputs in.npz --clients 1 8 64
python -m export.load --grpc localhost:8500 --model balls --signature step --inputs in.npz --seconds 30

Each client sends the same arrays, waits for the answer, and sends them again. The first call of each is not counted.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from export import client, program
from export.edge.files import load_arrays

__all__ = ["Load", "measure", "run", "table"]


class Load(NamedTuple):
    """What so many clients met.

    Attributes:
        clients: how many.
        seconds: how long each call took, `[N]`.
        duration: seconds from the first call to the last answer.
        errors: messages of calls that failed.
    """

    clients: int
    seconds: np.ndarray
    duration: float
    errors: tuple[str, ...]


def measure(
    connect: Callable[[], Any], signature: str, inputs: Mapping[str, Any], clients: int, seconds: float
) -> Load:
    """Latencies with so many clients at once.

    Args:
        connect: makes a client.
        signature, inputs: what it asks.
        clients: how many ask at once.
        seconds: how long.

    Raises:
        ValueError: a number that makes no sense.
        ServingError: the first call fails already.
    """
    if clients < 1 or not seconds > 0.0:
        raise ValueError(f"A measurement takes clients and seconds, got {clients} and {seconds}.")
    taken: list[list[float]] = [[] for _ in range(clients)]
    errors: list[str] = []
    ready = threading.Barrier(clients + 1)

    def ask(own: list[float]) -> None:
        with connect() as one:
            try:
                one.predict(signature, inputs)
            except client.ServingError as error:
                errors.append(str(error))
                ready.abort()
                return
            ready.wait()
            end = time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                try:
                    one.predict(signature, inputs)
                except client.ServingError as error:
                    errors.append(str(error))
                else:
                    own.append(time.perf_counter() - start)

    threads = [threading.Thread(target=_quiet, args=(ask, own), daemon=True) for own in taken]
    for thread in threads:
        thread.start()
    try:
        ready.wait()
    except threading.BrokenBarrierError:
        for thread in threads:
            thread.join()
        raise client.ServingError(f"The first call failed: {errors[0]}") from None
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return Load(clients, np.concatenate(taken), time.perf_counter() - start, tuple(errors))


def _quiet(ask: Callable[[list[float]], None], own: list[float]) -> None:
    try:
        ask(own)
    except threading.BrokenBarrierError:
        # Another client has told what was wrong.
        return


def table(loads: Sequence[Load]) -> str:
    """One line per number of clients."""
    lines = [f"{'clients':>7} {'calls/s':>8} {'median ms':>10} {'99% ms':>9} {'errors':>7}"]
    for one in loads:
        middle, late = np.percentile(one.seconds, [50, 99]) * 1e3 if len(one.seconds) else (np.nan, np.nan)
        rate = len(one.seconds) / one.duration
        lines.append(f"{one.clients:7d} {rate:8.1f} {middle:10.2f} {late:9.2f} {len(one.errors):7d}")
    return "\n".join(lines)


def main(given: argparse.Namespace) -> int:
    """Measures, and prints a table; 1 where calls failed."""
    kind, address = (client.RestClient, given.rest) if given.rest else (client.GrpcClient, given.grpc)
    inputs = load_arrays(given.inputs)

    def connect() -> client.Client:
        return kind(address, given.model, timeout=given.timeout, retries=0)

    loads = [measure(connect, given.signature, inputs, clients, given.seconds) for clients in given.clients]
    print(table(loads))
    failed = [message for one in loads for message in one.errors]
    if failed:
        print(f"{len(failed)} calls failed, the first one: {failed[0]}", file=sys.stderr)
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.load", description=__doc__.partition("\n")[0])
    server = found.add_mutually_exclusive_group(required=True)
    server.add_argument("--rest", help="URL of the server, such as http://localhost:8501")
    server.add_argument("--grpc", help="host and port of the server, such as localhost:8500")
    found.add_argument("--model", required=True, help="its name on the server")
    found.add_argument("--signature", required=True, help="what to ask for")
    found.add_argument("--inputs", required=True, help=".npz file with an array for each input")
    found.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="how many at once (default 1 8 64)")
    found.add_argument("--seconds", type=float, default=10.0, help="for each number of clients (default 10)")
    found.add_argument("--timeout", type=float, default=10.0, help="seconds for a call (default 10)")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
