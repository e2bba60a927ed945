"""Writes a trained model as .tflite files, and reports what smaller weights cost.

python -m export.litert --model model.keras --out edge/vrnn
python -m export.litert --model model.keras --out edge/vrnn --precision float32 float16 int8_dynamic --data held_out.npz
python -m export.litert --model model.keras --out edge/vrnn --precision int16x8 int8_full --data held_out.npz
python -m export.litert --model model.keras --out edge/vrnn --time 40 --split

Writes `edge/vrnn_float32.tflite` and so on. Each file is run on held-out sequences, whole (`reconstruct`) and frame by
frame (`step`, in its own state), and compared with the Keras model. Errors are root mean squares relative to that of
the output in Keras. Where one is larger than the tolerance, the report is printed and the file is not written.

Sequences may have any length, one at a time. Runtimes without dynamic shapes need files with `--time` (and `--batch`);
those that take one function from a file need `--split`.

Held-out sequences are the arrays "x" `[N, T, D]` and, where the model has them, "u" `[N, T, U]`, "observed" and
"context" `[N, C]` of an .npz file; without one they are drawn from the model. The integer activations of int16x8 and
int8_full take their ranges from the sequences of another such file, `--representative`, without it from every second
one of `--data`, which then is not held out. They exist for signatures without a loop over frames: as a rule `reset`,
`step` and `generate_step`.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export import program

if TYPE_CHECKING:
    from tfdvae.models import DVAE
    from tfdvae.serving import Signature
    from tfdvae.types import Batch

__all__ = ["Error", "TOLERANCES", "accuracy", "read_held_out", "report", "run", "write"]

TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "int8_dynamic": 5e-2, "int16x8": 5e-2, "int8_full": 0.4}
"""Largest relative error at which a file is still written, by precision."""


OUTPUTS = ("next_mean", "x_mean", "log_px", "score")
"""What is compared frame by frame, where the signature has it, beside the means of latents."""


class Error(NamedTuple):
    """Root mean square of what an output is off, relative to that of the output in Keras; as it is where that is 0."""

    signature: str
    output: str
    relative: float


def accuracy(model: "DVAE", path: Path, batch: "Batch") -> list[Error]:
    """Errors of a .tflite file on sequences whose frames all exist, along the means.

    `reconstruct` is compared with the model's own; `step` along a stream in which both keep their own state;
    `generate_step`, where there is no `step`, at the states that the model's own stream visits.
    """
    from export import parity, running
    from tfdvae import serving
    from tfdvae.serving.quantisation import series_for

    artefact = running.load(path)
    declared = serving.declare(model, artefact.target)
    if model.partly_observed and batch.observed is None:
        batch = batch._replace(observed=np.ones(batch.x.shape, bool))
    series = list(series_for(batch, artefact.target))
    outputs = (*(f"{latent.name}_mean" for latent in model.frame_latents), *OUTPUTS)
    pairs: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}

    def compare(name: str, outputs: Sequence[str], got: Mapping, expected: Mapping) -> None:
        for output in (output for output in outputs if output in expected):
            pairs.setdefault((name, output), []).append((np.asarray(got[output]), np.asarray(expected[output])))

    if "reconstruct" in artefact.functions:
        for one in series:
            compare(
                "reconstruct",
                ["mean"],
                artefact.functions["reconstruct"](one),
                parity.call(declared["reconstruct"], one),
            )
    moving = next((name for name in ("step", "generate_step") if name in artefact.functions), None)
    if moving:
        keras = {name: declared[name].trace() for name in ("reset", moving)}
        for one in series:
            first = _means(declared["reset"], one)
            begun = _call(keras["reset"], first)
            states = (artefact.functions["reset"](first) if "reset" in artefact.functions else begun), begun
            for t in range(one["x"].shape[1]):
                rows = {name: value[:, t] for name, value in one.items() if name != "context"}
                rows["next_u"] = rows.get("u")
                frame = _means(declared[moving], rows)
                # What a model makes of its own drawings would drift apart for ever.
                own = states[moving != "step"]
                got, expected = (
                    artefact.functions[moving]({**frame, **own}),
                    _call(keras[moving], {**frame, **states[1]}),
                )
                compare(moving, outputs, got, expected)
                states = tuple({name: out[name] for name in states[1]} for out in (got, expected))
    return [
        Error(*key, _relative(*(np.concatenate(side) for side in zip(*both, strict=True))))
        for key, both in pairs.items()
    ]


def _means(signature: "Signature", known: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs without the state: zeros for normal noise follow the means, 0.5 for uniform noise draws the median."""
    fields = [field for field in signature.inputs if not field.name.startswith("state_")]
    still = {"normal": 0.0, "uniform": 0.5}
    return {f.name: known[f.name] if f.name in known else np.full(f.shape, still[f.random], "float32") for f in fields}


def _call(function: Callable, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    return {name: value.numpy() for name, value in function(**{k: tf.constant(v) for k, v in given.items()}).items()}


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    error, scale = np.mean(np.square(got - expected)), np.mean(np.square(expected))
    return float(np.sqrt(error / scale if scale > 0.0 else error))


def report(precision: str, path: Path, errors: Sequence[Error], tolerance: float) -> str:
    """Text for one file."""
    from tfdvae.serving.litert import min_runtime_version, operators

    lines = [f"{precision}: {path.stat().st_size / 1024:.0f} KiB, tolerance {tolerance:g}"]
    newest = [f"{name} {version}" for name, version in operators(path).items() if version > 1]
    first = min_runtime_version(path)
    needed = f"needs TensorFlow Lite {first} or later" if first else "the converter names no first TensorFlow Lite"
    lines.append(f"  {needed}; operators beyond version 1: {', '.join(newest) or 'none'}")
    for one in errors:
        mark = "" if one.relative <= tolerance else "  beyond the tolerance"
        lines.append(f"  {one.signature:<12} {one.output:<8} {one.relative:9.1e}{mark}")
    return "\n".join(lines)


def write(
    model: "DVAE",
    path: str | Path,
    precision: str = "float32",
    held_out: "Batch | None" = None,
    tolerance: float | None = None,
    signatures: Sequence[str] | None = None,
    representative: "Batch | None" = None,
    batch: int = 1,
    time: int | None = None,
    overwrite: bool = False,
) -> str:
    """Writes one file, if it is accurate enough.

    Args:
        model: a built model.
        path: the file to make.
        precision: a key of `TOLERANCES`.
        held_out: arrays of sequences whose frames all exist; by default drawn from the model.
        tolerance: by default that of the precision.
        signatures: names of those to write.
        representative: sequences on which integer activations find their ranges, not those held out; by default drawn
            from the model.
        batch, time: fixed sizes, as `serving.export_litert` takes them.
        overwrite: replace a file that is there.

    Returns:
        The report.

    Raises:
        ValueError: errors beyond the tolerance, with the report; whatever else `serving.export_litert` raises.
        FileExistsError: there is something at `path`.
    """
    from export import parity
    from tfdvae import serving
    from tfdvae.data.unfinished import unfinished

    path = Path(path)
    program.check_new(path, overwrite)
    if precision not in TOLERANCES:
        raise ValueError(f"`precision` must be one of {', '.join(TOLERANCES)}, got {precision!r}.")
    tolerance = TOLERANCES[precision] if tolerance is None else tolerance
    with unfinished(path) as candidate:
        options = {"batch": batch, "time": time}
        length = max(50, time or 0)
        if precision in serving.INTEGER:
            options["representative"] = representative or parity.sequences(model, 16, length, seed=1)
        chosen = serving.export_litert(model, candidate, signatures, precision, **options)
        errors = accuracy(model, candidate, held_out or parity.sequences(model, 4, length))
        text = report(precision, candidate, errors, tolerance)
        left_out = [
            name for name in serving.declare(model, serving.LITERT) if signatures is None and name not in chosen
        ]
        if left_out:
            text += f"\n  without {', '.join(left_out)}: their loops have no {precision}"
        if any(not one.relative <= tolerance for one in errors):
            raise ValueError(f"{path} was not written, it would be too inaccurate:\n{text}")
        candidate.replace(path)
    return text


def read_held_out(path: str | Path, model: "DVAE") -> "Batch":
    """Sequences from an .npz file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or does not fit the model.
    """
    from tfdvae import validation
    from tfdvae.data.files import named_damage
    from tfdvae.types import Batch

    found = program.read_arrays(path)
    if "x" not in found:
        frame = ", ".join(map(str, model.frame_shape))
        raise ValueError(f"{path} holds no array 'x' of held-out sequences [N, T, {frame}].")
    batch = Batch(*(found.get(name) for name in Batch._fields))._replace(mask=None)
    with named_damage(path, "does not hold sequences for this model"):
        return validation.check_arrays(batch, model.built_sizes, support=model.frames)


def main(given: argparse.Namespace) -> int:
    """Writes the files and prints their reports."""
    from tfdvae.serving import INTEGER

    model = program.load_model(given.model)
    program.take_data_options(model, given)
    held_out, representative = (
        None if path is None else read_held_out(path, model) for path in (given.data, given.representative)
    )
    if set(given.precision) & set(INTEGER) and held_out is not None and representative is None:
        held_out, representative = (type(held_out)(*(y if y is None else y[i::2] for y in held_out)) for i in (0, 1))
        if not len(representative.x):
            raise ValueError(f"{given.data} holds one sequence: ranges and errors need different ones.")
    files = [
        (precision, names, Path(f"{given.out}_{precision}{suffix}.tflite"))
        for precision in given.precision
        for names, suffix in _files(model, precision, given)
    ]
    for _, _, path in files:
        # Before minutes of work on the others.
        program.check_new(path, given.overwrite)
    sizes = {"batch": given.batch, "time": given.time, "overwrite": given.overwrite}
    for precision, names, path in files:
        print(write(model, path, precision, held_out, given.tolerance, names, representative, **sizes))
        print(f"Wrote {path}", flush=True)
    return 0


def _files(model: "DVAE", precision: str, given: argparse.Namespace) -> list[tuple[list[str] | None, str]]:
    """Signatures of each file to write, None for all, and what its name ends with."""
    from tfdvae import serving

    if not given.split:
        return [(given.signatures, "")]
    names = given.signatures
    if names is None:
        framewise = ("reset", "step", "generate_step")
        names = [
            n for n in serving.declare(model, serving.LITERT) if precision not in serving.INTEGER or n in framewise
        ]
    return [([name], f"_{name}") for name in names]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.litert", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .keras file")
    found.add_argument("--out", required=True, help="path of the files, without _PRECISION.tflite")
    found.add_argument("--precision", nargs="+", default=["float32"], choices=list(TOLERANCES), help="of weights")
    found.add_argument("--signatures", nargs="+", help="names of those to write (default: all)")
    found.add_argument(
        "--split", action="store_true", help="one file for each signature, OUT_PRECISION_SIGNATURE.tflite"
    )
    found.add_argument("--time", type=int, help="fixed frames of sequences (default: any)")
    found.add_argument("--batch", type=int, default=1, help="fixed number of sequences (default: 1)")
    found.add_argument("--overwrite", action="store_true", help="replace files that are there")
    found.add_argument("--data", help=".npz file of held-out sequences (default: drawn from the model)")
    found.add_argument("--representative", help=".npz file of sequences that set the ranges of integer activations")
    found.add_argument("--tolerance", type=float, help=f"largest relative error (default: {TOLERANCES})")
    program.add_data_options(found)
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
