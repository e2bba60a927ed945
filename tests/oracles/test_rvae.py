"""RVAE: what it draws, and how the non-causal one continues a sequence. Its equations are in test_equations.py."""

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import reference
from tests.oracles.support import assert_mean, frames, tiny
from trainers.sizes import SIZES, build_model

X, Z = 3, 2
VARIANTS = ("RVAE", "RVAE non-causal")
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def decoded(model, z: np.ndarray) -> np.ndarray:
    """Parameters of p(x_t | .) for latents [N, T, Z] of whole sequences."""
    anything = np.zeros([*z.shape[:2], X])
    return reference.follow(model, anything, reference.given(reference.array(z))).params


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.slow
def test_generated_latents_are_standard_normal_and_independent_in_time(variant: str) -> None:
    model = tiny(variant, X, latent_dim=Z)
    drawn = model.generate(3, 20_000, seed=4)
    latents = drawn.latents["z"]
    z = np.reshape(latents, [20_000, 3 * Z]).astype(np.float64)
    assert_mean(z, np.zeros(3 * Z), variance=np.ones(3 * Z))
    assert_mean(z[:, :, None] * z[:, None], np.eye(3 * Z), variance=1.0 + np.eye(3 * Z))
    np.testing.assert_allclose(drawn.params[:50], decoded(model, latents[:50]), **CLOSE)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.slow
def test_a_continuation_is_decoded_with_the_latents_of_the_past(variant: str) -> None:
    """Of sequences of different lengths, with NaN where there is no frame. A causal decoder goes on from h of the past;
    the other runs over past and future together."""
    model = tiny(variant, X, latent_dim=Z)
    mask = np.array([[1, 1, 1, 1], [0, 1, 1, 0]], bool)
    x = frames("gaussian", 2, 4, X)
    x[~mask] = np.nan
    drawn = model.generate(3, prefix={"x": x, "mask": mask}, sample=False)
    np.testing.assert_array_equal(drawn.latents["z"], np.zeros([2, 3, Z]))
    for b in range(2):
        past = reference.follow(model, x[b : b + 1, mask[b]], lambda t, loc, scale: loc).z
        expected = decoded(model, np.concatenate([past, np.zeros([1, 3, Z])], axis=1))[:, -3:]
        np.testing.assert_allclose(drawn.params[b : b + 1], expected, **CLOSE)
    first, moved = (model.generate(3, prefix={"x": x + shift, "mask": mask}, seed=1) for shift in (0.0, 1.0))
    np.testing.assert_array_equal(first.latents["z"], moved.latents["z"])
    assert (np.abs(first.params - moved.params).max(axis=(1, 2)) > 1e-3).all()


def test_a_reconstruction_hangs_on_frames_before_and_after_in_the_non_causal_model_alone() -> None:
    """x_t from z_<=t or from z_1:T, all z given: moving the last latent moves the first frame, or does not."""
    z = np.random.default_rng(2).normal(size=[1, 4, Z]).astype(np.float32)
    moved = z + np.array([0.0, 0.0, 0.0, 1.0])[:, None].astype(np.float32)
    causal, whole = (tiny(variant, X, latent_dim=Z) for variant in VARIANTS)
    states = [causal.cell.absorb_z(causal.initial_state(1), tf.constant(y)) for y in (z, moved)]
    first = [causal.cell.observe(state)[:, 0].numpy() for state in states]
    np.testing.assert_array_equal(*first)
    first = [whole.decode(tf.constant(y), None, None)[:, 0].numpy() for y in (z, moved)]
    assert np.abs(first[0] - first[1]).max() > 1e-3
    with pytest.raises(ValueError, match=r"needs all latents of a sequence, \[batch, time, 2\]; got shape \(1, 2\)"):
        whole.cell.observe({"z": tf.constant(z[:, 0])})


@pytest.mark.slow
def test_the_sizes_of_the_survey_have_the_parameters_that_they_imply() -> None:
    """Appendices B.5 and C.5: LSTMs of one width, output layers right behind them."""

    def lstms(h: int, *inputs: int) -> int:
        return sum(4 * h * (i + h + 1) for i in inputs)

    # Gamma: one parameter per bin, shape one. Gaussian with identity covariance: the mean.
    for size, d, z, h in (("speech", 513, 16, 128), ("motion", 96, 10, 64)):
        causal = lstms(h, z, z, d) + (2 * h + 1) * 2 * z + (h + 1) * d
        whole = lstms(h, z, z, z, d, d) + (3 * h + 1) * 2 * z + (2 * h + 1) * d
        assert build_model("rvae", SIZES[size]).count_params() == causal
        assert build_model("rvae_noncausal", SIZES[size]).count_params() == whole
