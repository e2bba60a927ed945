"""Exported models as functions of named arrays, whatever their format."""

import importlib.metadata
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

__all__ = ["Artefact", "Arrays", "find_saved_model", "load"]

Arrays = dict[str, np.ndarray]


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

    damage = "cannot be read as a model that was exported to LiteRT"
    with named_damage(path, damage):
        with zipfile.ZipFile(path) as attached:
            check_members(attached, path.stat().st_size)
            description = _checked(parse(attached.read(DESCRIPTION), path))
            size = min(one.header_offset for one in attached.infolist())
        if digest(path, size) != description["model_sha256"]:
            # A damaged one can crash the interpreter, and with it the process.
            raise ValueError("the model is not the one that was written")
        sizes = {name: description.get(name, getattr(LITERT, name)) for name in ("num_samples", "batch", "time")}
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
    runtime = f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, Interpreter, {platform.machine()}"
    return Artefact(path, functions, LITERT._replace(**sizes), description, runtime)


def _checked(description: dict[str, Any]) -> dict[str, Any]:
    """The description; raises ValueError, KeyError or TypeError where it has no signatures, or none of fields."""
    for name, one in description["signatures"].items():
        for field in (*one["inputs"], *one["outputs"]):
            kinds = {"name": str, "dtype": str, "shape": list, "axes": list}
            if any(type(field[key]) is not kind for key, kind in kinds.items()):
                raise ValueError(f"its description of {name!r} has fields that are none")
    return description
