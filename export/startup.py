"""Programs without the lines that TensorFlow and LiteRT write when they start: `python -m trainers.x`, `export.x`.

The environment says which messages are of interest (TF_CPP_MIN_LOG_LEVEL, as set here "2": errors), but some are
written before it is read: that messages go to standard error, which kernels there are, that there is no GPU. So while
TensorFlow is imported, standard error goes through a process that leaves out these lines and no others; it outlives a
crash, so that what a crash says is shown. TF_CPP_MIN_LOG_LEVEL=0 shows everything.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

__all__ = ["calm", "is_noise", "no_noise_to_the_end", "without_noise"]

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
NOISE = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\) is called"
    r"|[IW]\d{4} \d\d:\d\d:\d"
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
    r"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU\."
    r"|(?:INFO|WARNING): \[\w+\.cc:\d+\] |└ Could not load shared library \S*libLiteRt"
    r"|To enable the following instructions: "
    r"|E\d{4} .*oneDNN supports DT_BOOL only on platforms with AVX-512"
    r"|E\d{4} .*optimizer(?:_hook)?\.cc:\d+\] .* failed: (?:INVALID_ARGUMENT: Node \S+ has an empty op name"
    r"|NOT_FOUND: Op type not registered '')"
    r"|\twhen importing GraphDef to MLIR module in Grappler"
    r"|E\d{4} .*Unable to register cu\w+ factory"
    r"|E\d{4} .*failed call to cuInit: .*(?:UNKNOWN ERROR \(303\)|CUDA_ERROR_NO_DEVICE|no CUDA-capable device)"
)


def is_noise(line: str) -> bool:
    """Whether a line says what is so on every start: levels below an error, what the machine has not, a GPU for one,
    and that graph optimizers leave a graph as it is, since the one for oneDNN has taken the name of a ReLU's operation
    off their copy of it (TensorFlow 2.21; with TF_ENABLE_ONEDNN_OPTS=0 there are no such lines)."""
    return NOISE.match(line) is not None


def calm() -> None:
    """Called by the packages of programs before anything else is imported; does something in programs alone."""
    os.environ.setdefault(LEVEL, "2")
    # While `python -m` looks for its module, this stands in place of the module's path.
    if sys.argv[:1] == ["-m"] and os.environ[LEVEL] != "0" and "tensorflow" not in sys.modules:
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Standard error, of C++ as well, without lines that are noise, where there are processes to do that."""
    if not _can_leave_out():
        yield
        return
    own, child = _divert()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, 2)
        os.close(own)
        os.waitpid(child, 0)


def no_noise_to_the_end() -> None:
    """The same from now on, for what libraries say while the process ends: nobody is there any more to wait for what
    passes lines on, or to put standard error back."""
    if _can_leave_out():
        _divert()


def _can_leave_out() -> bool:
    return hasattr(os, "fork") and os.environ.get(LEVEL) != "0"


def _divert() -> tuple[int, int]:
    """Standard error goes to a process that leaves out lines; returns what it was, and the number of the process."""
    sys.stderr.flush()
    own, (read, write) = os.dup(2), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        _pass_on(read, own)
        os._exit(0)
    os.close(read)
    os.dup2(write, 2)
    os.close(write)
    return own, child


def _pass_on(read: int, write: int) -> None:
    """Lines from one file to another until the first ends, those aside that are noise."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(read, "rb") as lines, os.fdopen(write, "wb", buffering=0) as out:
        for line in lines:
            if not is_noise(line.decode(errors="replace")):
                out.write(line)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow once, and has it imported without noise."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """A loader whose module is made without noise, that of the first look for devices included."""

    def __init__(self, loader: Any):
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader
        with without_noise():
            self.loader.exec_module(module)
            module.config.list_physical_devices()
