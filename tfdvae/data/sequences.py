"""Sequences of different lengths: the form that every loader returns and every batch is cut from.

Axes: T time, D features of x, U control inputs u, C static covariates, B batch.

Two kinds of absence are kept apart. A frame behind the end of a sequence is padding, and "mask" is false there. A
value that nobody measured is unobserved, and "observed" is false there; its frame exists, and so does a frame of
which nothing was observed, since time passed. What does not change with time, such as age, is the "context" of a
sequence.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.description import DataDescription

__all__ = ["Sequences", "Splits", "describe", "from_arrays", "numbered", "pad", "windows"]


class Sequences(NamedTuple):
    """Sequences without padding; build them with `from_arrays`, which checks them.

    Attributes:
        x: tuple of float32 arrays [T_i, D].
        u: tuple of float32 arrays [T_i, U], or None where there are no control inputs.
        names: tuple of one string per sequence, or None.
        observed: tuple of bool arrays [T_i, D], true where a value of x was measured, or None where all were. x is 0
            at the other places.
        context: tuple of float32 arrays [C] of static covariates, or None.
        index: tuple of whole numbers, which of the training sequences each is, or None; see `numbered`.
        description: what the numbers mean, or None. A model that is adapted to these sequences or fitted to them keeps
            it.
    """

    x: tuple[np.ndarray, ...]
    u: tuple[np.ndarray, ...] | None = None
    names: tuple[str, ...] | None = None
    observed: tuple[np.ndarray, ...] | None = None
    context: tuple[np.ndarray, ...] | None = None
    index: tuple[int, ...] | None = None
    description: DataDescription | None = None

    @property
    def num_sequences(self) -> int:
        return len(self.x)

    @property
    def lengths(self) -> np.ndarray:
        """Frames per sequence, int64 [N]."""
        return np.array([len(sequence) for sequence in self.x], dtype=np.int64)

    @property
    def num_frames(self) -> int:
        """Frames of all sequences together."""
        return int(self.lengths.sum())

    @property
    def features(self) -> int:
        """D."""
        return self.x[0].shape[1]

    @property
    def inputs(self) -> int:
        """U, 0 without control inputs."""
        return 0 if self.u is None else self.u[0].shape[1]

    @property
    def covariates(self) -> int:
        """C, 0 without context."""
        return 0 if self.context is None else len(self.context[0])

    def take(self, indices: Iterable[int]) -> "Sequences":
        """The sequences at `indices`, in that order."""
        indices = [int(i) for i in indices]
        taken = (None if field is None else tuple(field[i] for i in indices) for field in self[:-1])
        return Sequences(*taken, description=self.description)

    def first(self, count: int | None) -> "Sequences":
        """The first `count` sequences, at least 1; all where there are no more, or `count` is None."""
        if count is None or whole("count", count, at_least=1) >= self.num_sequences:
            return self
        return self.take(range(count))

    def by_length(self) -> "Sequences":
        """The same sequences, the shortest first: batches in this order have the least padding."""
        return self.take(np.argsort(self.lengths, kind="stable"))


class Splits(NamedTuple):
    """A data set, split into what is trained on, chosen by and reported on."""

    train: Sequences
    valid: Sequences
    test: Sequences

    def described(self, **known: Any) -> "Splits":
        """The same splits with a `DataDescription` of what is known, for all three."""
        description = DataDescription(**known).checked(self.train.features, self.train.inputs, self.train.covariates)
        return Splits(*(part._replace(description=description) for part in self))


def from_arrays(x, mask=None, u=None, names=None, observed=None, context=None) -> Sequences:
    """Checks a user's arrays and returns them as `Sequences`.

    Args:
        x: array [B, T, D], or a list of arrays [T_i, D]; booleans, integers or floats.
        mask: [B, T], true where a frame exists; only with arrays [B, T, D]. Padding must come last.
            Padded frames are dropped and may hold anything.
        u: control inputs, [B, T, U] or a list of [T_i, U].
        names: one string per sequence.
        observed: of the shape of x, true where a value was measured. Elsewhere x may hold anything, NaN too, and
            becomes 0.
        context: static covariates, [B, C] or a list of [C].

    Raises:
        ValueError: wrong rank, no sequence, no frame or no feature, differing feature counts, NaN or infinity
            where a value exists, a mask of another shape or with a hole, u, names, observed or context that do not
            fit x.
    """
    lengths = None if mask is None else _lengths_of_mask(x, mask)
    seen = None if observed is None else _observed(observed, lengths)
    xs = _arrays("x", x, lengths, seen)
    us = None if u is None else _arrays("u", u, lengths)
    if us is not None:
        if len(us) != len(xs):
            raise ValueError(f"u must hold one array per sequence of x: expected {len(xs)}, got {len(us)}.")
        for i, (a, b) in enumerate(zip(xs, us, strict=True)):
            if len(a) != len(b):
                raise ValueError(f"u[{i}] must be as long as x[{i}]: expected {len(a)} frames, got {len(b)}.")
    if names is not None:
        names = tuple(str(name) for name in names)
        if len(names) != len(xs):
            raise ValueError(f"names must hold one string per sequence, {len(xs)}; got {len(names)}.")
    return Sequences(xs, us, names, seen, None if context is None else _context(context, len(xs)))


def pad(sequences: Sequences, length: int | None = None) -> dict[str, np.ndarray]:
    """Stacks sequences, zeros (of observed: false) behind each.

    Args:
        sequences: B sequences.
        length: T; the longest sequence by default.

    Returns:
        {"x": float32 [B, T, D], "mask": bool [B, T]}, and where there are such, "u": float32 [B, T, U],
        "observed": bool [B, T, D], "context": float32 [B, C] and "sequence_index": int32 [B].

    Raises:
        ValueError: `length` is less than the longest sequence.
    """
    lengths = sequences.lengths
    longest = int(lengths.max())
    length = longest if length is None else length
    if length < longest:
        raise ValueError(f"length must be at least the longest sequence, {longest} frames; got {length}.")
    batch = {
        "x": _stack(sequences.x, length),
        "mask": np.arange(length)[None, :] < lengths[:, None],
    }
    if sequences.u is not None:
        batch["u"] = _stack(sequences.u, length)
    if sequences.observed is not None:
        batch["observed"] = _stack(sequences.observed, length, bool)
    if sequences.context is not None:
        batch["context"] = np.stack(sequences.context)
    if sequences.index is not None:
        batch["sequence_index"] = np.array(sequences.index, np.int32)
    return batch


def numbered(sequences: Sequences, groups: Iterable[str] | None = None) -> Sequences:
    """The same sequences with an index each, 0 to N - 1, for models that learn something of each training sequence
    (`FHVAE(num_sequences=N)`). Number sequences before they are cut: windows have the index of their sequence.

    Args:
        groups: one name per sequence, such as its speaker; sequences of one group then share an index, in the order in
            which the groups appear.

    Raises:
        ValueError: there is not one name per sequence.
    """
    if groups is None:
        return sequences._replace(index=tuple(range(sequences.num_sequences)))
    groups = list(groups)
    if len(groups) != sequences.num_sequences:
        raise ValueError(f"groups must hold one name per sequence, {sequences.num_sequences}; got {len(groups)}.")
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return sequences._replace(index=tuple(order[group] for group in groups))


def windows(sequences: Sequences, length: int, hop: int | None = None, keep_short: bool = True) -> Sequences:
    """Cuts each sequence into windows that begin every `hop` frames.

    With `hop` < `length` windows overlap by length - hop frames; with `hop` > `length` frames between are
    skipped.

    Args:
        sequences: what to cut.
        length: frames per window.
        hop: frames from the beginning of one window to the next; `length` by default.
        keep_short: also return the end of a sequence, or a sequence, that fills no window. Then, for
            hop <= length, each frame is in at least one window.

    Returns:
        The windows in the order of their sequences, each with the context of its sequence; names get the suffix
        "[first:last]" (last exclusive).

    Raises:
        ValueError: length or hop below 1, or no window is left.
    """
    hop = length if hop is None else hop
    if length < 1 or hop < 1:
        raise ValueError(f"length and hop must be at least 1; got length={length}, hop={hop}.")
    cuts = [
        (i, start, min(start + length, frames))
        for i, frames in enumerate(sequences.lengths.tolist())
        for start in _starts(frames, length, hop, keep_short)
    ]
    if not cuts:
        raise ValueError(
            f"No sequence has {length} frames (the longest has {sequences.lengths.max()}); "
            "choose a shorter window or keep_short=True."
        )
    cut = {
        field: tuple(arrays[i][a:b] for i, a, b in cuts)
        for field in ("x", "u", "observed")
        if (arrays := getattr(sequences, field)) is not None
    }
    names = sequences.names and tuple(f"{sequences.names[i]}[{a}:{b}]" for i, a, b in cuts)
    return sequences.take(i for i, _, _ in cuts)._replace(names=names, **cut)


def describe(sequences: Sequences) -> str:
    """One line for people: counts of sequences and frames, features, how much of them was observed, inputs, static
    covariates, and the range of lengths."""
    lengths = sequences.lengths
    extra = ""
    if sequences.observed is not None:
        share = sum(map(np.count_nonzero, sequences.observed)) / (sequences.num_frames * sequences.features)
        extra += f" ({share:.1%} observed)"
    if sequences.u is not None:
        extra += f", {sequences.inputs} inputs"
    if sequences.context is not None:
        extra += f", {sequences.covariates} static covariates"
    return (
        f"{len(lengths)} sequences, {sequences.num_frames} frames, {sequences.features} features{extra}, "
        f"{lengths.min()} to {lengths.max()} frames each (median {np.median(lengths):g})"
    )


def _starts(frames: int, length: int, hop: int, keep_short: bool) -> range:
    full = range(0, frames - length + 1, hop)
    if not keep_short:
        return full
    covered = full[-1] + length if full else 0
    following = full[-1] + hop if full else 0
    return range(0, following + 1, hop) if covered < frames and following < frames else full


def _stack(arrays: tuple[np.ndarray, ...], length: int, dtype: type = np.float32) -> np.ndarray:
    stacked = np.zeros((len(arrays), length, arrays[0].shape[1]), dtype=dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def _lengths_of_mask(x, mask) -> list[int]:
    if isinstance(x, list | tuple):
        raise ValueError("A mask goes with arrays [B, T, D]; a list of arrays [T_i, D] needs none, drop it.")
    shape, mask = np.shape(x)[:2], np.asarray(mask)
    if mask.shape != shape:
        raise ValueError(f"mask must have the shape [B, T] of x, {list(shape)}; got {list(mask.shape)}.")
    if not np.isin(mask, (0, 1)).all():
        raise ValueError("mask must be boolean, or hold only 0 and 1.")
    mask = mask.astype(bool)
    lengths = mask.sum(axis=1)
    holes = np.flatnonzero((mask != (np.arange(mask.shape[1]) < lengths[:, None])).any(axis=1))
    if len(holes):
        i = int(holes[0])
        raise ValueError(
            f"Padding must come last, but the mask of sequence {i} has frames behind a gap at frame "
            f"{int(np.argmin(mask[i]))}. Feed data with missing frames to the model as {{'x', 'mask'}}."
        )
    return lengths.tolist()


def _arrays(
    name: str, value, lengths: list[int] | None, observed: tuple[np.ndarray, ...] | None = None
) -> tuple[np.ndarray, ...]:
    letter = "U" if name == "u" else "D"
    if isinstance(value, list | tuple):
        arrays = [_array(f"{name}[{i}]", item) for i, item in enumerate(value)]
    else:
        stacked = _array(name, value)
        if stacked.ndim != 3:
            raise ValueError(
                f"{name} must be an array [B, T, {letter}] or a list of arrays [T_i, {letter}]; "
                f"got an array of shape {list(stacked.shape)}."
            )
        arrays = list(stacked)
        if lengths is not None:
            if stacked.shape[0] != len(lengths):
                raise ValueError(f"{name} has {stacked.shape[0]} sequences, its mask has {len(lengths)}.")
            arrays = [array[:length] for array, length in zip(arrays, lengths, strict=True)]
    if not arrays:
        raise ValueError(f"{name} holds no sequence; at least one is needed.")
    if observed is not None:
        arrays = _zero_unobserved(arrays, observed)
    return tuple(_checked(f"{name}[{i}]", array, arrays[0], letter) for i, array in enumerate(arrays))


def _observed(value, lengths: list[int] | None) -> tuple[np.ndarray, ...]:
    arrays = _arrays("observed", value, lengths)
    for i, array in enumerate(arrays):
        if not np.isin(array, (0, 1)).all():
            raise ValueError(f"observed[{i}] must be boolean, or hold only 0 and 1.")
    return tuple(array.astype(bool) for array in arrays)


def _zero_unobserved(arrays: list[np.ndarray], observed: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    if len(arrays) != len(observed):
        raise ValueError(
            f"observed must hold one array per sequence of x: expected {len(arrays)}, got {len(observed)}."
        )
    for i, (array, seen) in enumerate(zip(arrays, observed, strict=True)):
        if array.shape != seen.shape:
            raise ValueError(
                f"observed[{i}] must have the shape of x[{i}]: expected {list(array.shape)}, got {list(seen.shape)}."
            )
    return [np.where(seen, array, np.zeros((), array.dtype)) for array, seen in zip(arrays, observed, strict=True)]


def _context(value, count: int) -> tuple[np.ndarray, ...]:
    array = _array("context", value)
    if array.ndim != 2 or len(array) != count or not array.shape[1]:
        raise ValueError(
            f"context must be [B, C], one row of covariates for each of {count} sequences; got shape "
            f"{list(array.shape)}."
        )
    with np.errstate(over="ignore"):
        array = np.asarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ValueError(
            f"context holds NaN or infinity (in float32), first for sequence {bad[0]}; fill missing covariates and say "
            "so in a further one."
        )
    return tuple(array)


def _array(name: str, value) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold booleans, integers or floats; got dtype {array.dtype}.")
    return array


def _checked(name: str, array: np.ndarray, first: np.ndarray, letter: str) -> np.ndarray:
    if array.ndim != 2:
        raise ValueError(f"{name} must be [T, {letter}]; got an array of shape {list(array.shape)}.")
    if array.shape[0] == 0:
        raise ValueError(f"{name} has no frame (T = 0, or its mask is all false); leave such sequences out.")
    if array.shape[1] == 0:
        raise ValueError(f"{name} has no feature ({letter} = 0).")
    if array.shape[1] != first.shape[1]:
        raise ValueError(f"{name} has {array.shape[1]} features per frame, the first one {first.shape[1]}.")
    with np.errstate(over="ignore"):
        array = np.asarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{name} holds NaN or infinity (in float32) at frame {bad[0]} ({len(bad)} such frames); "
            "repair the data, or feed missing frames to the model as {'x', 'mask'}."
        )
    return array
