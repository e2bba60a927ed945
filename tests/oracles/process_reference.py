"""Gaussian processes in float64: covariances by the formulas of the kernels, and the dense Gaussian's conditionals."""

import numpy as np

JITTER, SCALE, LENGTHS = 0.02, 1.3, (0.8, 2.0, 5.0)

FORMULAS = {
    "cauchy": lambda r: 1.0 / (1.0 + r**2),
    "rbf": lambda r: np.exp(-(r**2) / 2.0),
    "matern12": lambda r: np.exp(-r),
    "matern32": lambda r: (1.0 + np.sqrt(3.0) * r) * np.exp(-np.sqrt(3.0) * r),
    "matern52": lambda r: (1.0 + np.sqrt(5.0) * r + 5.0 / 3.0 * r**2) * np.exp(-np.sqrt(5.0) * r),
}


def covariance(kernel: str, times: np.ndarray, length: float) -> np.ndarray:
    """K of one dimension, `[T, T]`."""
    distance = np.abs(np.subtract.outer(times, times)) / length
    return SCALE**2 * FORMULAS[kernel](distance) + JITTER * np.eye(len(times))


def conditional(k: np.ndarray, known: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of what is not known, `[M]` and `[M, M]`, from the dense Gaussian N(0, k)."""
    gain = k[np.ix_(~known, known)] @ np.linalg.inv(k[np.ix_(known, known)])
    return gain @ values, k[np.ix_(~known, ~known)] - gain @ k[np.ix_(known, ~known)]
