"""Names for what is being made, beside the place that it will take, and removal of what killed exports have left."""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows has other locks, so what a killed export leaves stays there.
    fcntl = None

__all__ = ["being_made"]

LOCK = re.compile(r"\..+\.[0-9a-f]{32}\.lock")


@contextlib.contextmanager
def being_made(path: Path) -> Iterator[Path]:
    """A free name beside `path`. Whatever stands there afterwards is removed, so move it to its place before.

    A file of this name with ".lock" behind it is locked meanwhile. The system gives the lock back when the process
    dies, however it does, so the next export into the folder knows what nobody will finish, and removes it first.

    Raises:
        OSError: nothing can be written there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    lock = temporary.with_name(f"{temporary.name}.lock")
    with lock.open("wb") as held:
        _locked(held)
        try:
            yield temporary
        finally:
            _remove(temporary)
            lock.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Removes what is being made in a folder by processes that are dead."""
    for lock in (path for path in folder.glob(".*.lock") if LOCK.fullmatch(path.name)):
        # Another export may be at the same lock, and finish first.
        with contextlib.suppress(OSError), lock.open("rb") as held:
            if _locked(held, wait=False):
                _remove(lock.with_name(lock.name.removesuffix(".lock")))
                lock.unlink(missing_ok=True)


def _locked(held: IO[bytes], wait: bool = True) -> bool:
    """Whether this process has the lock of an open file now, which it may have had to wait for."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # It is held by another process, or the file system has no locks.
        return False
    return True


def _remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)
