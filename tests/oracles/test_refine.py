"""Refined posteriors: no bound falls, and on linear-Gaussian data they are the exact ones."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.oracles.linear import PAIRED, conditional, linear_vae
from tests.oracles.test_latent_lds import LINEAR, linear_lds
from tfdvae import random
from tfdvae.families import Categorical
from tfdvae.models.frame_refining import moves_by_frame
from tfdvae.types import Batch, Refined

LENGTH = 4
STEADY = {"steps": 100, "num_samples": 8, "learning_rate": 0.2, "seed": 0}


def frames(x_dim: int, count: int = 3, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(3).normal(size=[count, length, x_dim]).astype(np.float32)


def still(system: tfdvae.DVAE) -> tfdvae.DVAE:
    """The model with a posterior that does not look at x, and is N(0, 0.7^2)."""
    head = system.cell.posterior_head.output_layer
    head.kernel.assign(tf.zeros_like(head.kernel))
    head.bias.assign(np.repeat([0.0, 0.0], system.latent_dim))
    return system


def evidence(x: np.ndarray, system: tfdvae.DVAE) -> np.ndarray:
    """log p(x) of a VAE, whose frames are independent: [B]."""
    mean, covariance = system.emission @ np.zeros(1) + system.offset, np.eye(len(system.offset)) * system.scale**2
    covariance = covariance + system.emission @ system.emission.T
    off = x.astype(np.float64) - mean
    squares = np.einsum("bti,ij,btj->bt", off, np.linalg.inv(covariance), off)
    return -0.5 * (squares + np.linalg.slogdet(2.0 * np.pi * covariance)[1]).sum(axis=1)


@pytest.fixture(scope="module")
def vae() -> tfdvae.DVAE:
    return still(linear_vae(PAIRED))


@pytest.fixture(scope="module")
def refined(vae: tfdvae.DVAE) -> Refined:
    return vae.refine(frames(2), **STEADY)


@pytest.mark.slow
def test_the_gap_closes_where_the_exact_posterior_is_within_reach(vae: tfdvae.DVAE, refined: Refined) -> None:
    exact = evidence(frames(2), PAIRED)
    assert (exact - refined.amortised.numpy() > 1.0).all()
    np.testing.assert_allclose(refined.bound, exact, atol=0.05)


@pytest.mark.slow
def test_frame_by_frame_it_closes_too_where_frames_are_independent(vae: tfdvae.DVAE, refined: Refined) -> None:
    found = vae.refine(frames(2), **STEADY, by="frame")
    np.testing.assert_array_equal(found.amortised, refined.amortised)
    np.testing.assert_allclose(found.bound, evidence(frames(2), PAIRED), atol=0.05)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", ["vrnn", pytest.param("storn", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_frame_by_frame_no_later_frame_is_read(name: str) -> None:
    model, batch = cases.make(name), cases.frames(name)
    mask = tf.constant([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]) > 0
    junk = tf.where(mask[..., None], batch.x, 1e3)
    found = model.refine(junk, mask, batch.u, steps=3, num_samples=2, learning_rate=0.2, by="frame", seed=1)
    gained = (found.bound - found.amortised).numpy()
    assert (gained >= 0.0).all() and gained.max() > 0.1

    def moves(*given: tf.Tensor | None) -> list[tf.Tensor]:
        found = moves_by_frame(model, Batch(*given), random.make_seed(1), 2, 3, tf.constant(0.2))
        return tf.nest.flatten(found)

    def first(y: tf.Tensor | None) -> tf.Tensor | None:
        """Two frames of each; of the first sequence those on both sides of the gap, which is skipped as everywhere."""
        return None if y is None else tf.gather(y, [[0, 2], [0, 1], [0, 1]], batch_dims=1)

    every, early = moves(junk, mask, batch.u), moves(first(batch.x), None, first(batch.u))
    assert not np.any([tf.boolean_mask(y, ~mask) for y in every]) and np.abs(early).min() > 0.0
    for whole, part in zip(every, early, strict=True):
        np.testing.assert_allclose(first(whole), part, rtol=1e-4, atol=1e-5)


def test_encode_tells_the_refined_posteriors(vae: tfdvae.DVAE, refined: Refined) -> None:
    weighted = PAIRED.emission.T / PAIRED.scale**2
    precision = 1.0 + weighted @ PAIRED.emission
    found = vae.encode(frames(2), refined=refined)["z"]
    np.testing.assert_allclose(found.loc, (frames(2) - PAIRED.offset) @ weighted.T / precision, atol=0.05)
    np.testing.assert_allclose(found.scale, np.full(found.scale.shape, precision**-0.5), atol=0.05)
    assert np.abs(vae.encode(frames(2))["z"].loc).max() == 0.0


def test_log_prob_needs_few_paths_from_them(vae: tfdvae.DVAE, refined: Refined) -> None:
    exact = evidence(frames(2), PAIRED)
    found, plain = (vae.log_prob(frames(2), num_samples=16, seed=1, refined=r) for r in (refined, None))
    np.testing.assert_allclose(found, exact, atol=0.05)
    assert np.abs(plain - exact).mean() > 3 * np.abs(found - exact).mean()


@pytest.mark.slow
def test_what_is_missing_is_drawn_given_what_was_observed() -> None:
    """In a model that never saw partly observed frames, whose own posterior takes the missing one for a zero."""
    model, x = linear_vae(PAIRED), 2.0 * frames(2)
    observed = np.broadcast_to([True, False], x.shape)
    refined = model.refine(x, observed=observed, **STEADY)
    mean, covariance = PAIRED.moments(1)
    expected = np.array([conditional(mean, covariance, np.array([True, False]), y)[0] for y in x.reshape(-1, 2)])
    found = model.impute(np.where(observed, x, np.nan), observed=observed, num_samples=400, seed=1, refined=refined)
    np.testing.assert_allclose(found.mean[..., 1], expected.reshape(x.shape[:2]), atol=0.15)
    np.testing.assert_array_equal(found.samples[..., 0], np.tile(x[..., 0], [400, 1, 1]))
    spread = conditional(mean, covariance, np.array([True, False]), x[0, 0])[1] ** 0.5
    np.testing.assert_allclose(np.std(found.samples[..., 1], axis=0).mean(), spread.item(), rtol=0.05)


@pytest.mark.slow
def test_posteriors_with_structure_over_time_are_moved_as_a_whole() -> None:
    """A latent LDS whose potentials have the right precision and the wrong centre."""
    model, x = linear_lds(LINEAR), frames(LINEAR.x_dim, 2, 6)
    bias = model.cell.potentials.bias
    bias.assign_add([1.5, -1.0, 0.0, 0.0])
    exact = LINEAR.distribution(6).log_prob(x.astype(np.float64))
    refined = model.refine(x, **STEADY)
    assert (exact.numpy() - refined.amortised.numpy() > 0.5).all()
    np.testing.assert_allclose(refined.bound, exact, atol=0.05)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("by", ["sequence", "frame"])
def test_the_first_step_tells_shift_and_scale_apart(vae: tfdvae.DVAE, by: str) -> None:
    """Eagerly one tensor could stand for both, in which their slopes would add up."""
    move = vae.refine(frames(2), steps=1, num_samples=2, seed=0, by=by).moves["z"]
    assert (np.sign(move.shift) * np.sign(move.log_scale) < 0.0).any()


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "name",
    [
        "vrnn",
        "vrae",
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("dsae-full-u", "kvae-u", "dvbf-filter-u")),
    ],
)
@pytest.mark.slow
def test_no_bound_falls_and_masks_hold(name: str) -> None:
    model, batch = cases.make(name), cases.frames(name)
    mask = tf.sequence_mask([3, 5, 2][: batch.x.shape[0]], batch.x.shape[1])
    junk = tf.where(mask[..., None], batch.x, 1e3)
    found = model.refine(junk, mask, batch.u, steps=3, num_samples=2, learning_rate=0.2, seed=1)
    assert (found.bound.numpy() >= found.amortised.numpy()).all() and (
        found.bound - found.amortised
    ).numpy().max() > 0.1
    again = model.refine(batch.x, mask, batch.u, steps=3, num_samples=2, learning_rate=0.2, seed=1)
    np.testing.assert_array_equal(again.bound, found.bound)
    # At rest the moves change nothing: the bound is that of the importance weights from the same noise.
    rest = Refined({k: tfdvae.Move(*map(tf.zeros_like, v)) for k, v in found.moves.items()}, found.bound, found.bound)
    own, plain = (model.log_prob(batch.x, mask, batch.u, num_samples=3, seed=2, refined=r) for r in (rest, None))
    np.testing.assert_allclose(own, plain, rtol=1e-5, atol=1e-4)
    modes, moved = (model.encode(batch.x, mask, batch.u, refined=r) for r in (None, rest))
    for one, other in zip(tf.nest.flatten(modes), tf.nest.flatten(moved), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_steps_that_harm_are_not_kept(vae: tfdvae.DVAE) -> None:
    wild = vae.refine(frames(2), steps=3, learning_rate=50.0, seed=0)
    assert (wild.bound.numpy() >= wild.amortised.numpy()).all()
    unmoved = wild.bound.numpy() == wild.amortised.numpy()
    assert unmoved.any() and not np.any(wild.moves["z"].shift.numpy()[unmoved])


@pytest.mark.slow
def test_what_cannot_be_refined_says_so(vae: tfdvae.DVAE, refined: Refined) -> None:
    with pytest.raises(ValueError, match="of which RNN as configured has none"):
        cases.make("rnn").refine(cases.frames("rnn").x)
    categorical = tfdvae.VRNN(4, family={"class_name": "categorical", "config": {"classes": 2}})
    assert isinstance(categorical.latents[0].q, Categorical)
    with pytest.raises(ValueError, match="of which VRNN as configured has none"):
        categorical.build_for(2)
        categorical.refine(frames(2))
    with pytest.raises(ValueError, match="`steps` must be at least 1"):
        vae.refine(frames(2), steps=0)
    with pytest.raises(ValueError, match="`by` must be 'sequence' or 'frame', got 'time'"):
        vae.refine(frames(2), by="time")
    with pytest.raises(ValueError, match="one frame after the other, and SRNN .* infers latents from frames"):
        tfdvae.SRNN(1, units=2).refine(frames(2), by="frame")
    with pytest.raises(ValueError, match="must come from `refine` of the same model and sequences, here 2 of 4 frames"):
        vae.encode(frames(2)[:2], refined=refined)
    with pytest.raises(ValueError, match="`refined` must be what `refine` returned, got float"):
        vae.log_prob(frames(2), refined=1.0)
    flow = tfdvae.VAE(1, encoder_units=(), decoder_units=(), posterior_flow=1)
    flow.build_for(2)
    found = flow.refine(frames(2), steps=2, seed=0)
    assert np.isfinite(flow.log_prob(frames(2), num_samples=2, refined=found)).all()
    with pytest.raises(NotImplementedError, match="under another law of its noise"):
        flow.encode(frames(2), refined=found)


@pytest.mark.slow
def test_densities_of_moved_posteriors_are_those_of_their_families() -> None:
    """log q of the terms, by the change of the noise, against the family's own density of the moved distribution."""
    model = tfdvae.VAE(3, encoder_units=(4,), decoder_units=(), family="triangular", observation="gaussian")
    model.build_for(2)
    x, rng = tf.constant(frames(2)), np.random.default_rng(0)
    moves = {"z": tfdvae.Move(*(tf.constant(rng.normal(size=(3, LENGTH, 3)), tf.float32) for _ in range(2)))}
    terms = model.moved_terms(Batch(x), moves, tf.constant([1, 2]))
    noise = model.draw_noise(tf.constant([1, 2]), 3, LENGTH)["z"]
    q = model.encode(x)["z"]
    family = model.latents[0].q
    moved = family.moved(q, *moves["z"])
    z = family.sample(moved, noise)
    np.testing.assert_allclose(terms.latents["z"].log_q, family.log_prob(moved, z), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.latents["z"].log_p, family.log_prob(family.standard(z), z), rtol=1e-4, atol=1e-4)
