"""Scores of forecasts, each from its definition. All are better when smaller, but for `coverage`, which has an aim.

`x` is what came, of any shape, `[B, horizon, D]` for a model's `forecast`; samples have their K paths in front,
`[K, B, horizon, D]`, as `Forecast.samples` has. Absolute errors, CRPS and energy scores are in the unit of x, squared
errors in its square, the others are pure numbers.

What was not observed counts nowhere: `observed` is bool in the shape of x, or `[B, horizon]` for whole frames, and x
may hold anything, NaN included, where it is false. `axis` says over which axes of x to average, all by default; so
`axis=(0, 2)` gives a score for each step of the horizon. Where nothing was observed the mean is NaN.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "coverage",
    "crps",
    "energy_score",
    "mae",
    "mase",
    "mse",
    "quantile_crps",
    "quantile_loss",
    "seasonal_scale",
    "weighted_quantile_loss",
]

Axis = int | Sequence[int] | None


def mae(prediction: Any, x: Any, observed: Any = None, *, axis: Axis = None) -> np.ndarray:
    """Mean absolute error, E|prediction - x|; the median of a distribution minimises it.

    Args:
        prediction: in the shape of x.
        x, observed, axis: see the module.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite where x was observed.
    """
    prediction, x, seen = _point(prediction, x, observed)
    return _mean(np.abs(prediction - x), seen, axis)


def mse(prediction: Any, x: Any, observed: Any = None, *, axis: Axis = None) -> np.ndarray:
    """Mean squared error, E(prediction - x)^2; the mean of a distribution minimises it. Arguments as for `mae`."""
    prediction, x, seen = _point(prediction, x, observed)
    return _mean(np.square(prediction - x), seen, axis)


def seasonal_scale(past: Any, season: int = 1, observed: Any = None) -> np.ndarray:
    """The mean absolute error of the seasonal naive forecast in the past, mean |x_t - x_(t - season)|, `[B, D]`.

    It is what `mase` divides by. NaN where no two values that lie one season apart were observed, and where all of
    them are equal: a series that does not change says nothing of what an error means.

    Args:
        past: frames `[B, T, D]`.
        season: frames in one period, from 1 to T - 1; 1 compares with the value before.
        observed: bool `[B, T, D]` or `[B, T]`; None where all was.

    Raises:
        ValueError: shapes that do not fit, a season that is not shorter than the past, or values that are not finite.
    """
    past = np.asarray(past, np.float64)
    if past.ndim != 3 or not 1 <= season < past.shape[1]:
        raise ValueError(
            f"Expected frames [B, T, D] with T above the season of {season}, got shape {list(past.shape)}."
        )
    past, seen = _observed(past, observed)
    both = seen[:, season:] & seen[:, :-season]
    found = _mean(np.abs(past[:, season:] - past[:, :-season]), both, 1)
    return np.where(found > 0.0, found, np.nan)


def mase(prediction: Any, x: Any, scale: Any, observed: Any = None, *, axis: Axis = None) -> np.ndarray:
    """Mean absolute scaled error (Hyndman and Koehler 2006): errors over those of the seasonal naive forecast in the
    past of the same series. Below 1 is better than that one was.

    Args:
        prediction, x: `[B, horizon, D]`.
        scale: `[B, D]` from `seasonal_scale`; features where it is NaN are left out.
        observed, axis: see the module.

    Raises:
        ValueError: shapes that do not fit, a scale that is not positive, or values that are not finite.

    Example:
        scale = seasonal_scale(past, season=24)
        mase(forecast.quantile(0.5), future, scale)
    """
    prediction, x, seen = _point(prediction, x, observed)
    scale = np.asarray(scale, np.float64)
    if x.ndim != 3 or scale.shape != (x.shape[0], x.shape[2]):
        raise ValueError(f"Expected x [B, horizon, D] and a scale [B, D], got {list(x.shape)} and {list(scale.shape)}.")
    if (scale <= 0.0).any():
        raise ValueError("`scale` must be positive, or NaN where there is none: take `seasonal_scale`.")
    known = np.isfinite(scale)
    error = np.abs(prediction - x) / np.where(known, scale, 1.0)[:, None]
    return _mean(error, seen & known[:, None], axis)


def crps(samples: Any, x: Any, observed: Any = None, *, fair: bool = False, axis: Axis = None) -> np.ndarray:
    """Continuous ranked probability score of each value, E|X - x| - E|X - X'| / 2 over independent samples X and X'
    (Gneiting and Raftery 2007, equation 21): of one sample the absolute error, in general the integral of the squared
    distance between the distribution of the forecast and the step at x.

    Args:
        samples: `[K, ...]`, K paths in front of the shape of x.
        x, observed, axis: see the module.
        fair: average X - X' over pairs of different samples. That is the score which infinitely many samples would
            have, on average (Ferro 2014); otherwise the samples are the forecast. It needs K of at least 2.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or one sample with fair=True.
    """
    samples, x, seen = _samples(samples, x, observed)
    count = len(samples)
    if fair and count < 2:
        raise ValueError("A fair CRPS compares samples with each other: give at least 2.")
    # Of sorted samples, the sum of |X_i - X_j| over all pairs is a weighted sum.
    weights = 2.0 * np.arange(1, count + 1) - count - 1.0
    spread = np.tensordot(weights, np.sort(samples, axis=0), 1) / (count * (count - 1 if fair else count))
    return _mean(np.abs(samples - x).mean(axis=0) - spread, seen, axis)


def quantile_loss(
    quantiles: Any, levels: Sequence[float], x: Any, observed: Any = None, *, axis: Axis = None
) -> np.ndarray:
    """The loss that quantiles minimise, (level - [x < quantile]) (x - quantile) ("pinball"), for each level, `[Q]` or
    `[Q, ...]`.

    Args:
        quantiles: `[Q, ...]`, one for each level in front of the shape of x.
        levels: Q numbers between 0 and 1.
        x, observed, axis: see the module; `axis` counts the axes of x.

    Raises:
        ValueError: levels outside of (0, 1), shapes that do not fit, or values that are not finite.
    """
    levels = _levels(levels)
    quantiles, x, seen = _samples(quantiles, x, observed, "quantiles")
    if len(quantiles) != len(levels):
        raise ValueError(f"Expected one row of quantiles for each of {len(levels)} levels, got {len(quantiles)}.")
    error = x - quantiles
    loss = (levels.reshape(-1, *[1] * x.ndim) - (error < 0.0)) * error
    return np.stack([_mean(row, seen, axis) for row in loss])


def quantile_crps(
    quantiles: Any, levels: Sequence[float], x: Any, observed: Any = None, *, axis: Axis = None
) -> np.ndarray:
    """CRPS of a forecast of which quantiles are known: twice the integral of `quantile_loss` over all levels, as a sum
    over the given ones, each weighted by the part of (0, 1) that is nearest to it. Arguments as for `quantile_loss`;
    levels must rise."""
    loss, levels = quantile_loss(quantiles, levels, x, observed, axis=axis), _levels(levels)
    if (np.diff(levels) <= 0.0).any():
        raise ValueError(f"`levels` must rise, got {levels.tolist()}.")
    borders = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2.0, [1.0]])
    return 2.0 * np.tensordot(np.diff(borders), loss, 1)


def weighted_quantile_loss(quantiles: Any, levels: Sequence[float], x: Any, observed: Any = None) -> float:
    """wQL: twice the sum of `quantile_loss` over all values, over the sum of |x|, averaged over levels. Series count by
    their size. Arguments as for `quantile_loss`.

    Raises:
        ValueError: as `quantile_loss`; or x is zero wherever it was observed.
    """
    loss = quantile_loss(quantiles, levels, x, observed)
    _, x, seen = _samples(quantiles, x, observed, "quantiles")
    size = float(_mean(np.abs(x), seen, None))
    if size == 0.0:
        raise ValueError("The weighted quantile loss divides by the sum of |x|, which is 0 here.")
    return float(2.0 * loss.mean() / size)


def coverage(lower: Any, upper: Any, x: Any, observed: Any = None, *, axis: Axis = None) -> np.ndarray:
    """The part of the values that lie in their interval, ends included: near 0.9 for good intervals of 90%.

    Args:
        lower, upper: ends in the shape of x, as `Forecast.interval` returns them.
        x, observed, axis: see the module.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a lower end above the upper one.
    """
    lower, x, seen = _point(lower, x, observed)
    upper = _point(upper, x, observed)[0]
    if (lower > upper)[seen].any():
        raise ValueError("Expected intervals from `lower` to `upper`, but some end before they begin.")
    return _mean((lower <= x) & (x <= upper), seen, axis)


def energy_score(
    samples: Any, x: Any, observed: Any = None, *, joint: int = 1, fair: bool = False, axis: Axis = None
) -> np.ndarray:
    """Energy score of whole vectors, E||X - x|| - E||X - X'|| / 2 (Gneiting and Raftery 2007, equation 22): CRPS for
    several values at a time, which asks for their dependence as well.

    Args:
        samples: `[K, ...]`, K paths in front of the shape of x.
        x, observed: see the module. What was not observed is left out of the norms.
        joint: how many of the last axes of x make one vector: 1 for frames, 2 for the whole path `[horizon, D]`.
        fair: as for `crps`.
        axis: of the axes that are left, over which to average.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or one sample with fair=True.
    """
    samples, x, seen = _samples(samples, x, observed)
    count = len(samples)
    if not 1 <= joint <= x.ndim:
        raise ValueError(f"`joint` must be from 1 to {x.ndim}, the axes of x, got {joint}.")
    if fair and count < 2:
        raise ValueError("A fair energy score compares samples with each other: give at least 2.")
    shape = (*x.shape[: x.ndim - joint], -1)
    weight = seen.reshape(shape).astype(np.float64)
    samples, x = samples.reshape(count, *shape), x.reshape(shape)

    def norms(difference: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(difference * weight).sum(axis=-1))

    # Row by row, since all pairs at once would take K times the memory of the samples.
    pairs = sum(norms(samples[i + 1 :] - samples[i]).sum(axis=0) for i in range(count - 1))
    found = norms(samples - x).mean(axis=0) - pairs / (count * (count - 1 if fair else count))
    return _mean(found, weight.any(axis=-1), axis)


def _levels(levels: Sequence[float]) -> np.ndarray:
    found = np.asarray(levels, np.float64)
    if found.ndim != 1 or not found.size or not ((found > 0.0) & (found < 1.0)).all():
        raise ValueError(f"`levels` must be numbers between 0 and 1, got {levels!r}.")
    return found


def _observed(x: np.ndarray, observed: Any) -> tuple[np.ndarray, np.ndarray]:
    """x with zeros where it was not observed, and where it was."""
    if observed is None:
        seen = np.ones(x.shape, bool)
    else:
        seen = np.asarray(observed)
        if seen.dtype != bool or seen.shape not in (x.shape, x.shape[:-1]):
            raise ValueError(
                f"`observed` must be boolean in the shape of x, {list(x.shape)}, or {list(x.shape[:-1])} for whole "
                f"frames; got {seen.dtype} {list(seen.shape)}."
            )
        seen = np.broadcast_to(seen if seen.shape == x.shape else seen[..., None], x.shape)
    if not np.isfinite(x[seen]).all():
        raise ValueError("x holds NaN or infinity; say by `observed` where it was measured.")
    return np.where(seen, x, 0.0), seen


def _point(prediction: Any, x: Any, observed: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    prediction, x = np.asarray(prediction, np.float64), np.asarray(x, np.float64)
    if prediction.shape != x.shape:
        raise ValueError(f"Expected a prediction in the shape of x, {list(x.shape)}, got {list(prediction.shape)}.")
    x, seen = _observed(x, observed)
    return _finite(prediction, seen, "prediction"), x, seen


def _samples(samples: Any, x: Any, observed: Any, name: str = "samples") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    samples, x = np.asarray(samples, np.float64), np.asarray(x, np.float64)
    if samples.shape[1:] != x.shape or samples.ndim != x.ndim + 1 or not len(samples):
        raise ValueError(
            f"Expected {name} with one more axis in front of the shape of x, {list(x.shape)}, got "
            f"{list(samples.shape)}."
        )
    x, seen = _observed(x, observed)
    return _finite(samples, seen, name), x, seen


def _finite(values: np.ndarray, seen: np.ndarray, name: str) -> np.ndarray:
    values = np.where(seen, values, 0.0)
    if not np.isfinite(values).all():
        raise ValueError(f"The {name} must be finite, got NaN or infinity: the model that made it may have diverged.")
    return values


def _mean(values: np.ndarray, seen: np.ndarray, axis: Axis) -> np.ndarray:
    """Mean over axes of what was observed, NaN where nothing was."""
    axis = tuple(axis) if isinstance(axis, Sequence) else axis
    count = np.asarray(seen.sum(axis=axis), np.float64)
    total = np.where(seen, values, 0.0).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0.0)
