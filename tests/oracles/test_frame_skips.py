"""Connections from the encoder's layers at the newest given frame to the decoder's: what they are, and which frame
holds."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.oracles.support import randomise
from tfdvae import random
from tfdvae.layers import ConvDecoder, ConvEncoder
from tfdvae.testing import assert_close, assert_equal

BATCH, LENGTH, GIVEN = 3, 6, 3
PICTURE = (5, 6, 1)
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def conv(*filters: int) -> dict:
    return {"class_name": "conv", "config": {"filters": filters}}


def svg(**options: object) -> tfdvae.SVG:
    networks = {"frame_encoder": conv(3, 2), "frame_decoder": conv(2, 4), "predictor_units": (3,)}
    sizes = {"units": 3, "embedding_units": (4,), "activation": "relu", "given_frames": GIVEN, "frame_skips": True}
    model = tfdvae.SVG(2, **{**sizes, **networks, **options})
    model.build_for(PICTURE)
    randomise(model, 0.5, 0)
    return model


@pytest.fixture(scope="module")
def model() -> tfdvae.SVG:
    return svg()


def pictures(batch: int = BATCH, length: int = LENGTH) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(batch, length, *PICTURE)).astype("float32")


def convolved(x: np.ndarray, layer: tf.keras.layers.Layer, stride: int = 1) -> np.ndarray:
    """A convolution with the padding that TensorFlow calls "same", `[H, W, C]` to `[H', W', F]`, in float64."""
    kernel = np.asarray(layer.kernel, np.float64)
    size, out = kernel.shape[0], [-(-n // stride) for n in x.shape[:2]]
    missing = [max((m - 1) * stride + size - n, 0) for m, n in zip(out, x.shape[:2], strict=True)]
    x = np.pad(x, [*((n // 2, n - n // 2) for n in missing), (0, 0)])
    found = np.zeros((*out, kernel.shape[-1]))
    for i, j in np.ndindex(*out):
        patch = x[i * stride : i * stride + size, j * stride : j * stride + size]
        found[i, j] = np.tensordot(patch, kernel, 3)
    return found + (np.asarray(layer.bias, np.float64) if layer.use_bias else 0.0)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def layers_of(encoder: ConvEncoder, picture: np.ndarray) -> list[np.ndarray]:
    found = [np.asarray(picture, np.float64).reshape(encoder.frame_shape)]
    for layer in encoder.stack:
        found.append(relu(convolved(found[-1], layer, 2)))
    return found[1:]


def decoded(decoder: ConvDecoder, features: np.ndarray, skips: list[np.ndarray]) -> np.ndarray:
    """The decoder's output for one frame: each picture of the encoder beside the decoder's of its size."""
    height, width, _ = decoder.frame_shape
    kernel, bias = (np.asarray(y, np.float64) for y in (decoder.coarse.kernel, decoder.coarse.bias))
    x = relu(features @ kernel + bias).reshape(*decoder.coarse_shape, -1)
    for i, layer in enumerate(decoder.stack):
        halvings = len(decoder.stack) - i
        if halvings <= len(skips):
            own = skips[halvings - 1]
            x = np.concatenate([x[: own.shape[0], : own.shape[1]], own], axis=-1)
        x = relu(convolved(x, layer))
        rows, columns, channels = x.shape
        x = x.reshape(rows, columns, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
        x = x.reshape(2 * rows, 2 * columns, channels // 4)
    x = convolved(x[:height, :width], decoder.output_layer)
    return x.reshape(height * width, decoder.maps, -1).transpose(1, 0, 2).ravel()


@pytest.mark.parametrize(("of_encoder", "of_decoder"), [((2, 3), (4, 3)), ((2,), (3, 2)), ((2, 3, 2), (3,))])
def test_a_decoder_convolves_the_pictures_of_an_encoder_beside_its_own(of_encoder: tuple, of_decoder: tuple) -> None:
    encoder = ConvEncoder(PICTURE, of_encoder)
    encoder.build((None, 30))
    decoder = ConvDecoder(PICTURE, of_decoder, maps=2, skips=encoder.pictures)
    decoder.build((None, 4 + decoder.skips_dim))
    rng = np.random.default_rng(3)
    for layer in (encoder, decoder):
        for v in layer.trainable_variables:
            v.assign(rng.normal(size=v.shape, scale=0.5))
    x, h = pictures(2, 1).reshape(2, 30), rng.normal(size=(2, 4)).astype("float32")
    features, found = encoder.with_pictures(tf.constant(x))
    assert_equal(features, encoder(x))
    skips = [layers_of(encoder, one) for one in x]
    np.testing.assert_allclose(found, [np.concatenate([y.ravel() for y in one]) for one in skips], **CLOSE)
    shown = decoder(tf.concat([h, found], axis=-1))
    expected = [decoded(decoder, *one) for one in zip(h, skips, strict=True)]
    np.testing.assert_allclose(shown, expected, rtol=1e-4, atol=1e-4)
    assert ConvDecoder.from_config(decoder.get_config()).skips == encoder.pictures


def newest_given(exists: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which frame holds for each, -1 for none: the newest before it among the first `GIVEN` that exist, of which
    anything was observed."""
    found = np.full(exists.shape, -1)
    for b, t in np.ndindex(*exists.shape):
        given = np.flatnonzero(exists[b])[:GIVEN]
        before = [s for s in given if s < t and known[b, s]]
        found[b, t] = before[-1] if before else -1
    return found


@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.slow
def test_the_decoder_sees_the_newest_given_frame_beside_the_predictor(partly: bool) -> None:
    """With gaps at the beginning, and with frames of which nothing was observed."""
    model, x = svg(observation={"class_name": "identity_gaussian", "config": {"scale": 0.5}}), pictures()
    exists, observed = np.ones((BATCH, LENGTH), bool), None
    exists[0, [0, 2]] = exists[2, 3:] = False
    known = np.ones_like(exists)
    if partly:
        observed = np.random.default_rng(4).random(x.shape) < 0.7
        observed[1, 2] = False
        known[1, 2] = False
    path = model.infer(tf.constant(x), tf.constant(exists), None, None if observed is None else tf.constant(observed))
    states = model.encode_states(x, exists, None, observed)
    features = np.asarray(model.cell.observe(states), np.float64)
    shown = x.reshape(BATCH, LENGTH, -1)
    if partly:
        shown = np.where(observed.reshape(shown.shape), shown, 0.0)
    encoder, decoder = model.frames.encoder.network, model.frames.decoder.network
    nothing = [np.zeros(shape) for shape in encoder.pictures]
    holds = newest_given(exists, known)
    assert holds[0].tolist() == [-1, -1, 1, 1, 3, 4] and holds[1, -1] == (1 if partly else 2)
    for b, t in zip(*np.nonzero(exists), strict=True):
        skips = nothing if holds[b, t] < 0 else layers_of(encoder, shown[b, holds[b, t]])
        expected = decoded(decoder, features[b, t], skips) + np.asarray(model.observation.bias, np.float64).ravel()
        np.testing.assert_allclose(path.x[b, t], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_no_frame_after_the_given_ones_moves_what_the_decoder_takes(model: tfdvae.SVG) -> None:
    """Each frame's pictures hang on the newest given frame before it, and on no other: never on one that is scored."""
    x = tf.constant(pictures(2).reshape(2, LENGTH, -1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        along = model.pack(tfdvae.types.Batch(x))[0].skips.along()
        sums = [tf.reduce_sum(along[:, t]) for t in range(LENGTH)]
    for t, total in enumerate(sums):
        slope = tape.gradient(total, x, unconnected_gradients="zero").numpy()
        moved = np.flatnonzero(np.abs(slope).sum(axis=(0, 2)))
        assert moved.tolist() == ([] if t == 0 else [min(t, GIVEN) - 1])
    terms = model.terms(model.infer(x), tfdvae.types.Batch(x))
    np.testing.assert_array_equal(terms.log_px[:, :GIVEN], 0.0)
    assert (np.abs(terms.log_px[:, GIVEN:]) > 0.0).all()


@pytest.mark.slow
def test_nats_are_of_the_frames_after_the_given_ones_by_numerical_integration() -> None:
    """p(x_4 | x_1:3) is a density for whatever was given."""
    options = {"frame_encoder": conv(2), "frame_decoder": conv(2), "given_frames": 2, "frame_skips": True}
    model = tfdvae.RNN(units=3, phi_x=(2,), **options)
    model.build_for((1, 1, 1))
    randomise(model, 0.7, 2)
    grid = np.linspace(-60.0, 60.0, 8001)
    x = np.stack([np.full_like(grid, y) for y in (0.4, -1.3)] + [grid], axis=1)[..., None, None, None]
    density = np.exp(model.log_prob(x, num_samples=1).numpy())
    assert np.trapezoid(density, grid) == pytest.approx(1.0, rel=2e-3)
    other = x + np.array([0.0, 1.0, 0.0])[:, None, None, None]
    assert np.abs(np.exp(model.log_prob(other, num_samples=1).numpy()) - density).max() > 1e-4


@pytest.mark.slow
def test_own_output_takes_the_place_of_frames_and_particles_pass_them() -> None:
    """Scheduled sampling that replaces nothing is teacher forcing; without latents a particle filter is exact."""
    model, x = svg(), pictures().reshape(BATCH, LENGTH, -1)
    noise = cases.noise(model, BATCH, LENGTH)
    plain = model.infer(tf.constant(x), noise=noise).x
    with random.replacement_scope(tf.constant(0.0), random.make_seed(1)):
        assert_close(model.infer(tf.constant(x), noise=noise).x, plain, 3e-5)
    with random.replacement_scope(tf.constant(1.0), random.make_seed(1)):
        own = model.infer(tf.constant(x), noise=noise).x
    assert np.abs(own[:, 1:] - plain[:, 1:]).max() > 1e-3
    networks = {"frame_encoder": conv(3), "frame_decoder": conv(2)}
    rnn = tfdvae.RNN(units=3, phi_x=(2,), given_frames=2, frame_skips=True, **networks)
    rnn.build_for(PICTURE)
    randomise(rnn, 0.5, 2)
    exact = rnn.log_prob(pictures(2), num_samples=1)
    assert_close(rnn.particle_log_prob(pictures(2), num_samples=2, seed=0), exact, 1e-4)
