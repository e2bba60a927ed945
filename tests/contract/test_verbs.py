"""Using a model: stream, generate, forecast, impute, reconstruct, score."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.contract.checks import assert_close, assert_equal, differs
from tfdvae.types import Batch

HORIZON = 4


@pytest.fixture(autouse=True)
def eagerly_but_for_one_case_per_model(name: str) -> Iterator[None]:
    """Tracing is what costs. The primary cases show that the verbs work as graphs."""
    tf.config.run_functions_eagerly(name not in cases.PRIMARY)
    yield
    tf.config.run_functions_eagerly(False)


def future(model: tfdvae.DVAE, batch: int, length: int = HORIZON) -> tf.Tensor | None:
    """Inputs for frames to come."""
    rng = np.random.default_rng(8)
    return tf.constant(rng.normal(size=(batch, length, cases.U_DIM)), tf.float32) if model.u_dim else None


def at(batch: Batch, t: int) -> tuple[tf.Tensor, tf.Tensor | None]:
    return batch.x[:, t], None if batch.u is None else batch.u[:, t]


def ragged(name: str) -> tuple[Batch, list[Batch]]:
    """Sequences of 5, 2 and 3 frames as one batch with NaN behind them, and each alone."""
    batch, lengths = cases.frames(name), np.array([5, 2, 3])
    mask = tf.sequence_mask(lengths, cases.LENGTH)
    holes = (None if y is None else tf.where(mask[..., None], y, np.nan) for y in (batch.x, batch.u))
    x, u = holes
    alone = [Batch(*(None if y is None else y[b : b + 1, :n] for y in batch)) for b, n in enumerate(lengths)]
    return Batch(x, mask, u), alone


def stream(model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor | None = None) -> list[Any]:
    state, outputs = model.initial_state(batch.x.shape[0]), []
    for t in range(batch.x.shape[1]):
        outputs.append(model.step(state, *at(batch, t), None if noise is None else noise[:, t]))
        state = outputs[-1].state
    return outputs


def test_steps_are_the_sequence_call_or_say_why_they_cannot_be(
    model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor
) -> None:
    if not model.causal:
        state = model.initial_state(cases.BATCH) if model.stepwise else {}
        with pytest.raises(ValueError, match="infers latents from frames that are yet to come, so frames cannot be"):
            model.step(state, *at(batch, 0))
        return
    outputs = stream(model, batch, noise)
    path = model.infer(*batch, noise)
    terms = model.terms(path, batch.x, None)
    stacked = tf.nest.map_structure(lambda *y: tf.stack(y, axis=1), *[o._replace(state=None)[:-1] for o in outputs])
    assert_close(stacked, (path.z, path.q, path.p, path.x, terms.log_px, tf.reduce_sum(terms.kl, axis=-1)), 3e-5)


def test_steps_and_generated_steps_continue_a_prefix_as_generate_does(model: tfdvae.DVAE, batch: Batch) -> None:
    u = future(model, cases.BATCH)
    if not model.stepwise:
        for verb, start in ((model.initial_state, cases.BATCH), (model.generate_step, {})):
            with pytest.raises(ValueError, match="draws whole sequences, each frame from all latents, so `.*` has no"):
                verb(start)
        return
    prefixes = [None, batch] if model.causal else [None]
    for prefix in prefixes:
        state = model.initial_state(cases.BATCH) if prefix is None else stream(model, prefix)[-1].state
        frames = []
        for t in range(HORIZON):
            frame, state = model.generate_step(state, None if u is None else u[:, t])
            frames.append(frame)
        stacked = tf.nest.map_structure(lambda *y: tf.stack(y, axis=1), *frames)
        generated = model.generate(
            HORIZON, cases.BATCH, prefix=None if prefix is None else cases.given(prefix), u=u, sample=False
        )
        assert_close(stacked, generated, 3e-5)


def test_generated_frames_have_their_shapes_and_follow_the_seed(model: tfdvae.DVAE) -> None:
    u = future(model, 2)
    first, again, other = (model.generate(HORIZON, 2, u=u, seed=seed) for seed in (1, 1, 2))
    assert tuple(first.x.shape) == (2, HORIZON, cases.X_DIM)
    assert tuple(first.z.shape) == (2, HORIZON, model.frame_latent_dim)
    assert tuple(first.params.shape) == (2, HORIZON, model.observation.params_dim)
    assert all(y.dtype == tf.float32 and np.isfinite(y).all() for y in first)
    assert_equal(first, again)
    assert differs(first.x, other.x)
    assert differs(model.generate(HORIZON, 2, u=u).x, model.generate(HORIZON, 2, u=u).x)
    assert differs(first.x[0], first.x[1])
    if model.u_dim:
        assert differs(model.generate(HORIZON, u=u, sample=False).x, model.generate(HORIZON, u=-u, sample=False).x)


def test_prefixes_of_different_lengths_are_continued_as_each_alone(model: tfdvae.DVAE, name: str) -> None:
    batch, alone = ragged(name)
    u = future(model, cases.BATCH)
    together = model.generate(HORIZON, prefix=cases.given(batch), u=u, sample=False)
    for b in (0, 2):
        own = None if u is None else u[b : b + 1]
        one = model.generate(HORIZON, prefix=cases.given(alone[b]), u=own, sample=False)
        assert_close([y[b : b + 1] for y in together], list(one), 3e-5)
    drawn = model.generate(HORIZON, prefix=cases.given(batch), u=u)
    assert all(np.isfinite(y).all() for y in drawn)


def test_forecasts_have_their_shapes_and_follow_the_seed(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    options = {"mask": batch.mask, "u": batch.u, "future_u": future(model, cases.BATCH), "num_samples": 3}
    first, again, other = (model.forecast(batch.x, HORIZON, seed=seed, **options) for seed in (1, 1, 2))
    assert tuple(first.samples.shape) == (3, cases.BATCH, HORIZON, cases.X_DIM)
    assert tuple(first.mean.shape) == (cases.BATCH, HORIZON, cases.X_DIM)
    assert np.isfinite(first.samples).all() and np.isfinite(first.mean).all()
    assert_equal(first, again)
    assert differs(first.samples, other.samples) and differs(first.samples[0], first.samples[1])
    with pytest.raises(ValueError, match="`horizon` and `num_samples` must be at least 1, got 0 and 3"):
        model.forecast(batch.x, 0, **options)


def test_imputation_keeps_what_was_observed_and_fills_in_the_rest(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    mask = batch.mask.numpy()
    x = np.array(batch.x)
    observed = np.random.default_rng(4).random(x.shape) < 0.6
    observed[0, 2] = False
    holed = np.where(observed, x, np.nan)
    options = {"mask": mask, "u": batch.u, "num_samples": 2, "num_sweeps": 2}
    first, again, other = (model.impute(holed, observed, seed=seed, **options) for seed in (1, 1, 2))
    assert tuple(first.samples.shape) == (2, *x.shape) and tuple(first.mean.shape) == x.shape
    given = observed & mask[..., None]
    for y in (*first.samples, first.mean):
        assert np.isfinite(y).all()
        np.testing.assert_array_equal(y.numpy()[given], x[given])
        np.testing.assert_array_equal(y.numpy()[~mask], 0.0)
    assert_equal(first, again)
    missing = ~observed & mask[..., None]
    assert differs(first.samples.numpy()[:, missing], other.samples.numpy()[:, missing])
    assert differs(first.samples[0].numpy()[missing], first.samples[1].numpy()[missing])


def test_imputation_takes_whole_frames(model: tfdvae.DVAE, batch: Batch) -> None:
    x = batch.x.numpy()
    options = {"u": batch.u, "num_samples": 2, "num_sweeps": 2}
    complete = model.impute(x, np.ones(x.shape[:2], bool), **options)
    np.testing.assert_array_equal(complete.mean, x)
    observed = np.arange(cases.LENGTH)[None] != [[1], [0], [4]]
    filled = model.impute(np.where(observed[..., None], x, np.nan), observed, **options)
    np.testing.assert_array_equal(filled.mean.numpy()[observed], x[observed])
    assert np.isfinite(filled.samples).all() and differs(filled.mean.numpy()[~observed], x[~observed])
    with pytest.raises(ValueError, match=r"Expected `observed` of shape \(3, 5\) or \(3, 5, 4\), got \(3, 4\)"):
        model.impute(x, observed[:, :-1])


def test_reconstruction_under_teacher_forcing_is_the_call(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    assert_close(model.reconstruct(*batch), model(cases.given(batch)), 3e-5)
    first, again, other = (model.reconstruct(*batch, sample=True, seed=seed) for seed in (1, 1, 2))
    assert_equal(first, again)
    assert differs(first, other)


def test_in_generation_mode_a_reconstruction_sees_x_through_its_own_output_alone(
    model: tfdvae.DVAE, name: str, batch: Batch
) -> None:
    """Where neither z_t nor x_t has an x_s for a parent but through q's hoisted part, the two modes agree."""
    generated = model.reconstruct(*batch, mode="generation")
    if not cases.has_cell(name) or not model.stepwise:
        assert_close(generated, model.reconstruct(*batch))
        return
    assert np.isfinite(generated).all()
    changed = tf.concat([batch.x[:, :1] + 1.0, batch.x[:, 1:]], axis=1)
    hoisted, again = (model.cell.hoist(x, None, batch.u, None).g for x in (batch.x, changed))
    reaches = any(differs(a[:, 1:], b[:, 1:]) for a, b in zip(*map(tf.nest.flatten, (hoisted, again)), strict=True))
    later = differs(model.reconstruct(changed, None, batch.u, mode="generation")[:, 1:], generated[:, 1:])
    assert later or not reaches
    with pytest.raises(ValueError, match="`mode` must be 'teacher_forced' or 'generation', got 'free'"):
        model.reconstruct(*batch, mode="free")


def test_encode_is_the_posterior_along_its_means(model: tfdvae.DVAE, batch: Batch) -> None:
    assert_close(model.encode(*batch), model.infer(*batch).q)
    assert_close(model.encode(cases.given(batch)), model.infer(*batch).q)


def test_log_prob_is_per_sequence_and_exact_without_latents(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    first, again, other = (model.log_prob(*batch, num_samples=6, chunk=4, seed=seed) for seed in (1, 1, 2))
    assert tuple(first.shape) == (cases.BATCH,) and np.isfinite(first).all()
    assert_equal(first, again)
    if model.has_latents:
        assert differs(first, other)
    else:
        path = model.infer(*batch)
        assert_close(first, tf.reduce_sum(model.terms(path, batch.x, batch.mask).log_px, axis=1))
        assert_close(first, other)
