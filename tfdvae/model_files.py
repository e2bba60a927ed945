"""Trained models from `.keras` files: the one way in which programs load them."""

import os
import zipfile

import h5py
import keras
import numpy as np

from tfdvae.data.archives import check_members
from tfdvae.data.files import named_damage, require_file
from tfdvae.models import DVAE

__all__ = ["load_model"]

WEIGHTS = "model.weights.h5"


def load_model(path: str | os.PathLike, compile: bool = True) -> DVAE:
    """A trained model as `model.save` wrote it.

    Sizes that the archive and the arrays in it state are compared with the file before Keras asks for memory.

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
        model = keras.saving.load_model(path, compile=compile)
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
