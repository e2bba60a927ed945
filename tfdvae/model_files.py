"""Trained models from `.keras` files: the one way in which programs load them."""

import contextlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from tfdvae.data.archives import check_members
from tfdvae.data.files import named_damage, require_file
from tfdvae.models import DVAE

__all__ = ["load_model"]

WEIGHTS = "model.weights.h5"
RENAMED = {"DKF": ("cell/transition", "cell/transition_net")}
"""Weights that had another name, by the class of the model: that of a DKF until its transition could be linear too."""


def load_model(path: str | os.PathLike, compile: bool = True) -> DVAE:
    """A trained model as `model.save` wrote it.

    Sizes that the archive and the arrays in it state are compared with the file before Keras asks for memory. Weights
    of older files are found under the names that they have now (RENAMED); not by Keras itself.

    Args:
        path: a .keras file.
        compile: whether optimizer and bound come back too; a model that only infers needs neither.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, holds something else than a model of this library, states sizes that it does not
            have or that no memory can hold, or weights that are not finite. Names the file.
    """
    path = require_file(path)
    # A damaged file raises nearly anything inside zipfile, json, h5py, Keras and TensorFlow.
    with named_damage(path, "cannot be loaded as a model of this library"):
        with zipfile.ZipFile(path) as archive:
            check_members(archive, path.stat().st_size)
            if WEIGHTS in archive.namelist():
                _check_weights(archive)
        with _renamed(path) as current:
            model = keras.saving.load_model(current, compile=compile)
        if not isinstance(model, DVAE):
            raise ValueError(f"it holds a {type(model).__name__}")
        for weight in model.weights:
            if not np.isfinite(np.asarray(weight, np.float64)).all():
                raise ValueError(f"{weight.path} holds NaN or infinity: its training diverged, or it is damaged")
    return model


def _check_weights(archive: zipfile.ZipFile) -> None:
    """Raises ValueError where an array of the weights states more bytes than their file has."""
    size = archive.getinfo(WEIGHTS).file_size

    def check(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.nbytes > size:
            raise ValueError(f"its array {name!r} states {item.nbytes} bytes, and all weights have {size}")

    with archive.open(WEIGHTS) as member, h5py.File(member, "r") as weights:
        weights.visititems(check)


@contextlib.contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    """The file, or where its weights have old names a copy of it in which they have those of today."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        old, new = RENAMED.get(json.loads(archive.read("config.json"))["class_name"], ("", ""))
        if not (old and _has(archive, old)):
            yield path
            return
        weights = io.BytesIO(archive.read(WEIGHTS))
        with h5py.File(weights, "r+") as file:
            file.move(old, new)
        copy = Path(folder) / path.name
        with zipfile.ZipFile(copy, "w") as written:
            for name in archive.namelist():
                written.writestr(name, weights.getvalue() if name == WEIGHTS else archive.read(name))
        yield copy


def _has(archive: zipfile.ZipFile, group: str) -> bool:
    """Whether the weights have it."""
    if WEIGHTS not in archive.namelist():
        return False
    with archive.open(WEIGHTS) as member, h5py.File(member, "r") as weights:
        return group in weights
