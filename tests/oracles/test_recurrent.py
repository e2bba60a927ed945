"""The stack of LSTMs and GRUs: three ways to the same numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import reference
from tests.oracles.support import randomise
from tfdvae.layers.recurrent import Recurrent

BATCH, LENGTH, FEATURES, UNITS = 3, 5, 4, 3
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=[("lstm", 1), ("lstm", 2), ("gru", 1), ("gru", 2)], ids=lambda p: f"{p[0]}-{p[1]}")
def layer(request: pytest.FixtureRequest) -> Recurrent:
    kind, layers = request.param
    recurrent = Recurrent(UNITS, kind, layers)
    recurrent.build((None, FEATURES))
    randomise(recurrent, 0.6, seed=2)
    return recurrent


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=[BATCH, LENGTH, FEATURES]).astype(np.float32)


def stepped(layer: Recurrent, projected: tf.Tensor) -> tf.Tensor:
    state, outputs = layer.initial_state(projected.shape[0]), []
    for t in range(projected.shape[1]):
        state = layer.step(projected[:, t], state)
        outputs.append(state.h)
    return tf.stack(outputs, axis=1)


def test_sequence_and_step_agree_with_the_reference(layer: Recurrent, x: np.ndarray) -> None:
    expected = reference.run(layer, x)
    np.testing.assert_allclose(layer(tf.constant(x)), expected, **CLOSE)
    np.testing.assert_allclose(stepped(layer, layer.project(tf.constant(x))), expected, **CLOSE)


def test_sequence_and_step_agree_with_keras(layer: Recurrent, x: np.ndarray) -> None:
    kinds = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    y = tf.constant(x)
    for own in layer.stack:
        other = kinds[layer.cell](UNITS, return_sequences=True)
        other.build(y.shape)
        other.set_weights(own.get_weights())
        y = other(y)
    np.testing.assert_allclose(layer(tf.constant(x)), y, **CLOSE)
    np.testing.assert_allclose(stepped(layer, layer.project(tf.constant(x))), y, **CLOSE)


def test_gradients_of_sequence_and_step_agree(layer: Recurrent, x: np.ndarray) -> None:
    gradients = []
    for run in (layer, lambda y: stepped(layer, layer.project(y))):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(3.0 * run(tf.constant(x))))
        gradients.append(tape.gradient(loss, layer.trainable_variables))
    for fast, slow in zip(*gradients, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-5)


def test_a_projection_may_be_split(layer: Recurrent, x: np.ndarray) -> None:
    whole = layer.project(tf.constant(x))
    parts = layer.project(tf.constant(x[..., :1])), layer.project(tf.constant(x[..., 1:]), start=1)
    np.testing.assert_allclose(tf.add(*parts), whole, **CLOSE)
    assert not np.allclose(parts[0] + layer.project(tf.constant(x[..., 1:])), whole, atol=1e-2)


def test_backward_starts_at_the_last_existing_frame(layer: Recurrent, x: np.ndarray) -> None:
    lengths = [5, 3, 1]
    exists = np.arange(LENGTH) < np.array(lengths)[:, None]
    x[~exists] = 0.0
    out = np.asarray(layer(tf.constant(x), exists=tf.constant(exists), backward=True))
    for b, length in enumerate(lengths):
        expected = reference.run(layer, x[b : b + 1, :length], backward=True)
        np.testing.assert_allclose(out[b : b + 1, :length], expected, **CLOSE)
    assert not np.allclose(out[1, :3], reference.run(layer, x[1:2], backward=True)[0, :3], atol=1e-3)
    np.testing.assert_allclose(layer(tf.constant(x), backward=True), reference.run(layer, x, backward=True), **CLOSE)
