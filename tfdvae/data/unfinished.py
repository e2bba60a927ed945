"""Files and folders that appear complete or not at all, and the removal of what killed writers left.

What is to become PATH/NAME is written in a hidden folder beside it, `PATH/.NAME.` and 32 hexadecimal digits, and moved
out when it is complete. While its writer lives it holds a lock on the file `writer.lock` in that folder. The operating
system gives the lock back however a process ends, by a kill or a crash too, so a lock that is free tells that the
writer is surely dead, whichever process, container or machine it ran on that shares the file system and its locks.
Whoever writes next into the same folder removes what such writers left.

A folder in which there is nothing at all is that of a writer that was killed before it made its lock file; one that
lives, and comes to its folder too late, makes another. Where something has no lock file, because its file system has no
locks or an earlier version wrote it, only its age can tell: it goes when it has not changed for a day, and only if it
is called after what is being written there.
"""

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks; there age alone decides.
    fcntl = None

__all__ = ["remove_leftovers", "reserve", "unfinished"]

LOCK = "writer.lock"
NO_LOCK = "writer"
"""In the folder of a writer in place of a lock, where there are none: an empty folder would say that it is dead."""
OLD_SECONDS = 24 * 3600.0
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}", re.DOTALL)


@contextlib.contextmanager
def unfinished(path: str | os.PathLike) -> Iterator[Path]:
    """Where to write what is to become `path`: a path of the same name on the same disk; there is nothing yet.

    Whoever writes moves it to `path` when it is complete; all that is still there afterwards is removed. What dead
    writers left in the folder of `path` is removed first. Missing folders above `path` are made.

    Raises:
        OSError: the folder cannot be made or written; it names `path` where it names no file, as on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, re.compile(re.escape(path.name)))
    folder, lock = _claim(path)
    try:
        yield folder / path.name
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def reserve(path: str | os.PathLike, size: int) -> None:
    """Asks whether the disk has room for a new file, for those who cannot be trusted to say that it has not.

    Args:
        path: of a file that is not there yet, and is not there afterwards either.
        size: of the file, in bytes.

    Raises:
        OSError: there is no room, or the file cannot be made. Where the system cannot reserve room, nothing is raised.
    """
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(file)
        os.unlink(path)


def remove_leftovers(folder: str | os.PathLike, names: re.Pattern[str] | None = None) -> None:
    """Removes what dead writers left in a folder; errors while doing so are of no consequence, and it stays.

    Args:
        folder: where something was written; it need not exist.
        names: of what was written there: what has no lock goes for its age where this matches all of its name.
    """
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            found = _HIDDEN.fullmatch(entry.name)
            if found and not entry.is_symlink():
                with contextlib.suppress(OSError):
                    _remove_if_dead(Path(entry.path), names is not None and bool(names.fullmatch(found["name"])))


def _claim(path: Path) -> tuple[Path, int]:
    """A new hidden folder for `path`, and the open file whose lock says that its writer lives."""
    while True:
        folder = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        folder.mkdir()
        try:
            lock = os.open(folder / LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        except FileNotFoundError:
            continue  # Someone took it for a leftover in the instant before there was anything in it.
        locked = _lock(lock)
        if locked is None:
            # Without a lock the file would say that this writer is dead.
            (folder / NO_LOCK).touch()
            os.unlink(folder / LOCK)
            return folder, lock
        # Someone may have taken it for a leftover in the instant before it was locked.
        if locked and (folder / LOCK).exists():
            return folder, lock
        os.close(lock)


def _remove_if_dead(path: Path, by_age: bool) -> None:
    """Removes one leftover if it is empty or its writer holds no lock, or for its age where there are no locks."""
    with contextlib.suppress(OSError):
        os.rmdir(path)
        return
    if (path / LOCK).is_file():
        lock = os.open(path / LOCK, os.O_RDWR)
        try:
            locked = _lock(lock)
            if locked:
                shutil.rmtree(path, ignore_errors=True)
            if locked is not None:
                return
        finally:
            os.close(lock)
    if by_age and time.time() - _last_change(path) > OLD_SECONDS:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _lock(file: int) -> bool | None:
    """Locks an open file for as long as it is open: True where that worked, False where another writer has it, None
    where the system or the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _last_change(path: Path) -> float:
    """When the file, or anything in the folder, changed last, in seconds since 1970."""
    inside = path.rglob("*") if path.is_dir() else ()
    return max(one.lstat().st_mtime for one in (path, *inside))
