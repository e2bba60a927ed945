"""Diagonal Gaussians over z, the bounds' arithmetic, and the inequality that holds for any weights."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.oracles.support import VARIANTS, assert_mean, frames, standard_error, tiny, widen_posterior
from tfdvae import bounds, gaussian, random
from tfdvae.types import Batch, Gaussian, StepTerms

tfd = tfp.distributions

PAIRS = {
    "equal": ([0.3, -0.2], [0.7, 1.1], [0.3, -0.2], [0.7, 1.1]),
    "ordinary": ([0.3, -1.2], [0.7, 1.6], [-0.4, 0.1], [1.3, 0.5]),
    "far": ([5.0, -8.0], [0.05, 3.0], [-2.0, 4.0], [1.0, 0.2]),
}


def pair(name: str) -> tuple[Gaussian, Gaussian]:
    a, b, c, d = (tf.constant(values) for values in PAIRS[name])
    return Gaussian(a, b), Gaussian(c, d)


@pytest.mark.parametrize("name", PAIRS)
def test_the_divergence_is_that_of_tensorflow_probability(name: str) -> None:
    q, p = pair(name)
    wide = [tfd.MultivariateNormalDiag(*(tf.cast(y, tf.float64) for y in dist)) for dist in (q, p)]
    total = tf.reduce_sum(gaussian.kl_per_dimension(q, p), axis=-1)
    np.testing.assert_allclose(total, tfd.kl_divergence(*wide), rtol=1e-5, atol=1e-6)
    z = gaussian.sample(q, tf.constant([[0.5, -1.0], [2.0, 0.1]]))
    np.testing.assert_allclose(gaussian.log_prob(p, z), wide[1].log_prob(tf.cast(z, tf.float64)), rtol=1e-5)


@pytest.mark.parametrize("name", ["ordinary", "far"])
def test_the_divergence_is_the_mean_log_ratio_of_samples(name: str) -> None:
    q, p = pair(name)
    z = gaussian.sample(q, random.normal(random.make_seed(1), [200_000, 2]))
    assert_mean(gaussian.log_prob(q, z) - gaussian.log_prob(p, z), np.sum(gaussian.kl_per_dimension(q, p)))


def test_without_noise_a_sample_is_the_mean() -> None:
    q, _ = pair("ordinary")
    np.testing.assert_array_equal(gaussian.sample(q, None), q.loc)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_analytic_divergence_is_the_mean_log_ratio_along_the_path(variant: str) -> None:
    """Frame by frame: the martingale differences log q - log p - KL have mean zero at each t."""
    model = tiny(variant, 2, latent_dim=2)
    x = tf.constant(frames("gaussian", 1, 3, 2))
    terms = model.sample_terms(Batch(x), random.make_seed(8), 20_000)
    assert_mean(tf.reduce_sum(terms.kl, axis=-1) + terms.log_ratio, np.zeros(3))


def random_terms(batch: int, length: int, latent: int) -> StepTerms:
    rng = np.random.default_rng(7)
    weight = (np.arange(length) < rng.integers(1, length + 1, size=[batch, 1])).astype(np.float32)
    log_px, ratio, penalty = (rng.normal(size=[batch, length]) * weight for _ in range(3))
    kl = rng.exponential(0.4, size=[batch, length, latent]) * weight[..., None] * [0.1, 1.0, 2.0]
    global_kl, global_ratio = rng.exponential(size=batch), rng.normal(size=batch)
    parts = (log_px, kl, ratio, global_kl, global_ratio, penalty, weight)
    return StepTerms(*(tf.constant(part, tf.float32) for part in parts))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_elbo_adds_up(beta: float) -> None:
    terms = random_terms(6, 5, 3)
    log_px, kl, _, global_kl, _, penalty, _ = (np.asarray(term, np.float64) for term in terms)
    expected = (log_px - beta * kl.sum(axis=-1) - penalty).sum(axis=1) - beta * global_kl
    np.testing.assert_allclose(bounds.ELBO().objective(terms, beta, 0.0), expected, rtol=1e-5, atol=1e-5)
    averaged = expected.reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(bounds.ELBO(2).objective(terms, beta, 0.0), averaged, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("free", [0.0, 0.2, 5.0])
def test_free_bits_put_a_floor_under_the_mean_of_each_dimension(free: float) -> None:
    """Total objective = sum of log p(x) - frames * sum_d max(mean KL_d, free)."""
    terms, beta = random_terms(6, 5, 3), 0.7
    count = float(np.sum(terms.weight))
    means = np.sum(terms.kl, axis=(0, 1), dtype=np.float64) / count
    assert free != 0.2 or (means.min() < free < means.max())
    expected = np.sum(terms.log_px) - np.sum(terms.penalty) - beta * np.sum(terms.global_kl)
    expected -= beta * count * np.maximum(means, free).sum()
    np.testing.assert_allclose(np.sum(bounds.ELBO().objective(terms, beta, free)), expected, rtol=1e-5)


def test_free_bits_stop_the_gradient_below_the_floor() -> None:
    terms = random_terms(6, 5, 3)
    means = np.sum(terms.kl, axis=(0, 1)) / np.sum(terms.weight)
    with tf.GradientTape() as tape:
        tape.watch(terms.kl)
        objective = tf.reduce_sum(bounds.ELBO().objective(terms, 1.0, 0.2))
    gradient = np.asarray(tape.gradient(objective, terms.kl))[np.asarray(terms.weight) > 0.0]
    np.testing.assert_allclose(gradient, np.broadcast_to(np.where(means < 0.2, 0.0, -1.0), gradient.shape), atol=1e-6)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_the_importance_weighted_bound_adds_up(beta: float) -> None:
    terms = random_terms(6, 5, 3)
    log_px, _, ratio, _, global_ratio, penalty, _ = (np.asarray(term, np.float64) for term in terms)
    weights = ((log_px + beta * ratio - penalty).sum(axis=1) + beta * global_ratio).reshape(2, 3)
    expected = np.log(np.exp(weights).mean(axis=1))
    np.testing.assert_allclose(bounds.IWAE(3).objective(terms, beta, 0.0), expected, rtol=1e-5)


@pytest.mark.parametrize("variant", ["VAE", "VRNN", "STORN", "SRNN smooth", "DKF st_r"])
def test_more_samples_tighten_the_bound_on_the_same_weights(variant: str) -> None:
    """On nested blocks of one set of weights Jensen's inequality holds number by number, not only on average."""
    model = tiny(variant, 2, latent_dim=2)
    x = tf.constant(frames("gaussian", 3, 4, 2))
    terms = model.sample_terms(Batch(x), random.make_seed(3), 64)
    levels = [bounds.IWAE(count).per_sequence(terms).numpy().astype(np.float64) for count in (1, 2, 4, 8, 16, 32, 64)]
    np.testing.assert_array_equal(levels[0], np.asarray(bounds.log_weight(terms)))
    for looser, tighter in zip(levels, levels[1:], strict=False):
        assert np.all(tighter - looser.reshape(-1, 2).mean(axis=1) > -1e-5)
    means = [level.reshape(3, -1).mean(axis=1) for level in levels]
    assert np.all(means[-1] > means[0] + 1e-2)


def test_chunks_do_not_change_the_estimate_in_distribution() -> None:
    model = tiny("SRNN filter", 2, latent_dim=1, observation="bernoulli")
    widen_posterior(model)
    x = np.repeat(frames("bernoulli", 1, 2, 2), 8000, axis=0)
    a, b = (np.exp(model.log_prob(x, num_samples=5, chunk=chunk, seed=chunk)) for chunk in (2, 5))
    assert_mean(np.asarray(a, np.float64) - b, 0.0)
    assert np.mean(a) > 50.0 * standard_error(a - b), "the comparison would not see an error of a tenth"
    np.testing.assert_array_equal(*(model.log_prob(x[:3], num_samples=5, chunk=2, seed=seed) for seed in (1, 1)))
