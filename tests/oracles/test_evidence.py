"""Bounds against the evidence itself: p(x) of two frames with a one-dimensional latent, integrated on a grid."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.oracles.support import Grid, assert_mean, frames, logsumexp, tiny, widen_posterior
from tfdvae import bounds, random
from tfdvae.types import Batch, StepTerms

PATHS = 20_000

CASES: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "VAE gaussian": ("VAE", "gaussian", 2, {}),
    "VAE bernoulli": ("VAE", "bernoulli", 2, {}),
    "VRNN gaussian": ("VRNN", "gaussian", 1, {"cell": "lstm"}),
    "VRNN bernoulli": ("VRNN", "bernoulli", 2, {"cell": "gru"}),
    "VRNN-I": ("VRNN-I", "gaussian", 2, {"cell": "gru"}),
    "STORN gaussian": ("STORN", "gaussian", 2, {"cell": "gru"}),
    "STORN bernoulli": ("STORN", "bernoulli", 1, {"cell": "lstm"}),
    "SRNN smooth": ("SRNN smooth", "gaussian", 2, {"cell": "lstm"}),
    "SRNN filter": ("SRNN filter", "bernoulli", 2, {"cell": "gru"}),
    "SRNN residual": ("SRNN residual", "gaussian", 1, {"cell": "gru"}),
    "DKF st_r": ("DKF st_r", "gaussian", 2, {"cell": "lstm"}),
    "DKF mf_lr": ("DKF mf_lr", "bernoulli", 2, {"cell": "gru"}),
}


class Case(NamedTuple):
    model: Any
    x: np.ndarray
    grid: Grid
    terms: StepTerms


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    variant, observation, x_dim, options = CASES[request.param]
    model = tiny(variant, x_dim, latent_dim=1, observation=observation, **options)
    widen_posterior(model)
    x = frames(observation, 1, 2, x_dim)
    return Case(model, x, Grid(model, x), model.sample_terms(Batch(x), random.make_seed(11), PATHS))


@pytest.mark.slow
def test_the_grid_resolves_prior_posterior_and_joint(case: Case) -> None:
    """To 1e-5, a small part of the standard errors below."""
    coarse = Grid(case.model, case.x, reach=11.0, step=0.13)
    assert logsumexp(case.grid.log_prior) == pytest.approx(0.0, abs=1e-5)
    assert logsumexp(case.grid.log_q) == pytest.approx(0.0, abs=1e-5)
    assert coarse.evidence == pytest.approx(case.grid.evidence, abs=1e-5)
    assert logsumexp(case.grid.log_second_moments[case.grid.border]) < np.log(1e-6)


def test_importance_weights_are_unbiased(case: Case) -> None:
    weights = np.exp(bounds.log_weight(case.terms) - case.grid.evidence)
    assert_mean(weights, 1.0, variance=case.grid.weight_variance)


def test_log_prob_is_the_evidence(case: Case) -> None:
    repeats, count, variance = 64, 250, case.grid.weight_variance
    x = np.repeat(case.x, repeats, axis=0)
    estimates = case.model.log_prob(x, num_samples=count, chunk=125, seed=3)
    assert_mean(np.exp(estimates - case.grid.evidence), 1.0, variance=variance / count)
    bias = -0.5 * variance / count
    assert_mean(estimates, case.grid.evidence + bias, variance=variance / count)


def test_iwae_of_many_samples_is_the_evidence(case: Case) -> None:
    variance, blocks = case.grid.weight_variance, 40
    bound = bounds.IWAE(PATHS // blocks)
    bias = -0.5 * variance / bound.num_samples
    estimates = bound.per_sequence(case.terms)
    assert_mean(estimates, case.grid.evidence + bias, variance=variance / bound.num_samples)


def test_elbo_is_the_evidence_less_the_divergence_to_the_exact_posterior(case: Case) -> None:
    samples = bounds.ELBO().per_sequence(case.terms)
    assert case.grid.gap > 1e-3
    assert_mean(samples, case.grid.elbo)
    assert_mean(np.asarray(samples) + case.grid.gap, case.grid.evidence)


def test_the_mean_log_weight_is_the_elbo(case: Case) -> None:
    assert_mean(bounds.log_weight(case.terms), case.grid.elbo)
