"""Processes for what one cannot show: calls where there are several devices, and workers of a cluster."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["Child", "free_addresses", "on_workers"]


class Child:
    """A process with several logical CPU devices, which TensorFlow must be told of before it begins.

    One for all tests of a module, since to start TensorFlow costs more than most of what they do.
    """

    def __init__(self, devices: int) -> None:
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (devices,))

    def __call__(self, function: Callable, *args: Any, **options: Any) -> Any:
        """What a function of a module returns there, or raises."""
        return self._pool.submit(function, *args, **options).result(timeout=600)

    def close(self) -> None:
        self._pool.shutdown()


def _begin(devices: int) -> None:
    for name, value in {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}.items():
        os.environ.setdefault(name, value)
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * devices
    )


def free_addresses(count: int) -> list[str]:
    """So many addresses on this machine that nobody listens to."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    names = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return names


def on_workers(count: int, module: str, *arguments: str) -> list[subprocess.Popen]:
    """`python -m module` on workers of one cluster over loopback; a single one has no TF_CONFIG."""
    addresses = free_addresses(count)
    started = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        if count > 1:
            environment["TF_CONFIG"] = json.dumps(task)
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=Path(__file__).resolve().parents[2],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started
