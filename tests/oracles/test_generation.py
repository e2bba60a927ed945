"""Generation, forecasting and imputation of linear-Gaussian models have the moments of the Gaussian they sample."""

from typing import Any

import numpy as np
import pytest

from tests.oracles.linear import PAIRED, PLANE, SCALAR, System, conditional, linear_dkf, linear_vae, smoother
from tests.oracles.support import assert_mean

COLUMN = System(np.zeros([1, 1]), np.ones(1), np.array([[1.2], [-0.9]]), np.array([0.5, -1.0]), np.array([0.6, 0.8]))


def assert_moments(samples: Any, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Mean and covariance of independent Gaussian vectors [N, M]; (Wick) var(y_i y_j) = S_ii S_jj + S_ij^2."""
    y = np.asarray(samples, np.float64) - mean
    assert_mean(y, np.zeros(len(mean)), variance=np.diag(covariance))
    products = y[:, :, None] * y[:, None, :]
    diagonal = np.diag(covariance)
    assert_mean(products, covariance, variance=diagonal[:, None] * diagonal + covariance**2)


@pytest.mark.parametrize("system", [PAIRED, PLANE], ids=["paired", "plane"])
@pytest.mark.slow
def test_generated_sequences_have_the_moments_of_the_state_space_model(system: System) -> None:
    length = 4
    generated = linear_dkf(system).generate(length, 20_000, seed=1)
    mean, covariance = system.moments(length)
    assert_moments(np.reshape(generated.x, [20_000, -1]), mean, covariance)
    np.testing.assert_allclose(mean.reshape(length, -1), system.distribution(length).mean(), atol=1e-12)


def test_generated_latents_have_the_moments_of_the_transition() -> None:
    generated = linear_dkf(PLANE).generate(3, 20_000, seed=2)
    latents = PLANE._replace(emission=np.eye(2), offset=np.zeros(2), scale=np.zeros(2))
    assert_moments(np.reshape(generated.latents["z"], [20_000, -1]), *latents.moments(3))


def test_the_mean_path_is_the_mean() -> None:
    generated = linear_dkf(PLANE).generate(3, 2, sample=False)
    np.testing.assert_allclose(generated.x, np.tile(PLANE.offset, [2, 3, 1]), atol=1e-6)


@pytest.mark.parametrize("past", [1, 4])
@pytest.mark.parametrize("system", [SCALAR, PAIRED], ids=["scalar", "paired"])
def test_a_forecast_is_the_kalman_prediction(system: System, past: int) -> None:
    horizon, count = 3, 20_000
    mean, covariance = system.moments(past + horizon)
    known = np.arange(len(mean)) < past * system.x_dim
    x = np.random.default_rng(3).multivariate_normal(mean, covariance).astype(np.float32)
    expected, left = conditional(mean, covariance, known, x.astype(np.float64))
    prefix = x[known].reshape(1, past, -1)
    forecast = smoother(system).forecast(prefix, horizon=horizon, num_samples=count, seed=4)
    assert_moments(np.reshape(forecast.samples, [count, -1]), expected, left)
    # `mean` averages the means of p(x_t | z_t), which vary less than x_t itself.
    error = np.sqrt((np.diag(left) - np.tile(system.scale**2, horizon)) / count)
    assert np.all(np.abs(np.reshape(forecast.mean, -1) - expected) < 5.0 * error)


def test_a_continuation_is_drawn_from_the_same_prediction() -> None:
    past, horizon, count = 3, 2, 20_000
    mean, covariance = PAIRED.moments(past + horizon)
    known = np.arange(len(mean)) < past * 2
    x = np.random.default_rng(3).multivariate_normal(mean, covariance).astype(np.float32)
    prefix = np.tile(x[known].reshape(1, past, 2), [count, 1, 1])
    generated = smoother(PAIRED).generate(horizon, prefix=prefix, seed=6)
    assert_moments(np.reshape(generated.x, [count, -1]), *conditional(mean, covariance, known, x.astype(np.float64)))


@pytest.mark.slow
def test_a_forecast_starts_after_the_last_existing_frame() -> None:
    count = 20_000
    mask = np.array([[1, 1, 0, 0], [0, 1, 0, 1]], bool)
    x = np.random.default_rng(3).normal(size=[2, 4, 1]).astype(np.float32)
    moments = SCALAR.moments(3)
    known = np.array([True, True, False])
    forecast = smoother(SCALAR).forecast(
        np.where(mask[..., None], x, np.nan), mask, horizon=1, num_samples=count, seed=4
    )
    for b in range(2):
        given = np.append(x[b, mask[b], 0].astype(np.float64), 0.0)
        assert_moments(forecast.samples[:, b, :, 0], *conditional(*moments, known, given))


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.slow
def test_a_missing_feature_is_drawn_from_its_conditional(missing: int) -> None:
    """Two correlated features and an exact posterior: the chain is a Gibbs sampler of p(x_missing | x_observed)."""
    count = 20_000
    x, known = np.array([1.9, -0.4], np.float32), np.arange(2) != missing
    expected, left = conditional(*COLUMN.moments(1), known, x.astype(np.float64))
    broken = np.where(known, x, np.nan)[None, None]
    imputed = linear_vae(COLUMN).impute(broken, observed=known[None, None], num_samples=count, num_sweeps=30, seed=2)
    samples = np.asarray(imputed.samples)
    assert_moments(samples[:, 0, 0, missing, None], expected, left)
    np.testing.assert_array_equal(samples[:, 0, 0, 1 - missing], np.full(count, x[1 - missing]))
    assert abs(imputed.mean[0, 0, missing] - expected[0]) < 5.0 * np.sqrt(left[0, 0] / count)
    assert imputed.mean[0, 0, 1 - missing] == x[1 - missing]
    assert abs(expected[0] - COLUMN.offset[missing]) > 0.3


@pytest.mark.slow
def test_missing_frames_and_features_of_a_sequence_are_drawn_from_their_conditional() -> None:
    length, count = 4, 10_000
    mean, covariance = PAIRED.moments(length)
    observed = np.array([[1, 1], [0, 0], [1, 0], [1, 1]], bool)
    known = observed.reshape(-1)
    x = np.random.default_rng(5).multivariate_normal(mean, covariance).astype(np.float32)
    expected, left = conditional(mean, covariance, known, x.astype(np.float64))
    broken = np.where(known, x, np.nan).reshape(1, length, 2).astype(np.float32)
    imputed = smoother(PAIRED).impute(broken, observed=observed[None], num_samples=count, num_sweeps=30, seed=2)
    samples = np.reshape(imputed.samples, [count, -1])
    assert_moments(samples[:, ~known], expected, left)
    np.testing.assert_array_equal(samples[:, known], np.tile(x[known], [count, 1]))
    assert np.all(np.abs(np.reshape(imputed.mean, -1)[~known] - expected) < 5.0 * np.sqrt(np.diag(left) / count))


@pytest.mark.slow
def test_reconstructions_of_an_exact_posterior_are_the_smoothed_means() -> None:
    """The mean path of a linear smoother is E[z | x], so the reconstruction is the emission's mean of it."""
    length = 4
    mean, covariance = PAIRED.moments(length)
    x = np.random.default_rng(5).multivariate_normal(mean, covariance).astype(np.float32)
    noise = np.diag(np.tile(PAIRED.scale**2, length))
    smoothed = mean + (covariance - noise) @ np.linalg.solve(covariance, x - mean)
    reconstructed = smoother(PAIRED).reconstruct(x.reshape(1, length, 2))
    np.testing.assert_allclose(np.reshape(reconstructed, -1), smoothed, rtol=1e-4, atol=1e-5)
