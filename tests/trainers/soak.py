"""Programs in processes of their own that are disturbed: killed, interrupted, out of disk space.

    python -m tests.trainers.soak

imports the library once and runs what it is asked for in a fork of itself, as often as it is asked. A line of standard
input is a request, JSON, the arguments of `run`. A line of standard output answers it, JSON as well: the exit status of
the fork, or minus the number of the signal that ended it, and what it printed. TensorFlow makes its threads with its
first operation, and until then a process may fork.
"""

import importlib
import json
import os
import resource
import runpy
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["STAGES", "run", "serve"]

STAGES = {
    "checkpoint": ("checkpoints",),
    "best weights": ("best.weights.h5",),
    "log": ("log.csv", "tensorboard"),
    "model": ("model.keras",),
    "scores": ("scores_test",),
    "export": ("served",),
}
"""What a program is at, by parts of the paths that it opens, makes, moves or removes; before it trains it starts up."""

EVENTS = ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "shutil.rmtree")


def run(module: str, arguments: Sequence[str], folder: str, blow: dict[str, Any], tally: str) -> NoReturn:
    """Runs a program as `python -m` does, and ends the process.

    Args:
        module: of the program; "export" writes the model of the run as a SavedModel.
        arguments: its flags.
        folder: that of the run.
        blow: "signal", which the process sends itself at the event number "event" of the stage "stage", "delay" seconds
            later; or "limit", bytes beyond which no file can grow, as on a full disk; or nothing.
        tally: file for the number of events of each stage, where nothing strikes.
    """
    watch = Watch(Path(folder), blow)
    sys.addaudithook(watch)
    if "limit" in blow:
        resource.setrlimit(resource.RLIMIT_FSIZE, (blow["limit"], resource.RLIM_INFINITY))
    code: Any = 1
    try:
        if module == "export":
            watch.stage = None
            _export(Path(folder))
        else:
            _when_training_begins(lambda: setattr(watch, "stage", None))
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    if not blow:
        Path(tally).write_text(json.dumps(watch.seen))
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


class Watch:
    """An audit hook that counts what happens to files of a folder, by stages, and strikes at one of these events."""

    def __init__(self, folder: Path, blow: dict[str, Any]) -> None:
        self.folder, self.blow = str(folder), blow
        self.stage: str | None = "start-up"
        self.seen: Counter = Counter()

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in EVENTS or not arguments or not isinstance(arguments[0], str | Path):
            return
        path = str(arguments[0])
        if not path.startswith(self.folder):
            return
        stage = self.stage or next((name for name, parts in STAGES.items() if any(p in path for p in parts)), None)
        self.seen[stage] += 1
        if (stage, self.seen[stage] - 1) == (self.blow.get("stage"), self.blow.get("event")):
            self._strike()

    def _strike(self) -> None:
        def strike() -> None:
            os.kill(os.getpid(), self.blow["signal"])

        if self.blow["delay"]:
            timer = threading.Timer(self.blow["delay"], strike)
            timer.daemon = True
            timer.start()
        else:
            strike()


def _when_training_begins(call: Callable[[], None]) -> None:
    from trainers import building

    fit = building.DVAE.fit

    def watched(*args: Any, **options: Any) -> Any:
        call()
        return fit(*args, **options)

    building.DVAE.fit = watched


def _export(folder: Path) -> None:
    from trainers import building

    building.load_model(folder).export(folder / "served", signatures=["encode"])


def serve() -> None:
    from tensorflow.python.eager import context

    for module in ("tensorflow", "trainers.train"):
        importlib.import_module(module)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's background processes ignore it.
    for line in sys.stdin:
        assert not context.context()._initialized, "a process with TensorFlow's threads must not fork"
        # A full disk must not take the program's words: they go through a pipe.
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            for descriptor in (1, 2):
                os.dup2(writing, descriptor)
            os.close(reading)
            os.close(writing)
            run(**json.loads(line))
        os.close(writing)
        with open(reading, "rb") as pipe:
            printed = pipe.read().decode(errors="replace")
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), printed]), flush=True)


if __name__ == "__main__":
    serve()
