"""A stack of LSTM or GRU layers that runs a sequence at once or one frame at a time, on the same weights."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdvae import masks, random
from tfdvae.layers.mlp import flat_call

__all__ = ["Recurrent", "RecurrentState"]

_KERAS_LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


class RecurrentState(NamedTuple):
    """Output of the top layer `[B, H]`, and all else that must be remembered: carries and lower layers."""

    h: tf.Tensor
    memory: tuple[tf.Tensor, ...]


@keras.saving.register_keras_serializable(package="tfdvae")
class Recurrent(keras.layers.Layer):
    """Stacked Keras LSTM or GRU layers.

    `recurrent(x)` runs a sequence through Keras' own layers, the fastest way there is, on a GPU by cuDNN;
    `recurrent.step(recurrent.project(x_t), state)` runs one frame. Both compute the same function. `project` is the
    part that depends on the input alone: apply it to all frames before a loop. It may be applied to slices of the
    input and summed.

    Args:
        units: H, width of each layer.
        cell: "lstm" or "gru".
        num_layers: height of the stack.
        dropout: rate between layers, one mask per sequence.
    """

    def __init__(self, units: int, cell: str = "lstm", num_layers: int = 1, dropout: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if cell not in _KERAS_LAYERS:
            raise ValueError(f"`cell` must be one of {sorted(_KERAS_LAYERS)}, got {cell!r}.")
        if num_layers < 1:
            raise ValueError(f"`num_layers` must be at least 1, got {num_layers}.")
        self.units = units
        self.cell = cell
        self.num_layers = num_layers
        self.dropout = dropout
        self.stack = [
            _KERAS_LAYERS[cell](units, return_sequences=True, dtype=self.dtype_policy, name=f"{cell}_{i}")
            for i in range(num_layers)
        ]

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = input_shape[-1]
        for layer in self.stack:
            layer.build((None, None, width))
            width = self.units

    def initial_state(self, batch_size: tf.Tensor | int) -> RecurrentState:
        """Zeros, `[B, H]` each."""
        zeros = tf.zeros([batch_size, self.units], self.compute_dtype)
        count = self.num_layers * (2 if self.cell == "lstm" else 1) - 1
        return RecurrentState(zeros, (zeros,) * count)

    def project(self, x: tf.Tensor, start: int = 0) -> tf.Tensor:
        """Input part of the first layer's gates for `x`, the columns of the input from `start` on: `[..., G * H]`."""
        kernel = tf.cast(self.stack[0].cell.kernel[start : start + x.shape[-1]], self.compute_dtype)
        return flat_call(lambda y: tf.matmul(y, kernel), tf.cast(x, self.compute_dtype))

    def step(self, projected: tf.Tensor, state: RecurrentState) -> RecurrentState:
        """One frame from projected input `[B, G * H]`."""
        per_layer = 2 if self.cell == "lstm" else 1
        flat = (*state.memory, state.h)
        new: list[tf.Tensor] = []
        for i, layer in enumerate(self.stack):
            old = flat[i * per_layer : (i + 1) * per_layer]
            if i > 0:
                below = random.dropout(new[-1], self.dropout, f"{self.name}/{i}")
                projected = tf.matmul(below, tf.cast(layer.cell.kernel, self.compute_dtype))
            new.extend(_STEPS[self.cell](layer.cell, projected, old, self.compute_dtype))
        return RecurrentState(new[-1], tuple(new[:-1]))

    def stepper(self, start: int) -> Callable[[tf.Tensor, tf.Tensor, RecurrentState], RecurrentState]:
        """`step` for a loop, as a function of the projected first part of the input, the rest of it, and the state.

        The kernel is cut here, at `start`, once: cut in the loop's body, each frame would add its gradient to a kernel
        full of zeros. An LSTM without layers above it takes input and state through one product.
        """
        cell, dtype = self.stack[0].cell, self.compute_dtype
        kernel = tf.cast(cell.kernel[start:], dtype)
        if self.cell != "lstm" or self.num_layers > 1:
            return lambda projected, x, state: self.step(projected + tf.matmul(x, kernel), state)
        joint = tf.concat([kernel, tf.cast(cell.recurrent_kernel, dtype)], axis=0)
        bias = tf.cast(cell.bias, dtype)

        def step(projected: tf.Tensor, x: tf.Tensor, state: RecurrentState) -> RecurrentState:
            gates = tf.nn.bias_add(projected + tf.matmul(tf.concat([x, state.h], axis=-1), joint), bias)
            c, h = _lstm_update(gates, state.memory[0])
            return RecurrentState(h, (c,))

        return step

    def layer_states(self, state: RecurrentState) -> list[list[tf.Tensor]]:
        """The state of each layer of the stack, `[B, H]` tensors in Keras' order: an LSTM's output before its carry."""
        flat, per_layer = [*state.memory, state.h], 2 if self.cell == "lstm" else 1
        return [flat[i : i + per_layer][::-1] for i in range(0, len(flat), per_layer)]

    def call(
        self,
        x: tf.Tensor,
        exists: tf.Tensor | None = None,
        backward: bool = False,
        state: RecurrentState | None = None,
    ) -> tf.Tensor:
        """Outputs of the top layer for right-padded sequences `[B, T, F]`, in or, with `backward`, against time.

        They start from `state`, or from zeros.

        `exists`, the mask `[B, T]`, concerns the backward direction alone: padding at the end cannot reach what
        stands before it. It is not called `mask`, because Keras would hand it to the layers inside and choose their
        slower kernels.
        """
        x = masks.reverse(x, exists) if backward else x
        starts = [None] * self.num_layers if state is None else self.layer_states(state)
        for i, (layer, start) in enumerate(zip(self.stack, starts, strict=True)):
            x = layer(random.dropout(x, self.dropout, f"{self.name}/{i}") if i > 0 else x, initial_state=start)
        return masks.reverse(x, exists) if backward else x

    def get_config(self) -> dict:
        config = {"units": self.units, "cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        return {**super().get_config(), **config}


def _lstm_step(
    cell: keras.layers.LSTMCell, projected: tf.Tensor, state: tuple, dtype: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keras' LSTM equations, gates in the order i, f, c, o; the state is (carry, output)."""
    c, h = state
    gates = projected + tf.matmul(h, tf.cast(cell.recurrent_kernel, dtype)) + tf.cast(cell.bias, dtype)
    return _lstm_update(gates, c)


def _lstm_update(gates: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    i, f, g, o = tf.split(gates, 4, axis=-1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return c, tf.sigmoid(o) * tf.tanh(c)


def _gru_step(cell: keras.layers.GRUCell, projected: tf.Tensor, state: tuple, dtype: str) -> tuple[tf.Tensor]:
    """Keras' GRU equations with `reset_after`, gates in the order z, r, h."""
    (h,) = state
    bias = tf.cast(cell.bias, dtype)
    from_h = tf.matmul(h, tf.cast(cell.recurrent_kernel, dtype)) + bias[1]
    zx, rx, hx = tf.split(projected + bias[0], 3, axis=-1)
    zh, rh, hh = tf.split(from_h, 3, axis=-1)
    z = tf.sigmoid(zx + zh)
    return (z * h + (1.0 - z) * tf.tanh(hx + tf.sigmoid(rx + rh) * hh),)


_STEPS = {"lstm": _lstm_step, "gru": _gru_step}
