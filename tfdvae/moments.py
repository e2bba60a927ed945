"""Mean and standard deviation of what was observed."""

import numpy as np

__all__ = ["observed_moments"]


def observed_moments(x: np.ndarray, observed: np.ndarray, shared: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature over its observed values, float64 `[D]`.

    A feature that was never observed has mean 0; where all observed values are equal, or there are none, the standard
    deviation is given as 1, so that one can divide by it.

    Args:
        x: `[..., D]`, anything where not `observed`.
        observed: bool, of the same shape.
        shared: one mean and one standard deviation of all features together, given for each.
    """
    axes = tuple(range(x.ndim if shared else x.ndim - 1))
    count = np.maximum(observed.sum(axis=axes), 1)
    mean = np.where(observed, x, 0.0).sum(axis=axes) / count
    # The second pass keeps the digits that E[x^2] - E[x]^2 would lose.
    scale = np.sqrt((np.where(observed, x - mean, 0.0) ** 2).sum(axis=axes) / count)
    # Rounding leaves a trace of a deviation where all values are equal.
    constant = scale <= 1e-7 * np.abs(mean)
    mean, scale = (np.broadcast_to(y, x.shape[-1:]) for y in (mean, np.where(constant, 1.0, scale)))
    return mean, scale
