"""Which ancestors particles take over from: how many of each, and when."""

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.support import assert_mean
from tfdvae.bounds.resampling import CRITERIA, RESAMPLING, effective_sample_size, noise_dim

COUNT = 7


def weights(rows: int, seed: int = 0) -> np.ndarray:
    """Normalised `[B, K]`, some of them zero, some sets concentrated on few."""
    rng = np.random.default_rng(seed)
    w = rng.gamma(np.exp(rng.normal(size=[rows, 1])), size=[rows, COUNT]) + 1e-12
    w[:: rows // 4, [0, -1]] = 0.0
    return w / w.sum(axis=1, keepdims=True)


def log(w: np.ndarray) -> tf.Tensor:
    return tf.math.log(tf.constant(w, tf.float32))


def counts(ancestors: tf.Tensor) -> np.ndarray:
    return np.stack([np.bincount(row, minlength=COUNT) for row in ancestors.numpy()])


def test_systematic_counts_are_the_expected_ones_rounded_up_or_down() -> None:
    w = weights(200)
    found = counts(RESAMPLING["systematic"](log(w), tf.random.uniform([200, 1], 1e-6, 1.0 - 1e-6)))
    assert (found.sum(axis=1) == COUNT).all()
    assert np.abs(found - COUNT * w).max() < 1.0
    assert np.abs(found - COUNT * w).max() > 0.8


def test_systematic_counts_are_right_on_average_over_the_one_number() -> None:
    """Each count jumps at two places, so the mean over a grid of N numbers is right up to 2 / N."""
    w, points = weights(8)[3:4], 5000
    uniform = tf.constant((np.arange(points)[:, None] + 0.5) / points, tf.float32)
    found = counts(RESAMPLING["systematic"](tf.repeat(log(w), points, axis=0), uniform))
    np.testing.assert_allclose(found.mean(axis=0), COUNT * w[0], atol=2.5 / points)


def test_multinomial_counts_have_mean_and_variance_of_a_multinomial() -> None:
    w, rows = weights(8)[3:4], 4000
    uniform = np.random.default_rng(1).uniform(size=[rows, COUNT])
    found = counts(RESAMPLING["multinomial"](tf.repeat(log(w), rows, axis=0), tf.constant(uniform, tf.float32)))
    assert_mean(found, COUNT * w[0], variance=COUNT * w[0] * (1.0 - w[0]))
    assert_mean((found - COUNT * w[0]) ** 2, COUNT * w[0] * (1.0 - w[0]))


@pytest.mark.parametrize("scheme", RESAMPLING)
def test_particles_of_weight_zero_have_no_children(scheme: str) -> None:
    w = np.array([[0.0, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0]])
    for edge in (2.0**-24, 1.0 - 2.0**-24, 0.5):
        uniform = tf.fill([1, noise_dim(scheme, COUNT)], tf.constant(edge, tf.float32))
        assert set(RESAMPLING[scheme](log(w), uniform).numpy().ravel()) <= {1, 3}


def test_the_effective_sample_size_says_when() -> None:
    w = np.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.4, 0.3, 0.2, 0.1]])
    np.testing.assert_allclose(effective_sample_size(log(w)), 1.0 / (w**2).sum(axis=1), rtol=1e-6)
    assert CRITERIA["ess"](log(w), 0.51).numpy().tolist() == [False, True, True, False]
    assert CRITERIA["ess"](log(w), 0.9).numpy().tolist() == [False, True, True, True]
    assert CRITERIA["always"](log(w), 0.5).numpy().tolist() == [True] * 4
