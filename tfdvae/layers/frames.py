"""Convolutional networks for frames that are pictures, flattened: `[..., height * width * channels]`."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae import random
from tfdvae.layers.frame_shapes import check_frame_shape
from tfdvae.layers.mlp import flat_call

__all__ = ["ConvDecoder", "ConvEncoder"]


class _ConvNetwork(keras.layers.Layer):
    def __init__(
        self,
        frame_shape: Sequence[int],
        filters: Sequence[int] = (32, 32, 32),
        kernel_size: int = 3,
        activation: str = "relu",
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if len(frame_shape) != 3 or min(frame_shape) < 1:
            raise ValueError(f"`frame_shape` must be (height, width, channels), got {tuple(frame_shape)}.")
        if not filters:
            raise ValueError("`filters` must name at least one layer, got none.")
        self.frame_shape = tuple(frame_shape)
        self.filters = tuple(filters)
        self.kernel_size = kernel_size
        self.activation = activation
        self.dropout = dropout

    def conv(self, filters: int, name: str, **options) -> keras.layers.Conv2D:
        options = {"padding": "same", "activation": self.activation, "dtype": self.dtype_policy, **options}
        return keras.layers.Conv2D(filters, self.kernel_size, name=name, **options)

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Height and width after all halvings, rounded up."""
        scale = 2 ** len(self.filters)
        return -(-self.frame_shape[0] // scale), -(-self.frame_shape[1] // scale)

    def get_config(self) -> dict:
        config = {
            "frame_shape": self.frame_shape,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "activation": self.activation,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="tfdvae")
class ConvEncoder(_ConvNetwork):
    """Convolutions of stride 2, from flattened pictures to features `[..., F]`.

    Args:
        frame_shape: (height, width, channels).
        filters: of each layer; every layer halves the picture, rounding up.
        kernel_size: side of the square kernels.
        activation: of every layer.
        dropout: rate on the features, one mask per sequence.
    """

    def __init__(self, frame_shape: Sequence[int], filters: Sequence[int] = (32, 32, 32), **kwargs):
        super().__init__(frame_shape, filters, **kwargs)
        self.stack = [self.conv(n, f"conv_{i}", strides=2) for i, n in enumerate(self.filters)]

    def build(self, input_shape: Sequence[int | None]) -> None:
        check_frame_shape(self.frame_shape, input_shape[-1])
        channels = self.frame_shape[-1]
        for layer in self.stack:
            layer.build((None, None, None, channels))
            channels = layer.filters

    def output_dim(self, input_dim: int) -> int:
        """F."""
        height, width = self.coarse_shape
        return height * width * self.filters[-1]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return random.dropout(flat_call(self._features, tf.cast(x, self.compute_dtype)), self.dropout, self.name)

    def _features(self, x: tf.Tensor) -> tf.Tensor:
        pictures = tf.reshape(x, [-1, *self.frame_shape])
        for layer in self.stack:
            pictures = layer(pictures)
        return tf.reshape(pictures, [-1, self.output_dim(x.shape[-1])])


@keras.saving.register_keras_serializable(package="tfdvae")
class ConvDecoder(_ConvNetwork):
    """From latents `[..., A]` to `maps` numbers per pixel and channel, `[..., maps * height * width * channels]`.

    A dense layer makes a coarse picture; each layer convolves it and doubles its side by moving channels into space
    (Shi et al. 2016); what sticks out at the right and at the bottom is cut off. The last layer has no bias: that is
    the observation's, one for each parameter. Each map is a whole flattened picture, which is how the parameters of an
    observation are ordered (all locations, then all scales).

    Args:
        frame_shape: (height, width, channels).
        filters: of each layer, from coarse to fine.
        maps: numbers per pixel and channel.
        kernel_size: side of the square kernels.
        activation: of every layer but the last.
        dropout: rate on the coarse picture, one mask per sequence.
    """

    def __init__(self, frame_shape: Sequence[int], filters: Sequence[int] = (32, 32, 32), maps: int = 1, **kwargs):
        super().__init__(frame_shape, filters, **kwargs)
        if maps < 1:
            raise ValueError(f"`maps` must be at least 1, got {maps}.")
        self.maps = maps
        height, width = self.coarse_shape
        self.coarse = keras.layers.Dense(
            height * width * self.filters[0], self.activation, dtype=self.dtype_policy, name="coarse"
        )
        self.stack = [self.conv(4 * n, f"conv_{i}") for i, n in enumerate(self.filters)]
        self.output_layer = self.conv(maps * self.frame_shape[-1], "output", activation=None, use_bias=False)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.coarse.build((None, input_shape[-1]))
        channels = self.filters[0]
        for layer, n in zip(self.stack, self.filters, strict=True):
            layer.build((None, None, None, channels))
            channels = n
        self.output_layer.build((None, None, None, channels))

    def output_dim(self, input_dim: int) -> int:
        """Width of the output."""
        height, width, channels = self.frame_shape
        return self.maps * height * width * channels

    def call(self, a: tf.Tensor) -> tf.Tensor:
        coarse = flat_call(self.coarse, tf.cast(a, self.compute_dtype))
        return flat_call(self._pictures, random.dropout(coarse, self.dropout, self.name))

    def _pictures(self, coarse: tf.Tensor) -> tf.Tensor:
        height, width, channels = self.frame_shape
        pictures = tf.reshape(coarse, [-1, *self.coarse_shape, self.filters[0]])
        for layer in self.stack:
            pictures = tf.nn.depth_to_space(layer(pictures), 2)
        pictures = self.output_layer(pictures[:, :height, :width])
        maps = tf.reshape(pictures, [-1, height * width, self.maps, channels])
        return tf.reshape(tf.transpose(maps, [0, 2, 1, 3]), [-1, self.output_dim(0)])

    def get_config(self) -> dict:
        return {**super().get_config(), "maps": self.maps}
