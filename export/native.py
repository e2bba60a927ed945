"""Runs a SavedModel in a program of its own that was written in C++: the loader and the session of TensorFlow Serving.

python -m export.native                     # builds the programs, where they are not built yet; prints what they link
python -m export.native --link              # prints what the compiler needs for a program of your own
python -m export.verify served/vrnn --model model.keras --native

The sources are in `export/cpp`: `run_saved_model.cc`, which this runs; `saved_model.h`, a header for programs of your
own, and `stream_frames.cc`, one that uses it. They are compiled against the headers and the libraries in the installed
tensorflow wheel, for Linux. `edge_stream.h` and `edge_frames.cc` do the same for .tflite files, with nothing but
libLiteRt.so, which is in the wheel ai-edge-litert (`--link --edge`). `known.h`, which both headers include, compares
frames with what a model says of its training data.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from export import program

if TYPE_CHECKING:
    from export.running import Artefact

__all__ = ["EDGE_EXAMPLE", "EXAMPLE", "Program", "build", "compiler", "edge_arguments", "link_arguments", "load", "run"]

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "export" / "cpp" / "run_saved_model.cc"
HEADERS, EXAMPLE = ("saved_model.h", "known.h"), SOURCE.with_name("stream_frames.cc")
EDGE_HEADERS, EDGE_EXAMPLE = ("edge_stream.h", "known.h"), SOURCE.with_name("edge_frames.cc")
EDGE_LIBRARY = "libLiteRt.so"
SOURCE_FOLDER, OUT = SOURCE.parent, ROOT / "build" / "cpp"
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
JSON = ("include", "external/jsoncpp_git/include")
"""Where, below the wheel's headers, those of jsoncpp may be."""


class Program:
    """A living process that has loaded one SavedModel. It ends with `close`, or with the last reference to this.

    Calls from several threads wait for each other.
    """

    def __init__(self, path: str | Path) -> None:
        """Starts it.

        Args:
            path: folder of a SavedModel, or of versions of one (the newest counts).

        Raises:
            FileNotFoundError: there is no such folder, or no compiler to build the program with.
            ValueError: the SavedModel cannot be loaded.
            RuntimeError: the program cannot be built.
        """
        self.path = _newest(Path(path))
        if not self.path.is_dir():
            raise FileNotFoundError(f"There is no exported model at {self.path}.")
        if not (self.path / "variables" / "variables.index").is_file():
            # TensorFlow's loader takes that for a model without weights.
            raise ValueError(f"The SavedModel in {self.path} has no variables/variables.index: it is not complete.")
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [str(build()), str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _stop, self._process, self._errors)
        try:
            self.signatures: tuple[str, ...] = tuple(self._read()["signatures"])
        except (ValueError, RuntimeError) as error:
            self.close()
            raise ValueError(f"The SavedModel in {self.path} cannot be read, it may be damaged: {error}") from error

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature by name.

        Raises:
            ValueError: there is no such signature, or it takes inputs of other names, types, shapes or values.
            RuntimeError: the program failed, or was closed.
        """
        outputs = self._ask({"signature": signature, "inputs": _written(inputs)})["outputs"]
        return {
            name: np.array(value["data"], value["dtype"]).reshape(value["shape"]) for name, value in outputs.items()
        }

    def time(self, signature: str, inputs: Mapping[str, np.ndarray], repeat: int) -> np.ndarray:
        """How long `repeat` runs took, in seconds, `[repeat]`, after one that is not counted.

        Measured around `Session::Run` alone, without the text that goes in and out.

        Raises:
            ValueError, RuntimeError: as `run`.
        """
        asked = {"signature": signature, "inputs": _written(inputs), "repeat": int(repeat)}
        return np.array(self._ask(asked)["seconds"], np.float64)

    def close(self) -> None:
        """Ends the process."""
        self._finalizer()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if not self._finalizer.alive:
                raise RuntimeError(f"The program that ran {self.path} was closed.")
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                # What ended it stands in its own words behind the pipe that _read finds empty.
                return self._read()
            return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            code = self._process.wait()
            self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 2000))
            said = self._errors.read().decode(errors="replace").strip()
            raise RuntimeError(f"The program that runs {self.path} ended with the code {code}: {said}")
        answer = json.loads(line)
        if "error" in answer:
            wrong = answer["code"] in ("INVALID_ARGUMENT", "NOT_FOUND")
            raise (ValueError if wrong else RuntimeError)(answer["error"])
        return answer


def _newest(path: Path) -> Path:
    """The folder of a SavedModel: the newest of the versions in `path`, or itself."""
    versions = [one for one in path.glob("*") if one.name.isdecimal() and one.is_dir()]
    return max(versions, key=lambda one: int(one.name), default=path)


def _stop(process: subprocess.Popen, errors: IO[bytes]) -> None:
    # The end of its input is the end of the program; one that hangs is ended.
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    errors.close()


def _written(inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    return {
        name: {"dtype": value.dtype.name, "shape": list(value.shape), "data": value.ravel().tolist()}
        for name, value in arrays.items()
    }


def load(path: str | Path) -> "Artefact":
    """A SavedModel whose functions run in a `Program`, to be compared with Keras by `export.parity.compare`.

    Args:
        path: folder of a SavedModel, or of versions of one (the newest counts).

    Raises:
        FileNotFoundError, ValueError, RuntimeError: as `Program` and `export.running.load`.
    """
    from export.running import Arrays, Artefact, find_saved_model
    from tfdvae.serving.saved_model import target_of

    folder, description = find_saved_model(path)
    loaded = Program(folder)

    def function(name: str) -> Any:
        def call(given: Arrays) -> Arrays:
            return loaded.run(name, given)

        return call

    functions = {name: function(name) for name in description["signatures"]}
    return Artefact(folder, functions, target_of(description), description)


def compiler() -> str | None:
    """Path of the C++ compiler, the one that the environment variable CXX names or g++; None: there is none."""
    return shutil.which(os.environ.get("CXX") or "g++")


def build(source: Path | None = None, edge: bool = False) -> Path:
    """A program, compiled unless that was done before from the same source against the same libraries.

    Args:
        source: its file; by default that of the program which `Program` runs.
        edge: whether it is linked with LiteRT instead of TensorFlow.

    Raises:
        FileNotFoundError: there is no compiler, or no library to link.
        RuntimeError: the compiler failed; says why.
    """
    source = source or SOURCE
    library = _litert() if edge else _wheel()[0] / LIBRARIES[0]
    about = f"{library} {library.stat().st_size} {library.stat().st_mtime_ns}".encode()
    headers = b"".join((SOURCE_FOLDER / name).read_bytes() for name in (EDGE_HEADERS if edge else HEADERS))
    digest = hashlib.sha256(source.read_bytes() + headers + about).hexdigest()[:12]
    binary = OUT / f"{source.stem}-{digest}"
    if not binary.is_file():
        OUT.mkdir(parents=True, exist_ok=True)
        with _locked(OUT / ".lock"):
            if not binary.is_file():
                _compile(source, binary, edge_arguments if edge else link_arguments)
    return binary


def link_arguments() -> list[str]:
    """What a compiler is told beside the source and the output, for a program that includes `saved_model.h`.

    Raises:
        FileNotFoundError: TensorFlow is installed without its headers and C++ libraries.
    """
    import tensorflow as tf

    tensorflow, headers = _wheel()
    return [
        *("-O1", *tf.sysconfig.get_compile_flags(), f"-I{headers}", f"-I{SOURCE_FOLDER}"),
        # The linker would drop the library that registers the kinds of sessions, since nothing names it.
        *(f"-L{tensorflow}", "-Wl,--no-as-needed", *(f"-l:{name}" for name in LIBRARIES), f"-Wl,-rpath,{tensorflow}"),
    ]


def edge_arguments() -> list[str]:
    """The same for a program that includes `edge_stream.h`.

    Raises:
        FileNotFoundError: ai-edge-litert is not installed, or without that library.
    """
    folder = _litert().parent
    return ["-std=c++17", "-O1", f"-I{SOURCE_FOLDER}", f"-L{folder}", f"-l:{EDGE_LIBRARY}", f"-Wl,-rpath,{folder}"]


def _litert() -> Path:
    found = importlib.util.find_spec("ai_edge_litert")
    library = Path(found.submodule_search_locations[0] if found else "ai_edge_litert") / EDGE_LIBRARY
    if not library.is_file():
        raise FileNotFoundError(
            f"There is no {library} to link; the wheel ai-edge-litert has it: pip install ai-edge-litert"
        )
    return library


def _wheel() -> tuple[Path, Path]:
    """Where TensorFlow's libraries are, and the headers of jsoncpp; without importing it."""
    found = importlib.util.find_spec("tensorflow")
    tensorflow = Path(found.submodule_search_locations[0]) if found else Path("tensorflow")
    headers = [tensorflow / "include" / name for name in JSON if (tensorflow / "include" / name / "json").is_dir()]
    missing = [name for name in LIBRARIES if not (tensorflow / name).is_file()] + ([] if headers else ["json/json.h"])
    if missing:
        raise FileNotFoundError(
            f"The C++ program is compiled against files of the tensorflow wheel for Linux; {tensorflow} "
            f"has no {missing[0]}."
        )
    return tensorflow, headers[0]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process in at a time."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(source: Path, binary: Path, arguments: Callable[[], list[str]]) -> None:
    command = compiler()
    if command is None:
        raise FileNotFoundError(
            f"There is no C++ compiler {os.environ.get('CXX') or 'g++'} on PATH to build {source.name} with. "
            "Install one (on Debian and Ubuntu: apt install g++), or name it in the environment variable CXX."
        )
    new = binary.with_name(f".{binary.name}")
    whole = [command, str(source), "-o", str(new), *arguments()]
    result = subprocess.run(whole, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{command} could not compile {source}:\n{result.stderr[-4000:]}")
    new.rename(binary)


def main(given: argparse.Namespace) -> int:
    """Builds the programs and says where they are, and what they link; or prints the arguments of the linker."""
    if given.link:
        print(shlex.join(edge_arguments() if given.edge else link_arguments()))
        return 0
    for source in (SOURCE, EXAMPLE):
        print(build(source))
    import tensorflow as tf

    for name in LIBRARIES:
        print(f"  links {_wheel()[0] / name}, TensorFlow {tf.__version__}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.native", description=__doc__.partition("\n")[0])
    found.add_argument("--link", action="store_true", help="print what a program that includes saved_model.h needs")
    found.add_argument("--edge", action="store_true", help="with --link, of edge_stream.h")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
