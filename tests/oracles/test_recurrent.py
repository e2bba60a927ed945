"""The stack of recurrent layers: three ways to the same numbers."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import reference
from tests.oracles.support import randomise
from tfdvae.layers.recurrent import Recurrent

BATCH, LENGTH, FEATURES, UNITS = 3, 5, 4, 3
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=[("lstm", 1), ("lstm", 2), ("gru", 1), ("gru", 2), ("rnn", 2)], ids=lambda p: f"{p[0]}-{p[1]}")
def layer(request: pytest.FixtureRequest) -> Recurrent:
    kind, layers = request.param
    recurrent = Recurrent(UNITS, kind, layers)
    recurrent.build((None, FEATURES))
    randomise(recurrent, 0.6, seed=2)
    return recurrent


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=[BATCH, LENGTH, FEATURES]).astype(np.float32)


def stepped(layer: Recurrent, x: np.ndarray, start: int | None = 0) -> tf.Tensor:
    """Frame by frame; columns before `start` are projected for all frames at once, all of them where that is None."""
    x = tf.constant(x)
    before = x if start is None else x[..., :start]
    projected = None if start == 0 else layer.project(before)
    state, outputs = layer.initial_state(x.shape[0]), []
    for t in range(x.shape[1]):
        own = {} if start is None else {"x": x[:, t, start:], "start": start}
        state = layer.step(state, projected=None if projected is None else projected[:, t], **own)
        outputs.append(state.h)
    return tf.stack(outputs, axis=1)


def test_sequence_and_step_agree_with_the_reference(layer: Recurrent, x: np.ndarray) -> None:
    expected = reference.run(layer, x)
    np.testing.assert_allclose(layer(tf.constant(x)), expected, **CLOSE)
    for start in (0, None):
        np.testing.assert_allclose(stepped(layer, x, start), expected, **CLOSE)


def test_sequence_and_step_agree_with_keras(layer: Recurrent, x: np.ndarray) -> None:
    kinds = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
    y = tf.constant(x)
    for own in layer.stack:
        other = kinds[layer.cell](UNITS, return_sequences=True)
        other.build(y.shape)
        other.set_weights(own.get_weights())
        y = other(y)
    np.testing.assert_allclose(layer(tf.constant(x)), y, **CLOSE)
    for start in (0, None):
        np.testing.assert_allclose(stepped(layer, x, start), y, **CLOSE)


def test_gradients_of_sequence_and_step_agree(layer: Recurrent, x: np.ndarray) -> None:
    gradients = []
    for run in (layer, *(functools.partial(stepped, layer, start=start) for start in (0, 1, None))):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(3.0 * run(tf.constant(x))))
        gradients.append(tape.gradient(loss, layer.trainable_variables))
    for slow in gradients[1:]:
        for fast, other in zip(gradients[0], slow, strict=True):
            np.testing.assert_allclose(fast, other, rtol=1e-4, atol=1e-5)


def test_a_projection_may_be_split(layer: Recurrent, x: np.ndarray) -> None:
    """The first columns before the loop, the others in it, from their own rows of the kernel on."""
    whole = stepped(layer, x, None)
    for start in (1, 3):
        np.testing.assert_allclose(stepped(layer, x, start), whole, **CLOSE)
    parts = layer.project(tf.constant(x[..., :1])), layer.project(tf.constant(x[..., 1:]))
    assert not np.allclose(tf.add(*parts), layer.project(tf.constant(x)), atol=1e-2)


def test_a_sequence_goes_on_from_a_state(layer: Recurrent, x: np.ndarray) -> None:
    state = layer.initial_state(BATCH)
    for t in range(2):
        state = layer.step(state, x=tf.constant(x[:, t]))
    np.testing.assert_allclose(layer(tf.constant(x[:, 2:]), state=state), reference.run(layer, x)[:, 2:], **CLOSE)


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
