"""Multilayer perceptrons and Gaussian heads over `[..., F]`: the same call for one frame and for a sequence."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae import random
from tfdvae.types import Gaussian

__all__ = ["MLP", "GaussianHead", "SplitNetwork", "flat_call"]

MAX_LOG_VARIANCE = 20.0


def flat_call(layer: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    """Calls a layer that acts on the last axis with all leading axes merged: one matrix product, not a batch."""
    if x.shape.rank == 2:
        return layer(x)
    y = layer(tf.reshape(x, [-1, x.shape[-1]]))
    return tf.ensure_shape(
        tf.reshape(y, tf.concat([tf.shape(x)[:-1], tf.shape(y)[-1:]], axis=0)), x.shape[:-1].concatenate(y.shape[-1:])
    )


@keras.saving.register_keras_serializable(package="tfdvae")
class MLP(keras.layers.Layer):
    """Dense layers with one activation; without `units` it is the identity.

    Args:
        units: widths of the hidden layers.
        activation: of every layer, name or callable that Keras knows.
        dropout: rate after every layer, one mask per sequence (see `tfdvae.random.dropout`).
    """

    def __init__(self, units: Sequence[int] = (), activation: str = "tanh", dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.units = tuple(units)
        self.activation = activation
        self.dropout = dropout
        self.hidden = [
            keras.layers.Dense(n, activation, dtype=self.dtype_policy, name=f"dense_{i}")
            for i, n in enumerate(self.units)
        ]

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = input_shape[-1]
        for dense in self.hidden:
            dense.build((None, width))
            width = dense.units

    def output_dim(self, input_dim: int) -> int:
        """Width of the output for inputs of width `input_dim`."""
        return self.units[-1] if self.units else input_dim

    def call(self, x: tf.Tensor) -> tf.Tensor:
        for i, dense in enumerate(self.hidden):
            x = random.dropout(flat_call(dense, x), self.dropout, f"{self.name}/{i}")
        return x

    def finish(self, preactivation: tf.Tensor) -> tf.Tensor:
        """The output, from what the first layer computes before its activation (see `SplitNetwork`)."""
        x = random.dropout(self.hidden[0].activation(preactivation), self.dropout, f"{self.name}/0")
        for i, dense in enumerate(self.hidden[1:], start=1):
            x = random.dropout(flat_call(dense, x), self.dropout, f"{self.name}/{i}")
        return x

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units, "activation": self.activation, "dropout": self.dropout}


@keras.saving.register_keras_serializable(package="tfdvae")
class GaussianHead(keras.layers.Layer):
    """Maps features `[..., F]` to a diagonal Gaussian over `[..., Z]`, always in float32, at first of scale one.

    Args:
        latent_dim: Z.
        scale: "softplus" of the network's output (VRNN, DKF), or "exp" of half of it, a log-variance (the survey).
        min_scale: floor added to the scale. A log-variance is bounded above as well.
    """

    def __init__(self, latent_dim: int, scale: str = "softplus", min_scale: float = 1e-4, **kwargs):
        super().__init__(**kwargs)
        if scale not in ("softplus", "exp"):
            raise ValueError(f"`scale` must be 'softplus' or 'exp', got {scale!r}.")
        self.latent_dim = latent_dim
        self.scale = scale
        self.min_scale = min_scale
        self.output_layer = keras.layers.Dense(2 * latent_dim, dtype=self.dtype_policy, name="output")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.output_layer.build((None, input_shape[-1]))
        if self.scale == "softplus":
            self.output_layer.bias.assign([0.0] * self.latent_dim + [0.5413] * self.latent_dim)

    def call(self, x: tf.Tensor) -> Gaussian:
        return self.finish(flat_call(self.output_layer, x))

    def finish(self, preactivation: tf.Tensor) -> Gaussian:
        """The Gaussian, from what the layer computes before its nonlinearity (see `SplitNetwork`)."""
        loc, raw = tf.split(tf.cast(preactivation, tf.float32), 2, axis=-1)
        if self.scale == "softplus":
            return Gaussian(loc, tf.nn.softplus(raw) + self.min_scale)
        return Gaussian(loc, tf.exp(0.5 * tf.minimum(raw, MAX_LOG_VARIANCE)) + self.min_scale)

    def get_config(self) -> dict:
        config = {"latent_dim": self.latent_dim, "scale": self.scale, "min_scale": self.min_scale}
        return {**super().get_config(), **config}


class SplitNetwork:
    """An MLP and its Gaussian head, for a loop in which the first columns of their input are known beforehand.

    `[a, b] W = a W_a + b W_b`: `hoist(a)` for all frames, then `network(hoisted_t, b)` in the loop equals
    `head(mlp([a, b]))`. The kernel is cut once, here: cut in the loop's body, each frame would add its gradient to a
    kernel full of zeros. Not a layer, and without weights of its own.

    Args:
        mlp: may have no layers; the head's is the first one then.
        head: a built GaussianHead.
        start: number of columns of a.
    """

    def __init__(self, mlp: MLP, head: GaussianHead, start: int):
        first = mlp.hidden[0] if mlp.hidden else head.output_layer
        kernel = tf.cast(first.kernel, mlp.compute_dtype)
        self.kernels = kernel[:start], kernel[start:]
        self.bias = tf.cast(first.bias, mlp.compute_dtype)
        self.finish = (lambda y: head(mlp.finish(y))) if mlp.hidden else head.finish

    def hoist(self, a: tf.Tensor) -> tf.Tensor:
        """What `a` `[..., A]` contributes, `[..., H]`."""
        return flat_call(lambda x: tf.nn.bias_add(tf.matmul(x, self.kernels[0]), self.bias), a)

    def __call__(self, hoisted: tf.Tensor, b: tf.Tensor) -> Gaussian:
        """The Gaussian, from the hoisted part and the rest of the input `[B, .]`."""
        return self.finish(hoisted + tf.matmul(b, self.kernels[1]))
