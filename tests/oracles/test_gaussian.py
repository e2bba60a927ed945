"""Diagonal Gaussians over z, the bounds' arithmetic, and the inequality that holds for any weights."""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.oracles.support import VARIANTS, assert_mean, frames, standard_error, tiny, widen_posterior
from tfdvae import bounds, families, random
from tfdvae.bounds import Weighing
from tfdvae.types import Batch, Gaussian, LatentTerms, StepTerms

tfd = tfp.distributions

FAMILY = families.DiagonalGaussian(2)

PAIRS = {
    "equal": ([0.3, -0.2], [0.7, 1.1], [0.3, -0.2], [0.7, 1.1]),
    "ordinary": ([0.3, -1.2], [0.7, 1.6], [-0.4, 0.1], [1.3, 0.5]),
    "far": ([5.0, -8.0], [0.05, 3.0], [-2.0, 4.0], [1.0, 0.2]),
}


def pair(name: str) -> tuple[Gaussian, Gaussian]:
    a, b, c, d = (tf.constant(values) for values in PAIRS[name])
    return Gaussian(a, b), Gaussian(c, d)


def kl(q: Gaussian, p: Gaussian) -> tf.Tensor:
    """Of each dimension, `[.., Z]`."""
    return families.kl(FAMILY, q, FAMILY, p, None)


@pytest.mark.parametrize("name", PAIRS)
def test_the_divergence_is_that_of_tensorflow_probability(name: str) -> None:
    q, p = pair(name)
    wide = [tfd.MultivariateNormalDiag(*(tf.cast(y, tf.float64) for y in dist)) for dist in (q, p)]
    total = tf.reduce_sum(kl(q, p), axis=-1)
    np.testing.assert_allclose(total, tfd.kl_divergence(*wide), rtol=1e-5, atol=1e-6)
    z = FAMILY.sample(q, tf.constant([[0.5, -1.0], [2.0, 0.1]]))
    np.testing.assert_allclose(FAMILY.log_prob(p, z), wide[1].log_prob(tf.cast(z, tf.float64)), rtol=1e-5)


@pytest.mark.parametrize("name", ["ordinary", "far"])
def test_the_divergence_is_the_mean_log_ratio_of_samples(name: str) -> None:
    q, p = pair(name)
    z = FAMILY.sample(q, random.normal(random.make_seed(1), [200_000, 2]))
    assert_mean(FAMILY.log_prob(q, z) - FAMILY.log_prob(p, z), np.sum(kl(q, p)))


def test_without_noise_a_sample_is_the_mean() -> None:
    q, _ = pair("ordinary")
    for mean in (FAMILY.sample(q, None), FAMILY.mode(q), FAMILY.mean(q)):
        np.testing.assert_array_equal(mean, q.loc)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_analytic_divergence_is_the_mean_log_ratio_along_the_path(variant: str) -> None:
    """Frame by frame: the martingale differences log q - log p - KL have mean zero at each t."""
    model = tiny(variant, 2, latent_dim=2)
    x = tf.constant(frames("gaussian", 1, 3, 2))
    terms = model.sample_terms(Batch(x), random.make_seed(8), 20_000)
    assert_mean(terms.kl + terms.log_ratio, np.zeros(3))


class Parts(NamedTuple):
    """Random terms of two latents in float64: "z" of frames, `[B, T]` and KL `[B, T, Z]`; "v" of sequences, `[B]`."""

    log_px: np.ndarray
    kl: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    sequence_kl: np.ndarray
    sequence_log_p: np.ndarray
    sequence_log_q: np.ndarray
    penalty: np.ndarray
    weight: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        return self.log_p - self.log_q

    @property
    def sequence_ratio(self) -> np.ndarray:
        return self.sequence_log_p - self.sequence_log_q

    @property
    def terms(self) -> StepTerms:
        own = Parts(*(tf.constant(part, tf.float32) for part in self))
        z = LatentTerms(own.log_p, own.log_q, own.kl)
        v = LatentTerms(own.sequence_log_p, own.sequence_log_q, own.sequence_kl[:, None])
        return StepTerms(own.log_px, {"v": v, "z": z}, own.penalty, own.weight)


def random_parts(batch: int, length: int, latent: int) -> Parts:
    rng = np.random.default_rng(7)
    weight = (np.arange(length) < rng.integers(1, length + 1, size=[batch, 1])).astype(np.float64)
    log_px, log_p, log_q, penalty = (rng.normal(size=[batch, length]) * weight for _ in range(4))
    kl = rng.exponential(0.4, size=[batch, length, latent]) * weight[..., None] * [0.1, 1.0, 2.0]
    once = rng.exponential(size=batch), rng.normal(size=batch), rng.normal(size=batch)
    return Parts(log_px, kl, log_p, log_q, *once, penalty, weight)


def test_terms_add_up_over_latents_of_frames_and_of_sequences() -> None:
    parts = random_parts(6, 5, 3)
    terms = parts.terms
    assert (list(terms.of_frames()), list(terms.of_sequences())) == (["z"], ["v"])
    for found, expected in (
        (terms.kl, parts.kl.sum(axis=-1)),
        (terms.log_ratio, parts.ratio),
        (terms.sequence_kl, parts.sequence_kl),
        (terms.sequence_log_ratio, parts.sequence_ratio),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    doubled = terms._replace(latents={**terms.latents, "w": terms.latents["z"], "s": terms.latents["v"]})
    np.testing.assert_allclose(doubled.kl, 2.0 * parts.kl.sum(axis=-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(doubled.sequence_log_ratio, 2.0 * parts.sequence_ratio, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_elbo_adds_up(beta: float) -> None:
    parts = random_parts(6, 5, 3)
    terms, weighing = parts.terms, Weighing(beta)
    expected = (parts.log_px - beta * parts.kl.sum(axis=-1) - parts.penalty).sum(axis=1) - beta * parts.sequence_kl
    np.testing.assert_allclose(bounds.ELBO().objective(terms, weighing), expected, rtol=1e-5, atol=1e-5)
    averaged = expected.reshape(3, 2).mean(axis=1)
    np.testing.assert_allclose(bounds.ELBO(2).objective(terms, weighing), averaged, rtol=1e-5, atol=1e-5)


def test_a_temperature_anneals_the_joint_and_not_the_entropy() -> None:
    """E[c log p(x, z) - log q(z | x)]: the KL in closed form c-fold, and (1 - c) log q at the sample."""
    parts, c, beta = random_parts(6, 5, 3), 0.3, 0.8
    of_frames = c * (parts.log_px - beta * parts.kl.sum(axis=-1)) - (1.0 - c) * parts.log_q - parts.penalty
    expected = of_frames.sum(axis=1) - c * beta * parts.sequence_kl - (1.0 - c) * parts.sequence_log_q
    for temperature in (c, tf.constant(c)):
        found = bounds.ELBO().objective(parts.terms, Weighing(beta, temperature=temperature))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("per", ["group", "latent"])
@pytest.mark.parametrize("free", [0.0, 0.2, 5.0, {"z": 0.2}, {"w": 5.0}], ids=str)
def test_free_bits_put_a_floor_under_the_mean_of_each_group(free: float | dict[str, float], per: str) -> None:
    """Total objective = sum of log p(x) - frames * sum_d max(mean KL_d, free); v, of sequences, has no floor."""
    parts, beta = random_parts(6, 5, 3), 0.7
    count = float(np.sum(parts.weight))
    means = np.sum(parts.kl, axis=(0, 1)) / count
    means = means if per == "group" else means.sum(keepdims=True)
    floor = free.get("z", 0.0) if isinstance(free, dict) else free
    assert floor != 0.2 or per == "latent" or (means.min() < floor < means.max())
    expected = np.sum(parts.log_px) - np.sum(parts.penalty) - beta * np.sum(parts.sequence_kl)
    expected -= beta * count * np.maximum(means, floor).sum()
    found = bounds.ELBO().objective(parts.terms, Weighing(beta, free, free_bits_per=per))
    np.testing.assert_allclose(np.sum(found), expected, rtol=1e-5)


@pytest.mark.parametrize("free", [0.0, 1.0, 50.0, {"z": 1.0}, {"w": 5.0}], ids=str)
def test_free_nats_put_a_floor_under_the_divergence_of_each_frame(free: float | dict[str, float]) -> None:
    """Of a frame as a whole, and of no average: sum over frames that exist of max(KL_t, free)."""
    parts, beta = random_parts(6, 5, 3), 0.7
    of_frame = parts.kl.sum(axis=-1)
    floor = free.get("z", 0.0) if isinstance(free, dict) else free
    exists = parts.weight > 0.0
    assert floor != 1.0 or (of_frame[exists].min() < floor < of_frame[exists].max())
    expected = (parts.log_px - parts.penalty - beta * np.where(exists, np.maximum(of_frame, floor), 0.0)).sum(axis=1)
    terms, weighing = parts.terms, Weighing(beta, free, free_bits_per="frame")
    kl = terms.latents["z"].kl
    with tf.GradientTape() as tape:
        tape.watch(kl)
        found = bounds.ELBO().objective(terms, weighing)
    np.testing.assert_allclose(found, expected - beta * parts.sequence_kl, rtol=1e-5, atol=1e-5)
    slope = np.where(of_frame < floor, 0.0, -beta)[..., None] * np.ones(3)
    np.testing.assert_allclose(np.asarray(tape.gradient(found, kl))[exists], slope[exists], atol=1e-6)


def test_free_bits_stop_the_gradient_below_the_floor() -> None:
    parts = random_parts(6, 5, 3)
    terms = parts.terms
    means = np.sum(parts.kl, axis=(0, 1)) / np.sum(parts.weight)
    kl = terms.latents["z"].kl
    with tf.GradientTape() as tape:
        tape.watch(kl)
        objective = tf.reduce_sum(bounds.ELBO().objective(terms, Weighing(1.0, 0.2)))
    gradient = np.asarray(tape.gradient(objective, kl))[parts.weight > 0.0]
    np.testing.assert_allclose(gradient, np.broadcast_to(np.where(means < 0.2, 0.0, -1.0), gradient.shape), atol=1e-6)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_the_importance_weighted_bound_adds_up(beta: float) -> None:
    parts = random_parts(6, 5, 3)
    of_frames = (parts.log_px + beta * parts.ratio - parts.penalty).sum(axis=1)
    weights = (of_frames + beta * parts.sequence_ratio).reshape(2, 3)
    expected = np.log(np.exp(weights).mean(axis=1))
    np.testing.assert_allclose(bounds.IWAE(3).objective(parts.terms, Weighing(beta)), expected, rtol=1e-5)


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


@pytest.mark.slow
def test_chunks_do_not_change_the_estimate_in_distribution() -> None:
    model = tiny("SRNN filter", 2, latent_dim=1, observation="bernoulli")
    widen_posterior(model)
    x = np.repeat(frames("bernoulli", 1, 2, 2), 8000, axis=0)
    a, b = (np.exp(model.log_prob(x, num_samples=5, chunk=chunk, seed=chunk)) for chunk in (2, 5))
    assert_mean(np.asarray(a, np.float64) - b, 0.0)
    assert np.mean(a) > 50.0 * standard_error(a - b), "the comparison would not see an error of a tenth"
    np.testing.assert_array_equal(*(model.log_prob(x[:3], num_samples=5, chunk=2, seed=seed) for seed in (1, 1)))
