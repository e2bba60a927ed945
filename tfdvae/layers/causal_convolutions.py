"""A stack of dilated causal convolutions that runs a sequence at once or one frame at a time, on the same weights."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae import random
from tfdvae.layers.mlp import flat_call

__all__ = ["CausalConvolutions", "ConvolutionMemory", "dilations"]

ConvolutionMemory = tuple[tf.Tensor, ...]
"""What each layer of a stack still needs of the past: its last inputs `[B, R, C]`, R = (kernel_size - 1) * dilation."""


def dilations(num_layers: int, largest: int, first: int = 0) -> tuple[int, ...]:
    """1, 2, 4, ... up to `largest` and from 1 again, of `num_layers` layers from number `first` on.

    Example:
        dilations(5, largest=4)             # (1, 2, 4, 1, 2)
        dilations(2, largest=4, first=2)    # (4, 1)
    """
    cycle = largest.bit_length()
    return tuple(2 ** ((first + i) % cycle) for i in range(num_layers))


@keras.saving.register_keras_serializable(package="tfdvae")
class CausalConvolutions(keras.layers.Layer):
    """Gated residual convolutions over the past (van den Oord et al. 2016): y_t from x_<=t.

        y = x + W_o [tanh(W_f * x) sigmoid(W_g * x)]        each layer; * is a dilated causal convolution

    A frame `[B, C]` and a sequence `[B, T, C]` go through the same equations: what a layer's kernel meets is its memory
    with the new frames behind it. A memory is a shift register, which costs a copy of it per frame and needs no index.

    Args:
        units: C, channels of the input, of all layers and of the output.
        dilations: of the layers, from the lowest.
        kernel_size: frames under a kernel, at least 2.
        dropout: rate on the gated features of each layer, one mask per sequence.

    Raises:
        ValueError: a kernel of one frame, which has no past.

    Example:
        layer = CausalConvolutions(64, dilations(4, largest=512))
        y, memory = layer(x, layer.initial_memory(tf.shape(x)[0]))      # [B, T, 64], sees 16 frames
    """

    def __init__(self, units: int, dilations: Sequence[int], kernel_size: int = 2, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if kernel_size < 2:
            raise ValueError(f"`kernel_size` must be at least 2, got {kernel_size}: one frame has no past.")
        self.units = units
        self.dilations = tuple(dilations)
        self.kernel_size = kernel_size
        self.dropout = dropout
        count, policy = len(self.dilations), self.dtype_policy
        self.gates = [keras.layers.Dense(2 * units, dtype=policy, name=f"gates_{i}") for i in range(count)]
        self.outputs = [keras.layers.Dense(units, dtype=policy, name=f"output_{i}") for i in range(count)]

    def build(self, input_shape: Sequence[int | None]) -> None:
        for gates, output in zip(self.gates, self.outputs, strict=True):
            gates.build((None, self.kernel_size * self.units))
            output.build((None, self.units))

    def initial_memory(self, batch_size: tf.Tensor | int) -> ConvolutionMemory:
        """Zeros, which stand for what precedes the first frame."""
        lengths = [(self.kernel_size - 1) * dilation for dilation in self.dilations]
        return tuple(tf.zeros([batch_size, length, self.units], self.compute_dtype) for length in lengths)

    def call(self, x: tf.Tensor, memory: ConvolutionMemory) -> tuple[tf.Tensor, ConvolutionMemory]:
        """Outputs for frames `[B, C]` or `[B, T, C]` that follow on a memory, and the memory after them."""
        after = []
        for i, dilation in enumerate(self.dilations):
            met, kept = self._meet(x, memory[i], dilation)
            signal, gate = tf.split(flat_call(self.gates[i], met), 2, axis=-1)
            gated = random.dropout(tf.tanh(signal) * tf.sigmoid(gate), self.dropout, f"{self.name}/{i}")
            x = x + flat_call(self.outputs[i], gated)
            after.append(kept)
        return x, tuple(after)

    def _meet(self, x: tf.Tensor, memory: tf.Tensor, dilation: int) -> tuple[tf.Tensor, tf.Tensor]:
        """What the kernel meets at each frame, `[..., kernel_size * C]`, oldest first, and what is remembered of it."""
        frames = x if x.shape.rank == 3 else x[:, None]
        length = frames.shape[1] or tf.shape(frames)[1]
        taps = []
        for delay in range((self.kernel_size - 1) * dilation, 0, -dilation):
            # Frames are cut before the memory is put in front of them, which spares the gradient a copy of all.
            begin = memory.shape[1] - delay
            late = frames[:, : max(length - delay, 0) if isinstance(length, int) else tf.maximum(length - delay, 0)]
            taps.append(tf.concat([memory[:, begin : begin + length], late], axis=1))
        met = tf.concat([*taps, frames], axis=-1)
        met = tf.ensure_shape(met, [*frames.shape[:2], self.kernel_size * self.units])
        kept = tf.ensure_shape(tf.concat([memory, frames], axis=1)[:, length:], memory.shape)
        return met if x.shape.rank == 3 else met[:, 0], kept

    def get_config(self) -> dict:
        names = ("units", "dilations", "kernel_size", "dropout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
