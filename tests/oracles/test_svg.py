"""SVG with frame networks: what its recurrences see of pictures, what they share, and the first frame."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.support import NETWORKS, frames, randomise

BATCH, LENGTH, PICTURE, Z = 3, 4, (4, 5, 1), 2
CONV = {"class_name": "conv", "config": {"filters": (3,), "kernel_size": 3}}
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def model() -> tfdvae.SVG:
    observation = {"class_name": "identity_gaussian", "config": {"scale": 0.5}}
    options = {"units": 3, "latent_dim": Z, "frame_encoder": CONV, "frame_decoder": CONV, "observation": observation}
    model = tfdvae.SVG(**NETWORKS["SVG"], **options)
    model.build_for(PICTURE)
    randomise(model, 0.5, 0)
    return model


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return frames("gaussian", BATCH, LENGTH, 20).reshape(BATCH, LENGTH, *PICTURE)


def test_all_recurrences_see_encoded_frames_and_the_decoder_sees_the_predictor(
    model: tfdvae.SVG, pictures: np.ndarray
) -> None:
    noise = np.random.default_rng(5).normal(size=[BATCH, LENGTH, Z]).astype(np.float32)
    path = model.infer(tf.constant(pictures), noise={"z": tf.constant(noise)})
    encoded = np.asarray(model.frames.encoder(pictures.reshape(BATCH, LENGTH, -1)), np.float64)
    width = model.cell.features_dim
    as_it_is = SimpleNamespace(head=SimpleNamespace(kernel=np.eye(width)), bias=np.zeros(width))
    expected = reference.svg(model.cell, as_it_is, encoded, None, reference.reparameterised(noise))
    latent = path.latents["z"]
    for got, right in zip((latent.z, *latent.q, *latent.p), (expected.z, *expected.q, *expected.p), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
    np.testing.assert_allclose(path.x, model.frames.params(tf.constant(expected.params, tf.float32)), **CLOSE)


def test_the_first_prior_is_learned_and_knows_no_frame(model: tfdvae.SVG, pictures: np.ndarray) -> None:
    first = [y[:, 0] for y in model.infer(tf.constant(pictures)).latents["z"].p]
    for values in first:
        np.testing.assert_array_equal(values, np.broadcast_to(values[0], values.shape))
    assert np.abs(first[0]).min() > 1e-3 and np.abs(first[1] - 1.0).min() > 1e-3


def test_every_recurrence_teaches_the_frame_encoder(model: tfdvae.SVG, pictures: np.ndarray) -> None:
    kernel = model.frames.encoder.trainable_variables[0]
    with tf.GradientTape(persistent=True) as tape:
        path = model.infer(tf.constant(pictures))
        latent = path.latents["z"]
        targets = (*latent.q, *latent.p, path.x)
    for target in targets:
        assert np.abs(tape.gradient(target, kernel)).max() > 1e-6


@pytest.mark.slow
def test_pictures_are_forecast_as_pictures(model: tfdvae.SVG, pictures: np.ndarray) -> None:
    found = model.forecast(pictures, horizon=2, num_samples=3, seed=0)
    assert found.samples.shape == (3, BATCH, 2, *PICTURE)
    assert np.abs(found.samples[0] - found.samples[1]).max() > 1e-3


@pytest.mark.slow
def test_the_activation_of_hidden_layers_leaves_the_linear_layers_and_the_tanh_as_they_are() -> None:
    model = tfdvae.SVG(Z, units=3, embedding_units=(4,), predictor_units=(2,), activation="relu")
    model.build_for(3)
    randomise(model, 0.5, 0)
    x, noise = frames("gaussian", BATCH, LENGTH, 3), np.random.default_rng(5).normal(size=[BATCH, LENGTH, Z])
    path = model.infer(tf.constant(x), noise={"z": tf.constant(noise, tf.float32)})
    expected = reference.follow(model, x, reference.reparameterised(noise))
    latent = path.latents["z"]
    for got, right in zip((*latent.q, *latent.p, path.x), (*expected.q, *expected.p, expected.params), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
