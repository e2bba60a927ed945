"""Using a model: stream, generate, forecast, impute, reconstruct, score."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.testing import assert_close, assert_equal, differs, streaming
from tfdvae.testing.streaming import HORIZON, future
from tfdvae.types import Batch

pytestmark = pytest.mark.usefixtures("mostly_eager")
SOME, OTHERS = (cases.some(number) for number in range(2))
STREAMED = pytest.mark.parametrize("name", cases.params(always=cases.STREAMED), indirect=True, scope="module")


def ragged(name: str) -> tuple[Batch, list[Batch]]:
    """Sequences of 5, 2 and 3 frames as one batch with NaN behind them, and each alone."""
    batch, lengths = cases.frames(name), np.array([5, 2, 3])
    mask = tf.sequence_mask(lengths, cases.LENGTH)
    holes = (None if y is None else tf.where(mask[..., None], y, np.nan) for y in (batch.x, batch.u))
    x, u = holes
    alone = [Batch(*(None if y is None else y[b : b + 1, :n] for y in batch)) for b, n in enumerate(lengths)]
    return Batch(x, mask, u), alone


@STREAMED
def test_steps_are_the_sequence_call_or_say_why_they_cannot_be(model: tfdvae.DVAE, name: str) -> None:
    streaming.check_steps(model)


@STREAMED
def test_steps_and_generated_steps_continue_a_prefix_as_generate_does(model: tfdvae.DVAE, name: str) -> None:
    streaming.check_generated_steps(model)


@STREAMED
def test_steps_and_generated_steps_mix_in_any_order(model: tfdvae.DVAE, name: str) -> None:
    streaming.check_mixtures(model)


@SOME
def test_generated_frames_have_their_shapes_and_follow_the_seed(model: tfdvae.DVAE) -> None:
    u = future(model, 2)
    first, again, other = (model.generate(HORIZON, 2, u=u, seed=seed) for seed in (1, 1, 2))
    assert tuple(first.x.shape) == (2, HORIZON, cases.X_DIM)
    assert {name: tuple(z.shape) for name, z in first.latents.items()} == {
        latent.name: (2, HORIZON, latent.latent_dim) for latent in model.frame_latents
    }
    assert tuple(first.params.shape) == (2, HORIZON, model.frames.params_dim)
    assert all(y.dtype == tf.float32 and np.isfinite(y).all() for y in tf.nest.flatten(first))
    assert_equal(first, again)
    assert differs(first.x, other.x)
    assert differs(model.generate(HORIZON, 2, u=u).x, model.generate(HORIZON, 2, u=u).x)
    assert differs(first.x[0], first.x[1])
    if model.u_dim:
        assert differs(model.generate(HORIZON, u=u, sample=False).x, model.generate(HORIZON, u=-u, sample=False).x)


@OTHERS
@pytest.mark.slow
def test_prefixes_of_different_lengths_are_continued_as_each_alone(model: tfdvae.DVAE, name: str) -> None:
    batch, alone = ragged(name)
    u = future(model, cases.BATCH)
    together = model.generate(HORIZON, prefix=cases.given(batch), u=u, sample=False)
    for b in (0, 2):
        own = None if u is None else u[b : b + 1]
        one = model.generate(HORIZON, prefix=cases.given(alone[b]), u=own, sample=False)
        assert_close(cases.each(lambda y, b=b: y[b : b + 1], together), one, 3e-5)
    frames = model.generate(HORIZON, prefix=cases.given(batch), u=u)
    assert all(np.isfinite(y).all() for y in tf.nest.flatten(frames))


@OTHERS
@pytest.mark.slow
def test_forecasts_have_their_shapes_and_follow_the_seed(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    options = {"mask": batch.mask, "u": batch.u, "future_u": future(model, cases.BATCH), "num_samples": 3}
    first, again, other = (model.forecast(batch.x, horizon=HORIZON, seed=seed, **options) for seed in (1, 1, 2))
    assert tuple(first.samples.shape) == (3, cases.BATCH, HORIZON, cases.X_DIM)
    assert tuple(first.mean.shape) == (cases.BATCH, HORIZON, cases.X_DIM)
    assert np.isfinite(first.samples).all() and np.isfinite(first.mean).all()
    assert_equal(first, again)
    assert differs(first.samples, other.samples) and differs(first.samples[0], first.samples[1])
    with pytest.raises(ValueError, match="`horizon` must be at least 1, got 0"):
        model.forecast(batch.x, horizon=0, **options)


@SOME
@pytest.mark.slow
def test_imputation_keeps_what_was_observed_and_fills_in_the_rest(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    mask = batch.mask.numpy()
    x = np.array(batch.x)
    observed = np.random.default_rng(4).random(x.shape) < 0.6
    observed[0, 2] = False
    holed = np.where(observed, x, np.nan)
    options = {"mask": mask, "u": batch.u, "num_samples": 2, "num_sweeps": 2}
    first, again, other = (model.impute(holed, observed=observed, seed=seed, **options) for seed in (1, 1, 2))
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


@OTHERS
@pytest.mark.slow
def test_imputation_takes_whole_frames(model: tfdvae.DVAE, batch: Batch) -> None:
    x = batch.x.numpy()
    options = {"u": batch.u, "num_samples": 2, "num_sweeps": 2}
    complete = model.impute(x, observed=np.ones(x.shape[:2], bool), **options)
    np.testing.assert_array_equal(complete.mean, x)
    observed = np.arange(cases.LENGTH)[None] != [[1], [0], [4]]
    filled = model.impute(np.where(observed[..., None], x, np.nan), observed=observed, **options)
    np.testing.assert_array_equal(filled.mean.numpy()[observed], x[observed])
    assert np.isfinite(filled.samples).all() and differs(filled.mean.numpy()[~observed], x[~observed])
    with pytest.raises(ValueError, match=r"Expected `observed` of shape \[3, 5, 4\], .* or \[3, 5\], .* got \[3, 4\]"):
        model.impute(x, u=batch.u, observed=observed[:, :-1])
    with pytest.raises(ValueError, match="`impute` needs `observed`"):
        model.impute(x, u=batch.u)


@SOME
@pytest.mark.slow
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
    path = model.infer(*batch)
    assert set(path.states) == set(model.states)
    expected = {name: latent.q for name, latent in path.latents.items()} | path.states
    assert_close(model.encode(*batch), expected)
    assert_close(model.encode(cases.given(batch)), expected)


@OTHERS
@pytest.mark.slow
def test_log_prob_is_per_sequence_and_exact_without_latents(model: tfdvae.DVAE, name: str) -> None:
    batch, _ = ragged(name)
    first, again, other = (model.log_prob(*batch, num_samples=6, chunk=4, seed=seed) for seed in (1, 1, 2))
    assert tuple(first.shape) == (cases.BATCH,) and np.isfinite(first).all()
    assert_equal(first, again)
    if model.has_latents:
        assert differs(first, other)
    else:
        path = model.infer(*batch)
        assert_close(first, tf.reduce_sum(model.terms(path, batch).log_px, axis=1))
        assert_close(first, other)
