"""Which values the features of frames may have, in words that files can hold."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = ["BINARY", "COUNTS", "NOT_NEGATIVE", "REAL", "ROUNDING", "Values", "contained"]

ROUNDING = 1e-6
"""How far a value may be from the whole number that it stands for."""


class Values(NamedTuple):
    """An interval, and whether it means only the whole numbers in it, which values may miss by `ROUNDING`."""

    low: float = -np.inf
    high: float = np.inf
    whole: bool = False


REAL, NOT_NEGATIVE = Values(), Values(low=0.0)
BINARY, COUNTS = Values(0.0, 1.0, whole=True), Values(0.0, whole=True)


def contained(values: Sequence[Values], x: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
    """Which entries of finite x `[.., D]` are among the values of their feature, or of the only one that is given."""
    if all(one == BINARY for one in values):
        # A third of the passes over x, which a Dataset makes at each step; what overflows is not contained.
        with np.errstate(over="ignore", invalid="ignore"):
            return abs(x * x - x) <= ROUNDING
    low, high, whole = (np.array(column, np.float32) for column in zip(*values, strict=True))
    inside = (x >= low - ROUNDING * whole) & (x <= high + ROUNDING * whole)
    if not whole.any():
        return inside
    floor = tf.floor if tf.is_tensor(x) else np.floor  # `//` of numpy takes nine times as long
    return inside & ((abs(floor(x + 0.5) - x) <= ROUNDING) | (whole == 0.0))
