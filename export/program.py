"""What the programs of this folder share."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tfdvae.models import DVAE

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

__all__ = ["load_model", "read_arrays", "run"]


def load_model(path: str | Path) -> "DVAE":
    """A trained model from a .keras file, without optimizer and bound.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no saved model, damaged, or a model of another kind; names the file.
    """
    from tfdvae import model_files

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no saved model {path}. trainers.train and model.save write .keras files.")
    return model_files.load_model(path, compile=False)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or damaged; names the file.
    """
    from tfdvae.data.archives import read_flat

    return read_flat(path, "an .npz file of arrays")


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
