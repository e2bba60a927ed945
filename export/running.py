"""Exported models as functions of named arrays, whatever their format."""

import importlib.metadata
import math
import platform
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfdvae.data.archives import check_members
from tfdvae.data.files import named_damage
from tfdvae.serving import Target
from tfdvae.serving.fields import parse
from tfdvae.serving.litert import LITERT, digest
from tfdvae.serving.saved_model import DESCRIPTION, target_of

__all__ = ["Artefact", "Arrays", "find_saved_model", "load", "load_compiled"]

Arrays = dict[str, np.ndarray]
LITERT_DAMAGE = "cannot be read as a model that was exported to LiteRT"


class Artefact(NamedTuple):
    """What was exported: functions of named arrays by name, the target they were declared for, their description, and
    the build of the runtime that runs them."""

    path: Path
    functions: dict[str, Callable[[Arrays], Arrays]]
    target: Target
    description: dict[str, Any]
    runtime: str = ""


def load(path: str | Path) -> Artefact:
    """An exported model: a folder with a SavedModel, a folder of versions (the newest counts), or a .tflite file.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: it is none of these, damaged, or was written by something else.
    """
    path = Path(path)
    return _load_litert(path) if path.is_file() else _load_saved_model(path)


def find_saved_model(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a SavedModel, the newest version where `path` holds several, and its description.

    Raises:
        FileNotFoundError: there is nothing there.
        ValueError: it is no SavedModel, or was written by something else.
    """
    path = Path(path)
    versions = sorted((p for p in path.glob("*") if p.name.isdecimal() and p.is_dir()), key=lambda p: int(p.name))
    path = versions[-1] if versions else path
    if not path.is_dir():
        raise FileNotFoundError(f"There is no exported model at {path}.")
    if not (path / "saved_model.pb").is_file() or not (path / DESCRIPTION).is_file():
        raise ValueError(f"{path} holds no SavedModel with {DESCRIPTION}: was it written by model.export?")
    if not (path / "variables" / "variables.index").is_file():
        # TensorFlow's loader takes that for a model without weights.
        raise ValueError(f"The SavedModel in {path} has no variables/variables.index: it is not complete.")
    with named_damage(path / DESCRIPTION, "cannot be read"):
        return path, _checked(parse((path / DESCRIPTION).read_bytes(), path / DESCRIPTION))


def _load_saved_model(path: Path) -> Artefact:
    import tensorflow as tf

    path, description = find_saved_model(path)
    # A damaged protocol buffer raises nearly anything on the way from its bytes to functions.
    with named_damage(path, "cannot be read as a SavedModel, it may be damaged"):
        loaded = tf.saved_model.load(str(path))
        signatures = {name: loaded.signatures[name] for name in description["signatures"]}

    def function(signature: Any) -> Callable[[Arrays], Arrays]:
        # A signature refers to its module weakly.
        def run(given: Arrays, module: Any = loaded) -> Arrays:
            return {name: value.numpy() for name, value in signature(**_tensors(given)).items()}

        return run

    def _tensors(given: Arrays) -> dict[str, tf.Tensor]:
        return {name: tf.convert_to_tensor(value) for name, value in given.items()}

    functions = {name: function(signature) for name, signature in signatures.items()}
    runtime = f"TensorFlow {tf.version.VERSION} ({tf.version.GIT_VERSION}), Python"
    return Artefact(path, functions, target_of(description), description, runtime)


def _load_litert(path: Path) -> Artefact:
    from ai_edge_litert.interpreter import Interpreter

    description, target = _read_litert(path)
    with named_damage(path, LITERT_DAMAGE):
        interpreter = Interpreter(model_path=str(path))
        runners = {name: interpreter.get_signature_runner(name) for name in description["signatures"]}

    def function(runner: Any) -> Callable[[Arrays], Arrays]:
        def run(given: Arrays) -> Arrays:
            # The interpreter reads an operation when it first comes to it, a damaged one too.
            with named_damage(path, "cannot be run, it may be damaged"):
                # What a runner returns may change with its next call.
                return {name: np.array(value) for name, value in runner(**given).items()}

        return run

    functions = {name: function(runner) for name, runner in runners.items()}
    return Artefact(path, functions, target, description, _litert_build("Interpreter"))


def load_compiled(path: str | Path) -> Artefact:
    """A .tflite file, run by LiteRT's CompiledModel, which knows outputs by their tensors. It has the functions whose
    shapes are fixed: `reset`, `step` and `generate_step`, and all of them where the file was exported with a length.

    Raises:
        FileNotFoundError, ValueError: as `load`; none of its functions has fixed shapes.
    """
    from ai_edge_litert.compiled_model import CompiledModel

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no .tflite file {path}.")
    description, target = _read_litert(path)
    with named_damage(path, LITERT_DAMAGE):
        compiled = CompiledModel.from_file(str(path))
    fixed = {
        name: one["outputs"]
        for name, one in description["signatures"].items()
        if all(n >= 0 for field in (*one["inputs"], *one["outputs"]) for n in field["shape"])
    }
    if not fixed:
        raise ValueError(f"{path} has no function of fixed shapes, as CompiledModel needs: export it with a length.")

    def function(name: str, outputs: list[dict[str, Any]]) -> Callable[[Arrays], Arrays]:
        def run(given: Arrays) -> Arrays:
            inputs = {key: compiled.create_input_buffer_by_name(name, key) for key in given}
            for key, value in given.items():
                inputs[key].write(np.ascontiguousarray(value))
            buffers = {field["name"]: compiled.create_output_buffer_by_name(name, field["name"]) for field in outputs}
            compiled.run_by_name(name, inputs, buffers)
            return {
                field["name"]: buffers[field["name"]]
                .read(math.prod(field["shape"]), np.dtype(field["dtype"]).type)
                .reshape(field["shape"])
                for field in outputs
            }

        return run

    functions = {name: function(name, outputs) for name, outputs in fixed.items()}
    return Artefact(path, functions, target, description, _litert_build("CompiledModel"))


def _read_litert(path: Path) -> tuple[dict[str, Any], Target]:
    """The description of a .tflite file that is whole, and what it was declared for."""
    with named_damage(path, LITERT_DAMAGE):
        with zipfile.ZipFile(path) as attached:
            check_members(attached, path.stat().st_size)
            description = _checked(parse(attached.read(DESCRIPTION), path))
            size = min(one.header_offset for one in attached.infolist())
        if digest(path, size) != description["model_sha256"]:
            # A damaged one can crash the interpreter, and with it the process.
            raise ValueError("the model is not the one that was written")
        sizes = {name: description.get(name, getattr(LITERT, name)) for name in ("num_samples", "batch", "time")}
    return description, LITERT._replace(**sizes)


def _litert_build(api: str) -> str:
    return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, {api}, {platform.machine()}"


def _checked(description: dict[str, Any]) -> dict[str, Any]:
    """The description; raises ValueError, KeyError or TypeError where it has no signatures, or none of fields."""
    for name, one in description["signatures"].items():
        for field in (*one["inputs"], *one["outputs"]):
            kinds = {"name": str, "dtype": str, "shape": list, "axes": list}
            if any(type(field[key]) is not kind for key, kind in kinds.items()):
                raise ValueError(f"its description of {name!r} has fields that are none")
    return description
