"""A process that has imported TensorFlow, and forks for each conversion to LiteRT, which then need not import it.

`model.export(format="litert")` starts a process of its own for each file, and importing TensorFlow is most of its work.
Here it is done once per worker. Each conversion still has a process to itself, which may crash, and runs the same
script with the same arguments; the file that most of `tests/serving/test_litert.py` reads is made without this.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

__all__ = ["Warm", "in_own_process"]

SCRIPT = Path(__file__).resolve().parents[1] / "tfdvae" / "serving" / "conversion.py"
in_own_process = subprocess.run
"""`subprocess.run` as it is without a `Warm` process."""


class Warm:
    """Stands in for `subprocess.run`: forks for the converter, and starts all other programs as ever."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(self, command: Any, *arguments: Any, **options: Any) -> subprocess.CompletedProcess:
        if not isinstance(command, list) or str(SCRIPT) not in command:
            return in_own_process(command, *arguments, **options)
        if self.process is None:
            # One thread: a fork has no other.
            environment = {**options["env"], "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen([sys.executable, "-P", __file__], text=True, env=environment, **pipes)
        with tempfile.TemporaryDirectory() as folder:
            said = {name: str(Path(folder) / name) for name in ("stdout", "stderr")}
            request = {"arguments": command[command.index(str(SCRIPT)) :], "folder": os.getcwd(), **said}
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            texts = {name: Path(path).read_text() for name, path in said.items()}
        return subprocess.CompletedProcess(command, code, **texts)

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process.stdout.close()


def _serve() -> None:
    for name in ("tensorflow", "tensorflow.lite.python.lite", "tensorflow.lite.tools.flatbuffer_utils"):
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _convert(request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _convert(request: dict[str, Any]) -> None:
    """Runs the script like `python script arguments...`, and ends this process."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), number)
    os.chdir(request["folder"])
    sys.argv, code = request["arguments"], 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
