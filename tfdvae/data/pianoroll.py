"""Piano-roll files: binary [T, 88], column = MIDI note - 21 (column 0 is A0, column 87 is C8).

Two layouts are read: the MATLAB files of Boulanger-Lewandowski, Bengio and Vincent, "Modeling temporal
dependencies in high-dimensional sequences" (ICML 2012), and a plain `.npz` without pickles, which is also
written.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tfdvae.data.archives import read_flat, sequences_of
from tfdvae.data.files import atomic_write, named_damage, require_file
from tfdvae.data.matlab import read_cells
from tfdvae.data.sequences import Sequences, Splits, from_arrays

__all__ = ["KEYS", "KEY_NAMES", "LOWEST_NOTE", "load_pianoroll", "save_pianoroll", "transpose", "transposed"]

KEYS = 88
LOWEST_NOTE = 21
_NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEY_NAMES = tuple(f"{_NOTES[n % 12]}{n // 12 - 1}" for n in range(LOWEST_NOTE, LOWEST_NOTE + KEYS))
"""Scientific names of the keys, A0 to C8."""

_MAT_KEYS = {"train": "traindata", "valid": "validdata", "test": "testdata"}
_EXPECTED = {
    ".mat": "a MATLAB file with the cells traindata, validdata and testdata of binary [T, 88] matrices",
    ".npz": "an .npz archive with binary {train,valid,test}_frames [N, 88] and their {...}_len [sequences]",
}


def load_pianoroll(path: str | os.PathLike) -> Splits:
    """Reads piano-rolls with their own train, validation and test split.

    Args:
        path: `.mat` in the layout of Boulanger-Lewandowski (needs scipy, extra `music`), or `.npz` as
            `save_pianoroll` writes it. Nothing is unpickled.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, a damaged file, other contents, values besides 0 and 1.
        ImportError: a `.mat` file without scipy.
    """
    path = require_file(path)
    suffix = path.suffix.lower()
    if suffix not in _EXPECTED:
        raise ValueError(f"{path} is no piano-roll file: expected the suffix {' or '.join(_EXPECTED)}.")
    with named_damage(path, f"cannot be read: expected {_EXPECTED[suffix]}"):
        contents = _read_mat(path) if suffix == ".mat" else _read_npz(path)
        splits = Splits(*(_split(contents, split) for split in Splits._fields))
    return splits.described(features=KEY_NAMES, origin=f"piano-rolls of {path.name}")


def save_pianoroll(path: str | os.PathLike, splits: Splits) -> None:
    """Writes piano-rolls as `.npz`: per split the frames of all sequences uint8 [N, 88], their lengths int32,
    and names where there are any. The file appears complete or not at all.

    Raises:
        ValueError: another suffix, other than 88 features, values besides 0 and 1.
    """
    if Path(path).suffix.lower() != ".npz":
        raise ValueError(f"A piano-roll is written to a file with the suffix .npz; got {path}.")
    arrays = {}
    for split, sequences in splits._asdict().items():
        _check_rolls(sequences.x, split)
        arrays[f"{split}_frames"] = np.concatenate(sequences.x).astype(np.uint8)
        arrays[f"{split}_len"] = sequences.lengths.astype(np.int32)
        if sequences.names is not None:
            arrays[f"{split}_names"] = np.array(sequences.names, dtype=np.str_)
    with atomic_write(path) as file:
        np.savez_compressed(file, **arrays)


def transpose(roll: np.ndarray, semitones: int) -> np.ndarray:
    """The same music higher (or lower), [T, 88].

    Raises:
        ValueError: a note would leave the 88 keys.
    """
    low, high = _room(roll)
    if not -low <= semitones <= high:
        raise ValueError(f"Only {-low} to {high} semitones keep all notes on {KEYS} keys; got {semitones}.")
    return np.roll(roll, semitones, axis=1)


def transposed(sequences: Sequences, semitones: Iterable[int]) -> Sequences:
    """Each sequence at each of these distances, for augmentation, as `transposed(train, range(-3, 4))`.

    Distances that would push a note off the 88 keys are left out for that sequence. Names get a suffix such
    as "+2".

    Raises:
        ValueError: other than 88 features, or nothing is left.
    """
    semitones = [int(distance) for distance in semitones]
    _check_rolls(sequences.x, "sequences")
    rooms = [_room(roll) for roll in sequences.x]
    pairs = [(i, d) for i, (low, high) in enumerate(rooms) for d in semitones if -low <= d <= high]
    if not pairs:
        raise ValueError(f"None of the distances {semitones} keeps a sequence within {KEYS} keys.")
    rolled = {
        field: tuple(np.roll(arrays[i], d, axis=1) for i, d in pairs)
        for field in ("x", "observed")
        if (arrays := getattr(sequences, field)) is not None
    }
    names = sequences.names and tuple(f"{sequences.names[i]}{d:+d}" for i, d in pairs)
    return sequences.take(i for i, _ in pairs)._replace(names=names, **rolled)


def _room(roll: np.ndarray) -> tuple[int, int]:
    """Free columns below the lowest and above the highest note."""
    used = np.flatnonzero(roll.any(axis=0))
    return (int(used[0]), roll.shape[1] - 1 - int(used[-1])) if len(used) else (roll.shape[1], roll.shape[1])


def _read_npz(path: Path) -> dict[str, list[np.ndarray]]:
    arrays, contents = read_flat(path, _EXPECTED[".npz"]), {}
    for split in Splits._fields:
        contents[split] = sequences_of(arrays, "it", split, "frames", [(None,)])
        if f"{split}_names" in arrays:
            contents[f"{split}_names"] = arrays[f"{split}_names"].tolist()
    return contents


def _read_mat(path: Path) -> dict[str, list[np.ndarray]]:
    found = read_cells(path, list(_MAT_KEYS.values()))
    return {split: found[key] for split, key in _MAT_KEYS.items()}


def _split(contents: dict[str, list[np.ndarray]], split: str) -> Sequences:
    _check_rolls(contents[split], split)
    return from_arrays(contents[split], names=contents.get(f"{split}_names"))


def _check_rolls(rolls: Iterable[np.ndarray], name: str) -> None:
    for i, roll in enumerate(rolls):
        shape = np.shape(roll)
        if len(shape) != 2 or shape[1] != KEYS:
            raise ValueError(f"A piano-roll is [T, {KEYS}]; sequence {i} of {name} has shape {list(shape)}.")
        if not np.isin(roll, (0, 1)).all():
            raise ValueError(f"A piano-roll holds only 0 and 1; sequence {i} of {name} holds other values.")
