"""Where everything is linear and Gaussian, the evidence is known and an exact posterior makes log w constant."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles.linear import (
    PAIRED,
    PLANE,
    SCALAR,
    System,
    linear_dkf,
    linear_vae,
    set_weights,
    smoother,
    softplus_inverse,
)
from tests.oracles.support import Grid, assert_mean, gaussian_log_density, widen_posterior
from tfdvae import bounds, random

ORTHOGONAL = System(
    np.zeros([2, 2]),
    np.ones(2),
    np.array([[1.0, 0.5], [-0.5, 1.0], [0.0, 0.0]]),
    np.array([0.5, -1.0, 2.0]),
    np.array([0.7, 0.7, 1.3]),
)


def draw(system: System, batch: int, length: int, seed: int = 0) -> np.ndarray:
    """Sequences [B, T, D] of the system."""
    mean, covariance = system.moments(length)
    x = np.random.default_rng(seed).multivariate_normal(mean, covariance, batch)
    return x.reshape(batch, length, -1).astype(np.float32)


def evidence(system: System, x: np.ndarray) -> np.ndarray:
    return gaussian_log_density(x.reshape(len(x), -1).astype(np.float64), *system.moments(x.shape[1]))


@pytest.mark.parametrize("system", [SCALAR, PAIRED, PLANE], ids=["scalar", "paired", "plane"])
def test_the_matrices_agree_with_tensorflow_probability(system: System) -> None:
    x = draw(system, 4, 5)
    exact = system.distribution(5).log_prob(x.astype(np.float64))
    np.testing.assert_allclose(evidence(system, x), exact, rtol=1e-10)


@pytest.mark.parametrize("system", [SCALAR, PAIRED], ids=["scalar", "paired"])
@pytest.mark.slow
def test_the_grid_agrees_with_the_kalman_filter(system: System) -> None:
    x = draw(system, 3, 2)
    model = linear_dkf(system)
    exact = system.distribution(2).log_prob(x.astype(np.float64))
    grid = [Grid(model, x[b : b + 1]).evidence for b in range(3)]
    np.testing.assert_allclose(grid, exact, rtol=1e-6)


@pytest.mark.parametrize("inference", ["st_r", "mf_lr", "frame"])
@pytest.mark.parametrize("system", [SCALAR, PLANE], ids=["scalar", "plane"])
@pytest.mark.slow
def test_importance_sampling_agrees_with_the_kalman_filter(system: System, inference: str) -> None:
    length, repeats, count = 3, 64, 4000
    model = linear_dkf(system, inference)
    widen_posterior(model)
    x = draw(system, 1, length)
    exact = float(system.distribution(length).log_prob(x[0].astype(np.float64)))
    estimates = model.log_prob(np.repeat(x, repeats, axis=0), num_samples=count, chunk=1000, seed=3)
    ratios = np.exp(np.asarray(estimates, np.float64) - exact)
    assert ratios.std() < 0.3
    assert_mean(ratios, 1.0)
    assert_mean(estimates + 0.5 * ratios.var(), exact)


@pytest.mark.slow
def test_an_exact_posterior_makes_the_log_weights_of_a_vae_constant() -> None:
    model = linear_vae(ORTHOGONAL)
    x = draw(ORTHOGONAL, 4, 3)
    exact = evidence(ORTHOGONAL, x)
    terms = model.sample_terms(tfdvae.Batch(tf.constant(x)), random.make_seed(4), 50)
    weights = np.reshape(bounds.log_weight(terms), [4, 50])
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], 50, axis=1), rtol=1e-5, atol=1e-4)
    for count, chunk in ((1, 1), (7, 3), (40, 40)):
        np.testing.assert_allclose(model.log_prob(x, num_samples=count, chunk=chunk), exact, rtol=1e-5, atol=1e-4)
    assert bounds.ELBO().per_sequence(terms).numpy().std() > 0.1


@pytest.mark.parametrize("system", [SCALAR, PAIRED], ids=["scalar", "paired"])
@pytest.mark.slow
def test_an_exact_smoother_makes_the_log_weights_constant(system: System) -> None:
    length = 6
    model, x = smoother(system), draw(system, 3, length)
    exact = system.distribution(length).log_prob(x.astype(np.float64)).numpy()
    terms = model.sample_terms(tfdvae.Batch(tf.constant(x)), random.make_seed(4), 50)
    weights = np.reshape(bounds.log_weight(terms), [3, 50])
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], 50, axis=1), rtol=1e-5, atol=1e-4)
    for bound in (bounds.IWAE(1), bounds.IWAE(10)):
        expected = np.repeat(exact, 50 // bound.num_samples)
        np.testing.assert_allclose(bound.per_sequence(terms), expected, rtol=1e-5, atol=1e-4)
    for chunk in (1, 3, 40):
        np.testing.assert_allclose(model.log_prob(x, num_samples=10, chunk=chunk), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_an_exact_smoother_skips_frames_that_do_not_exist() -> None:
    model, x = smoother(PAIRED), draw(PAIRED, 3, 5)
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 0, 0, 0, 0]], bool)
    x[~mask] = np.nan
    exact = [evidence(PAIRED, x[b : b + 1, mask[b]])[0] for b in range(3)]
    np.testing.assert_allclose(model.log_prob(x, mask, num_samples=3), exact, rtol=1e-5, atol=1e-4)


def exact_dkf(system: System, small: float = 1e-3) -> tfdvae.DKF:
    """A deep Kalman smoother that holds the exact posterior of two frames of a scalar system.

    Its backward GRU stays where tanh is linear, to a relative error of small^2. Its units, at the last frame and at
    the one before: 0 is always 1/2, so that gates know whether a frame follows; 1 is a share of x_t, and at the first
    frame half of what it was; 2 is what unit 1 was; 3 tells that a frame follows.
    """
    a, variance = system.transition[0, 0], system.noise[0] ** 2
    gain, own = system.emission[0, 0] / system.scale[0] ** 2, system.emission[0, 0] ** 2 / system.scale[0] ** 2
    damping = a / (1.0 + variance * own)
    last, first = 1.0 / variance + own, 1.0 + own + a * damping * own
    share, weight = 0.5 * first / last, 2.0 * gain / first
    follows = damping * gain / first / share - 0.5 * weight

    model = linear_dkf(system, "st_r", units=4, cell="gru", encoder_phi_x=(), combiner_units=(), posterior_units=())
    kernel, recurrent, bias = np.zeros([1, 3, 4]), np.zeros([4, 3, 4]), np.zeros([2, 3, 4])
    update, reset, candidate = range(3)
    stay = np.log((1.0 - share) / share)
    bias[0, update] = [-100.0, stay, -100.0, -100.0]
    recurrent[0, update, 1] = -2.0 * stay
    bias[0, reset] = 100.0
    bias[0, candidate, :2] = [np.arctanh(0.5), -small * system.offset[0]]
    kernel[0, candidate, 1] = small
    recurrent[1, candidate, 2] = 1.0
    recurrent[0, candidate, 3] = 1.0
    gru = model.cell.backward_rnn.stack[0].cell
    for variable, value in ((gru.kernel, kernel), (gru.recurrent_kernel, recurrent), (gru.bias, bias)):
        variable.assign(value.reshape(-1, 12))

    set_weights(model.cell.combiner_output, np.eye(4)[1:2] * small * a / variance / last / weight, np.zeros(4))
    raw_last, raw_first = (softplus_inverse(p**-0.5 - model.cell.min_scale) for p in (last, first))
    head = np.zeros([4, 2])
    head[1:3, 0] = 2.0 * weight / small, 2.0 * follows / small
    head[3, 1] = 2.0 * (raw_first - raw_last) / np.tanh(0.5)
    set_weights(model.cell.posterior_head.output_layer, head, np.array([0.0, raw_last]))
    return model


@pytest.mark.slow
def test_a_deep_kalman_smoother_can_hold_the_exact_posterior() -> None:
    model, x = exact_dkf(SCALAR), draw(SCALAR, 4, 2)
    exact = SCALAR.distribution(2).log_prob(x.astype(np.float64)).numpy()
    terms = model.sample_terms(tfdvae.Batch(tf.constant(x)), random.make_seed(4), 50)
    weights = np.reshape(bounds.log_weight(terms), [4, 50])
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], 50, axis=1), rtol=1e-5, atol=1e-4)
    assert Grid(model, x[:1]).gap == pytest.approx(0.0, abs=1e-5)
    np.testing.assert_allclose(model.log_prob(x, num_samples=3), exact, rtol=1e-5, atol=1e-4)
