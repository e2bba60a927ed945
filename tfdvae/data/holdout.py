"""Hiding observed values to score their imputation, and what any model has to beat at it.

`hold_out` hides, an imputer estimates from what is kept, `masked_errors` compares at the hidden places. All work on
arrays x `[..., T, D]` with `observed` of the same shape. Units become comparable through the standard deviation of each
variable over the observed training values, `observed_moments`.

Example:
    The error of a forward fill on a test set, in standard deviations::

        mean, scale = observed_moments(train["x"], train["observed"])
        kept, held = hold_out(test["observed"], rate=0.1, seed=0)
        estimate = impute_forward(test["x"], kept, fill=mean)
        print(masked_errors(estimate, test["x"], held, scale).mae)
"""

from typing import NamedTuple

import numpy as np

from tfdvae import moments

__all__ = [
    "MaskedErrors",
    "hold_out",
    "impute_forward",
    "impute_linear",
    "impute_mean",
    "masked_errors",
    "observed_moments",
]


class MaskedErrors(NamedTuple):
    """Errors over hidden values, in standard deviations of their variables; every value counts the same.

    Attributes:
        mae: mean absolute error.
        rmse: root of the mean squared error.
        count: hidden values.
    """

    mae: float
    rmse: float
    count: int


def hold_out(observed: np.ndarray, rate: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hides a random part of the observed values, chosen without regard to place or variable.

    Args:
        observed: bool, any shape.
        rate: share of the observed values, above 0 and below 1; rounded to whole values, at least one.
        seed: of the choice, which depends on nothing else than this and `observed`.

    Returns:
        kept, held: bool, of the shape of `observed`; each observed value is in exactly one of them.

    Raises:
        ValueError: no boolean array, fewer than two observed values, or a rate out of range.
    """
    observed = _indicator("observed", observed)
    if not 0.0 < rate < 1.0:
        raise ValueError(f"rate must be above 0 and below 1; got {rate}.")
    places = np.flatnonzero(observed)
    if len(places) < 2:
        raise ValueError(f"Holding out needs at least two observed values; there are {len(places)}.")
    count = min(max(1, round(rate * len(places))), len(places) - 1)
    held = np.zeros(observed.shape, bool)
    held.flat[np.random.default_rng(seed).choice(places, count, replace=False)] = True
    return observed & ~held, held


def observed_moments(x: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each variable over its observed values, float32 [D].

    A variable that is never observed has mean 0; where all observed values are equal, or there are none, the
    standard deviation is given as 1, so that one can divide by it.

    Raises:
        ValueError: arrays that do not fit together.
    """
    x, observed = _pair(x, observed)
    mean, scale = moments.observed_moments(x, observed)
    return mean.astype(np.float32), scale.astype(np.float32)


def impute_mean(x: np.ndarray, observed: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """x with `fill` [D], such as the training means, at unobserved places; float32 [..., T, D].

    Raises:
        ValueError: arrays that do not fit together.
    """
    x, observed = _pair(x, observed)
    return np.where(observed, x, _per_variable("fill", fill, x)).astype(np.float32)


def impute_forward(x: np.ndarray, observed: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """x with the last observed value of a variable carried forward, and `fill` [D] before its first; float32
    [..., T, D].

    Raises:
        ValueError: arrays that do not fit together.
    """
    x, observed = _pair(x, observed)
    previous, _ = _neighbours(observed)
    return np.where(previous >= 0, _at(x, previous), _per_variable("fill", fill, x)).astype(np.float32)


def impute_linear(x: np.ndarray, observed: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """x with a straight line in time between the neighbouring observed values of a variable; float32 [..., T, D].

    Before the first and after the last observed value of a sequence that value holds, as in `numpy.interp`; a variable
    that is never observed in it gets `fill` [D].

    Raises:
        ValueError: arrays that do not fit together.
    """
    x, observed = _pair(x, observed)
    previous, following = _neighbours(observed)
    length = x.shape[-2]
    left, right = _at(x, previous), _at(x, following)
    weight = (np.arange(length)[:, None] - previous) / np.maximum(following - previous, 1)
    line = left + weight * (right - left)
    line = np.where(previous < 0, right, np.where(following >= length, left, line))
    never = (previous < 0) & (following >= length)
    return np.where(never, _per_variable("fill", fill, x), line).astype(np.float32)


def masked_errors(estimate: np.ndarray, truth: np.ndarray, held: np.ndarray, scale: np.ndarray) -> MaskedErrors:
    """How far estimates are from the truth at hidden places, in standard deviations.

    Args:
        estimate: [..., D]; places that are not held may hold anything.
        truth: of the same shape.
        held: bool, of the same shape: the places that count.
        scale: [D], standard deviations of the observed training values, from `observed_moments`; above 0.

    Raises:
        ValueError: arrays that do not fit together, nothing held, a scale that is not above 0, or NaN or infinity at a
            held place.
    """
    truth, held = _pair(truth, held, "truth", "held")
    estimate = np.asarray(estimate, np.float64)
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate must have the shape of truth, {list(truth.shape)}; got {list(estimate.shape)}.")
    scale = _per_variable("scale", scale, truth)
    if not (scale > 0.0).all():
        raise ValueError(f"scale must be above 0 for each variable; the smallest is {scale.min():g}.")
    if not held.any():
        raise ValueError("held marks no value, so there is nothing to score.")
    errors = (estimate[held] - truth[held]) / np.broadcast_to(scale, truth.shape)[held]
    wrong = np.count_nonzero(~np.isfinite(errors))
    if wrong:
        raise ValueError(f"estimate or truth holds NaN or infinity at {wrong} of {len(errors)} held places.")
    return MaskedErrors(float(np.abs(errors).mean()), float(np.sqrt((errors**2).mean())), len(errors))


def _neighbours(observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame of the latest observed value up to each place (-1: none), and of the earliest from there on (T: none)."""
    length = observed.shape[-2]
    frames = np.arange(length)[:, None]
    previous = np.maximum.accumulate(np.where(observed, frames, -1), axis=-2)
    following = np.minimum.accumulate(np.where(observed, frames, length)[..., ::-1, :], axis=-2)[..., ::-1, :]
    return previous, following


def _at(x: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """x at these frames, anything where there is no such frame."""
    return np.take_along_axis(x, np.clip(frames, 0, x.shape[-2] - 1), axis=-2)


def _pair(x, observed, x_name: str = "x", observed_name: str = "observed") -> tuple[np.ndarray, np.ndarray]:
    x, observed = np.asarray(x, np.float64), _indicator(observed_name, observed)
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{x_name} must be [..., T, D] and not empty; got shape {list(x.shape)}.")
    if x.shape != observed.shape:
        raise ValueError(
            f"{observed_name} must have the shape of {x_name}, {list(x.shape)}; got {list(observed.shape)}."
        )
    return x, observed


def _indicator(name: str, value) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype != bool:
        raise ValueError(f"{name} must be boolean; got dtype {array.dtype}.")
    return array


def _per_variable(name: str, value, x: np.ndarray) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.shape != x.shape[-1:] or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must hold a finite number for each of {x.shape[-1]} variables; got shape {list(array.shape)}."
        )
    return array
