"""Layers of Keras inside of frame networks: they know when they are trained, and their state is known."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.layers.support import SHAPE, WIDTH, RowMeans, built_encoder, close, data, functional, normalised
from tfdvae import random
from tfdvae.layers import frame_encoder
from tfdvae.layers.frame_networks import uses_training_state


def trained(network: keras.layers.Layer, x: tf.Tensor, seed: int = 0) -> tf.Tensor:
    with random.dropout_scope(random.make_seed(seed)):
        return network(x)


@pytest.mark.parametrize("run", ["eager", "graph", "xla", "loop", "xla loop"])
@pytest.mark.slow
def test_layers_of_keras_know_that_they_are_trained(run: str) -> None:
    """Dropout drops, moving statistics move and gradients flow, within the scope and not outside of it."""
    layer = normalised()
    encoder = built_encoder(layer)
    x = data(4, 8, WIDTH)

    def whole(x: tf.Tensor) -> tf.Tensor:
        return encoder(x)

    def looped(x: tf.Tensor) -> tf.Tensor:
        rows = tf.TensorArray(tf.float32, 4, element_shape=[8, 6])

        def body(i: tf.Tensor, rows: tf.TensorArray) -> tuple:
            return i + 1, rows.write(i, encoder(x[i]))

        return tf.while_loop(lambda i, _: i < 4, body, (tf.constant(0), rows), maximum_iterations=4)[1].stack()

    forward = looped if "loop" in run else whole

    def step(x: tf.Tensor, seed: tf.Tensor | None) -> tuple:
        with random.dropout_scope(seed), tf.GradientTape() as tape:
            y = forward(x)
            total = tf.reduce_sum(y * tf.range(1.0, 7.0))
        return y, tape.gradient(total, encoder.trainable_variables)

    step = step if run == "eager" else tf.function(step, jit_compile="xla" in run, autograph=False)
    normaliser = layer.layers[2]
    before = normaliser.moving_mean.numpy()
    y, _ = step(x, None)
    assert np.count_nonzero(y) == np.size(y) and np.array_equal(before, normaliser.moving_mean)
    y, gradients = step(x, random.make_seed(1))
    y = y.numpy()
    assert 0.3 < (y == 0.0).mean() < 0.7
    assert np.abs(normaliser.moving_mean - before).max() > 1e-4
    assert all(np.abs(g).max() > 1e-3 for g in (gradients[0], *gradients[2:]))
    # The same scope has the same noise, another has another, wherever the layer stands.
    again, other = (step(x, random.make_seed(seed))[0].numpy() for seed in (1, 2))
    assert np.array_equal(y == 0.0, again == 0.0) and not np.array_equal(y == 0.0, other == 0.0)
    # Kept units are batch-normalised and scaled by 1 / (1 - rate), which the statistics of each call tell.
    hidden = layer.layers[1](layer.layers[0](tf.reshape(x, [-1, *SHAPE]))).numpy()
    rows = hidden.reshape(4, 8, 6) if "loop" in run else hidden[None]
    moments = rows.mean(axis=1, keepdims=True), rows.std(axis=1, keepdims=True)
    expected = 2.0 * ((rows - moments[0]) / np.hypot(moments[1], np.sqrt(normaliser.epsilon))).reshape(y.shape)
    close(y[y != 0.0], expected[y != 0.0], 1e-4)


def test_dropout_further_inside_is_reached() -> None:
    encoder = built_encoder(RowMeans(50, 0.5))
    x = data(8, WIDTH)
    assert 0.4 < np.mean(trained(encoder, x) == 0.0) < 0.6
    assert np.all(encoder(x) != 0.0)
    assert np.all(encoder(x, training=False) != 0.0)


def test_a_model_of_keras_says_itself_whether_it_is_trained() -> None:
    inputs = keras.Input((WIDTH,))
    model = keras.Model(inputs, frame_encoder(RowMeans(50, 0.5), SHAPE)(inputs))
    x = data(8, WIDTH)
    assert np.mean(model(x, training=True) == 0.0) > 0.4
    assert np.all(model(x, training=False) != 0.0) and np.all(model(x) != 0.0)


def test_the_scope_tells_of_training() -> None:
    assert not random.is_training() and random.dropout_seed() is None
    with random.dropout_scope(random.make_seed(1)):
        assert random.is_training()
        with random.dropout_scope(None):
            assert not random.is_training()
        assert random.is_training()


def test_networks_of_this_library_have_one_mask_per_sequence() -> None:
    x = tf.ones([3, 4, WIDTH])
    for spec in ((6,), "conv"):
        y = trained(built_encoder(spec, activation="linear", dropout=0.5), x).numpy()
        assert 0.2 < (y == 0.0).mean() < 0.8
        assert ((y == 0.0) == (y[:, :1] == 0.0)).all()


def test_weight_decay_is_a_loss_of_the_wrapper() -> None:
    encoder = built_encoder(keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.5)), None, 4)
    assert float(sum(encoder.losses)) == pytest.approx(0.5 * np.sum(encoder.network.kernel.numpy() ** 2), rel=1e-6)


def test_state_that_training_changes_is_found_at_any_depth() -> None:
    inside = keras.Sequential([keras.layers.Dense(2), keras.Sequential([keras.layers.GaussianNoise(0.1)])])
    frozen = keras.layers.BatchNormalization()
    frozen.trainable = False
    layers = keras.layers
    stateful = [normalised(), normalised(0.0), inside, RowMeans(3, 0.5), layers.LSTM(2, dropout=0.1)]
    stateful += [layers.SpectralNormalization(layers.Dense(2)), layers.GRU(2, stateful=True), layers.AlphaDropout(0.1)]
    stateful += [layers.SpatialDropout2D(0.1), built_encoder(normalised()), built_encoder(RowMeans(3, 0.5))]
    assert [layer.name for layer in stateful if not uses_training_state(layer)] == []
    plain = [None, layers.Dense(2), layers.Dropout(0.0), RowMeans(3, 0.0), frozen, layers.LSTM(2), functional()]
    plain += [layers.LayerNormalization(), built_encoder((4,), dropout=0.5), built_encoder("conv", dropout=0.5)]
    assert [layer for layer in plain if uses_training_state(layer)] == []


@pytest.mark.slow
def test_a_fit_trains_them_within_a_model(tmp_path: Path) -> None:
    """Statistics move in `fit` alone, and come back with the model; dropout drops in `fit` alone."""
    model = tfdvae.VAE(2, encoder_units=(), decoder_units=(3,), frame_encoder=normalised(), frame_decoder=(4,))
    model.build_for(SHAPE)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    normaliser, x = model.frames.encoder.network.layers[2], data(8, 2, *SHAPE)
    start = normaliser.moving_mean.numpy()
    model.evaluate(x, verbose=0)
    np.testing.assert_array_equal(normaliser.moving_mean, start)
    model.fit(x, batch_size=8, verbose=0)
    assert np.abs(normaliser.moving_mean - start).max() > 1e-4
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.frames.encoder.network.layers[2].moving_mean, normaliser.moving_mean)
    np.testing.assert_array_equal(again(x), model(x))
    means = [model.infer(x).latents["z"].q.loc for _ in range(2)]
    np.testing.assert_array_equal(*means)
    assert np.any(trained(lambda x: model.infer(x).latents["z"].q.loc, x).numpy() != means[0].numpy())
