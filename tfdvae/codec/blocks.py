"""Sequences of different lengths side by side: which are coded at a time, and which rows still have frames."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.codec.laws import Law

__all__ = ["at_frame", "blocks_of", "by_blocks", "live_rows", "mask_of", "rows_for", "stacked"]

USUAL_ROWS = 128
"""Sequences that are coded at a time where there are as many; a file may state more (`files.MAX_ROWS`)."""
MAX_NUMBERS = 1 << 24
"""Of the frames of a block: rows, the longest sequence and features multiplied."""
Coder = Callable[[Law, np.ndarray | None], np.ndarray]


def blocks_of(lengths: Sequence[int], rows: int) -> list[list[int]]:
    """Which sequences are coded at a time, `rows` at most, the shortest first."""
    order = np.argsort(np.asarray(lengths), kind="stable").tolist()
    return [order[i : i + rows] for i in range(0, len(order), rows)]


def by_blocks(
    count: int, blocks: Sequence[list[int]], make: Callable[[list[int]], Sequence[np.ndarray]]
) -> list[np.ndarray]:
    """What `make` makes of each block, one array for each of its sequences, in the order of the `count` sequences."""
    found = [np.zeros(0)] * count
    for block in blocks:
        for i, own in zip(block, make(block), strict=True):
            found[i] = own
    return found


def rows_for(lengths: Sequence[int], x_dim: int) -> int:
    """How many sequences to code at a time where nothing speaks for one: few calls, and few numbers in a block."""
    return max(1, min(USUAL_ROWS, len(lengths), MAX_NUMBERS // (int(max(lengths)) * x_dim)))


def stacked(sequences: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Sequences `[T_i, D]` as `[rows, T, D]`, 0 where there is no frame."""
    found = np.zeros([rows, max(map(len, sequences)), sequences[0].shape[1]], sequences[0].dtype)
    for i, own in enumerate(sequences):
        found[i, : len(own)] = own
    return found


def mask_of(lengths: Sequence[int], rows: int) -> np.ndarray:
    """Which frames exist, `[rows, T]`; all of rows without a sequence do, as models have no use for an empty one."""
    found = np.ones([rows, max(lengths)], bool)
    found[: len(lengths)] = np.arange(max(lengths)) < np.asarray(lengths)[:, None]
    return found


def live_rows(code: Coder, lengths: Sequence[int], t: int) -> Coder:
    """`code` for the rows alone whose sequence has a frame t; the numbers of the others are 0."""
    index = np.flatnonzero(np.asarray(lengths) > t)

    def coded(law: Law, known: np.ndarray | None) -> np.ndarray:
        found = np.zeros(law[0].shape[:2], np.int32)
        found[index] = code(law.rows(index), None if known is None else known[index])
        return found

    return coded


def at_frame(seen: Any, t: int) -> Any:
    """What posteriors see at frame t, of a nest of `[N, T, .]`."""
    return tf.nest.map_structure(lambda y: y[:, t], seen)
