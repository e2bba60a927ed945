"""LiteRT: signatures for one sequence at a time in one file, with built-in operations alone."""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from tfdvae.models.verbs import VerbsDVAE
from tfdvae.serving.fields import Signature, Target, describe
from tfdvae.serving.saved_model import DESCRIPTION, choose, plain_errors
from tfdvae.serving.signatures import declare

__all__ = ["LITERT", "PRECISIONS", "export_litert"]

LITERT = Target(batch=1, masked=False, seeded=False)
"""One sequence at a time, of any length, all of whose frames exist; noise is an input."""

PRECISIONS = ("float32", "float16", "int8_dynamic")
"""How weights are stored; activations are float32 in all of them."""


def export_litert(
    model: VerbsDVAE,
    path: str | os.PathLike,
    signatures: Iterable[str] | None = None,
    precision: str = "float32",
    num_samples: int = LITERT.num_samples,
) -> dict[str, Signature]:
    """Writes the signatures to a new .tflite file, complete or not at all.

    The converter runs in a process of its own, which may crash without harm. The file carries `signatures.json`, its
    description, as a zip archive behind the model, where the standard library's `zipfile` finds it.

    Args:
        model: a built model.
        path: the file to make.
        signatures: names of those to write; by default all that the model has for one sequence at a time.
        precision: one of `PRECISIONS`.
        num_samples: K of `score`, fixed in the file.

    Returns:
        What was written.

    Raises:
        ValueError: the model was never built, computes in another type than float32, has no such signature, or needs
            operations that LiteRT lacks.
        FileExistsError: there is something at `path`.
        OSError: the file cannot be written.
        RuntimeError: the converter failed in another way.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
    if model.compute_dtype != "float32":
        raise ValueError(
            f"LiteRT needs a model that computes in float32, this one is {model.dtype_policy.name}. Its weights are "
            "float32: make one with dtype='float32', and hand it model.get_weights(). `precision` stores them smaller."
        )
    target = LITERT._replace(num_samples=num_samples)
    chosen = choose(declare(model, target), signatures, type(model).__name__)
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists. Name a new path, or remove it first; nothing was written.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        frozen, converted = Path(folder) / "frozen", Path(folder) / "converted.tflite"
        module = tf.Module(name="tfdvae")
        with plain_errors(path):
            tf.saved_model.save(module, str(frozen), {name: freeze(one) for name, one in chosen.items()})
        drop_shape_checks(frozen)
        _convert(frozen, converted, precision, list(chosen))
        about = {"model": type(model).__name__, "features": model.x_dim, "inputs": model.u_dim}
        text = describe(chosen, **about, precision=precision, num_samples=num_samples)
        with zipfile.ZipFile(converted, "a") as attached:
            attached.writestr(DESCRIPTION, text)
        converted.rename(path)
    return chosen


def freeze(signature: Signature) -> tf.types.experimental.ConcreteFunction:
    """The graph with weights as constants: LiteRT has no variables inside of a loop."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = signature.trace()
    names = list(traced.structured_outputs)
    constant = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    order = [tensor.name.partition(":")[0] for tensor in constant.inputs]

    def run(**tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(sorted(names), constant(*(tensors[name] for name in order)), strict=True))

    specs = {field.name: field.spec() for field in signature.inputs}
    return tf.function(run, autograph=False).get_concrete_function(**specs)


def drop_shape_checks(saved_model: Path) -> None:
    """Makes identities of all EnsureShape in a SavedModel: LiteRT lacks it, and tracing has used what it says."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = saved_model / "saved_model.pb"
    content = SavedModel.FromString(file.read_bytes())
    for graph in (one.graph_def for one in content.meta_graphs):
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            for node in nodes:
                if node.op == "EnsureShape":
                    node.op = "Identity"
                    del node.attr["shape"]
    file.write_bytes(content.SerializeToString())


def _convert(frozen: Path, converted: Path, precision: str, names: list[str]) -> None:
    script = Path(__file__).with_name("conversion.py")
    # The script's own folder stays off its path: modules in there are named like some of TensorFlow's.
    command = [sys.executable, "-P", str(script), str(frozen), str(converted), precision, *names]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode == 3:
        raise ValueError(
            f"The model needs operations that LiteRT has not built in: {result.stdout.strip()}. Leave out the "
            "signatures that use them, or serve it as a SavedModel."
        )
    if result.returncode != 0 or not converted.is_file():
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"The LiteRT converter ended with code {result.returncode}: {last}")
