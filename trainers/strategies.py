"""Which devices and machines a training runs on: the flag `--strategy` of trainers.train.

    python -m trainers.train --strategy=mirrored ...       all GPUs of this machine
    TF_CONFIG='{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}' \
        python -m trainers.train --strategy=multiworker ...    several machines, each with an index of its own

The batches of a config are global: what is trained is what one process would train (see `tfdvae.replicas`), so a
config and the folder of its run know nothing of strategies, and a run may go on under another one. Workers share the
folder of the run, on a disk that all of them see; the first of them writes there. `trainers/workers.yaml` is two of
them for Docker Compose.
"""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

__all__ = ["STRATEGIES", "check", "lost_workers", "make"]

STRATEGIES = {
    "none": tf.distribute.get_strategy,
    "mirrored": tf.distribute.MirroredStrategy,
    "multiworker": tf.distribute.MultiWorkerMirroredStrategy,
}
EXAMPLE = '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'


def make(name: str, cpu_replicas: int = 1) -> tf.distribute.Strategy:
    """The strategy of this process; one per process, and before anything else is asked of TensorFlow.

    Args:
        name: a key of STRATEGIES.
        cpu_replicas: as how many devices "mirrored" uses the CPU of a machine without GPUs: with 2 a laptop runs what
            two GPUs would.

    Raises:
        ValueError: what `check` says, or `cpu_replicas` where a GPU is there.
    """
    check(name, cpu_replicas)
    if cpu_replicas > 1:
        if tf.config.list_physical_devices("GPU"):
            raise ValueError("--cpu_replicas is for machines without GPUs: leave it out, each GPU has a replica here.")
        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * cpu_replicas)
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(cpu_replicas)])
    return STRATEGIES[name]()


def check(name: str, cpu_replicas: int = 1) -> None:
    """Raises ValueError for flags that cannot be right: no such strategy, several replicas on a CPU of another one, or
    workers that nothing tells from each other, since TensorFlow would train on each machine by itself then."""
    if name not in STRATEGIES:
        raise ValueError(f"Unknown strategy {name!r}: expected one of {', '.join(STRATEGIES)}.")
    if cpu_replicas < 1 or (cpu_replicas > 1 and name != "mirrored"):
        raise ValueError(f"--cpu_replicas must be 1, or more with --strategy=mirrored; got {cpu_replicas} with {name}.")
    if name == "multiworker":
        _check_cluster(os.environ.get("TF_CONFIG", ""))


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Makes of TensorFlow's error where another worker ended or cannot be reached one that says what to do.

    Raises:
        ConnectionError: instead of UnavailableError, AbortedError and DeadlineExceededError.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        raise ConnectionError(
            "another worker ended or cannot be reached. End all workers, and start each with its own command again: "
            "training goes on from the last epoch that was finished, to the same result."
        ) from error


def _check_cluster(text: str) -> None:
    try:
        found = json.loads(text)
        workers, task = found["cluster"]["worker"], found["task"]
        right = task["type"] == "worker" and len(workers) > 1 and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise ValueError(
            "--strategy=multiworker needs the environment variable TF_CONFIG, which lists the addresses of two workers "
            f"or more, and says which of them this one is: TF_CONFIG='{EXAMPLE}'; got "
            f"{f'{text[:200]!r}' if text else 'none'}."
        )
