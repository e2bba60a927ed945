"""What the programs of this folder share."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export import startup

if TYPE_CHECKING:
    from tfdvae.models import DVAE


__all__ = ["add_data_options", "check_new", "load_model", "read_arrays", "run", "take_data_options"]


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


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what the numbers of the training data mean, in place of what the model's file says."""
    group = parser.add_argument_group(
        "training data", "what the exported files say of them (default: what the model does)"
    )
    group.add_argument("--feature_names", nargs="+", metavar="NAME", help="of the features of a frame, in order")
    group.add_argument("--units", nargs="+", metavar="UNIT", help="of the features: one for each, or one for all")
    group.add_argument("--input_names", nargs="+", metavar="NAME", help="of the control inputs, in order")
    group.add_argument("--frame_period", type=float, help="seconds from one frame to the next")
    group.add_argument("--sampling_rate", type=float, help="of the signal that frames were cut from, in Hz")
    group.add_argument("--origin", help="where the data come from, for people")


def take_data_options(model: "DVAE", given: argparse.Namespace) -> None:
    """Tells the model what the options of `add_data_options` say.

    Raises:
        ValueError: names that do not fit the model, or numbers that are not positive.
    """
    from tfdvae import DataDescription

    options = {"features": "feature_names", "units": "units", "inputs": "input_names", "frame_period": "frame_period"}
    options |= {name: name for name in ("sampling_rate", "origin")}
    found = {name: getattr(given, option) for name, option in options.items()}
    found = {name: tuple(v) if isinstance(v, list) else v for name, v in found.items() if v is not None}
    if "frame_period" in found:
        found["time_unit"] = "s"
    if found:
        model.data = (model.data or DataDescription())._replace(**found)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else, or damaged; names the file.
    """
    from tfdvae.data.archives import read_flat

    return read_flat(path, "an .npz file of arrays")


def check_new(path: str | Path, overwrite: bool) -> None:
    """Raises FileExistsError where something is at the path, unless it is to be replaced."""
    if not overwrite and os.path.lexists(path):
        raise FileExistsError(f"{path} exists. Name a new path, or give --overwrite; nothing was written.")


def run(
    parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], int], arguments: Sequence[str] | None = None
) -> int:
    """Runs a program: what a user can put right ends it with one line instead of a traceback, and the code 1."""
    given = parser.parse_args(arguments)
    try:
        # LiteRT says on each start that it uses the CPU.
        with startup.without_noise() if arguments is None else contextlib.nullcontext():
            return main(given)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        if arguments is None and "ai_edge_litert.compiled_model" in sys.modules:
            # It tells what it gives up after Python has ended.
            startup.no_noise_to_the_end()
