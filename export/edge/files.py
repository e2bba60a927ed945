"""Files that appear complete or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["new_file"]


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside the given one to write to; it takes its place at the end, or vanishes where something failed.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
