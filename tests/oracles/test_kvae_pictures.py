"""KVAE on pictures: convolutions at both ends, in the shape of the frames."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.support import randomise
from tfdvae.models.kvae import KVAE
from tfdvae.testing import assert_close, assert_equal

PICTURES = {"frame_encoder": "conv", "frame_decoder": "conv", "encoder_units": (), "decoder_units": ()}


def convolutions(*filters: int) -> dict[str, Any]:
    """Options of a KVAE of pictures; the decoder's filters go the other way."""
    specs = [{"class_name": "conv", "config": {"filters": way}} for way in (filters, filters[::-1])]
    return {**PICTURES, "frame_encoder": specs[0], "frame_decoder": specs[1]}


@pytest.mark.slow
def test_pictures(tmp_path: Any) -> None:
    """Convolutions at both ends, parameters straight from the decoder, the data's mean from `adapt`."""
    rng = np.random.default_rng(0)
    x = (rng.random((8, 5, 6, 5, 1)) < np.linspace(0.1, 0.9, 30).reshape(6, 5, 1)).astype("float32")
    model = KVAE(3, encoding_dim=2, units=4, **convolutions(3, 4), observation="bernoulli")
    model.adapt(x)
    assert not model.observation.projection
    np.testing.assert_allclose(tf.sigmoid(model.observation.bias), x.mean((0, 1)).ravel(), atol=0.02)
    model.compile(keras.optimizers.Adam(0.01), reconstruction_weight=0.3)
    history = model.fit(x, epochs=6, verbose=0).history["loss"]
    assert np.isfinite(history).all() and history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(again(x), model(x))
    gaussian = KVAE(**convolutions(3))
    assert tuple(gaussian(x).shape) == x.shape and gaussian.frames.decoder.maps == 2
    with pytest.raises(ValueError, match="GaussianMixture without a projection takes its 1220 parameters as features"):
        KVAE(**PICTURES, observation="gaussian_mixture").build_for((6, 5, 1))
    with pytest.raises(ValueError, match=r"built for frames of shape \[6, 5, 1\], got \[6, 6, 1\]"):
        model.smooth(np.zeros((8, 5, 6, 6, 1)))
    with pytest.raises(ValueError, match=r"frames of shape \(height, width, channels\), got `frame_shape` \(30,\)"):
        KVAE(**PICTURES).build_for(30)


@pytest.mark.slow
def test_pictures_are_seen_and_returned_in_their_shape() -> None:
    """What all verbs make of pictures is what a KVAE of the same convolutions makes of them as vectors."""
    model = KVAE(3, encoding_dim=2, units=4, **convolutions(3, 4))
    model.build_for((6, 5, 1))
    randomise(model, 0.4, 3)
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 5, 1)).astype("float32")
    encoder, decoder = model.frames.encoder.network, model.frames.decoder.network
    for layer, options in ((encoder, {}), (decoder, {"maps": 2})):
        assert layer.frame_shape == (6, 5, 1) and layer.filters == ((3, 4) if layer is encoder else (4, 3))
        assert all(getattr(layer, k) == v for k, v in options.items())
    flat = tf.reshape(x, [2, 5, 30])
    q = model.encode(x)["a"]
    assert_close(list(q), list(model.posterior_head(encoder(flat))), 1e-5)
    path = model.infer(flat)
    params = decoder(path.latents["a"].z) + model.observation.bias
    assert_close(path.x, params, 1e-5)
    assert_close(model.reconstruct(x), tf.reshape(params[..., :30], x.shape), 1e-5)
    observed = np.array([[1, 0, 0, 1, 1], [0, 1, 1, 0, 1]], bool)
    smoothed = model.smooth(np.where(observed[..., None, None, None], x, np.nan), observed=observed)
    assert_close(smoothed, model.smooth(np.where(observed[..., None], flat, np.nan), observed=observed))


@pytest.mark.usefixtures("eagerly")
def test_filter_and_smoother_return_pictures_for_pictures() -> None:
    model, pictures = KVAE(4, units=5, encoder_units=(6,), decoder_units=(7,)), np.ones([2, 3, 2, 3, 1])
    model.build_for((2, 3, 1))
    for found in (model.filter(pictures), model.smooth(pictures)):
        assert found.x.shape == pictures.shape and found.encoding.shape == [2, 3, 2]
