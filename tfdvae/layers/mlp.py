"""Multilayer perceptrons over `[..., F]`: the same call for one frame and for a sequence."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import loop, random

__all__ = ["MLP", "SplitNetwork", "flat_call"]


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

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim(input_shape[-1]))

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


class SplitNetwork:
    """An MLP and the head of a distribution, in a loop where the first columns of their input are known beforehand.

    `[a, b] W = a W_a + b W_b`: `hoist(a)` for all frames, then `network(hoisted_t, b)` equals `head(mlp([a, b]))`. The
    kernel is cut before the loop: cut in its body, each frame would add its gradient to a kernel full of zeros. Not a
    layer, and without weights of its own.

    Args:
        mlp: may have no layers; the head's is the first one then.
        head: a built `tfdvae.families.Head`.
        start: number of columns of a.
    """

    def __init__(self, mlp: MLP, head: Any, start: int):
        self.mlp, self.head, self.start = mlp, head, start
        self.first = mlp.hidden[0] if mlp.hidden else head.output_layer

    def hoist(self, a: tf.Tensor) -> tf.Tensor:
        """What `a` `[..., A]` contributes, `[..., H]`."""
        dtype = self.mlp.compute_dtype
        kernel, bias = tf.cast(self.first.kernel[: self.start], dtype), tf.cast(self.first.bias, dtype)
        return flat_call(lambda x: tf.nn.bias_add(tf.matmul(x, kernel), bias), a)

    def __call__(self, hoisted: tf.Tensor, b: tf.Tensor) -> Any:
        """Parameters of the distribution, from the hoisted part and the rest of the input `[..., .]`."""
        dtype = self.mlp.compute_dtype
        kernel = loop.before_loop((id(self.first), self.start), lambda: tf.cast(self.first.kernel[self.start :], dtype))
        preactivation = hoisted + flat_call(lambda x: tf.matmul(x, kernel), tf.cast(b, dtype))
        return self.head(self.mlp.finish(preactivation)) if self.mlp.hidden else self.head.finish(preactivation)
