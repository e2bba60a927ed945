"""Files that appear complete or not at all, and arrays from files, without TensorFlow or tfdvae."""

import contextlib
import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["load_arrays", "new_file"]

OLD_SECONDS = 24 * 3600.0


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside the given one to write to; it takes its place at the end, or vanishes where something failed.

    What writers of the same file that were killed left there is removed once it has not changed for a day.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > OLD_SECONDS:
                old.unlink()
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an .npz archive by name, or that of an .npy file under the name "", without pickles.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else or damaged; names the file.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        with content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise
    # A damaged file raises nearly anything inside zipfile, zlib and numpy, and MemoryError for sizes it only states.
    except Exception as error:
        raise ValueError(f"{path} cannot be read as .npy or .npz: {error!r}") from error
