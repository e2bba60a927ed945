"""Handwriting and drawings as pen strokes: frames (dx, dy, pen).

dx and dy are the way from the previous point to this one, y growing downwards; pen is 1 at the last point of a stroke,
after which the pen is lifted, else 0 (Graves 2013, section 4; called stroke-3 elsewhere).
"""

import os
from pathlib import Path

import numpy as np

from tfdvae.data.archives import read_flat, sequences_of
from tfdvae.data.files import finite_float32, require_file
from tfdvae.data.sequences import Sequences, Splits, from_arrays
from tfdvae.data.splitting import Lists, Scaled, loader_of, split_by_lists, split_by_ratio
from tfdvae.data.strokes_iam import points_to_offsets, read_iam

__all__ = ["load_handwriting", "offsets_to_points", "points_to_offsets", "scaled_handwriting"]

_EXPECTED = "{train,valid,test}_frames [N, 3] with dx, dy and pen, and their {...}_len [sequences], without pickles"
# Of task t1 of IAM-OnDB: training, first validation set, final test set.
_IAM_LISTS = {"train": "trainset.txt", "valid": "testset_v.txt", "test": "testset_f.txt"}


def scaled_handwriting(
    path: str | os.PathLike,
    standardise: bool = True,
    train_list: Lists | None = None,
    valid_list: Lists | None = None,
    test_list: Lists | None = None,
    valid_ratio: float = 0.1,
    test_ratio: float = 0.1,
    split_seed: int = 0,
    limit: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Scaled:
    """Pen strokes, x [T, 3].

    Offsets are divided by one number, the standard deviation of all dx and dy of the training set, so that shapes keep
    their proportions; the pen bit stays 0 or 1.

    Args:
        path: an `.npz` file with {train,valid,test}_frames and {...}_len; a folder with exactly one such file; or a
            folder of a user's own copy of IAM-OnDB, with the XML files of lineStrokes anywhere below it.
        standardise: divide offsets as said.
        train_list, valid_list, test_list: for IAM-OnDB, text files that name forms ("a01-000u"), lines
            ("a01-000u-01") or folders. By default trainset.txt, testset_v.txt and testset_f.txt where the folder has
            them, the lists of the data set's task t1; else the split is by a ratio of forms.
        valid_ratio, test_ratio, split_seed: of that split.
        limit: at most so many sequences of each split, to try things out.
        cache_dir: for IAM-OnDB: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar while XML is read, 0 shows nothing.

    Returns:
        `Scaled`: splits, mean 0, and the scale of dx, dy and pen (1), unit that of the file.

    Raises:
        FileNotFoundError: no such file, folder or list, or no data in the folder.
        ValueError: a damaged file, which is named; NaN; a pen bit besides 0 and 1; lists that overlap.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1; got {limit}.")
    path = Path(path)
    file = _archive(path)
    given = {"train": train_list, "valid": valid_list, "test": test_list}
    if file is None:
        names, strokes = read_iam(path, cache_dir, verbose)
        parts = _iam_parts(path, names, given, valid_ratio, test_ratio, split_seed)
        raw = {
            split: from_arrays([strokes[i] for i in indices[:limit]], names=[names[i] for i in indices[:limit]])
            for split, indices in parts.items()
        }
    else:
        if any(value is not None for value in given.values()):
            raise ValueError(f"{file} has its own split: train_list, valid_list and test_list are for IAM-OnDB.")
        arrays = read_flat(file, _EXPECTED)
        raw = {split: _read_split(arrays, file, split, limit) for split in Splits._fields}
    scale = _offset_scale(raw["train"], path) if standardise else 1.0
    scales = np.array([scale, scale, 1.0], np.float32)
    splits = Splits(**{split: _divided(part, scales, f"{path}: {split}") for split, part in raw.items()})
    splits = splits.described(
        features=("dx", "dy", "pen up"),
        units=("units of the pen", "units of the pen", "1"),
        shift=(0.0,),
        scale=scales.tolist(),
        origin=f"pen strokes of {path.name}",
    )
    return Scaled(splits, np.zeros(3, np.float32), scales, "units of the pen")


load_handwriting = loader_of(scaled_handwriting, "load_handwriting")


def offsets_to_points(frames: np.ndarray) -> list[np.ndarray]:
    """Strokes, each an array of points [n, 2], of frames [T, 3]; a pen above 0.5 ends a stroke.

    Raises:
        ValueError: another shape.
    """
    frames = np.asarray(frames, np.float64)
    if frames.ndim != 2 or frames.shape[1] != 3 or not len(frames):
        raise ValueError(f"Pen strokes are [T, 3] with T of at least 1; got shape {list(frames.shape)}.")
    points = np.cumsum(frames[:, :2], axis=0)
    ends = np.flatnonzero(frames[:, 2] > 0.5) + 1
    return [stroke for stroke in np.split(points, ends) if len(stroke)]


def _archive(path: Path) -> Path | None:
    """The .npz file that `path` is or holds, None for a folder of something else."""
    if not path.is_dir():
        if require_file(path).suffix.lower() != ".npz":
            raise ValueError(f"{path} is no file of pen strokes: expected .npz, or a folder of IAM-OnDB.")
        return path
    found = sorted(path.glob("*.npz"))
    if len(found) > 1:
        raise ValueError(f"{path} holds {len(found)} .npz files: name one of {', '.join(f.name for f in found)}.")
    return found[0] if found else None


def _read_split(arrays: dict[str, np.ndarray], file: Path, split: str, limit: int | None) -> Sequences:
    sequences = sequences_of(arrays, file, split, "frames", [(3,)])[:limit]
    for i, frames in enumerate(sequences):
        if not np.isin(frames[:, 2], (0, 1)).all():
            raise ValueError(f"{file}: the pen of {split} sequence {i} is not always 0 or 1.")
    return from_arrays(sequences)


def _divided(part: Sequences, scales: np.ndarray, what: str) -> Sequences:
    """Frames over their scales [3]; raises ValueError where offsets are so much larger than those of the training set
    that the quotient overflows."""
    with np.errstate(over="ignore"):
        divided = [x / scales for x in part.x]
    return part._replace(
        x=tuple(finite_float32(x, f"{what} sequence {i}, standardised,") for i, x in enumerate(divided))
    )


def _iam_parts(
    folder: Path, names: list[str], given: dict[str, Lists | None], valid: float, test: float, seed: int
) -> dict[str, list[int]]:
    if all(value is None for value in given.values()):
        lists = {split: next(iter(sorted(folder.rglob(name))), None) for split, name in _IAM_LISTS.items()}
        if None in lists.values():
            return split_by_ratio([_form(name) for name in names], valid, test, seed, "form")
        given = lists
    keys = [[name, _form(name), name.partition("-")[0]] for name in names]
    return split_by_lists(keys, given, "line, form or folder")


def _form(name: str) -> str:
    """ "a01-000u" of "a01-000u-01"."""
    return name.rpartition("-")[0] or name


def _offset_scale(train: Sequences, path: Path) -> float:
    offsets = np.concatenate([x[:, :2] for x in train.x]).astype(np.float64)
    std = float(offsets.std())
    # In float32, in which frames are divided by it.
    if not np.float32(std) > 0.0:
        raise ValueError(f"{path}: All training offsets are equal, so they cannot be standardised.")
    return std
