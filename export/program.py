"""What the programs of this folder share."""

import argparse
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfdvae.models import DVAE

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__all__ = ["load_model", "read_arrays", "run"]


def load_model(path: str | Path) -> "DVAE":
    """A trained model from a .keras file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no saved model, or a model of another kind.
    """
    import keras

    from tfdvae.models import DVAE

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no saved model {path}. trainers.train and model.save write .keras files.")
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as a saved model: {error}") from error
    if not isinstance(model, DVAE):
        raise ValueError(f"{path} holds a {type(model).__name__}, which is no model of tfdvae.")
    return model


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no .npz file of arrays: {error}") from error


def run(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], int], arguments: Sequence[str] | None = None
) -> int:
    """Runs a program: what a user can put right ends it with one line instead of a traceback, and the code 1."""
    given = parser.parse_args(arguments)
    try:
        return main(given)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
