"""What the readers and writers of this folder share."""

import contextlib
import importlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO

__all__ = ["atomic_write", "cache_folder", "import_extra", "import_music", "require_file", "require_folder"]


def cache_folder(given: str | os.PathLike | None) -> Path:
    """Where loaders keep what took long to make: as given, or the environment variable TFDVAE_CACHE, or
    ~/.cache/tfdvae."""
    return Path(given or os.environ.get("TFDVAE_CACHE") or Path.home() / ".cache" / "tfdvae")


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` complete, or not at all; parent folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
