"""Scores of forecasts against their definitions: integrals, sums over all pairs, and another implementation."""

import numpy as np
import pytest
from scipy import integrate

from tfdvae import metrics

RNG = np.random.default_rng(0)
SAMPLES = RNG.normal(size=(7, 3, 4, 2))
X = RNG.normal(size=(3, 4, 2))
SEEN = RNG.random(X.shape) < 0.6


def with_holes() -> np.ndarray:
    return np.where(SEEN, X, np.nan)


def test_errors_of_single_values() -> None:
    prediction, x = np.array([[[1.0], [2.0]]]), np.array([[[3.0], [-1.0]]])
    assert metrics.mae(prediction, x) == 2.5 and metrics.mse(prediction, x) == 6.5
    np.testing.assert_array_equal(metrics.mae(prediction, x, axis=(0, 2)), [2.0, 3.0])
    seen = np.array([[[True], [False]]])
    assert metrics.mae(prediction, np.where(seen, x, np.nan), seen) == 2.0
    np.testing.assert_array_equal(metrics.mse(prediction, x, seen[..., 0], axis=(0, 2)), [4.0, np.nan])


def test_mase_is_one_for_an_error_as_large_as_that_of_the_season_before() -> None:
    past = np.array([[[0.0], [10.0], [2.0], [13.0]]])
    assert metrics.seasonal_scale(past, 2)[0, 0] == 2.5
    assert metrics.seasonal_scale(past)[0, 0] == pytest.approx((10.0 + 8.0 + 11.0) / 3)
    holed = np.array([[True, True, True, False]])
    assert metrics.seasonal_scale(np.where(holed[..., None], past, np.nan), 2, holed)[0, 0] == 2.0
    x = np.array([[[1.0], [2.0]]])
    assert metrics.mase(x + 2.5, x, metrics.seasonal_scale(past, 2)) == 1.0


def test_a_series_that_stands_still_has_no_scale_and_is_left_out() -> None:
    past = np.stack([np.zeros(5), np.arange(5.0)], axis=-1)[None]
    scale = metrics.seasonal_scale(past)
    np.testing.assert_array_equal(scale, [[np.nan, 1.0]])
    x = np.zeros((1, 2, 2))
    assert metrics.mase(x + [100.0, 3.0], x, scale) == 3.0
    np.testing.assert_array_equal(metrics.mase(x, x, scale, axis=(0, 1)), [np.nan, 0.0])


def test_crps_is_the_integral_of_the_squared_distance_of_distributions() -> None:
    expected = np.empty(X.shape)
    for at in np.ndindex(X.shape):
        members, value = np.sort(SAMPLES[(slice(None), *at)]), X[at]

        def distance(z: float, members: np.ndarray = members, value: float = value) -> float:
            return ((members <= z).mean() - (value <= z)) ** 2

        ends = np.sort([*members, value])
        expected[at] = sum(integrate.quad(distance, a, b)[0] for a, b in zip(ends[:-1], ends[1:], strict=True))
    np.testing.assert_allclose(metrics.crps(SAMPLES, X, axis=()), expected, rtol=1e-6)
    assert metrics.crps(SAMPLES, with_holes(), SEEN) == pytest.approx(expected[SEEN].mean(), rel=1e-6)
    np.testing.assert_allclose(metrics.crps(SAMPLES, X, axis=(0, 2)), expected.mean(axis=(0, 2)), rtol=1e-6)
    assert metrics.crps(SAMPLES[:1], X) == pytest.approx(metrics.mae(SAMPLES[0], X))


def test_a_fair_crps_does_not_depend_on_the_number_of_samples() -> None:
    draws, x = np.random.default_rng(1).normal(size=(4, 200_000)), np.full(200_000, 0.3)
    # The score of N(0, 1) itself, Gneiting and Raftery 2007, equation 20.
    density, below = np.exp(-0.045) / np.sqrt(2 * np.pi), 0.6179114221889526
    exact = 0.3 * (2 * below - 1) + 2 * density - 1 / np.sqrt(np.pi)
    assert metrics.crps(draws, x, fair=True) == pytest.approx(exact, abs=0.003)
    assert metrics.crps(draws, x) > exact + 0.1


def test_quantile_scores_of_hand_made_cases() -> None:
    x, quantiles = np.array([[[10.0]]]), np.array([8.0, 12.0]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(metrics.quantile_loss(quantiles, [0.1, 0.75], x), [0.2, 0.5])
    # Levels 0.1 and 0.75 stand for (0, 0.425) and (0.425, 1).
    assert metrics.quantile_crps(quantiles, [0.1, 0.75], x) == pytest.approx(2 * (0.425 * 0.2 + 0.575 * 0.5))
    assert metrics.weighted_quantile_loss(quantiles, [0.1, 0.75], x) == pytest.approx(2 * (0.2 + 0.5) / 2 / 10)
    seen = np.array([[[True], [False]]])
    twice, rows = np.array([[[10.0], [np.nan]]]), np.tile(quantiles, [1, 1, 2, 1])
    assert metrics.weighted_quantile_loss(rows, [0.1, 0.75], twice, seen) == pytest.approx(0.07)


def test_many_quantiles_have_the_crps_of_the_distribution() -> None:
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = np.quantile(SAMPLES, levels, axis=0, method="inverted_cdf")
    found = metrics.quantile_crps(quantiles, levels, X, axis=())
    np.testing.assert_allclose(found, metrics.crps(SAMPLES, X, axis=()), atol=2e-3)


def test_coverage_counts_what_lies_within() -> None:
    x = np.array([[[0.0], [1.0], [2.0], [3.0]]])
    lower, upper = np.full(x.shape, 1.0), np.full(x.shape, 2.0)
    assert metrics.coverage(lower, upper, x) == 0.5
    np.testing.assert_array_equal(metrics.coverage(lower, upper, x, axis=(0, 2)), [0.0, 1.0, 1.0, 0.0])
    assert metrics.coverage(lower, upper, x, x < 2.5) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="some end before they begin"):
        metrics.coverage(upper, lower, x)


@pytest.mark.parametrize("joint", [1, 2])
def test_energy_score_is_that_of_all_pairs(joint: int) -> None:
    lead = X.shape[: X.ndim - joint]
    samples, x = (np.where(SEEN, y, 0.0).reshape(*n, *lead, -1) for y, n in ((SAMPLES, [7]), (X, [])))
    near = np.linalg.norm(samples - x, axis=-1).mean(axis=0)
    apart = np.linalg.norm(samples[:, None] - samples[None], axis=-1).sum(axis=(0, 1))
    known = SEEN.reshape(*lead, -1).any(axis=-1)
    for fair, pairs in ((False, 49), (True, 42)):
        expected = (near - apart / (2 * pairs))[known].mean()
        assert metrics.energy_score(SAMPLES, with_holes(), SEEN, joint=joint, fair=fair) == pytest.approx(expected)


def test_energy_score_of_one_value_is_its_crps() -> None:
    np.testing.assert_allclose(
        metrics.energy_score(SAMPLES[..., :1], X[..., :1], axis=0), metrics.crps(SAMPLES[..., 0], X[..., 0], axis=0)
    )


@pytest.mark.slow
def test_another_implementation_says_the_same() -> None:
    others = pytest.importorskip("scoringrules", reason="scoringrules is not installed: the extra `dev`")
    members = np.moveaxis(SAMPLES, 0, -1)
    for estimator, fair in (("nrg", False), ("fair", True)):
        expected = others.crps_ensemble(X, members, estimator=estimator)
        np.testing.assert_allclose(metrics.crps(SAMPLES, X, fair=fair, axis=()), expected, rtol=1e-9)
    expected = others.es_ensemble(X, np.moveaxis(SAMPLES, 0, -2))
    np.testing.assert_allclose(metrics.energy_score(SAMPLES, X, axis=()), expected, rtol=1e-9)
    levels = [0.1, 0.5, 0.8]
    quantiles = np.quantile(SAMPLES, levels, axis=0)
    expected = [others.quantile_score(X, q, level).mean() for q, level in zip(quantiles, levels, strict=True)]
    np.testing.assert_allclose(metrics.quantile_loss(quantiles, levels, X), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.mae(X[:1], X), r"prediction in the shape of x, \[3, 4, 2\], got \[1, 4, 2\]"),
        (lambda: metrics.crps(X, X), r"samples with one more axis in front of the shape of x"),
        (lambda: metrics.crps(SAMPLES[:1], X, fair=True), "at least 2"),
        (lambda: metrics.energy_score(SAMPLES[:1], X, fair=True), "at least 2"),
        (lambda: metrics.energy_score(SAMPLES, X, joint=4), "from 1 to 3"),
        (lambda: metrics.mae(X, with_holes()), "say by `observed` where it was measured"),
        (lambda: metrics.mae(X * np.inf, X), "prediction must be finite"),
        (lambda: metrics.crps(SAMPLES + np.nan, X), "samples must be finite"),
        (lambda: metrics.mae(X, X, SEEN.astype(float)), "`observed` must be boolean"),
        (
            lambda: metrics.mae(X, X, SEEN[:1]),
            r"in the shape of x, \[3, 4, 2\], or \[3, 4\] for",
        ),
        (lambda: metrics.quantile_loss(SAMPLES, [0.5], X), "each of 1 levels, got 7"),
        (lambda: metrics.quantile_loss(SAMPLES[:1], [1.0], X), "numbers between 0 and 1"),
        (lambda: metrics.quantile_crps(SAMPLES[:2], [0.5, 0.2], X), "must rise"),
        (lambda: metrics.weighted_quantile_loss(SAMPLES[:1], [0.5], 0.0 * X), "which is 0 here"),
        (lambda: metrics.seasonal_scale(X, 4), "T above the season of 4"),
        (lambda: metrics.mase(X, X, np.zeros((3, 2))), "`scale` must be positive"),
        (lambda: metrics.mase(X, X, np.ones((2, 2))), r"a scale \[B, D\]"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
