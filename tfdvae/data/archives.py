"""Arrays from `.npz` archives and `.npy` files, without pickles and in memory that the file can account for.

A flat archive of sequences holds all frames below each other, and the lengths.
"""

import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from typing import IO

import numpy as np

from tfdvae.data.files import named_damage, require_file

__all__ = ["check_members", "read_array", "read_flat", "sequences_of"]

# A byte of a deflated stream stands for at most so many (zlib's documentation, "Technical Details").
_MOST_INFLATION = 1032
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_flat(path: str | os.PathLike, expected: str) -> dict[str, np.ndarray]:
    """All arrays of an archive by name.

    The sizes that the archive and its arrays state are compared with each other and with the file before memory is
    asked for, so that a file of N bytes takes at most 1032 N, which is what deflate can hold.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one with pickles, or sizes that it cannot hold; names the file and says what was
            `expected`.
    """
    path = require_file(path)
    with named_damage(path, f"cannot be read: expected {expected}"), zipfile.ZipFile(path) as archive:
        check_members(archive, path.stat().st_size)
        found = {}
        for member in archive.infolist():
            with archive.open(member) as file:
                found[member.filename.removesuffix(".npy")] = _array(file, member.file_size)
        return found


def read_array(path: str | os.PathLike, expected: str) -> np.ndarray:
    """The array of an `.npy` file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_flat`.
    """
    path = require_file(path)
    with named_damage(path, f"cannot be read: expected {expected}"), path.open("rb") as file:
        return _array(file, path.stat().st_size)


def sequences_of(
    arrays: Mapping[str, np.ndarray],
    what: str | os.PathLike,
    split: str,
    suffix: str,
    frame_shapes: Iterable[tuple[int | None, ...]],
) -> list[np.ndarray]:
    """The sequences of `{split}_{suffix}` [N, ...], float32, whose lengths are `{split}_len`.

    Args:
        arrays: of an archive, by name.
        what: begins messages: the archive's path, where nobody else names it.
        split: such as "train".
        suffix: such as "frames".
        frame_shapes: what a frame may look like; None for any number.

    Raises:
        ValueError: either is missing, has another shape, no number, or values that are not finite in float32.
    """
    names = (f"{split}_{suffix}", f"{split}_len")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{what} has no {' and no '.join(missing)}; it has {', '.join(sorted(arrays)) or 'nothing'}.")
    frames, lengths = (arrays[name] for name in names)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths) or (lengths < 1).any():
        raise ValueError(f"{what}: {names[1]} must hold positive integers, one per sequence.")
    fits = any(_fits(frames.shape[1:], shape) for shape in frame_shapes)
    if frames.dtype.kind not in "iuf" or not frames.size or not fits:
        raise ValueError(f"{what}: {names[0]} has dtype {frames.dtype} and shape {list(frames.shape)}.")
    # Python's integers do not wrap around, as a sum of large int64 would.
    total = sum(lengths.tolist())
    if len(frames) != total:
        raise ValueError(f"{what}: {names[0]} has {len(frames)} frames, but {names[1]} adds up to {total}.")
    ends = np.cumsum(lengths.astype(np.int64))
    with np.errstate(over="ignore"):
        frames = frames.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(frames.reshape(len(frames), -1)).all(axis=1))
    if len(bad):
        number = int(np.searchsorted(ends, bad[0], side="right"))
        raise ValueError(f"{what}: {names[0]} holds NaN or infinity, first in sequence {number} (as float32).")
    return np.split(frames, ends[:-1])


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Raises ValueError where the members of a zip archive state more than a file of `size` bytes can hold, or are
    compressed otherwise than by deflate."""
    members = archive.infolist()
    if sum(member.compress_size for member in members) > size:
        raise ValueError(f"its members state more bytes than the {size} of the file")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{member.filename!r} is neither stored nor deflated: save it anew")
        most = member.compress_size * (_MOST_INFLATION if member.compress_type == zipfile.ZIP_DEFLATED else 1)
        if member.file_size > most:
            raise ValueError(f"{member.filename!r} states {member.file_size} bytes and can hold {most} at most")


def _array(file: IO[bytes], size: int) -> np.ndarray:
    """The array in a stream of `size` bytes in the format .npy: a header with dtype and shape, then the values."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array has the format {version}, expected 1.0 or 2.0, without names of fields")
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.kind not in "biufcSU" or not dtype.itemsize:
        raise ValueError(f"an array holds {dtype}: Python objects are not loaded (allow_pickle=False), nor are structs")
    stated, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or stated != there:
        raise ValueError(f"an array states {list(shape)} of {dtype}, {stated} bytes, and has {there}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))
