"""Densities, samples and moments of every family, each against an independent way to get them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.families.cases import (
    CASES,
    CONTINUOUS,
    DISCRETE,
    FLOWS,
    assert_mean,
    drawn,
    points_of,
    raw_for,
    samples,
)
from tfdvae.families import FAMILIES, DiagonalGaussian, Family, Flow, TriangularGaussian

stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")


def one(family: Family, seed: int = 1) -> tuple:
    return family.parameters(raw_for(family, seed=seed))


def probabilities(family: Family, dist: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Points `[M, Z]`, and the probability that belongs to each `[M]`."""
    points, weights = points_of(family)
    repeated = type(dist)(*(value[None] for value in dist))
    return points.astype(np.float64), weights * np.exp(np.asarray(family.log_prob(repeated, points), np.float64))


def test_every_family_has_a_case() -> None:
    assert {type(make(6)) for make in CASES.values()} == {*FAMILIES.values(), Flow}


@pytest.mark.parametrize(
    ("name", "dim"), [*itertools.product(CONTINUOUS, (1, 2)), *itertools.product(DISCRETE, (2, 6))]
)
def test_densities_integrate_to_one(name: str, dim: int) -> None:
    family = CASES[name](dim)
    for seed in range(2):
        assert probabilities(family, one(family, seed))[1].sum() == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_samples_have_the_moments_of_the_density(name: str) -> None:
    family = CASES[name](6 if name in DISCRETE else 2)
    dist = one(family)
    points, weights = probabilities(family, dist)
    mean = weights @ points
    z = np.asarray(samples(family, dist, 20_000).z, np.float64)
    assert_mean(z, mean)
    products = (points - mean)[:, :, None] * (points - mean)[:, None, :]
    assert_mean((z - mean)[:, :, None] * (z - mean)[:, None, :], np.tensordot(weights, products, 1), atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_mean_and_scale_are_those_of_the_density(name: str) -> None:
    """Exactly, but for flows, whose cubature is exact for affine maps only."""
    family = CASES[name](6 if name in DISCRETE else 2)
    dist = one(family)
    points, weights = probabilities(family, dist)
    mean = weights @ points
    scale = np.sqrt(weights @ np.square(points - mean))
    tolerance = 0.12 * scale.max() if name in FLOWS else 1e-4
    np.testing.assert_allclose(family.mean(dist), mean, atol=tolerance)
    np.testing.assert_allclose(family.scale(dist), scale, atol=tolerance)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_samples_follow_the_distribution_function(name: str) -> None:
    """Kolmogorov and Smirnov's test in one dimension, at the level of five standard deviations."""
    family = CASES[name](1)
    dist = one(family)
    points, weights = probabilities(family, dist)
    z = np.asarray(samples(family, dist, 20_000).z)[:, 0]
    nodes = points[:, 0]
    edges = np.concatenate([[-15.0], (nodes[1:] + nodes[:-1]) / 2.0])
    tested = stats.kstest(z, lambda x: np.interp(x, edges, np.cumsum(weights) - weights))
    assert tested.pvalue > 6e-7


@pytest.mark.parametrize("name", ["gaussian", "gaussian exp", "triangular", "triangular exp"])
def test_gaussians_are_those_of_scipy(name: str) -> None:
    family = CASES[name](5)
    dist, noise, z = drawn(family, 4, 3)
    root = np.asarray(dist[1], np.float64)
    root = root if root.ndim == 4 else root[..., None] * np.eye(5)
    np.testing.assert_allclose(z, dist.loc + np.einsum("btij,btj->bti", root, noise), rtol=1e-5, atol=1e-5)
    expected = [
        stats.multivariate_normal(dist.loc[i, j], root[i, j] @ root[i, j].T).logpdf(z[i, j])
        for i, j in np.ndindex(4, 3)
    ]
    np.testing.assert_allclose(np.ravel(family.log_prob(dist, z)), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(family.scale(dist), np.linalg.norm(root, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_importance_weights_of_a_narrower_density_have_mean_one(name: str) -> None:
    """E_q[p(z) / q(z)] = 1: samples, noise and densities in three dimensions belong together."""
    family = CASES[name](3)
    dist, noise, z = samples(family, one(family), 20_000)
    target = DiagonalGaussian(3)
    p = target.parameters(np.concatenate([np.mean(z, axis=0), np.log(np.expm1(0.5 * np.std(z, axis=0)))])[None])
    for known in (noise, None):
        log_ratio = np.asarray(target.log_prob(p, z) - family.log_prob(dist, z, known), np.float64)
        assert_mean(np.exp(log_ratio), 1.0)


@pytest.mark.parametrize("name", CASES)
def test_log_prob_is_that_of_the_distribution(name: str) -> None:
    family = CASES[name](6)
    dist, noise, z = drawn(family, 4, 3)
    distribution = family.distribution(dist)
    assert distribution.event_shape == (6,) and distribution.batch_shape == (4, 3)
    log_prob = family.log_prob(dist, z)
    assert log_prob.shape == (4, 3) and log_prob.dtype == tf.float32 and z.dtype == tf.float32
    np.testing.assert_allclose(log_prob, distribution.log_prob(z), rtol=2e-5, atol=5e-5)
    np.testing.assert_allclose(log_prob, family.log_prob(dist, z, noise), rtol=2e-5, atol=5e-5)
    other = distribution.sample(2, seed=(1, 2))
    np.testing.assert_allclose(family.log_prob(dist, other), distribution.log_prob(other), rtol=2e-5, atol=5e-5)


@pytest.mark.parametrize("name", CASES)
def test_leading_axes_are_free_and_broadcast(name: str) -> None:
    """Frame by frame, as a sequence, and with several z for one distribution: the same numbers."""
    family = CASES[name](6)
    dist, noise, z = drawn(family, 3, 2, 4)
    frame = type(dist)(*(value[1, 1] for value in dist))
    single = type(dist)(*(value[1, 1, 2] for value in dist))
    for function in (family.mode, family.mean, family.scale):
        np.testing.assert_allclose(function(frame), function(dist)[1, 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(family.sample(frame, noise[1, 1]), z[1, 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(family.log_prob(frame, z[1, 1]), family.log_prob(dist, z)[1, 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(family.sample(single, noise[1, 1])[2], z[1, 1, 2], rtol=1e-5, atol=1e-5)
    spread = family.log_prob(frame, z)
    assert spread.shape == (3, 2, 4)
    np.testing.assert_allclose(spread[1, 1], family.log_prob(frame, z[1, 1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_without_noise_a_sample_is_the_mode(name: str) -> None:
    family = CASES[name](6)
    dist = drawn(family, 4).dist
    np.testing.assert_array_equal(family.sample(dist), family.mode(dist))
    zeros = np.full((4, family.noise_dim), 0.0, np.float32)
    if name in CONTINUOUS:
        np.testing.assert_allclose(family.mode(dist), family.sample(dist, zeros), atol=1e-6)


@pytest.mark.parametrize("name", DISCRETE)
def test_categorical_samples_and_modes_are_one_hot(name: str) -> None:
    family = CASES[name](6)
    dist, _, z = drawn(family, 50, 4, spread=3.0)
    probability = np.asarray(family.mean(dist)).reshape(50, 4, -1, family.classes)
    np.testing.assert_allclose(probability.sum(axis=-1), 1.0, rtol=1e-5)
    assert probability.min() >= 0.999 * family.uniform_share / family.classes
    for found in (z, family.mode(dist)):
        assert set(np.unique(found)) == {0.0, 1.0}
        assert np.all(np.asarray(found).reshape(probability.shape).sum(axis=-1) == 1.0)
    grouped = np.asarray(family.mode(dist)).reshape(probability.shape)
    np.testing.assert_array_equal(grouped.argmax(axis=-1), probability.argmax(axis=-1))


def test_categorical_probabilities_are_mixed_with_the_uniform_distribution() -> None:
    family = CASES["categorical"](6)
    raw = raw_for(family, 5, spread=3.0)
    softmax = np.exp(raw.reshape(5, 2, 3).astype(np.float64))
    softmax /= softmax.sum(axis=-1, keepdims=True)
    expected = 0.95 * softmax + 0.05 / 3.0
    np.testing.assert_allclose(family.mean(family.parameters(raw)), expected.reshape(5, 6), rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name not in FLOWS])
def test_the_standard_is_where_a_head_starts(name: str) -> None:
    """N(0, I), or uniform, with the leading axes of what is at hand, of which some are unknown in a graph."""
    family = CASES[name](6)
    like = np.full((4, 3, 7), np.inf, np.float32)
    standard = family.standard(like)
    start = family.parameters(np.broadcast_to(family.initial_bias(), (4, 3, family.params_dim)))
    for found, expected in zip(standard, start, strict=True):
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, atol=getattr(family, "min_scale", 0.0) + 1e-4)
    if isinstance(family, DiagonalGaussian | TriangularGaussian):
        np.testing.assert_array_equal(family.mean(standard), np.zeros((4, 3, 6)))
        np.testing.assert_array_equal(family.scale(standard), np.ones((4, 3, 6)))
    else:
        np.testing.assert_allclose(family.mean(standard), np.full((4, 3, 6), 1.0 / family.classes), rtol=1e-6)
    graph = tf.function(family.standard).get_concrete_function(tf.TensorSpec([None, 3, 7]))
    for found, expected in zip(tf.nest.flatten(graph.structured_outputs), standard, strict=True):
        assert found.shape.as_list() == [None, *expected.shape[1:]]


def test_scales_follow_their_maps() -> None:
    raw = np.array([-1e4, -3.0, 0.0, 2.0, 1e4])
    for family in (DiagonalGaussian, TriangularGaussian):
        found = {scale: family(5, scale, 0.01) for scale in ("softplus", "exp")}
        padded = {name: np.zeros(made.params_dim, np.float32) for name, made in found.items()}
        for name, made in found.items():
            padded[name][5:10] = raw
            found[name] = np.asarray(made.scale(made.parameters(padded[name][None]))[0])
        np.testing.assert_allclose(found["softplus"], np.logaddexp(0.0, raw) + 0.01, rtol=1e-5)
        np.testing.assert_allclose(found["exp"], np.exp(np.minimum(raw, 20.0) / 2.0) + 0.01, rtol=1e-5)


def test_triangular_parameters_fill_the_triangle_once_each() -> None:
    for dim in (1, 2, 3, 6):
        family = TriangularGaussian(dim, min_scale=0.0)
        raw = np.concatenate([np.zeros(2 * dim), np.arange(1.0, 1.0 + dim * (dim - 1) // 2)]).astype(np.float32)
        tril = np.asarray(family.parameters(raw[None]).scale_tril[0])
        np.testing.assert_allclose(np.diagonal(tril), np.log(2.0), rtol=1e-6)
        np.testing.assert_array_equal(np.triu(tril, 1), np.zeros((dim, dim)))
        np.testing.assert_array_equal(np.sort(tril[np.tril_indices(dim, -1)]), raw[2 * dim :])
