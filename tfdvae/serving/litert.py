"""LiteRT: signatures for one sequence at a time in one file, with built-in operations alone."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.data.unfinished import unfinished
from tfdvae.models import DVAE
from tfdvae.serving.card import CARD, model_card
from tfdvae.serving.conversion import LACKING, UNUSED, UNWRITABLE
from tfdvae.serving.fields import Signature, Target, describe
from tfdvae.serving.graphs import drop_shape_checks, freeze, has_loop
from tfdvae.serving.quantisation import INTEGER, check_representative, samples
from tfdvae.serving.saved_model import DESCRIPTION, about, choose, plain_errors
from tfdvae.serving.signatures import declare

__all__ = ["LITERT", "PRECISIONS", "export_litert", "min_runtime_version", "operators"]

LITERT = Target(batch=1, masked=False, seeded=False)
"""One sequence at a time, of any length, all of whose frames exist; noise is an input."""

PRECISIONS = ("float32", "float16", "int8_dynamic", *INTEGER)
"""How weights are stored, in 32, 16 or 8 bits. In int16x8 and int8_full networks also compute in integers, of 16 and
of 8 bits; densities, samples and the sums that a state carries on stay float32, like all inputs and outputs."""


def export_litert(
    model: DVAE,
    path: str | os.PathLike,
    signatures: Iterable[str] | None = None,
    precision: str = "float32",
    num_samples: int = LITERT.num_samples,
    representative: Any = None,
    batch: int = 1,
    time: int | None = None,
) -> dict[str, Signature]:
    """Writes the signatures to a new .tflite file, complete or not at all.

    The converter runs in a process of its own, which may crash without harm. The file carries `signatures.json`, its
    description, and README.md, its model card, as a zip archive behind the model, where the standard library's
    `zipfile` finds it. By its SHA-256 of the model readers tell a damaged file, which could crash the interpreter; it
    is no protection from malice.

    Args:
        model: a built model.
        path: the file to make.
        signatures: names of those to write; by default all that the model has for one sequence at a time, with integer
            activations those of them without a loop over frames: LiteRT cannot measure the ranges inside of one.
        precision: one of `PRECISIONS`.
        num_samples: K of `score`, fixed in the file.
        representative: for integer activations, sequences like those of use: x `[N, T, D]`, in driven mode the pair
            (x, u) with u `[N, T, U]`; or a Batch or dict, with "observed" and "context" as well.
        batch: B, sequences in each call, fixed in the file.
        time: T, fixed in the file for runtimes without dynamic shapes; None: sequences of any length.

    Returns:
        What was written.

    Raises:
        ValueError: the model was never built, computes in another type than float32, has no such signature, or not
            in this precision, or needs operations that LiteRT lacks; `representative` is missing or does not fit.
        FileExistsError: there is something at `path`.
        OSError: the file cannot be written.
        RuntimeError: the converter failed in another way.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    for name, value in (("num_samples", num_samples), ("batch", batch), ("time", 1 if time is None else time)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a whole number from 1, got {value!r}.")
    if time is not None and time < model.given_frames:
        raise ValueError(f"`time` must be at least the {model.given_frames} given frames, got {time}.")
    if model.compute_dtype != "float32":
        raise ValueError(
            f"LiteRT needs a model that computes in float32, this one is {model.dtype_policy.name}. Its weights are "
            "float32: make one with dtype='float32', and hand it model.get_weights(). `precision` stores them smaller."
        )
    target = LITERT._replace(num_samples=num_samples, batch=batch, time=time)
    declared = declare(model, target)
    names = None if signatures is None else list(signatures)
    chosen = choose(declared, names, type(model).__name__)
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists. Name a new path, or remove it first; nothing was written.")
    integers = precision in INTEGER
    data = check_representative(representative, model) if integers else None
    graphs = {name: freeze(one, integers) for name, one in chosen.items()}
    if integers:
        graphs = _without_loops(graphs, names, precision)
        chosen = {name: chosen[name] for name in graphs}
    with _folder_beside(path) as folder:
        frozen, converted, inputs = folder / "frozen", folder / "converted.tflite", folder / "samples.npz"
        with plain_errors(path):
            tf.saved_model.save(tf.Module(name="tfdvae"), str(frozen), graphs)
        drop_shape_checks(frozen)
        if data is not None:
            _save(inputs, samples(declared, list(chosen), data, target))
        _convert(frozen, converted, precision, inputs, list(chosen))
        _check_outputs(converted, chosen)
        own = {"precision": precision, "num_samples": num_samples, "batch": batch, "time": time}
        own |= {"min_runtime_version": min_runtime_version(converted), "model_sha256": digest(converted)}
        text = describe(chosen, **about(model), **model.identity(), **own)
        with zipfile.ZipFile(converted, "a") as attached:
            for name, member in ((DESCRIPTION, text), (CARD, model_card(json.loads(text)))):
                # Its own date, that of the format's first day, does not change from one export to the next.
                attached.writestr(zipfile.ZipInfo(name), member)
        converted.rename(path)
    return chosen


def operators(path: Path) -> dict[str, int]:
    """Versions of the operators in a .tflite file by name: an older runtime refuses what it does not know."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    found: dict[str, int] = {}
    for code in codes:
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        found[name] = max(code.Version(), found.get(name, 0))
    return dict(sorted(found.items()))


def min_runtime_version(path: Path) -> str:
    """The first TensorFlow Lite that has all operators of a .tflite file in these versions, as the converter says;
    empty where it does not."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    for one in (model.Metadata(i) for i in range(model.MetadataLength())):
        if one.Name() == b"min_runtime_version":
            return bytes(model.Buffers(one.Buffer()).DataAsNumpy()).rstrip(b"\0").decode()
    return ""


def digest(path: Path, size: int = -1) -> str:
    """SHA-256 of the first `size` bytes of a file, by default of all of them, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()


@contextlib.contextmanager
def _folder_beside(path: Path) -> Iterator[Path]:
    """A folder on the same disk, for as long as the file is being made. What exports that were killed left beside it
    is removed (see `tfdvae.data.unfinished`).

    Raises:
        OSError: there can be none.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(unfinished(path))
            folder.mkdir()
        except OSError as error:
            raise type(error)(f"{path} cannot be made: {error.strerror} ({error.filename}).") from error
        try:
            yield folder
        except OSError as error:
            raise error if str(path) in str(error) else OSError(f"{path} could not be written: {error}") from error


def _without_loops(graphs: dict[str, Any], wanted: list[str] | None, precision: str) -> dict[str, Any]:
    """Those that can have integer activations.

    Raises:
        ValueError: one that was asked for cannot, or none can but `reset`, which is of no use alone.
    """
    looping = [name for name, graph in graphs.items() if has_loop(graph)]
    able = [name for name in graphs if name not in looping]
    if looping and (wanted is not None or set(able) <= {"reset"}):
        raise ValueError(
            f"{', '.join(looping)}: frames of a sequence, or features of an autoregressive frame, pass through a loop, "
            f"for which LiteRT has no {precision}. Use int8_dynamic for them; {precision} can have "
            f"{', '.join(able) or 'none of those asked for'}."
        )
    return {name: graph for name, graph in graphs.items() if name not in looping}


def _save(path: Path, inputs: dict[str, dict[str, np.ndarray]]) -> None:
    """Writes inputs by "signature/input", in place of none an unused one."""
    flat = {f"{name}/{key}": value for name, own in inputs.items() for key, value in own.items()}
    empty = {f"{name}/{UNUSED}": np.zeros([1, 1], np.float32) for name, own in inputs.items() if not own}
    np.savez(path, **flat, **empty)


def _convert(frozen: Path, converted: Path, precision: str, inputs: Path, names: list[str]) -> None:
    script = Path(__file__).with_name("conversion.py")
    # The script's own folder stays off its path: modules in there are named like some of TensorFlow's.
    command = [sys.executable, "-P", str(script), str(frozen), str(converted), precision, str(inputs), *names]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    last = (result.stderr.strip().splitlines() or ["no message"])[-1]
    if result.returncode == LACKING:
        raise ValueError(
            f"The model needs operations that LiteRT has not built in: {result.stdout.strip()}. Leave out the "
            "signatures that use them, or serve it as a SavedModel."
        )
    if result.returncode == UNWRITABLE:
        raise OSError(result.stdout.strip())
    if result.returncode != 0 or not converted.is_file():
        raise RuntimeError(f"The LiteRT converter ended with code {result.returncode}: {last}")


def _check_outputs(converted: Path, chosen: dict[str, Signature]) -> None:
    """Raises RuntimeError where a declared output has no tensor of its own in the file, or is an input."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.Model.GetRootAs(converted.read_bytes(), 0)
    for one in (model.SignatureDefs(i) for i in range(model.SignatureDefsLength())):
        name = one.SignatureKey().decode()
        inputs = {one.Inputs(i).TensorIndex() for i in range(one.InputsLength())}
        outputs = [one.Outputs(i) for i in range(one.OutputsLength())]
        tensors = {output.TensorIndex(): output.Name().decode() for output in outputs}
        own = {tensors[index] for index in tensors.keys() - inputs}
        shared = [field.name for field in chosen[name].outputs if field.name not in own]
        if shared:
            raise RuntimeError(f"{name!r} lost outputs on its way to LiteRT: {', '.join(shared)}.")
