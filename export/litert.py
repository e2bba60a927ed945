"""Writes a trained model as .tflite files, and reports what smaller weights cost.

python -m export.litert --model model.keras --out edge/vrnn
python -m export.litert --model model.keras --out edge/vrnn --precision float32 float16 int8_dynamic --data held_out.npz

Writes `edge/vrnn_float32.tflite` and so on. Each file is run on held-out sequences, whole (`reconstruct`) and frame by
frame (`step`, in its own state), and compared with the Keras model. Errors are root mean squares relative to that of
the output in Keras. Where one is larger than the tolerance, the report is printed and the file is not written.

Held-out sequences are the arrays "x" `[N, T, D]` and, in driven mode, "u" `[N, T, U]` of an .npz file; without one they
are drawn from the model.
"""

import argparse
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from export import program

if TYPE_CHECKING:
    from tfdvae.models import VerbsDVAE

__all__ = ["Error", "TOLERANCES", "accuracy", "read_held_out", "report", "run", "write"]

TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "int8_dynamic": 5e-2}
"""Largest relative error at which a file is still written, by precision."""


class Error(NamedTuple):
    """Root mean square of what an output is off, relative to that of the output in Keras."""

    signature: str
    output: str
    relative: float


def accuracy(model: "VerbsDVAE", path: Path, x: np.ndarray, u: np.ndarray | None) -> list[Error]:
    """Errors of a .tflite file on sequences `[N, T, D]`, along the means."""
    import tensorflow as tf

    from export import parity, running

    artefact = running.load(path)
    found = []
    rows = [slice(i, i + 1) for i in range(len(x))]
    if "reconstruct" in artefact.functions:
        given = [{"x": x[i], **({} if u is None else {"u": u[i]})} for i in rows]
        got = np.concatenate([artefact.functions["reconstruct"](one)["mean"] for one in given])
        params = model.infer(tf.constant(x), None, None if u is None else tf.constant(u)).x
        found.append(Error("reconstruct", "mean", _relative(got, np.asarray(model.observation.mean(params)))))
    if {"reset", "step"} <= set(artefact.functions):
        noise = np.zeros((1, x.shape[1], model.frame_latent_dim), np.float32)
        pairs = [parity.stream(model, artefact, x[i], None if u is None else u[i], noise) for i in rows]
        for name in (name for name in ("z_mean", "log_px") if name in pairs[0][0]):
            got, expected = (np.concatenate([pair[side][name] for pair in pairs]) for side in (0, 1))
            found.append(Error("step", name, _relative(got, expected)))
    return found


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(got - expected)) / np.mean(np.square(expected))))


def report(precision: str, size: int, errors: Sequence[Error], tolerance: float) -> str:
    """Text for one file of `size` bytes."""
    lines = [f"{precision}: {size / 1024:.0f} KiB, tolerance {tolerance:g}"]
    for one in errors:
        mark = "" if one.relative <= tolerance else "  beyond the tolerance"
        lines.append(f"  {one.signature:<12} {one.output:<8} {one.relative:9.1e}{mark}")
    return "\n".join(lines)


def write(
    model: "VerbsDVAE",
    path: str | Path,
    precision: str = "float32",
    held_out: tuple[np.ndarray, np.ndarray | None] | None = None,
    tolerance: float | None = None,
    signatures: Sequence[str] | None = None,
) -> str:
    """Writes one file, if it is accurate enough.

    Args:
        model: a built model.
        path: the file to make.
        precision: a key of `TOLERANCES`.
        held_out: x `[N, T, D]` and u `[N, T, U]` (or None); by default drawn from the model.
        tolerance: by default that of the precision.
        signatures: names of those to write.

    Returns:
        The report.

    Raises:
        ValueError: errors beyond the tolerance, with the report; whatever else `serving.export_litert` raises.
        FileExistsError: there is something at `path`.
    """
    from export import parity
    from tfdvae import serving

    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists. Name a new path, or remove it first; nothing was written.")
    if precision not in TOLERANCES:
        raise ValueError(f"`precision` must be one of {', '.join(TOLERANCES)}, got {precision!r}.")
    tolerance = TOLERANCES[precision] if tolerance is None else tolerance
    candidate = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tflite")
    try:
        serving.export_litert(model, candidate, signatures, precision)
        errors = accuracy(model, candidate, *(held_out or parity.sequences(model, 4, 50)))
        text = report(precision, candidate.stat().st_size, errors, tolerance)
        if any(not one.relative <= tolerance for one in errors):
            raise ValueError(f"{path} was not written, it would be too inaccurate:\n{text}")
        candidate.rename(path)
    finally:
        candidate.unlink(missing_ok=True)
    return text


def read_held_out(path: str | Path, model: "VerbsDVAE") -> tuple[np.ndarray, np.ndarray | None]:
    """Sequences from an .npz file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or does not fit the model.
    """
    from tfdvae import validation

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("x", "u") if name in arrays.files}
    except (ValueError, OSError, AttributeError) as error:
        raise ValueError(f"{path} is no .npz file of arrays: {error}") from error
    if "x" not in found:
        raise ValueError(f"{path} holds no array 'x' of held-out sequences [N, T, {model.x_dim}].")
    batch = validation.check_arrays(found["x"], None, found.get("u"), model.x_dim, model.u_dim)
    return batch.x, batch.u


def main(given: argparse.Namespace) -> int:
    """Writes the files and prints their reports."""
    model = program.load_model(given.model)
    held_out = None if given.data is None else read_held_out(given.data, model)
    for precision in given.precision:
        path = Path(f"{given.out}_{precision}.tflite")
        print(write(model, path, precision, held_out, given.tolerance, given.signatures))
        print(f"Wrote {path}", flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.litert", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .keras file")
    found.add_argument("--out", required=True, help="path of the files, without _PRECISION.tflite")
    found.add_argument("--precision", nargs="+", default=["float32"], choices=list(TOLERANCES), help="of weights")
    found.add_argument("--signatures", nargs="+", help="names of those to write (default: all)")
    found.add_argument("--data", help=".npz file of held-out sequences (default: drawn from the model)")
    found.add_argument("--tolerance", type=float, help=f"largest relative error (default: {TOLERANCES})")
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
