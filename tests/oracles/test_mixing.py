"""The mixing network, the bank of matrices, and the convolutional networks of frames, against numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.oracles.support import randomise
from tfdvae.layers import ConvDecoder, ConvEncoder, MatrixBank, MixingNetwork
from tfdvae.testing import assert_close


def data(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def copied(layer: keras.layers.Layer, shape: tuple) -> keras.layers.Layer:
    """Another layer from the config and the weights of one."""
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy.get_config() == layer.get_config()
    if not copy.built:
        copy.build(shape)
    copy.set_weights(layer.get_weights())
    return copy


def mixing(cell: str) -> MixingNetwork:
    network = MixingNetwork(3, units=5, cell=cell)
    network.build((None, 2))
    randomise(network, 0.8, 1)
    return network


def lstm(network: MixingNetwork, a: np.ndarray) -> np.ndarray:
    """alpha `[T, K]` of one sequence, gates in the order i, f, c, o."""
    kernel, recurrent, bias = (w.astype(np.float64) for w in network.rnn.get_weights())
    output, offset = (w.astype(np.float64) for w in network.logits.get_weights())
    h, c, found = np.zeros(5), np.zeros(5), []
    for before in [network.first.numpy(), *a[:-1]]:
        i, f, g, o = np.split(before @ kernel + h @ recurrent + bias, 4)
        c = c / (1.0 + np.exp(-f)) + np.tanh(g) / (1.0 + np.exp(-i))
        h = np.tanh(c) / (1.0 + np.exp(-o))
        weights = np.exp(h @ output + offset)
        found.append(weights / weights.sum())
    return np.stack(found)


def test_the_weights_are_those_of_the_frames_before() -> None:
    network, a = mixing("lstm"), data(2, 6, 2)
    expected = np.stack([lstm(network, y) for y in a.numpy()])
    np.testing.assert_allclose(network(a), expected, rtol=1e-5, atol=1e-6)
    changed = tf.concat([a[:, :3], a[:, 3:] + 1.0], axis=1)
    moved = np.abs(network(changed) - network(a)).max(axis=(0, 2)) > 1e-4
    np.testing.assert_array_equal(moved, [False] * 4 + [True] * 2)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_steps_are_the_sequence(cell: str) -> None:
    network, a = mixing(cell), data(2, 6, 2)
    before, state = network.initial(2)
    found = []
    for t in range(6):
        alpha, state = network.step(before, state)
        found.append(alpha)
        before = a[:, t]
    assert_close(tf.stack(found, axis=1), network(a), 1e-5)
    assert_close(copied(network, (None, 2))(a), network(a))


def test_the_softmax_is_in_float32_under_mixed_precision() -> None:
    network = MixingNetwork(3, units=5, dtype="mixed_bfloat16")
    network.build((None, 2))
    alpha = network(data(2, 6, 2))
    assert alpha.dtype == tf.float32 and network.initial(2)[0].dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(alpha, axis=-1), 1.0, rtol=1e-6)


def test_matrices_are_means_of_the_bank() -> None:
    bank = MatrixBank(3, latent_dim=4, encoding_dim=2)
    bank.build((None, 5))
    for name in ("transitions", "emissions", "controls"):
        getattr(bank, name).assign(data(*getattr(bank, name).shape, seed=len(name)))
    alpha, u = tf.nn.softmax(data(2, 6, 3)), data(2, 6, 5, seed=1)
    expected = [np.einsum("btk,kmn->btmn", alpha, m) for m in (bank.transitions, bank.emissions, bank.controls)]
    for copy in (bank, copied(bank, (None, 5))):
        np.testing.assert_allclose(copy.transition(alpha), expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(copy.emission(alpha), expected[1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            copy.drift(alpha, u), np.einsum("btmn,btn->btm", expected[2], u), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(bank.drift(alpha[:, 0], u[:, 0]), bank.drift(alpha, u)[:, 0], rtol=1e-5, atol=1e-6)


def test_a_new_bank_hardly_moves_and_has_controls_only_for_inputs() -> None:
    bank = MatrixBank(3, latent_dim=4, encoding_dim=2)
    bank.build((None, 0))
    assert bank.controls is None and bank.drift(data(2, 3), None) is None
    spread = bank.transitions.numpy() - np.eye(4)
    assert 0.0 < np.abs(spread).max() < 0.05
    assert np.abs(spread[0] - spread[1]).max() > 0.0
    assert 0.0 < np.abs(bank.emissions).max() < 0.3


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 5, 3)])
def test_pictures_go_through_plain_convolutions(shape: tuple[int, int, int]) -> None:
    width = int(np.prod(shape))
    encoder = ConvEncoder(shape, (4, 6), activation="tanh")
    encoder.build((None, width))
    x = data(2, 3, width)
    pictures = np.reshape(x, [6, *shape])
    for layer in encoder.stack:
        plain = keras.layers.Conv2D(layer.filters, 3, strides=2, padding="same", activation="tanh")
        plain.build(pictures.shape)
        plain.set_weights(layer.get_weights())
        pictures = plain(pictures)
    assert pictures.shape[1:3] == encoder.coarse_shape
    assert encoder.output_dim(width) == np.prod(pictures.shape[1:])
    np.testing.assert_allclose(encoder(x), np.reshape(pictures, [2, 3, -1]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(encoder(x[:, 0]), encoder(x)[:, 0], rtol=1e-5, atol=1e-6)
    assert_close(copied(encoder, (None, width))(x), encoder(x))


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 5, 3)])
def test_a_decoder_draws_whole_maps_one_after_the_other(shape: tuple[int, int, int]) -> None:
    width = int(np.prod(shape))
    decoder = ConvDecoder(shape, (6, 4), maps=2, activation="tanh")
    decoder.build((None, 3))
    a = data(2, 5, 3)
    both = decoder(a).numpy()
    assert both.shape == (2, 5, 2 * width) and decoder.output_dim(3) == 2 * width
    np.testing.assert_allclose(decoder(a[:, 0]), both[:, 0], rtol=1e-5, atol=1e-6)
    assert_close(copied(decoder, (None, 3))(a), decoder(a))

    kernel = decoder.output_layer.kernel.numpy()
    single = ConvDecoder(shape, (6, 4), maps=1, activation="tanh")
    single.build((None, 3))
    for m in range(2):
        single.set_weights([*decoder.get_weights()[:-1], kernel[..., m * shape[2] : (m + 1) * shape[2]]])
        np.testing.assert_allclose(single(a), both[..., m * width : (m + 1) * width], rtol=1e-5, atol=1e-6)


def test_a_decoder_doubles_by_moving_channels_into_space() -> None:
    decoder = ConvDecoder((4, 4, 1), (2,), kernel_size=1, activation="linear")
    decoder.build((None, 3))
    a = data(5, 3).numpy()
    coarse_kernel, coarse_bias, kernel, bias, output = decoder.get_weights()
    coarse = (a @ coarse_kernel + coarse_bias).reshape(5, 2, 2, 2)
    blocks = (coarse @ kernel[0, 0] + bias).reshape(5, 2, 2, 2, 2, 2)
    fine = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(5, 4, 4, 2)
    np.testing.assert_allclose(decoder(a), (fine @ output[0, 0]).reshape(5, 16), rtol=1e-4, atol=1e-5)


def test_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="`num_mixtures` must be at least 1, got 0"):
        MixingNetwork(0)
    with pytest.raises(ValueError, match=r"`frame_shape` must be \(height, width, channels\), got \(8, 8\)"):
        ConvEncoder((8, 8))
    with pytest.raises(ValueError, match="`filters` must name at least one layer"):
        ConvDecoder((8, 8, 1), ())
    with pytest.raises(ValueError, match="`maps` must be at least 1, got 0"):
        ConvDecoder((8, 8, 1), maps=0)
    with pytest.raises(ValueError, match=r"`frame_shape` \(8, 8, 1\) makes frames of 64 features, got 60"):
        ConvEncoder((8, 8, 1)).build((None, 60))
