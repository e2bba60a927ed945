"""What every model must beat: rolling z-score, Isolation Forest, matrix profile.

Each is a function of a series `[T]` (NaN: not observed) that returns a score for each step, `[T]`, high for anomalies
and NaN where there is none, and reads nothing of later steps.
"""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.files import import_extra

__all__ = ["BASELINES", "isolation_forest", "left_matrix_profile", "require_packages", "rolling_z_score"]

_PACKAGES = {"Isolation Forest": ("sklearn.ensemble", "An"), "matrix profile": ("stumpy", "A")}
"""Modules that baselines need, and the articles of their names."""


def rolling_z_score(x: Any, window: int) -> np.ndarray:
    """|x_t - mean| / deviation of the observed values among the `window` steps before it; NaN where these are fewer
    than two, or all equal.

    Raises:
        ValueError: no series, or a window below 2.
    """
    x, known = _series(x)
    window = whole("window", window, at_least=2)
    # About their mean, since sums of squares lose digits far from zero.
    values = np.where(known, x - x[known].mean(), 0.0)
    count, total, square = (_before(y, window) for y in (known.astype(np.float64), values, values**2))
    mean = total / np.maximum(count, 1.0)
    variance = square / np.maximum(count, 1.0) - mean**2
    usable = known & (count >= 2) & (variance > 1e-10 * values.var())
    return np.where(usable, np.abs(values - mean) / np.sqrt(np.where(usable, variance, 1.0)), np.nan)


def isolation_forest(x: Any, window: int, stop: int, seed: int = 0) -> np.ndarray:
    """How few splits set apart the window that ends at each step: minus scikit-learn's `IsolationForest.score_samples`
    (Liu, Ting and Zhou 2008), of trees that were grown on the windows of the clean part.

    Args:
        x: `[T]`; the last observed value stands in where there is none.
        window: steps in it.
        stop: where the clean part ends.
        seed: of the trees.

    Raises:
        ValueError: no series, or a clean part without a window.
        ImportError: scikit-learn is not installed.
    """
    x, known = _series(x)
    window, stop = whole("window", window, at_least=1), whole("stop", stop, at_least=1)
    if not window <= stop <= len(x):
        raise ValueError(f"A clean part of {stop} steps, of a series of {len(x)}, has no window of {window}.")
    ensemble = _package("Isolation Forest")
    rows = np.lib.stride_tricks.sliding_window_view(_filled(x, known), window)
    forest = ensemble.IsolationForest(random_state=seed).fit(rows[: stop - window + 1])
    scores = np.concatenate([np.full(window - 1, np.nan), -forest.score_samples(rows)])
    return np.where(known, scores, np.nan)


def left_matrix_profile(x: Any, window: int) -> np.ndarray:
    """Distance of the window that ends at each step to the most similar one that ended before it, both z-normalised:
    the left matrix profile (Yeh et al. 2016) of stumpy, whose neighbours are at least a quarter of a window apart.

    A flat window is at distance 0 from another flat one, and at the square root of `window` from all others.

    Args:
        x: `[T]`; the last observed value stands in where there is none.
        window: steps in it, at least 3.

    Raises:
        ValueError: no series, or one that is shorter than a window.
        ImportError: stumpy is not installed.
    """
    x, known = _series(x)
    window = whole("window", window, at_least=3)
    if len(x) < window + 1:
        raise ValueError(f"A series of {len(x)} steps has no two windows of {window}.")
    stumpy = _package("matrix profile")
    filled = _filled(x, known)
    # stumpy tells which window is nearest on the left, and the distance to the nearest on either side.
    nearest = stumpy.stump(filled, window)[:, 2].astype(np.int64)
    rows = np.lib.stride_tricks.sliding_window_view(filled, window)
    mean, deviation = rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)
    flat = deviation <= 1e-9 * max(float(np.abs(filled).max()), 1e-300)
    shapes = np.where(flat, 0.0, (rows - mean) / np.where(flat, 1.0, deviation))
    distance = np.sqrt(np.square(shapes - shapes[np.maximum(nearest, 0)]).sum(axis=1))
    distance = np.concatenate([np.full(window - 1, np.nan), np.where(nearest >= 0, distance, np.nan)])
    return np.where(known, distance, np.nan)


BASELINES: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "rolling z-score": lambda x, window, stop: rolling_z_score(x, window),
    "Isolation Forest": lambda x, window, stop: isolation_forest(x, window, stop),
    "matrix profile": lambda x, window, stop: left_matrix_profile(x, window),
}
"""All of them by the names that tables have, of x, the window and the end of the clean part."""


def require_packages(names: Iterable[str]) -> None:
    """Raises ImportError where a package is not installed that one of these baselines needs; other names need none."""
    for name in names:
        if name in _PACKAGES:
            _package(name)


def _package(name: str) -> ModuleType:
    module, article = _PACKAGES[name]
    return import_extra(module, f"{article} {name}", "anomalies")


def _series(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """The values, and which were observed."""
    x = np.asarray(x, np.float64)
    known = ~np.isnan(x)
    if x.ndim != 1 or not known.any() or np.isinf(x).any():
        raise ValueError(f"Expected a series [T] of finite numbers or NaN, with one number at least; got {x.shape}.")
    return x, known


def _before(y: np.ndarray, window: int) -> np.ndarray:
    """Sum over the `window` values before each one."""
    total = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    return total[at] - total[np.maximum(at - window, 0)]


def _filled(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The last observed value where there is none; before the first one, that."""
    at = np.maximum.accumulate(np.where(known, np.arange(len(x)), -1))
    return x[np.where(at < 0, known.argmax(), at)]
