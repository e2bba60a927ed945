"""Annealed importance sampling reaches the exact log p(x), from wherever q starts it."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.oracles.linear import PAIRED, PLANE, SCALAR, linear_dkf, linear_vae, smoother
from tests.oracles.test_refine import evidence, frames, still
from tfdvae import random
from tfdvae.bounds import log_weight
from tfdvae.types import Batch

RUNS = 8
COARSE = {"num_chains": 16, "num_steps": 30}


def estimates(model: tfdvae.DVAE, x: np.ndarray, **options: int) -> np.ndarray:
    """Of each sequence by several runs, which are rows of one: [RUNS, B]."""
    found = model.annealed_log_prob(np.tile(x, [RUNS, 1, 1]), seed=0, **options)
    return np.reshape(found, [RUNS, len(x)])


def assert_reaches(found: np.ndarray, exact: np.ndarray, slack: float) -> None:
    """exp(found - exact) has the mean 1, so no mean is above 1 by more than its own standard error allows; and found is
    below by `slack` nats at most, on the mean over sequences."""
    weights = np.exp(found - exact).ravel()
    assert weights.mean() < 1.0 + 4.0 * weights.std(ddof=1) / weights.size**0.5
    # Markov: a run is 3 nats above with a probability of 5% at most; of all of these none should be.
    assert (found - exact).max() < 3.0
    assert (exact - found).mean() < slack


@pytest.mark.slow
def test_independent_frames_and_a_posterior_that_knows_nothing() -> None:
    x, model = frames(2), still(linear_vae(PAIRED))
    found, exact = estimates(model, x, **COARSE), evidence(x, PAIRED)
    assert_reaches(found, exact, 0.2)
    assert (exact - np.asarray(model.log_prob(x, num_samples=16, seed=0))).mean() > 1.0


@pytest.mark.slow
def test_the_kalman_filter() -> None:
    """A DKF whose p is linear and Gaussian, from a q that was never trained."""
    length = 3
    x, model = frames(2, 3, length), linear_dkf(PLANE)
    exact = PLANE.distribution(length).log_prob(x.astype(np.float64)).numpy()
    assert_reaches(estimates(model, x, **COARSE), exact, 0.4)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_from_the_exact_posterior_nothing_is_left_to_do() -> None:
    """All weights are p(x), whatever the chains do."""
    x, model = frames(1), smoother(SCALAR)
    exact = SCALAR.distribution(x.shape[1]).log_prob(x.astype(np.float64))
    found = model.annealed_log_prob(x, num_chains=2, num_steps=2, seed=0)
    np.testing.assert_allclose(found, exact, atol=1e-3)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_one_step_is_importance_sampling_and_frames_that_do_not_exist_do_not_count() -> None:
    model, batch = cases.make("vrnn"), cases.frames("vrnn")
    mask = tf.sequence_mask([3, 5, 2][: batch.x.shape[0]], batch.x.shape[1])
    options = {"num_chains": 2, "leapfrog_steps": 2, "seed": 1}
    junk = tf.where(mask[..., None], batch.x, 1e3)
    found = [model.annealed_log_prob(x, mask, batch.u, num_steps=3, **options) for x in (batch.x, junk)]
    np.testing.assert_array_equal(*found)
    once = model.annealed_log_prob(*batch, num_steps=1, **options)
    terms = model.sample_terms(Batch(*batch), random.fold_in(random.make_seed(1), "start"), 2)
    weights = tf.reshape(log_weight(terms), [-1, 2])
    np.testing.assert_allclose(once, tf.reduce_logsumexp(weights, axis=1) - np.log(2.0), rtol=1e-5)


@pytest.mark.slow
def test_what_cannot_be_annealed_says_so() -> None:
    model = tfdvae.VRNN(4, units=3, family={"class_name": "categorical", "config": {"classes": 2}})
    with pytest.raises(ValueError, match="z of VRNN as configured take uniform noise"):
        model.annealed_log_prob(frames(2))
    with pytest.raises(ValueError, match="belong to a data set, of which no sequence"):
        cases.make("vssn").annealed_log_prob(cases.frames("vssn").x)
    with pytest.raises(ValueError, match="`num_steps` must be at least 1"):
        linear_vae(PAIRED).annealed_log_prob(frames(2), num_steps=0)
    exact = cases.make("rnn")
    x = cases.frames("rnn").x
    np.testing.assert_allclose(exact.annealed_log_prob(x, num_chains=1, num_steps=1), exact.log_prob(x), rtol=1e-5)
