"""Flat `.npz` archives of sequences: all frames below each other, and the lengths; no pickles."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

__all__ = ["read_flat", "sequences_of"]


def read_flat(path: Path, expected: str) -> dict[str, np.ndarray]:
    """All arrays of an archive.

    Raises:
        ValueError: a damaged file, or one with pickles; names the file and says what was `expected`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except MemoryError:
        raise
    # A damaged file raises nearly anything inside zipfile, zlib and numpy; .npy files lack `files`.
    except Exception as error:
        raise ValueError(f"{path} cannot be read: expected {expected}. {error}") from error


def sequences_of(
    arrays: Mapping[str, np.ndarray],
    path: Path,
    split: str,
    suffix: str,
    frame_shapes: Iterable[tuple[int | None, ...]],
) -> list[np.ndarray]:
    """The sequences of `{split}_{suffix}` [N, ...], whose lengths are `{split}_len`.

    Args:
        frame_shapes: what a frame may look like; None for any number.

    Raises:
        ValueError: either is missing, has another shape, no number, or values that are not finite; names the file.
    """
    names = (f"{split}_{suffix}", f"{split}_len")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} has no {' and no '.join(missing)}; it has {', '.join(sorted(arrays)) or 'nothing'}.")
    frames, lengths = (arrays[name] for name in names)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not len(lengths) or (lengths < 1).any():
        raise ValueError(f"{path}: {names[1]} must hold positive integers, one per sequence.")
    if frames.dtype.kind not in "iuf" or not any(_fits(frames.shape[1:], shape) for shape in frame_shapes):
        raise ValueError(f"{path}: {names[0]} has dtype {frames.dtype} and shape {list(frames.shape)}.")
    if len(frames) != lengths.sum():
        raise ValueError(f"{path}: {names[0]} has {len(frames)} frames, but {names[1]} adds up to {lengths.sum()}.")
    bad = np.flatnonzero(~np.isfinite(frames.reshape(len(frames), -1)).all(axis=1))
    if len(bad):
        number = int(np.searchsorted(np.cumsum(lengths), bad[0], side="right"))
        raise ValueError(f"{path}: {names[0]} holds NaN or infinity, first in sequence {number}.")
    return np.split(frames, np.cumsum(lengths)[:-1])


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(b in (None, a) for a, b in zip(shape, expected, strict=True))
