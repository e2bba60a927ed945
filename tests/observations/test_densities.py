"""Densities, samples and means: every number against an independent way to get it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdvae.observations import OBSERVATIONS, AutoregressiveBernoulli, Gamma
from tfdvae.observations.numerics import spread_components


def moments_on_grid(observation, case, params):
    points, weights = case.grid()
    density = np.exp(observation.log_prob(params[None], points).numpy().astype(np.float64)) * weights
    mean = density @ points
    return density.sum(), mean, density @ (points - mean) ** 2


def test_every_family_has_a_case(cases):
    assert set(cases) == set(OBSERVATIONS)


def test_density_integrates_to_one(observation, case, features_for):
    for seed in range(3):
        params = observation(features_for(1, seed=seed))[0]
        total, _, _ = moments_on_grid(observation, case, params)
        np.testing.assert_allclose(total, 1.0, atol=2e-4)


def test_log_prob_is_that_of_the_distribution(observation, case, features_for):
    x = case.data(np.random.default_rng(2), 12).reshape(3, 4, -1).astype(np.float32)
    params = observation(features_for(3, 4))
    distribution = observation.distribution(params)
    assert distribution.event_shape == (case.x_dim,) and distribution.batch_shape == (3, 4)
    log_prob = observation.log_prob(params, x)
    assert log_prob.shape == (3, 4) and log_prob.dtype == tf.float32
    np.testing.assert_allclose(log_prob, distribution.log_prob(x), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(log_prob[1, 2], observation.log_prob(params[1, 2], x[1, 2]), rtol=1e-5)


def test_distribution_samples_are_in_the_support(observation, features_for):
    sample = observation.distribution(observation(features_for(2, 3))).sample(5, seed=(1, 2))
    assert sample.shape == (5, 2, 3, observation.x_dim)
    observation.validate(sample.numpy())


def test_log_prob_broadcasts_over_samples(observation, case, features_for):
    params = observation(features_for(2, 3, 4))
    x = case.data(np.random.default_rng(2), 12).reshape(3, 4, -1)
    log_prob = observation.log_prob(params, x)
    assert log_prob.shape == (2, 3, 4)
    np.testing.assert_allclose(log_prob[1], observation.log_prob(params[1], x), rtol=1e-5, atol=1e-5)


def test_sample_moments(observation, case, features_for):
    count = 40_000
    params = observation(features_for(1))[0]
    _, mean, variance = moments_on_grid(observation, case, params)
    noise = np.random.default_rng(3).random((count, observation.noise_dim), np.float32)
    sample = observation.sample(tf.tile(params[None], [count, 1]), noise).numpy().astype(np.float64)
    observation.validate(sample)
    squares = (sample - mean) ** 2
    np.testing.assert_array_less(np.abs(sample.mean(0) - mean), 5 * sample.std(0) / count**0.5 + 1e-6)
    np.testing.assert_array_less(np.abs(squares.mean(0) - variance), 5 * squares.std(0) / count**0.5 + 1e-6)


def test_sample_is_a_function_of_the_noise(observation, features_for):
    params = observation(features_for(3, 4))
    noise = np.random.default_rng(3).random((2, 3, 4, observation.noise_dim), np.float32)
    first, again, other = (observation.sample(params, n).numpy() for n in (noise[0], noise[0], noise[1]))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    for edge in (0.0, 1.0):
        observation.validate(observation.sample(params, np.full_like(noise[0], edge)).numpy())


def test_mean(observation, case, features_for):
    if isinstance(observation, AutoregressiveBernoulli):
        observation.output_kernel.assign(tf.zeros_like(observation.output_kernel))
    params = observation(features_for(1))[0]
    _, mean, _ = moments_on_grid(observation, case, params)
    np.testing.assert_allclose(observation.mean(params), mean, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("scale", ["softplus", "exp"])
def test_gaussian_scale_maps(make, scale):
    observation = make("gaussian", scale=scale, min_scale=0.01)
    raw = np.array([-1e4, -3.0, 0.0, 2.0], np.float32)
    params = np.stack([np.zeros_like(raw), np.zeros_like(raw), raw, raw], axis=-1)
    expected = np.log1p(np.exp(raw[1:])) + 0.01 if scale == "softplus" else np.exp(raw[1:] / 2)
    stddev = observation.distribution(params).stddev().numpy()[:, 0]
    np.testing.assert_allclose(stddev[0], 0.01, rtol=1e-4)
    np.testing.assert_allclose(stddev[1:], expected, rtol=2e-3)


def test_gamma_is_the_itakura_saito_divergence():
    observation = Gamma()
    observation.build((None, 4), (None, 5))
    rng = np.random.default_rng(5)
    x = rng.exponential(2.0, (7, 5))
    log_means = rng.normal(size=(2, 7, 5))

    def divergence(log_mean):
        ratio = x / np.exp(log_mean)
        return (ratio - np.log(ratio) - 1.0).sum(-1)

    log_prob = observation.log_prob(log_means, x).numpy()
    np.testing.assert_allclose(
        log_prob[0] - log_prob[1], divergence(log_means[1]) - divergence(log_means[0]), rtol=1e-4, atol=1e-4
    )


def test_gamma_is_finite_for_silence():
    observation = Gamma(min_mean=1e-8)
    observation.build((None, 4), (None, 3))
    log_prob = observation.log_prob(np.full((1, 3), -1e4, np.float32), np.zeros((1, 3)))
    np.testing.assert_allclose(log_prob, [-3 * np.log(1e-8)], rtol=1e-5)


def test_autoregressive_structure(make, features_for):
    observation = make("autoregressive_bernoulli")
    params = observation(features_for(1))
    x = tf.random.stateless_uniform((1, observation.x_dim), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = observation.logits(params, x)
    jacobian = tape.jacobian(logits, x)[0, :, 0].numpy()
    parents = np.tril(np.ones_like(jacobian), -1).astype(bool)
    np.testing.assert_array_equal(jacobian != 0.0, parents)


@pytest.mark.parametrize(("x_dim", "hidden"), [(2, 1), (5, 4), (5, 11), (88, None)])
def test_autoregressive_masks_reach_everything_before_and_use_every_unit(x_dim, hidden):
    observation = AutoregressiveBernoulli(hidden=hidden)
    observation.build((None, 3), (None, x_dim))
    paths = observation.input_mask @ observation.output_mask
    np.testing.assert_array_equal(paths > 0, np.tril(np.ones((x_dim, x_dim), bool), -1).T)
    assert observation.input_mask.any(axis=0).all() and observation.output_mask.any(axis=1).all()


def test_autoregressive_needs_enough_hidden_units():
    with pytest.raises(ValueError, match="hidden >= 4"):
        AutoregressiveBernoulli(hidden=3).build((None, 3), (None, 5))
    with pytest.raises(ValueError, match="use Bernoulli"):
        AutoregressiveBernoulli().build((None, 3), (None, 1))


@pytest.mark.slow
def test_autoregressive_learns_a_dependence_that_independent_keys_cannot(make):
    pairs = np.array([[0, 0, 1, 1], [1, 1, 0, 0]], np.float32)
    features = np.zeros((2, 6), np.float32)
    best = {}
    for family in ("bernoulli", "autoregressive_bernoulli"):
        observation = make(family)
        optimizer = keras.optimizers.Adam(0.1)
        for _ in range(60):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(observation.log_prob(observation(features), pairs))
            gradients = tape.gradient(loss, observation.trainable_weights)
            optimizer.apply_gradients(zip(gradients, observation.trainable_weights, strict=True))
        best[family] = -float(loss)
    assert best["bernoulli"] < 4 * np.log(0.5) + 1e-3
    assert best["autoregressive_bernoulli"] > np.log(0.5) - 0.15


def test_pen_correlation_stays_inside(make):
    observation = make("pen", max_correlation=0.9)
    params = np.zeros((2, observation.params_dim), np.float32)
    params[0, 15:18], params[1, 15:18] = 1e4, -1e4
    correlation = observation.components(params).correlation.numpy()
    np.testing.assert_allclose(correlation, [[0.9] * 3, [-0.9] * 3], rtol=1e-6)


def test_autoregressive_joint_of_twelve_features_sums_to_one(features_for):
    observation = AutoregressiveBernoulli(hidden=40)
    observation.build((None, 6), (None, 12))
    observation.output_kernel.assign(np.random.default_rng(7).normal(size=(40, 12)))
    points = np.unpackbits(np.arange(2**12, dtype=">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 4:]
    probability = tf.exp(observation.log_prob(observation(features_for(1)), points.astype(np.float32)))
    np.testing.assert_allclose(tf.reduce_sum(probability), 1.0, rtol=1e-4)


def test_spread_components_keep_mean_and_covariance():
    frames = np.random.default_rng(0).multivariate_normal([3.0, -1.0], [[2.0, 0.7], [0.7, 1.0]], 200)
    loc, within = spread_components(frames, 6)
    np.testing.assert_allclose(loc.mean(0), frames.mean(0), rtol=1e-12)
    np.testing.assert_allclose(within + np.cov(loc.T, bias=True), np.cov(frames.T, bias=True), rtol=1e-12)
    assert np.unique(loc).size == loc.size and np.linalg.eigvalsh(within).min() > 0.0
    _, within = spread_components(np.array([[0.1, 0.1]]), 3)
    assert np.diagonal(within).min() >= 0.0


@pytest.mark.slow
def test_autoregressive_log_prob_is_two_matrix_products(make):
    observation = make("autoregressive_bernoulli")
    specs = [tf.TensorSpec([None, None, size]) for size in (observation.params_dim, observation.x_dim)]
    graph = tf.function(observation.log_prob, input_signature=specs).get_concrete_function()
    products = [op.type for op in graph.graph.get_operations() if "MatMul" in op.type]
    assert products == ["MatMul", "MatMul"]
