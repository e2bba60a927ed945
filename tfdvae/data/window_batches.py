"""Batches of windows that follow on each other, for sequences that are too long to be trained on as wholes."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfdvae import arguments
from tfdvae.data.batching import dataset_of, epoch_numbers
from tfdvae.data.sequences import Sequences, pad

__all__ = ["window_batches", "window_steps"]

Window = tuple[int, int, int, bool]
"""A sequence, its first frame, the frame after its last one, and whether the window before it is in the row too."""


def window_batches(
    sequences: Sequences,
    batch_size: int,
    window: int,
    *,
    seed: int | None = None,
    epochs: int | Sequence[int] = 1,
    whole: bool = False,
) -> tf.data.Dataset:
    """Batches as those of `batches`, of windows of T frames, with "continues": bool [B], true where a row follows on
    the same row of the batch before: what `fit` and `evaluate` of a model take that was compiled with `stateful=True`.

    Each row reads sequences from their first frame to their last, one after the other. The rows of an epoch end
    together, but for one window, so sequences are cut where rows begin, and begin anew there, at other places in each
    epoch that is shuffled; with `whole=True` none is cut, and rows may end long before others. A batch has fewer rows
    than the one before once rows have ended.

    Args:
        sequences: from `from_arrays` or a loader; a single one of a million frames is as good as many.
        batch_size: B, at most: no more than there are windows, or, with `whole`, sequences.
        window: T, how far gradients reach back; the last window of a sequence is shorter, and masked.
        seed: not negative; of the order of sequences, by (seed, epoch) alone. None keeps their order.
        epochs: a number of epochs, or the epochs themselves as a range or list.
        whole: whether every sequence stays in one row, as bounds of whole sequences want it.

    Raises:
        TypeError: `sequences` is no `Sequences`.
        ValueError: an argument out of range, or no sequence.

    Example:
        model.compile("adam", stateful=True)
        data = window_batches(from_arrays([day]), 16, 500, seed=0, epochs=20)     # day: [5_000_000, D]
        model.fit(data, epochs=20, steps_per_epoch=window_steps(from_arrays([day]), 16, 500))
    """
    steps = window_steps(sequences, batch_size, window, whole=whole)
    if seed is not None and seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}.")
    epochs = epoch_numbers(epochs)

    def generate() -> Iterator[dict[str, np.ndarray]]:
        for epoch in epochs:
            rng = None if seed is None else np.random.default_rng([seed, epoch])
            rows = _rows(sequences.lengths, batch_size, window, whole, rng)
            for step in range(steps):
                yield _batch(sequences, [row[step] for row in rows if len(row) > step], window)

    rows = len(_rows(sequences.lengths, batch_size, window, whole, None))
    even = not whole and int(_counts(sequences.lengths, window).sum()) % rows == 0
    beside = {"continues": tf.TensorSpec([rows if even else None], tf.bool)}
    return dataset_of(generate, sequences, rows if even else None, window, steps * len(epochs), beside)


def window_steps(sequences: Sequences, batch_size: int, window: int, *, whole: bool = False) -> int:
    """Batches per epoch of `window_batches`, whose arguments and errors these are."""
    if not isinstance(sequences, Sequences):
        raise TypeError(f"Expected Sequences, got {type(sequences).__name__}; use from_arrays() on arrays.")
    arguments.whole("batch_size", batch_size, at_least=1)
    arguments.whole("window", window, at_least=1)
    if sequences.num_sequences == 0:
        raise ValueError("There is no sequence to make batches of.")
    return len(_rows(sequences.lengths, batch_size, window, whole, None)[0])


def _counts(lengths: np.ndarray, window: int) -> np.ndarray:
    """Windows of each sequence."""
    return -(-lengths // window)


def _rows(
    lengths: np.ndarray, batch_size: int, window: int, whole: bool, rng: np.random.Generator | None
) -> list[list[Window]]:
    """The windows of each row of an epoch, rows with more of them first, so that none is above one that has ended."""
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    if whole:
        shared = _shared(lengths, batch_size, window, order)
        return [[w for i in row for w in _windows(i, lengths[i], window)] for row in shared]
    tape = [w for i in order for w in _windows(i, lengths[i], window)]
    turned = 0 if rng is None else int(rng.integers(len(tape)))  # so that rows do not begin at the same places
    tape = tape[turned:] + tape[:turned]
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(len(tape)), min(batch_size, len(tape)))])
    rows = [tape[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return [[(*row[0][:3], False), *row[1:]] for row in rows]


def _windows(i: int, length: int, window: int) -> list[Window]:
    return [(int(i), start, min(start + window, int(length)), start > 0) for start in range(0, int(length), window)]


def _shared(lengths: np.ndarray, batch_size: int, window: int, order: np.ndarray) -> list[list[int]]:
    """Whole sequences for each row: the longest first, to the row that has least."""
    counts, place = _counts(lengths, window), np.argsort(order)
    rows: list[list[int]] = [[] for _ in range(min(batch_size, len(lengths)))]
    filled = np.zeros(len(rows), np.int64)
    # By length first, so that how many windows a row has does not hang on the order of the epoch.
    for i in sorted(range(len(lengths)), key=lambda i: (-counts[i], i)):
        least = int(np.argmin(filled))
        rows[least].append(i)
        filled[least] += counts[i]
    return [sorted(rows[row], key=lambda i: place[i]) for row in np.argsort(-filled, kind="stable")]


def _batch(sequences: Sequences, windows: list[Window], length: int) -> dict[str, np.ndarray]:
    """Windows, one below the other."""
    cut = {
        field: tuple(arrays[i][start:end] for i, start, end, _ in windows)
        for field in ("x", "u", "observed")
        if (arrays := getattr(sequences, field)) is not None
    }
    taken = sequences.take(i for i, *_ in windows)._replace(names=None, **cut)
    return {**pad(taken, length), "continues": np.array([follows for *_, follows in windows])}
