"""Gradients of samples, densities and divergences against finite differences; straight-through ones by definition."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.families.cases import CASES, DISCRETE, FLOWS, KINDS, drawn, noise_for, raw_for
from tfdvae import families
from tfdvae.families import DiagonalGaussian, Family

STEP = 0.02


def check(function: Callable[[tf.Tensor], tf.Tensor], at: np.ndarray) -> None:
    """Directional derivatives at `at`, to a thousandth of their size.

    Five-point differences: their error is of order STEP^4, and that of float32 below 1e-5 of the value.
    """
    rng = np.random.default_rng(9)
    at = tf.constant(at, tf.float32)
    weights = tf.constant(rng.normal(size=function(at).shape), tf.float32)

    @tf.function(autograph=False)
    def weighted(at: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(weights * function(at))

    with tf.GradientTape() as tape:
        tape.watch(at)
        value = weighted(at)
    gradient = np.asarray(tape.gradient(value, at), np.float64)
    assert np.all(np.isfinite(gradient))
    for _ in range(3):
        direction = rng.normal(size=at.shape).astype(np.float32)
        ahead = [float(weighted(at + count * STEP * direction)) for count in (1, -1, 2, -2)]
        expected = (8.0 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / (12.0 * STEP)
        size = np.linalg.norm(gradient) * np.linalg.norm(direction) / direction.size**0.5
        assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-3, abs=1e-3 * size + 2e-4)


def prior_of(family: Family) -> Family:
    return DiagonalGaussian(6) if isinstance(family, families.Flow) else family


@pytest.mark.parametrize("name", [name for name in KINDS if name not in DISCRETE])
def test_samples(name: str) -> None:
    family = CASES[name](6)
    noise = noise_for(family, 2, 3)
    check(lambda raw: family.sample(family.parameters(raw), noise), raw_for(family, 2, 3))
    check(lambda raw: family.mode(family.parameters(raw)), raw_for(family, 2, 3))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.slow
def test_log_prob_of_a_given_z(name: str) -> None:
    """Of the parameters, and of z: for flows through the inversion."""
    family = CASES[name](6)
    dist, _, z = drawn(family, 2, 3, spread=0.4)
    check(lambda raw: family.log_prob(family.parameters(raw), z), raw_for(family, 2, 3, spread=0.4))
    check(lambda z: family.log_prob(dist, z), z)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in DISCRETE])
@pytest.mark.slow
def test_log_prob_of_the_sample_needs_no_inversion(name: str) -> None:
    """Given the noise, the gradient is that of the whole: of z, and of the density at z."""
    family = CASES[name](6)
    noise, raw = noise_for(family, 2, 3), tf.constant(raw_for(family, 2, 3, spread=0.4))
    found = []
    for known in (noise, None):

        def log_prob(raw: tf.Tensor, known: tf.Tensor | None = known) -> tf.Tensor:
            dist = family.parameters(raw)
            return family.log_prob(dist, family.sample(dist, noise), known)

        with tf.GradientTape() as tape:
            tape.watch(raw)
            value = log_prob(raw)
        found.append(tape.gradient(value, raw))
        check(log_prob, raw)
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.slow
def test_divergences(name: str) -> None:
    """Of q and of p."""
    family, prior = CASES[name](6), prior_of(CASES[name](6))
    q, p = raw_for(family, 2, 3, seed=1, spread=0.4), raw_for(prior, 2, 3, seed=2, spread=0.4)
    noise, z = noise_for(family, 2, 3), drawn(family, 2, 3).z

    def of_q(raw: tf.Tensor) -> tf.Tensor:
        dist = family.parameters(raw)
        sample = family.sample(dist, noise) if name in FLOWS else z
        return families.kl(family, dist, prior, prior.parameters(p), sample, noise)

    check(of_q, q)
    check(lambda raw: families.kl(family, family.parameters(q), prior, prior.parameters(raw), z, None), p)


@pytest.mark.parametrize("name", FLOWS)
def test_the_weights_of_a_flow_learn(name: str) -> None:
    """One step against the gradient lowers the divergence, by as much as the gradient says."""
    family = CASES[name](3)
    q, noise, _ = drawn(family, 40)
    weights = family.network.trainable_weights

    def divergence() -> tf.Tensor:
        z = family.sample(q, noise)
        return tf.reduce_mean(families.kl(family, q, family.base, family.base.standard(z), z, noise))

    with tf.GradientTape() as tape:
        before = divergence()
    gradients = tape.gradient(before, weights)
    assert all(gradient is not None for gradient in gradients)
    size = sum(float(tf.reduce_sum(tf.square(gradient))) for gradient in gradients)
    rate = 2e-3 / size**0.5
    values = []
    for sign in (1.0, -1.0):
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_add(sign * rate * gradient)
        values.append(float(divergence()))
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.assign_sub(sign * rate * gradient)
    assert values[0] - values[1] == pytest.approx(2.0 * rate * size, rel=0.02)


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("path", ["sample", "mode"])
def test_straight_through_gradients_are_those_of_the_probabilities(name: str, path: str) -> None:
    family = CASES[name](6)
    raw, weights = tf.constant(raw_for(family, 4, 3)), np.random.default_rng(0).normal(size=(4, 3, 6))
    noise = noise_for(family, 4, 3) if path == "sample" else None
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(raw)
        dist = family.parameters(raw)
        z, mean = (tf.reduce_sum(weights * y) for y in (family.sample(dist, noise), family.mean(dist)))
    expected = tape.gradient(mean, raw)
    np.testing.assert_array_equal(tape.gradient(z, raw), expected)
    assert np.all(np.abs(expected) > 0.0)
