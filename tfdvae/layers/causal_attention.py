"""A stack of causal attention blocks that runs a sequence at once or one frame at a time, on the same weights."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae import random
from tfdvae.layers.mlp import flat_call

__all__ = ["AttentionMemory", "CausalAttention", "rotated"]

AttentionMemory = tuple[Any, ...]
"""What a stack still needs of the window - 1 frames before: whether each exists, `[B, W - 1]`, 1 or 0; then keys and
values of each block, `[B, W - 1, heads * head_dim]`."""


def rotated(x: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """Rotary positions (Su et al. 2021): products of two of the results hang on the distance of their positions.

    Args:
        x: `[..., T, E]`, E even.
        positions: `[T]`, float.
    """
    half = x.shape[-1] // 2
    speed = (10000.0 ** (-np.arange(half) / half)).astype(np.float32)
    angle = positions[:, None] * speed
    cos, sin = tf.cast(tf.cos(angle), x.dtype), tf.cast(tf.sin(angle), x.dtype)
    a, b = tf.split(x, 2, axis=-1)
    return tf.concat([a * cos - b * sin, a * sin + b * cos], axis=-1)


@keras.saving.register_keras_serializable(package="tfdvae")
class CausalAttention(keras.layers.Layer):
    """Pre-norm transformer blocks (Vaswani et al. 2017; Xiong et al. 2020) over the last frames: y_t from x_<=t.

        x = x + W_o attention(norm(x)),  x = x + W_2 silu(W_1 norm(x))        each block; at last a norm

    A frame `[B, C]` and a sequence `[B, T, C]` go through the same equations: queries of the new frames meet keys of
    the memory and their own. Positions are rotary, so that lengths are free and a memory needs no clock. The window is
    the same in both, and each block sees one window further back. A memory is 2 * num_layers * (window - 1) * num_heads
    * head_dim numbers and one per frame.

    Args:
        units: C, width of the input and of the output.
        num_layers: blocks.
        num_heads, head_dim: of the attention; `head_dim` even.
        window: frames that a block sees, the present one included; at least 2.
        dropout: rate behind attention and in the two layers, one mask per sequence.

    Raises:
        ValueError: an odd `head_dim`, or a window of one frame.

    Example:
        layer = CausalAttention(64, num_layers=2, num_heads=4, head_dim=16, window=50)
        y, _ = layer(x)                                         # [B, T, 64], from the beginning
        y_t, memory = layer(x_t, layer.initial_memory(8))       # [8, 64], one frame
    """

    def __init__(
        self,
        units: int,
        num_layers: int = 2,
        num_heads: int = 4,
        head_dim: int = 32,
        window: int = 64,
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if head_dim % 2 or head_dim < 2:
            raise ValueError(f"`head_dim` must be even, since positions rotate pairs; got {head_dim}.")
        if window < 2:
            raise ValueError(f"`window` must be at least 2, got {window}: one frame has no past.")
        self.units = units
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.window = window
        self.dropout = dropout
        width = num_heads * head_dim
        self.norms = [self._norm(f"norm_{i}") for i in range(2 * num_layers + 1)]
        self.projections = [self._dense(3 * width, f"projection_{i}") for i in range(num_layers)]
        self.outputs = [self._dense(units, f"output_{i}") for i in range(num_layers)]
        self.first = [self._dense(4 * units, f"first_{i}") for i in range(num_layers)]
        self.second = [self._dense(units, f"second_{i}") for i in range(num_layers)]

    def _dense(self, units: int, name: str) -> keras.layers.Dense:
        return keras.layers.Dense(units, dtype=self.dtype_policy, name=name)

    def _norm(self, name: str) -> keras.layers.LayerNormalization:
        return keras.layers.LayerNormalization(dtype=self.dtype_policy, name=name)

    def build(self, input_shape: Sequence[int | None]) -> None:
        for layer in (*self.norms, *self.projections, *self.first):
            layer.build((None, self.units))
        for i in range(self.num_layers):
            self.outputs[i].build((None, self.num_heads * self.head_dim))
            self.second[i].build((None, 4 * self.units))

    def initial_memory(self, batch_size: tf.Tensor | int) -> AttentionMemory:
        """Of no frames at all."""
        nothing = tf.zeros([batch_size, self.window - 1, self.num_heads * self.head_dim], self.compute_dtype)
        exists = tf.zeros([batch_size, self.window - 1], self.compute_dtype)
        return (exists, *((nothing, nothing) for _ in range(self.num_layers)))

    def call(self, x: tf.Tensor, memory: AttentionMemory | None = None) -> tuple[tf.Tensor, AttentionMemory | None]:
        """Outputs for a frame `[B, C]` or a sequence `[B, T, C]` that follows on a memory, and the memory after it.

        Without a memory the sequence begins here, and none is returned.
        """
        y = x if x.shape.rank == 3 else x[:, None]
        length = y.shape[1] or tf.shape(y)[1]
        before = 0 if memory is None else self.window - 1
        exists = tf.ones_like(y[..., 0])
        exists = exists if memory is None else tf.concat([memory[0], exists], axis=1)
        # In float, between whole numbers: LiteRT's converter quantises what is compared, and has no range of integers.
        at = tf.range(tf.cast(before + length, tf.float32))
        ahead = at[None] - at[before:, None]
        allowed = (ahead < 0.5) & (ahead > 0.5 - self.window) & (exists > 0.5)[:, None]
        kept = [exists[:, length:]]
        for i in range(self.num_layers):
            q, k, v = tf.split(flat_call(self.projections[i], flat_call(self.norms[2 * i], y)), 3, axis=-1)
            if memory is not None:
                k, v = (tf.concat([past, new], axis=1) for past, new in zip(memory[i + 1], (k, v), strict=True))
                kept.append((k[:, length:], v[:, length:]))
            met = flat_call(self.outputs[i], self._attend(q, k, v, allowed, before))
            y = y + random.dropout(met, self.dropout, f"{self.name}/attention_{i}")
            hidden = flat_call(self.first[i], flat_call(self.norms[2 * i + 1], y))
            # Spelled out, since the gradient that TensorFlow's own silu brings along cannot be saved with a signature.
            hidden = random.dropout(hidden * tf.sigmoid(hidden), self.dropout, f"{self.name}/hidden_{i}")
            y = y + flat_call(self.second[i], hidden)
        y = flat_call(self.norms[-1], y)
        if memory is not None:
            memory = tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), tuple(kept), memory)
        return y if x.shape.rank == 3 else y[:, 0], memory

    def _attend(self, q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, allowed: tf.Tensor, before: int) -> tf.Tensor:
        """softmax(q k' / sqrt(E)) v of each head, over the allowed frames, `[B, T, heads * head_dim]`."""
        q, k, v = (self._by_head(y) for y in (q, k, v))
        at = tf.cast(tf.range(tf.shape(k)[2]), tf.float32)
        scores = tf.matmul(rotated(q, at[before:]), rotated(k, at), transpose_b=True) * self.head_dim**-0.5
        scores = tf.where(allowed[:, None], tf.cast(scores, tf.float32), -1e9)
        # A weight of zero does not keep NaN out, which a frame that is yet to come may hold.
        v = tf.where(v == v, v, tf.zeros([], v.dtype))
        met = tf.matmul(tf.cast(tf.nn.softmax(scores), v.dtype), v)
        length = met.shape[2] or tf.shape(met)[2]
        return tf.reshape(tf.transpose(met, [0, 2, 1, 3]), [-1, length, self.num_heads * self.head_dim])

    def _by_head(self, y: tf.Tensor) -> tf.Tensor:
        """`[B, T, heads * head_dim]` as `[B, heads, T, head_dim]`."""
        length = y.shape[1] or tf.shape(y)[1]
        return tf.transpose(tf.reshape(y, [-1, length, self.num_heads, self.head_dim]), [0, 2, 1, 3])

    def get_config(self) -> dict:
        names = ("units", "num_layers", "num_heads", "head_dim", "window", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
