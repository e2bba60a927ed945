"""Maps from outputs of networks to scales, and their floors, against numpy in float64."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tfdvae import observations, presets, scales
from tfdvae.families import DiagonalGaussian, TriangularGaussian
from tfdvae.layers import GatedTransition

RAW = np.array([-60.0, -8.0, -3.0, -0.5, 0.0, 2.0, 7.0], np.float32)
LEAST = 0.3


def mapped(scale: str, raw: np.ndarray = RAW) -> np.ndarray:
    raw = raw.astype(np.float64)
    return np.log1p(np.exp(raw)) if scale == "softplus" else np.exp(0.5 * raw)


def floored(found: np.ndarray, scale_floor: str, least: float = LEAST) -> np.ndarray:
    return found + least if scale_floor == "sum" else np.maximum(found, least)


@pytest.mark.parametrize("scale_floor", scales.FLOORS)
@pytest.mark.parametrize("scale", scales.MAPS)
def test_a_latent_has_the_scale_of_its_map_and_floor(scale: str, scale_floor: str) -> None:
    for least in (LEAST, 1e-4, 0.0):
        family = DiagonalGaussian(len(RAW), scale, least, scale_floor)
        found = family.parameters(tf.concat([tf.zeros_like(RAW), RAW], axis=0)).scale
        np.testing.assert_allclose(found, floored(mapped(scale), scale_floor, least), rtol=1e-6)
        triangular = TriangularGaussian(1, scale, least, scale_floor)
        found = triangular.parameters(np.stack([np.zeros_like(RAW), RAW], axis=-1)).scale_tril
        np.testing.assert_allclose(found[:, 0, 0], floored(mapped(scale), scale_floor, least), rtol=1e-6)


@pytest.mark.parametrize("scale", scales.MAPS)
def test_gradients_pass_a_clip_so_that_scales_come_back(scale: str) -> None:
    """That of the raw value is the one without any floor for a softplus, and of the floor itself for an exponential,
    which is a clipped log-variance."""
    raw = tf.constant([[0.0, -3.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        found = DiagonalGaussian(1, scale, LEAST, "clip").parameters(raw).scale
    assert float(found[0, 0]) == pytest.approx(LEAST)
    expected = 1.0 / (1.0 + np.exp(3.0)) if scale == "softplus" else 0.5 * LEAST
    assert float(tape.gradient(found, raw)[0, 1]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale_floor", scales.FLOORS)
@pytest.mark.parametrize("scale", scales.MAPS)
def test_the_bias_that_adapt_finds_gives_the_scale_of_the_data(scale: str, scale_floor: str) -> None:
    frames = np.random.default_rng(0).normal([3.0, -1.0], [2.0, 0.5], (4000, 2))
    observation = observations.Gaussian(scale, LEAST, scale_floor)
    observation.build((None, 3), (None, 2))
    observation.adapt(frames[None].astype(np.float32))
    found = observation.distribution(observation.bias[None]).stddev()[0]
    # The smaller one is raised to twice the floor.
    np.testing.assert_allclose(found, [frames[:, 0].std(), 2 * LEAST], rtol=1e-4)


def built(name: str, x_dim: int, **options: Any) -> observations.Observation:
    made = observations.OBSERVATIONS[name](min_scale=LEAST, **options)
    made.build((None, 3), (None, x_dim))
    return made


@pytest.mark.parametrize("scale_floor", scales.FLOORS)
def test_frames_have_the_scales_of_their_floor(scale_floor: str) -> None:
    expected = floored(mapped("softplus"), scale_floor)
    two = np.stack([RAW, RAW], axis=-1)
    parts = {
        "gaussian": (2, [np.zeros_like(two), two], lambda o, p: o.loc_and_scale(p)[1]),
        "student_t": (2, [np.zeros_like(two), two, two], lambda o, p: o.components(p)[2]),
        "gaussian_mixture": (2, [two[:, :1], np.zeros_like(two), two], lambda o, p: o.components(p).scale[:, 0]),
        "pen": (3, [two[:, :1], np.zeros_like(two), two, two], lambda o, p: o.components(p).scale[:, 0]),
    }
    for name, (x_dim, params, scale_of) in parts.items():
        one = {"num_components": 1} if "num_components" in observations.OBSERVATIONS[name]().get_config() else {}
        observation = built(name, x_dim, scale_floor=scale_floor, **one)
        found = scale_of(observation, np.concatenate(params, axis=-1))
        np.testing.assert_allclose(found, np.stack([expected] * 2, axis=-1), rtol=1e-5, err_msg=name)
        assert type(observation).from_config(observation.get_config()).scale_floor == scale_floor


@pytest.mark.parametrize("scale_floor", scales.FLOORS)
def test_the_variance_of_a_gated_transition_has_its_floor(scale_floor: str) -> None:
    layer = GatedTransition(len(RAW), (2,), LEAST, scale_floor)
    layer.build((None, len(RAW)))
    layer.variance.kernel.assign(tf.zeros_like(layer.variance.kernel))
    layer.variance.bias.assign(RAW)
    found = layer(tf.ones([1, len(RAW)])).scale[0]
    np.testing.assert_allclose(found, np.sqrt(floored(mapped("softplus"), scale_floor, LEAST**2)), rtol=1e-5)
    assert GatedTransition.from_config(layer.get_config()).scale_floor == scale_floor


@pytest.mark.slow
def test_models_hand_their_floor_on_and_presets_of_the_survey_clip() -> None:
    dkf = tfdvae.DKF(2, scale_floor="clip", min_scale=LEAST)
    assert (dkf.cell.transition_net.scale_floor, dkf.cell.transition_net.min_scale) == ("clip", LEAST)
    kvae = tfdvae.KVAE(2, scale_floor="clip")
    assert {type(kvae).from_config(kvae.get_config()).a_prior.scale_floor, kvae.a_prior.scale_floor} == {"clip"}
    for sizes in (presets.speech, presets.motion):
        for name in ("vae", "dkf", "storn", "vrnn", "srnn", "rvae", "rvae_noncausal", "dsae"):
            cell = tfdvae.MODELS[name](**sizes[name]).cell
            assert {latent.q.scale_floor for latent in cell.latents} == {"clip"}
