"""Factors of Gaussian processes against Cholesky's, and Markov chains against the process that is one."""

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.kalman_reference import log_density
from tests.oracles.process_reference import FORMULAS, JITTER, LENGTHS, SCALE, covariance
from tfdvae.layers.gaussian_process import KERNELS, GaussianProcess
from tfdvae.layers.markov_chain import MarkovChain


@pytest.mark.parametrize("kernel", KERNELS)
def test_factors_are_cholesky_s_for_every_kernel_and_any_times(kernel: str) -> None:
    process = GaussianProcess(kernel, LENGTHS, SCALE, JITTER)
    for times in (np.arange(9.0)[None], np.sort(np.random.default_rng(0).uniform(0.0, 9.0, [2, 9]))):
        found, noise = process.factors(tf.constant(times, tf.float32)), np.random.default_rng(1).normal(size=[2, 9, 3])
        for n, row in enumerate(times):
            for j, length in enumerate(LENGTHS):
                expected = np.linalg.cholesky(covariance(kernel, row, length))
                np.testing.assert_allclose(found.lower[n, j], expected, atol=2e-5)
                np.testing.assert_allclose(found.inverse[n, j], np.linalg.inv(expected), atol=2e-4)
                np.testing.assert_allclose(found.scale[n, :, j], np.diag(expected), rtol=1e-4)
                coloured = found.coloured(tf.constant(noise[: len(times)], tf.float32))
                np.testing.assert_allclose(coloured[n, :, j], expected @ noise[n, :, j], atol=1e-4)


@pytest.mark.slow
def test_many_frames_and_little_jitter_leave_float32_enough_digits() -> None:
    times = np.arange(150.0)
    for kernel, formula in list(FORMULAS.items())[:2]:
        found = GaussianProcess(kernel, (50.0,), 1.0, 1e-3).factors(tf.constant(times, tf.float32)[None])
        k = formula(np.abs(np.subtract.outer(times, times)) / 50.0) + 1e-3 * np.eye(150)
        np.testing.assert_allclose(found.scale[0, :, 0], np.diag(np.linalg.cholesky(k)), rtol=1e-3)


@pytest.mark.slow
def test_a_markov_prior_under_gaussian_frames_has_its_exact_posterior_in_the_family() -> None:
    """Matern 1/2 is a Markov chain, so the bound of the best q is the likelihood: E log p(x | z) - KL = log p(x)."""
    times, noise, x = np.arange(7.0), 0.3, np.random.default_rng(4).normal(size=7)
    k = np.exp(-np.abs(np.subtract.outer(times, times)) / 2.0) + 1e-6 * np.eye(7)
    spread = np.linalg.inv(np.linalg.inv(k) + np.eye(7) / noise**2)
    loc, scale = spread @ x / noise**2, np.sqrt(np.diag(spread))
    correlation = np.concatenate([[0.0], np.diag(spread, 1) / (scale[1:] * scale[:-1])])
    q = MarkovChain(*(tf.constant(y[None, :, None], tf.float32) for y in (loc, scale, correlation)))
    factors = GaussianProcess("matern12", (2.0,), 1.0, 1e-6).factors(tf.constant(times, tf.float32)[None])
    explained = -0.5 * np.sum(((x - loc) ** 2 + scale**2) / noise**2 + np.log(2.0 * np.pi * noise**2))
    bound = explained - float(tf.reduce_sum(q.divergence(factors)))
    np.testing.assert_allclose(bound, log_density(x, np.zeros(7), k + noise**2 * np.eye(7)), rtol=1e-4)
