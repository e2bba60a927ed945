"""The smoother of a random walk behind noise against the conditional mean of the joint Gaussian."""

import numpy as np
import pytest
from scipy import stats

from tfdvae.data import impute_kalman, impute_linear
from tfdvae.data.kalman_filling import RATIOS


def walks(step: float, noise: float, shape: tuple[int, int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    level = 20.0 + np.cumsum(step * rng.normal(size=shape), axis=1)
    return level + noise * rng.normal(size=shape), rng.random(shape) < 0.6


def conditional(x: np.ndarray, seen: np.ndarray, ratio: float) -> np.ndarray:
    """E[l | x] of one series by the covariance of all its levels, which begin anywhere."""
    at = np.arange(len(x))
    levels = ratio * np.minimum(at[:, None], at) + 1e8
    known = levels[np.ix_(seen, seen)] + np.eye(seen.sum())
    centre = x[seen].mean()
    return centre + levels[:, seen] @ np.linalg.solve(known, x[seen] - centre)


def likelihood(x: np.ndarray, seen: np.ndarray, ratio: float) -> float:
    """Of all series together, of their differences from the first observed value, with the best variance of noise."""
    terms = []
    for row, there in zip(x, seen, strict=True):
        at = np.flatnonzero(there)
        levels = ratio * np.minimum(at[:, None], at) + np.eye(len(at))
        change = np.eye(len(at))[1:] - np.eye(len(at))[0]
        terms.append((change @ row[there], change @ levels @ change.T))
    count = sum(len(y) for y, _ in terms)
    variance = sum(y @ np.linalg.solve(c, y) for y, c in terms) / count
    return sum(stats.multivariate_normal(cov=variance * c).logpdf(y) for y, c in terms)


@pytest.mark.parametrize(("step", "noise"), [(0.3, 1.0), (1.0, 0.1)])
@pytest.mark.slow
def test_gaps_have_the_conditional_mean_under_the_likeliest_ratio(step: float, noise: float) -> None:
    x, seen = walks(step, noise, (6, 20, 1))
    best = max(RATIOS, key=lambda ratio: likelihood(x[..., 0], seen[..., 0], ratio))
    found = impute_kalman(np.where(seen, x, np.nan), seen, np.full(1, 15.0))
    for i in range(6):
        expected = conditional(x[i, :, 0], seen[i, :, 0], best)
        gaps = ~seen[i, :, 0]
        np.testing.assert_allclose(found[i, gaps, 0], expected[gaps], rtol=3e-4)
    np.testing.assert_array_equal(found[seen], x[seen].astype(np.float32))


@pytest.mark.slow
def test_it_is_better_than_lines_where_there_is_noise() -> None:
    x, seen = walks(0.1, 1.0, (8, 40, 1))
    errors = [np.abs(way(x, seen, np.full(1, 20.0)) - x)[~seen].mean() for way in (impute_kalman, impute_linear)]
    assert errors[0] < 0.9 * errors[1]


@pytest.mark.slow
def test_each_variable_has_a_ratio_of_its_own_and_what_was_never_seen_the_fill() -> None:
    calm, calm_seen = walks(0.02, 1.0, (6, 20, 1))
    wild, wild_seen = walks(3.0, 0.1, (6, 20, 1), seed=1)
    fill = np.array([20.0, 20.0])
    both = impute_kalman(np.concatenate([calm, wild], -1), np.concatenate([calm_seen, wild_seen], -1), fill)
    np.testing.assert_allclose(both[..., :1], impute_kalman(calm, calm_seen, fill[:1]), rtol=1e-6)
    np.testing.assert_allclose(both[..., 1:], impute_kalman(wild, wild_seen, fill[:1]), rtol=1e-6)
    calm_seen[2] = False
    np.testing.assert_allclose(impute_kalman(calm, calm_seen, np.array([7.0]))[2], 7.0, rtol=1e-6)
