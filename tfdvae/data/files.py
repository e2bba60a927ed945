"""What the readers and writers of this folder share."""

import contextlib
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np

from tfdvae.data.unfinished import unfinished

__all__ = [
    "atomic_write",
    "cache_folder",
    "finite_float32",
    "import_extra",
    "import_music",
    "named_damage",
    "read_json",
    "require_file",
    "require_folder",
]


def cache_folder(given: str | os.PathLike | None) -> Path:
    """Where loaders keep what took long to make: as given, or the environment variable TFDVAE_CACHE, or
    ~/.cache/tfdvae."""
    return Path(given or os.environ.get("TFDVAE_CACHE") or Path.home() / ".cache" / "tfdvae")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` complete, or not at all; parent folders are made.

    What writers that were killed left in the same folder is removed, as `tfdvae.data.unfinished` says.
    """
    with unfinished(path) as temporary:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)


@contextlib.contextmanager
def named_damage(path: str | os.PathLike, says: str) -> Iterator[None]:
    """Whatever a damaged file raises while it is read becomes one ValueError that names it.

    Parsers of bytes raise nearly anything: what zipfile, zlib, numpy, h5py, expat or a parser of MIDI runs into when
    the next byte leads it astray, and MemoryError or RecursionError where a file states sizes or depths that it does
    not have.

    Args:
        path: the file.
        says: what is wrong with it, such as "cannot be read: expected a piano-roll"; the reason follows it.

    Raises:
        ValueError: "PATH SAYS: REASON", unless the error is a ValueError that names the file already.
        ImportError, FileNotFoundError: as they came, since they are not about what the file holds.
    """
    try:
        yield
    except (ImportError, FileNotFoundError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} {says}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """An error in words. Of some only the type says anything, and some are pages long."""
    if isinstance(error, MemoryError):
        return "it states sizes for which there is not enough memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error).strip()
    text = text if len(text) <= 500 else f"{text[:500]}..."
    return text if text and isinstance(error, ValueError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def finite_float32(array: np.ndarray, what: str) -> np.ndarray:
    """The numbers as float32, of the same shape.

    Args:
        array: booleans, integers or floats, of any width: float64 reaches 1e308, float32 only 3.4e38.
        what: begins the message, and names the file.

    Raises:
        ValueError: NaN or infinity, or a number that becomes infinite as float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(array, dtype=np.float32)
    if not np.isfinite(found).all():
        raise ValueError(f"{what} holds NaN or infinity, or numbers beyond float32 (3.4e38): repair or remove it.")
    return found


def read_json(path: str | os.PathLike, says: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: the file.
        says: what is wrong with it where it cannot be read, as in `named_damage`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, nested too deeply, or no object; names the file.
    """
    path = require_file(path)
    with named_damage(path, says):
        contents = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(contents, dict):
            raise ValueError(f"its JSON is a {type(contents).__name__}, not an object")
    return contents


def import_extra(module: str, purpose: str, extra: str) -> ModuleType:
    """Imports a module of the extra `extra`.

    Raises:
        ImportError: it is not installed, or does not load; says how to install it.
    """
    try:
        return importlib.import_module(module)
    # soundfile and others raise OSError where a system library is missing.
    except (ImportError, OSError) as error:
        package = module.partition(".")[0]
        raise ImportError(f'{purpose} needs {package}: pip install "tfdvae[{extra}]" ({error})') from error


def import_music(module: str, purpose: str) -> ModuleType:
    """Imports a module of the extra `music`.

    Raises:
        ImportError: it is not installed; says how to install it.
    """
    return import_extra(module, purpose, "music")


def require_file(path: str | os.PathLike) -> Path:
    """`path` as a Path.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not a file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file.")
    return path


def require_folder(path: str | os.PathLike) -> Path:
    """`path` as a Path.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is not a folder.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no folder {path}.")
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder.")
    return path
