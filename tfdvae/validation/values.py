"""Checks of the values of sequences that are arrays, on the host, before any work is lost."""

from typing import Any, Protocol

import numpy as np

from tfdvae.observations.values import Values
from tfdvae.types import Batch
from tfdvae.validation.batches import (
    Beside,
    Sizes,
    as_observed,
    check_beside_static,
    check_static,
    flat,
    index_allowed,
    index_limit,
    with_missing,
)

__all__ = ["Support", "check_arrays", "check_beside", "without_overflow"]


class Support(Protocol):
    """What knows which values frames may have: `FrameIO`, or anything like it."""

    @property
    def values(self) -> tuple[Values, ...]:
        """Intervals that hold all that are supported, one for all features or one for each."""

    @property
    def support(self) -> str:
        """What is expected, and what to do about anything else, as the middle of a sentence."""

    def supported(self, x: Any, observed: Any = None) -> Any:
        """Which entries of finite x `[..., D]` can be explained, bool `[..., D]`, of those that were observed."""

    def validate(self, frames: np.ndarray, observed: np.ndarray | None = None) -> None:
        """Raises ValueError where frames `[N, D]` hold a value that was observed and cannot be explained."""


def check_arrays(
    batch: Batch, sizes: Sizes | None = None, missing: str | None = None, support: Support | None = None
) -> Batch:
    """Checks arrays by value as well, and returns them as numpy arrays (float32 and bool).

    Args:
        batch: what users handed over.
        sizes: what a built model expects.
        missing: "nan" lets NaN in x mean a value that was not observed.
        support: says which values x may have; None allows all that are finite.

    Raises:
        ValueError: wrong rank, size or type, no frame at all in some sequence, and, where a frame exists and was
            observed, NaN, infinity, or a value that the observation cannot explain.
    """
    arrays = Batch(*(None if y is None else _array(y) for y in batch))
    check_static(arrays, sizes)
    x, u, context = (None if y is None else without_overflow(y) for y in (arrays.x, arrays.u, arrays.context))
    mask, observed = (_booleans(name, getattr(arrays, name)) for name in ("mask", "observed"))
    if mask is not None:
        empty = np.flatnonzero(~mask.any(axis=1))
        if empty.size:
            raise ValueError(
                f"Every sequence needs a frame that exists; the mask is false everywhere in sequence {empty[0]}."
            )
    if observed is not None:
        observed = np.asarray(as_observed(observed, x))
    found = with_missing(Batch(x, mask, u, observed, context), missing)
    _check_finite(found)
    if support is not None:
        _check_support(found, sizes, support)
    return found


def check_beside(beside: Beside, batch: Batch, sizes: Sizes | None = None) -> Beside:
    """What stands beside a batch as arrays `[B]`, weights in float32, indices in int32, and bool.

    Raises:
        ValueError: another shape; a weight that is negative, NaN or infinite; indices that are no whole numbers, of a
            sequence that the model has no place for, or for a model that has places for none.
    """
    found = Beside(*(None if y is None else _array(y) for y in beside))
    check_beside_static(found, batch, sizes)
    weights, index, continues = found
    if weights is not None:
        weights = without_overflow(weights)
        wrong = np.flatnonzero(~np.isfinite(weights) | (weights < 0.0))
        if wrong.size:
            raise ValueError(
                f"`sample_weight` must be finite and not negative, got {weights[wrong[0]]:.6g} for sequence "
                f"{wrong[0]}; 0 leaves a sequence out of the loss."
            )
    if index is not None:
        limit = index_limit(sizes)
        wrong = np.flatnonzero(~index_allowed(index, limit))
        if wrong.size:
            raise ValueError(
                f"`sequence_index` must be from 0 to {limit - 1}, got {index[wrong[0]]} for sequence {wrong[0]}: make "
                "the model with as many `num_sequences` as there are indices."
            )
        index = index.astype(np.int32)
    return Beside(weights, index, continues)


def without_overflow(value: np.ndarray) -> np.ndarray:
    """The array as float32; what is too large for it becomes infinite, which the checks that follow name."""
    with np.errstate(over="ignore"):
        return np.asarray(value, np.float32)


def _array(value: Any) -> np.ndarray:
    """The value as an array of its own type; objects, such as None for NaN, as the numbers that they are."""
    try:
        found = np.asarray(value)
        return found.astype(np.float64) if found.dtype == object else found
    except (ValueError, TypeError) as error:
        # Numpy's own words for unequal lengths are about its inside.
        reason = "" if "inhomogeneous" in str(error) else f": {error}"
        raise ValueError(
            f"Expected arrays of numbers with equal lengths (pad and mask ragged ones){reason}."
        ) from error


def _booleans(name: str, value: np.ndarray | None) -> np.ndarray | None:
    """`mask` or `observed` as bool."""
    if value is None or value.dtype == bool:
        return value
    if not np.isin(value, (0, 1)).all():
        article = "a mask" if name == "mask" else "`observed`"
        raise ValueError(f"Expected {article} of booleans (or 0 and 1), got other values.")
    return value.astype(bool)


def _check_support(batch: Batch, sizes: Sizes | None, support: Support) -> None:
    shape = sizes.frame_shape if sizes is not None and sizes.frame_shape is not None else tuple(batch.x.shape[2:])
    x, mask, _, observed, _ = flat(batch, shape)
    if mask is not None:
        x, observed = x[mask], None if observed is None else observed[mask]
    support.validate(x, observed)


def _check_finite(batch: Batch) -> None:
    for name, value in (("x", batch.x), ("u", batch.u)):
        if value is None:
            continue
        bad = ~np.isfinite(value)
        if name == "x" and batch.observed is not None:
            bad &= batch.observed
        bad = bad.reshape(*bad.shape[:2], -1).any(axis=-1)
        bad = bad if batch.mask is None else bad & batch.mask
        if bad.any():
            b, t = np.argwhere(bad)[0]
            raise ValueError(
                f"`{name}` holds NaN or infinity at sequence {b}, frame {t} ({bad.sum()} such frames). "
                "Mask frames that do not exist; say by `observed` which values are missing, or make the model with "
                "missing='nan'."
            )
    if batch.context is not None and not np.isfinite(batch.context).all():
        row = np.argwhere(~np.isfinite(batch.context))[0][0]
        raise ValueError(
            f"`context` holds NaN or infinity at sequence {row}: give what is not known a value of its own."
        )
