"""Frames of pictures, layers that a user might bring, and what builds the networks around them."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae.layers import FrameDecoder, FrameEncoder, frame_decoder, frame_encoder

SHAPE = (5, 4, 2)
WIDTH = 40


@keras.saving.register_keras_serializable(package="tests")
class RowMeans(keras.layers.Layer):
    """A user's layer: neither `build` nor `compute_output_shape` nor `training`, and dropout further inside."""

    def __init__(self, units: int = 3, rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.rate = rate
        self.dense = keras.layers.Dense(units, "tanh")
        self.drop = keras.layers.Dropout(rate)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.drop(self.dense(keras.ops.mean(x, axis=1)))

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units, "rate": self.rate}


def data(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def normalised(rate: float = 0.5) -> keras.Sequential:
    layers = [keras.layers.Flatten(), keras.layers.Dense(6), keras.layers.BatchNormalization()]
    return keras.Sequential([*layers, keras.layers.Dropout(rate)])


def functional() -> keras.Model:
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, keras.layers.Conv2D(3, 2, strides=2)(inputs))


def upsampling() -> keras.Sequential:
    layers = [keras.layers.Dense(5 * 4 * 3, "relu"), keras.layers.Reshape((5, 4, 3)), keras.layers.Conv2D(4, 1)]
    return keras.Sequential(layers)


def built_encoder(spec: Any, frame_shape: Any = SHAPE, width: int = WIDTH, **options) -> FrameEncoder:
    encoder = frame_encoder(spec, frame_shape, **options)
    encoder.build((None, width))
    return encoder


def built_decoder(spec: Any, **options) -> FrameDecoder:
    decoder = frame_decoder(spec, SHAPE, maps=2, **options)
    decoder.build((None, 3))
    return decoder


def close(found: Any, expected: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
