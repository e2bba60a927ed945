"""The same numbers by every way: eagerly, in a graph, under XLA; by a model's fast path, by the generic loop, and
frame by frame; and gradients that reach every weight.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.contract.checks import assert_close, differs, evaluate, gradients
from tfdvae import gaussian, random, recurrence
from tfdvae.types import Batch


@pytest.mark.exhaustive
@pytest.mark.parametrize("compiled_name", [n for n in cases.SUITE if n not in cases.PRIMARY])
def test_values_and_gradients_under_xla_are_the_eager_ones(compiled_name: str) -> None:
    """The primary cases train under XLA in test_training.py."""
    model, batch = cases.make(compiled_name), cases.frames(compiled_name)
    compiled = tf.function(functools.partial(evaluate, model), autograph=False, jit_compile=True)
    assert_close(compiled(batch, cases.noise(model)), evaluate(model, batch, cases.noise(model)), 1e-4)


def ways(model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor, seed: tf.Tensor | None) -> dict[str, list]:
    """For each way through the cell: values, and gradients of one scalar that hangs on all of z and p(x_t | .)."""
    cell, inputs = model.cell, [y for y in (batch.x, batch.u) if y is not None]
    rng = np.random.default_rng(9)
    weights = tf.constant(rng.normal(size=(cases.BATCH, cases.LENGTH, cell.loop_latent_dim)), tf.float32)

    def fast() -> list:
        path = cell.teacher_forced(cell.hoist(batch.x, None, batch.u, noise))
        return [path.z, model.observation(path.features), path.q, path.p, path.penalties]

    def generic() -> list:
        path, _ = recurrence.teacher_forced(cell, cell.hoist(batch.x, None, batch.u, noise))
        return [path.z, model.observation(path.features), path.q, path.p, path.penalties]

    def frame_by_frame() -> list:
        given = cell.hoist(batch.x, None, batch.u, noise)
        frames = recurrence.Frames(batch.x, tf.ones_like(batch.x, tf.bool), given.g, None, given.c, given.noise)
        path, _ = recurrence.simulate(cell, model.observation, frames, state=given.state, length=cases.LENGTH)
        return [path.z, path.params]

    results = {}
    for way in (fast, generic, frame_by_frame) if model.stepwise else (fast, generic):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            with random.dropout_scope(seed):
                values = way()
            z, params, *dists = values
            scalars = [tf.reduce_sum(model.observation.log_prob(params, batch.x)) + tf.reduce_sum(weights * z)]
            scalars += [tf.reduce_sum(gaussian.kl_per_dimension(*dists[:2]))] if dists else []
            scalars += [tf.reduce_sum(y) for y in dists[2].values()] if dists else []
        sources = [*model.trainable_variables, *inputs]
        results[way.__name__] = [*values, *(gradients(tape, s, sources) for s in scalars)]
    return results


@pytest.mark.parametrize("name", cases.WITH_CELL, indirect=True, scope="module")
@pytest.mark.parametrize("dropout", [False, True], ids=["plain", "dropout"])
def test_the_fast_path_the_generic_loop_and_the_simulation_agree(
    model: tfdvae.DVAE, name: str, batch: Batch, noise: tf.Tensor, dropout: bool
) -> None:
    found = ways(model, batch, noise, random.make_seed(3) if dropout else None)
    assert_close(found["fast"], found["generic"], 3e-5)
    z, params, _, _, _, slopes, *_ = found["generic"]
    if model.stepwise:
        assert_close(found["frame_by_frame"], [z, params, slopes], 3e-5)


def test_dropout_drops_only_within_its_scope_and_by_its_seed(
    model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor
) -> None:
    plain = model.infer(*batch, noise).x
    with random.dropout_scope(random.make_seed(3)):
        first, again = model.infer(*batch, noise).x, model.infer(*batch, noise).x
    with random.dropout_scope(random.make_seed(4)):
        other = model.infer(*batch, noise).x
    assert_close(first, again)
    assert differs(first, plain) and differs(first, other)
    assert_close(model.infer(*batch, noise).x, plain)


def test_every_weight_gets_a_finite_gradient_that_is_not_zero(
    model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor
) -> None:
    assert model.trainable_variables
    found = evaluate(model, batch, noise).of_variables
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient.numpy() != 0.0), variable.path


def test_the_posterior_learns_from_the_reconstruction_and_from_the_divergence(
    model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor
) -> None:
    if not model.has_latents:
        assert not [v for v in model.trainable_variables if "posterior" in v.path]
        return
    posterior = [v for v in model.trainable_variables if "posterior_head" in v.path]
    assert len(posterior) >= 2
    with tf.GradientTape(persistent=True) as tape:
        terms = model.terms(model.infer(*batch, noise), batch.x, None)
        parts = [tf.reduce_sum(terms.log_px), tf.reduce_sum(terms.kl) + tf.reduce_sum(terms.global_kl)]
    for part in parts:
        for gradient in tape.gradient(part, posterior):
            loc, scale = np.split(np.abs(gradient.numpy()), 2, axis=-1)
            assert (loc.max(axis=0) > 0).all() and (scale.max(axis=0) > 0).all()


@pytest.mark.parametrize("name", cases.WITH_CELL, indirect=True, scope="module")
def test_the_states_that_frames_are_drawn_from_give_the_parameters(model: tfdvae.DVAE, name: str, batch: Batch) -> None:
    found = model.encode_states(*batch)
    assert set(found) == set(model.cell.observe_reads)
    mask = tf.constant([[True] * 5, [True, False] * 2 + [True], [False] * 3 + [True] * 2])
    for y in model.encode_states(batch.x, mask, batch.u).values():
        np.testing.assert_array_equal(y.numpy()[~mask.numpy()], 0.0)
    if batch.u is None:
        params = model.observation(model.cell.observe(found))
        assert_close(params, model.infer(*batch).x, 3e-5)
