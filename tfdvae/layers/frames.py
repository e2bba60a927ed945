"""Convolutional networks for frames that are pictures, flattened: `[..., height * width * channels]`."""

import math
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

    @property
    def pictures(self) -> tuple[tuple[int, int, int], ...]:
        """(height, width, channels) of what each layer makes of a picture."""
        height, width, _ = self.frame_shape
        sizes = [2 ** (i + 1) for i in range(len(self.filters))]
        return tuple((-(-height // n), -(-width // n), c) for n, c in zip(sizes, self.filters, strict=True))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return random.dropout(flat_call(self._features, tf.cast(x, self.compute_dtype)), self.dropout, self.name)

    def with_pictures(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The features, and what all layers made of the picture, one after the other, `[..., S]`; dropout is on the
        features alone."""
        found = flat_call(lambda y: tf.concat(self._by_layer(y), axis=-1), tf.cast(x, self.compute_dtype))
        features = found[..., -self.output_dim(x.shape[-1]) :]
        return random.dropout(features, self.dropout, self.name), found

    def _features(self, x: tf.Tensor) -> tf.Tensor:
        return self._by_layer(x)[-1]

    def _by_layer(self, x: tf.Tensor) -> list[tf.Tensor]:
        """The picture of each layer, flattened."""
        pictures, found = tf.reshape(x, [-1, *self.frame_shape]), []
        for layer, shape in zip(self.stack, self.pictures, strict=True):
            pictures = layer(pictures)
            found.append(tf.reshape(pictures, [-1, math.prod(shape)]))
        return found


@keras.saving.register_keras_serializable(package="tfdvae")
class ConvDecoder(_ConvNetwork):
    """From latents `[..., A]` to `maps` numbers per pixel and channel, `[..., maps * height * width * channels]`.

    A dense layer makes a coarse picture; each layer convolves it and doubles its side by moving channels into space
    (Shi et al. 2016); what sticks out at the right and at the bottom is cut off. The last layer has no bias: that is
    the observation's, one for each parameter. Each map is a whole flattened picture, which is how the parameters of an
    observation are ordered (all locations, then all scales).

    With `skips` the last columns of the input are the pictures of an encoder's layers. Each joins the channels of the
    decoder's picture of its size, before that is convolved, from which what sticks out is cut off there already.

    Args:
        frame_shape: (height, width, channels).
        filters: of each layer, from coarse to fine.
        maps: numbers per pixel and channel.
        kernel_size: side of the square kernels.
        activation: of every layer but the last.
        dropout: rate on the coarse picture, one mask per sequence.
        skips: `pictures` of a `ConvEncoder` for the same frames, from fine to coarse; none by default. Where one of the
            two has more layers than the other, its coarsest ones are joined to nothing.
    """

    def __init__(
        self,
        frame_shape: Sequence[int],
        filters: Sequence[int] = (32, 32, 32),
        maps: int = 1,
        skips: Sequence[Sequence[int]] = (),
        **kwargs,
    ):
        super().__init__(frame_shape, filters, **kwargs)
        if maps < 1:
            raise ValueError(f"`maps` must be at least 1, got {maps}.")
        self.maps = maps
        self.skips = tuple(map(tuple, skips))
        height, width = self.coarse_shape
        self.coarse = keras.layers.Dense(
            height * width * self.filters[0], self.activation, dtype=self.dtype_policy, name="coarse"
        )
        self.stack = [self.conv(4 * n, f"conv_{i}") for i, n in enumerate(self.filters)]
        self.output_layer = self.conv(maps * self.frame_shape[-1], "output", activation=None, use_bias=False)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.coarse.build((None, input_shape[-1] - self.skips_dim))
        channels = self.filters[0]
        for i, (layer, n) in enumerate(zip(self.stack, self.filters, strict=True)):
            skip = self._skip(i)
            layer.build((None, None, None, channels if skip is None else channels + self.skips[skip][-1]))
            channels = n
        self.output_layer.build((None, None, None, channels))

    def output_dim(self, input_dim: int) -> int:
        """Width of the output."""
        height, width, channels = self.frame_shape
        return self.maps * height * width * channels

    @property
    def skips_dim(self) -> int:
        """S, how many numbers the pictures of `skips` have."""
        return sum(map(math.prod, self.skips))

    def _skip(self, layer: int) -> int | None:
        """Which of `skips` joins what a layer convolves: the one that as many halvings lie before."""
        found = len(self.filters) - 1 - layer
        return found if found < len(self.skips) else None

    def call(self, a: tf.Tensor) -> tf.Tensor:
        a = tf.cast(a, self.compute_dtype)
        if not self.skips:
            coarse = random.dropout(flat_call(self.coarse, a), self.dropout, self.name)
            return flat_call(self._pictures, coarse)
        a, skips = tf.split(a, [a.shape[-1] - self.skips_dim, self.skips_dim], axis=-1)
        coarse = random.dropout(flat_call(self.coarse, a), self.dropout, self.name)
        return flat_call(self._joined, tf.concat([coarse, skips], axis=-1))

    def _joined(self, parts: tf.Tensor) -> tf.Tensor:
        sizes = [self.coarse.units, *map(math.prod, self.skips)]
        coarse, *skips = tf.split(parts, sizes, axis=-1)
        return self._pictures(coarse, skips)

    def _pictures(self, coarse: tf.Tensor, skips: Sequence[tf.Tensor] = ()) -> tf.Tensor:
        height, width, channels = self.frame_shape
        pictures = tf.reshape(coarse, [-1, *self.coarse_shape, self.filters[0]])
        for i, layer in enumerate(self.stack):
            skip = self._skip(i)
            if skip is not None:
                rows, columns, _ = shape = self.skips[skip]
                own = tf.reshape(skips[skip], [-1, *shape])
                pictures = tf.concat([pictures[:, :rows, :columns], own], axis=-1)
            pictures = tf.nn.depth_to_space(layer(pictures), 2)
        pictures = self.output_layer(pictures[:, :height, :width])
        maps = tf.reshape(pictures, [-1, height * width, self.maps, channels])
        return tf.reshape(tf.transpose(maps, [0, 2, 1, 3]), [-1, self.output_dim(0)])

    def get_config(self) -> dict:
        return {**super().get_config(), "maps": self.maps, "skips": self.skips}
