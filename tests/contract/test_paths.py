"""The same numbers by every way: eagerly, in a graph, under XLA; by a model's fast path, by the generic loop, and
frame by frame; and gradients that reach every weight.
"""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.models.drawing import Request
from tfdvae.testing import execution, paths
from tfdvae.types import Batch

OTHERS = [name for name in cases.SUITE if name not in cases.PRIMARY]


@pytest.mark.parametrize("compiled_name", cases.params(OTHERS, always=()))
def test_values_and_gradients_under_xla_are_the_eager_ones(compiled_name: str) -> None:
    """The primary cases train under XLA in test_training.py."""
    execution.check_compiled(cases.make(compiled_name))


WAYS = cases.pairs(filter(cases.has_cell, cases.SUITE), [True, False])


@pytest.mark.parametrize(("name", "dropout"), WAYS, indirect=["name"], scope="module")
@pytest.mark.slow
def test_the_fast_path_the_generic_loop_and_the_simulation_agree(model: tfdvae.DVAE, name: str, dropout: bool) -> None:
    paths.check_ways(model, dropout)


UNHEARD = ("vae-u", "dkf-st_r", "dkf-st_l-u", "rvae", "rvae-gru2-u", "dsae-full-u", "dssm-u", "dvbf", "rssm-u")
"""Cases whose frames no later one hangs on, and which generation in a graph therefore leaves out of its loop."""


@cases.some(0, UNHEARD)
@pytest.mark.slow
def test_frames_that_nothing_hears_are_those_of_the_loop(model: tfdvae.DVAE, name: str) -> None:
    paths.check_generation(model)


@pytest.mark.parametrize("name", ["vae", "rvae"])
def test_latents_of_fixed_priors_that_nothing_hears_need_no_loop(name: str) -> None:
    model = cases.make(name)
    request = Request(tf.constant(2), tf.constant(7), tf.constant([1, 2]), True)
    graph = model.draw_frames.get_concrete_function(request).graph
    loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    # Keras' recurrent layer, where there is one.
    assert len(loops) == (name == "rvae")


@cases.some(1)
@pytest.mark.slow
def test_dropout_drops_only_within_its_scope_and_by_its_seed(model: tfdvae.DVAE) -> None:
    paths.check_dropout(model)


def test_every_weight_gets_a_finite_gradient_that_is_not_zero(model: tfdvae.DVAE) -> None:
    execution.check_gradients(model)


def test_the_posterior_learns_from_the_reconstruction_and_from_the_divergence(
    model: tfdvae.DVAE, batch: Batch, noise: dict
) -> None:
    if not model.has_latents:
        assert not [v for v in model.trainable_variables if "posterior" in v.path]
        return
    posterior = [v for v in model.trainable_variables if "posterior_head" in v.path]
    assert len(posterior) >= 2
    with tf.GradientTape(persistent=True) as tape:
        terms = model.terms(model.infer(*batch, noise), batch)
        parts = [tf.reduce_sum(terms.log_px), tf.reduce_sum(terms.kl) + tf.reduce_sum(terms.sequence_kl)]
    for part in parts:
        for gradient in tape.gradient(part, posterior):
            columns = np.abs(gradient.numpy()).reshape(-1, gradient.shape[-1])
            assert (columns.max(axis=0) > 0).all()


@pytest.mark.parametrize("name", cases.WITH_CELL, indirect=True, scope="module")
@pytest.mark.usefixtures("mostly_eager")
def test_the_states_that_frames_are_drawn_from_give_the_parameters(model: tfdvae.DVAE, name: str) -> None:
    paths.check_states(model)
