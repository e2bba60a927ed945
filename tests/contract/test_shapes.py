"""Shapes, dtypes, one graph for every batch size and length, and sequences that do not see each other."""

import pytest

import tfdvae
from tests import cases
from tfdvae.families import Categorical, DiagonalGaussian, TriangularGaussian
from tfdvae.testing import execution, trajectories


@pytest.mark.parametrize(("size", "length"), [(3, 5), (1, 5), (3, 1), (1, 1)])
def test_a_trajectory_has_the_shapes_and_dtypes_of_the_contract(model: tfdvae.DVAE, size: int, length: int) -> None:
    trajectories.check_trajectory(model, size, length)


@cases.some(1)
@pytest.mark.slow
def test_one_graph_gives_the_eager_values_and_gradients_for_every_batch_size_and_length(model: tfdvae.DVAE) -> None:
    execution.check_graph(model)


def test_sequences_do_not_see_each_other(model: tfdvae.DVAE) -> None:
    trajectories.check_separate(model)


def test_without_noise_the_path_is_that_of_the_posterior_means(model: tfdvae.DVAE) -> None:
    trajectories.check_modes(model)


def test_the_log_ratio_is_that_of_the_densities(model: tfdvae.DVAE) -> None:
    """Of Gaussians and categoricals by their formulas, which is what the cases have; priors of latents of sequences are
    N(0, I)."""
    known = (DiagonalGaussian, Categorical, TriangularGaussian)
    assert all(isinstance(family, known) for latent in model.latents for family in (latent.p, latent.q))
    assert all(latent.prior is None for latent in model.sequence_latents)
    trajectories.check_densities(model)
