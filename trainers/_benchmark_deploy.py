"""What a trained model costs where it is put to use: one frame, and a short sequence, by every way to run it."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfdvae import serving
from tfdvae.models import DVAE
from trainers._benchmark_report import table
from trainers.sizes import SIZES, build_model, frames

if TYPE_CHECKING:
    from export.running import Artefact

__all__ = ["LENGTH", "LIMITS", "check_deployment", "deployment_section", "measure_here"]

LENGTH = 50
"""Frames of the sequence that is reconstructed."""

LIMITS = {("speech", "vrnn"): 0.8e-3, ("motion", "vrnn"): 100e-6}
"""Seconds that the median step of the float32 LiteRT file may take. Speech: 1/20 of the 16 ms between frames."""

FLOAT = "LiteRT float32"
BURST = {"step": 20, "reconstruct": 3}
"""Calls in a row before the next way has its turn."""

_NOTE = f"""\
Batch 1, weights as initialised, medians and 99th percentiles of single calls after a warm-up; the ways to run a model
take turns. Step: one frame with its state, of models whose posterior needs no later frames. Frames: p(x_t | .) of
{LENGTH} frames along the posterior means. Keras: `model.step` and `model.reconstruct`, called eagerly. Python: a
SavedModel's or a .tflite file's signature, numpy arrays in and out. C++: `Session::Run` alone. File: the .keras file; a
SavedModel or a .tflite file with `reset`, `step` and `reconstruct`, with integer activations `generate_step` and no
sequences with a loop. A dash: it has no such signature."""

Burst = Callable[[int], Sequence[float]]


class Way(NamedTuple):
    """A way to run a model: seconds of n calls by signature; bytes of the file; why it cannot run, if it cannot."""

    name: str
    size: int
    calls: dict[str, Burst]
    note: str = ""


def measure_here(model: str, size: str, seconds: float, precisions: Sequence[str]) -> list[dict[str, Any]]:
    """Measures in this process; at least three turns.

    Returns:
        for each way "way", "bytes", "note", and under "step" and "reconstruct" the "median", the 99th percentile "p99",
        both in seconds, and the "count" of calls, or None.
    """
    built = build_model(model, SIZES[size])
    x = frames(SIZES[size]._replace(batch_size=1, length=LENGTH))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        ways = _ways(built, x, Path(folder), precisions, closing)
        taken = {(way.name, name): [] for way in ways for name in way.calls}
        for way in ways:
            for call in way.calls.values():
                call(2)
        end, turns = time.perf_counter() + seconds, 0
        while time.perf_counter() < end or turns < 3:
            turns += 1
            for way in ways:
                for name, call in way.calls.items():
                    taken[way.name, name].extend(call(BURST[name]))
    return [
        {"way": way.name, "bytes": way.size, "note": way.note}
        | {name: _summary(taken.get((way.name, name))) for name in BURST}
        for way in ways
    ]


def _summary(seconds: Sequence[float] | None) -> dict[str, float] | None:
    if seconds is None:
        return None
    return {"median": float(np.median(seconds)), "p99": float(np.percentile(seconds, 99)), "count": len(seconds)}


def _ways(
    model: DVAE, x: np.ndarray, folder: Path, precisions: Sequence[str], closing: contextlib.ExitStack
) -> list[Way]:
    """Everything that can run the model; what was started for it ends with `closing`."""
    names = [name for name in ("reset", "step", "reconstruct") if name in serving.declare(model)]
    names = names if "step" in names else ["reconstruct"]
    return [
        _keras(model, x, folder / "model.keras"),
        *_saved_model(model, x, folder / "saved" / "1", names, closing),
        *(_litert(model, x, folder / f"{precision}.tflite", names, precision) for precision in precisions),
    ]


def _keras(model: DVAE, x: np.ndarray, path: Path) -> Way:
    model.save(path)
    calls = {"reconstruct": _burst(lambda: np.asarray(model.reconstruct(x)))}
    if model.causal and model.stepwise:
        state = model.initial_state(1)
        calls["step"] = _burst(lambda: model.step(state, x[:, 0]).log_px.numpy())
    return Way("Keras", path.stat().st_size, calls)


def _saved_model(
    model: DVAE, x: np.ndarray, path: Path, names: Sequence[str], closing: contextlib.ExitStack
) -> list[Way]:
    from export import native, running

    model.export(path, signatures=names)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    artefact = running.load(path)
    inputs = _inputs(artefact, x)
    python = Way("SavedModel Python", size, _calls(artefact, inputs))
    try:
        program = closing.enter_context(native.Program(path))
    except (OSError, RuntimeError) as error:
        return [python, Way("SavedModel C++", size, {}, str(error).splitlines()[0])]

    def timed(name: str) -> Burst:
        return lambda count: program.time(name, inputs[name], count)

    return [python, Way("SavedModel C++", size, {name: timed(name) for name in inputs})]


def _litert(model: DVAE, x: np.ndarray, path: Path, names: Sequence[str], precision: str) -> Way:
    from export import running

    options = {}
    if precision in serving.INTEGER:
        # Whole sequences with a loop have no integer form.
        options["representative"] = x
        names = None
    try:
        model.export(path, format="litert", signatures=names, precision=precision, **options)
        artefact = running.load(path)
    except (ImportError, ValueError, RuntimeError) as error:
        return Way(f"LiteRT {precision}", 0, {}, str(error).splitlines()[0])
    return Way(f"LiteRT {precision}", path.stat().st_size, _calls(artefact, _inputs(artefact, x)))


def _inputs(artefact: "Artefact", x: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Inputs of the signatures to be timed, for one sequence: no noise, a state of its own, all frames exist."""
    described = artefact.description["signatures"]

    def given(name: str, known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        lengths = {"time": LENGTH}
        found = {}
        for field in described[name]["inputs"]:
            shape = [
                lengths.get(axis, 1) if n < 0 else n for n, axis in zip(field["shape"], field["axes"], strict=True)
            ]
            default = np.zeros(shape, field["dtype"]) if field["dtype"] == "float32" else np.ones(shape, field["dtype"])
            found[field["name"]] = known.get(field["name"], default)
        return found

    found = {}
    if "reconstruct" in described:
        found["reconstruct"] = given("reconstruct", {"x": x})
    if {"reset", "step"} <= set(described):
        state = artefact.functions["reset"](given("reset", {}))
        found["step"] = given("step", {**state, "x": x[:, 0]})
    return found


def _calls(artefact: "Artefact", inputs: Mapping[str, dict[str, np.ndarray]]) -> dict[str, Burst]:
    def call(name: str) -> Burst:
        run, given = artefact.functions[name], inputs[name]
        return _burst(lambda: run(given))

    return {name: call(name) for name in inputs}


def _burst(call: Callable[[], Any]) -> Burst:
    def burst(count: int) -> list[float]:
        taken = []
        for _ in range(count):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
        return taken

    return burst


def check_deployment(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Steps that take longer than `LIMITS` allows; empty if all is well."""
    faults = []
    for row in (row for row in rows if row["way"] == FLOAT and row["step"]):
        limit = LIMITS.get((row["size"], row["model"]), math.inf)
        if row["step"]["median"] > limit:
            took = f"{row['step']['median'] * 1e6:.0f} us, allowed are {limit * 1e6:.0f}"
            faults.append(f"a step of {row['model']} at {row['size']} size takes {took}")
    return faults


def deployment_section(rows: Sequence[dict[str, Any]], faults: Sequence[str]) -> str:
    """One table per size, from rows of "size", "model" and what `measure_here` returns."""
    header = ["model", "run by", "file KiB", "step us", "p99", f"{LENGTH} frames us", "p99", "calls"]
    parts = []
    for size in dict.fromkeys(row["size"] for row in rows):
        own = [row for row in rows if row["size"] == size]
        body = [
            [row["model"], row["way"], f"{row['bytes'] / 1024:,.0f}" if row["bytes"] else "-"]
            + [_microseconds(row[name], key) for name in BURST for key in ("median", "p99")]
            + [" + ".join(f"{row[name]['count']:,}" for name in BURST if row[name]) or "-"]
            for row in own
        ]
        notes = [f"{row['model']}, {row['way']}: {row['note']}" for row in own if row["note"]]
        parts.append("\n\n".join([f"## Deployment, {size}", table(header, body), *dict.fromkeys(notes)]) + "\n")
    tried = [
        f"{model} at {size}" for size, model in LIMITS if any((r["size"], r["model"]) == (size, model) for r in rows)
    ]
    verdict = [f"Not as it should be: {'; '.join(faults)}.\n"] if faults else []
    if tried and not faults:
        verdict = [f"Within the limits of a step: {', '.join(tried)}.\n"]
    return "\n".join([*parts, _NOTE, "", *verdict])


def _microseconds(found: dict[str, float] | None, key: str) -> str:
    return "-" if found is None else f"{found[key] * 1e6:,.0f}"
