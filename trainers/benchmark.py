"""Times every model and compares the train step with what the machine can do.

    python -m trainers.benchmark --sizes speech,motion --seconds 20 --out benchmark.md
    python -m trainers.benchmark --sizes speech --models vrnn,dkf --jit
    python -m trainers.benchmark --memory
    python -m trainers.benchmark --memory --truncate=250 --lengths=1000,10000,100000 --sizes=motion --batch_size=4
    python -m trainers.benchmark --deploy --models vrnn --out deployment.md

Each model is measured in a process of its own. Times are medians after a warm-up, of the functions that Keras' `fit`
and `evaluate` compile and call, and of `generate` and `step`. The share is that of the rate of a large float32 matrix
product which the train step's own matrix products reach, rate and step measured in turns.
With --deploy it times one step and a short reconstruction at batch 1 in Keras, in SavedModels from Python and C++, and
in LiteRT files of all precisions, with the sizes of the files.
"""

import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import app, flags

from tfdvae.models import MODELS
from tfdvae.serving import PRECISIONS
from trainers._benchmark_deploy import check_deployment, deployment_section
from trainers._benchmark_measure import measure, measure_deployment, measure_memory
from trainers._benchmark_report import Memory, memory_section, times_section
from trainers.sizes import SIZES

__all__ = ["check_memory", "run_deployment", "run_memory", "run_times"]

_SIZES = flags.DEFINE_list("sizes", ["speech", "motion"], f"What to measure, of {', '.join(SIZES)}.")
_MODELS = flags.DEFINE_list("models", list(MODELS), f"Which models, of {', '.join(MODELS)}.")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "How long to measure each model, without its start.", lower_bound=0.0)
_JIT = flags.DEFINE_bool("jit", False, "Compile by XLA as well, and show both.")
_MEMORY = flags.DEFINE_bool("memory", False, "Show instead how the peak memory of training grows with T.")
_MEMORY_MODEL = flags.DEFINE_string("memory_model", "vrnn", "The model of --memory, at the first of --sizes.")
_LENGTHS = flags.DEFINE_list("lengths", ["250", "500", "1000", "2000"], "T of each run of --memory.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "B of --memory.", lower_bound=1)
_TRUNCATE = flags.DEFINE_integer(
    "truncate", None, "With --memory: train in windows of so many frames (`stateful`).", lower_bound=1
)
_DEPLOY = flags.DEFINE_bool("deploy", False, "Time instead one frame and a short sequence where models are put to use.")
_PRECISIONS = flags.DEFINE_list(
    "precisions", list(PRECISIONS), f"LiteRT files of --deploy, of {', '.join(PRECISIONS)}."
)
_OUT = flags.DEFINE_string("out", None, "Also write the tables to this file.")

MEMORY_LIMIT_MIB = 4096
"""What training at the longest T of `--memory` may take, the whole process."""
MEMORY_DEVIATION = 0.05
"""How far peak memory may lie from a straight line in T, as a part of the growth between the shortest and longest."""
DATA_SHARE = 3.0
"""How many times what frames take memory may grow by where gradients are truncated: they are made, held and cut."""


def run_times(
    sizes: Iterable[str], models: Sequence[str], seconds: float, compilers: Sequence[str] = ("graph",)
) -> list[dict[str, Any]]:
    """Measures each model at each size, in graph mode and by XLA as `compilers` ("graph", "xla") says.

    Returns:
        One row per combination: "size", "model", "compiler" and what `measure` returns.
    """
    rows = []
    for size in _known(sizes, SIZES, "size"):
        for model in _known(models, MODELS, "model"):
            for compiler in compilers:
                print(f"measuring {model} at {size} size, {compiler}", file=sys.stderr, flush=True)
                result = measure(model, size, seconds, jit=compiler == "xla")
                rows.append({"size": size, "model": model, "compiler": compiler, **result})
    return rows


def run_memory(
    model: str, size: str, batch_size: int, lengths: Sequence[int], jit: bool = False, truncate: int | None = None
) -> Memory:
    """Peak memory of training at each length, and the straight line through it; of whole sequences, or in windows of
    `truncate` frames."""
    _known([model], MODELS, "model"), _known([size], SIZES, "size")
    if len(set(lengths)) < 3:
        raise ValueError(f"A line needs at least three different lengths, got {list(lengths)}.")
    rows = []
    for length in sorted(lengths):
        print(f"measuring {model} at {size} size, T = {length}", file=sys.stderr, flush=True)
        rows.append({"length": length, **measure_memory(model, size, batch_size, length, jit, truncate)})
    return Memory.of(model, size, batch_size, rows, truncate)


def run_deployment(
    sizes: Iterable[str], models: Sequence[str], seconds: float, precisions: Sequence[str] = PRECISIONS
) -> list[dict[str, Any]]:
    """One step and a short reconstruction of each model at each size, by every way to run it.

    Returns:
        One row per combination: "size", "model" and what `measure_deployment` returns.
    """
    rows = []
    precisions = _known(precisions, dict.fromkeys(PRECISIONS), "precision")
    for size in _known(sizes, SIZES, "size"):
        for model in _known(models, MODELS, "model"):
            print(f"measuring {model} at {size} size, deployed", file=sys.stderr, flush=True)
            found = measure_deployment(model, size, seconds, precisions)
            rows += [{"size": size, "model": model, **row} for row in found]
    return rows


def check_memory(memory: Memory) -> list[str]:
    """What is wrong: memory that is not linear in T, or in windows grows with more than the frames, or more of it than
    allowed; empty if all is well."""
    faults = []
    if memory.truncate is not None:
        if memory.growth > DATA_SHARE * memory.data + 64.0:
            faults.append(f"memory grows by {memory.growth:.0f} MiB with {memory.data:.0f} MiB of frames")
    elif memory.deviation > MEMORY_DEVIATION:
        faults.append(f"not linear in T: off a straight line by {memory.deviation:.0%} of the growth")
    last = memory.rows[-1]
    if last["total_mib"] >= MEMORY_LIMIT_MIB:
        faults.append(f"T = {last['length']} takes {last['total_mib']:.0f} MiB, allowed are {MEMORY_LIMIT_MIB}")
    return faults


def machine() -> str:
    """This machine and TensorFlow, in one line."""
    devices = [tf.config.experimental.get_device_details(d) for d in tf.config.list_physical_devices("GPU")]
    gpus = "".join(f", {d.get('device_name', 'a GPU')}" for d in devices)
    return (
        f"{os.cpu_count()} cores, {_processor()}{gpus}, TensorFlow {tf.__version__}, Python {platform.python_version()}"
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _known(names: Iterable[str], registry: dict[str, Any], what: str) -> list[str]:
    names = list(names)
    unknown = [n for n in names if n not in registry]
    if unknown or not names:
        raise ValueError(f"Unknown {what} {', '.join(unknown) or '(none given)'}: choose from {', '.join(registry)}.")
    return names


def main(argv: Sequence[str]) -> None:
    """Measures what the flags ask for, prints the tables and writes them to `--out`."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}.")
    command = shlex.join(["python", "-m", "trainers.benchmark", *sys.argv[1:]])
    head = f"# Benchmark\n\n`{command}`\n\n{machine()}\n"
    faults: list[str] = []
    if _MEMORY.value:
        lengths = [int(n) for n in _LENGTHS.value]
        what = (_MEMORY_MODEL.value, _SIZES.value[0], _BATCH_SIZE.value, lengths)
        memory = run_memory(*what, _JIT.value, _TRUNCATE.value)
        faults = check_memory(memory)
        body = memory_section(memory, faults)
    elif _DEPLOY.value:
        rows = run_deployment(_SIZES.value, _MODELS.value, _SECONDS.value, _PRECISIONS.value)
        faults = check_deployment(rows)
        body = deployment_section(rows, faults)
    else:
        compilers = ("graph", "xla") if _JIT.value else ("graph",)
        body = times_section(run_times(_SIZES.value, _MODELS.value, _SECONDS.value, compilers))
    text = f"{head}\n{body}"
    print(text)
    if _OUT.value:
        Path(_OUT.value).write_text(text)
    if faults:
        raise SystemExit(f"Not as it should be: {'; '.join(faults)}.")


if __name__ == "__main__":
    app.run(main)
