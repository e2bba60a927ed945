"""A stack of recurrent layers that runs a sequence at once or one frame at a time, on the same weights."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdvae import loop, masks, random
from tfdvae.layers.mlp import flat_call

__all__ = ["Recurrent", "RecurrentState"]

_KERAS_LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}


class RecurrentState(NamedTuple):
    """Output of the top layer `[B, H]`, and all else that must be remembered: carries and lower layers."""

    h: tf.Tensor
    memory: tuple[tf.Tensor, ...]


@keras.saving.register_keras_serializable(package="tfdvae")
class Recurrent(keras.layers.Layer):
    """Stacked Keras LSTM, GRU or plain tanh layers.

    `recurrent(x)` runs a sequence through Keras' own layers, the fastest way there is, on a GPU by cuDNN;
    `recurrent.step(state, x=x_t)` runs one frame. Both compute the same function. `project` is what the first columns
    of the input contribute: apply it to all frames before a loop, and give a step the rest.

    Args:
        units: H, width of each layer.
        cell: "lstm", "gru", or "rnn" for h_t = tanh(W x_t + R h_{t-1} + b).
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

    def project(self, x: tf.Tensor) -> tf.Tensor:
        """What `x` `[..., F]`, the first columns of the input, adds to the first layer's gates: `[..., G * H]`."""
        kernel = tf.cast(self.stack[0].cell.kernel[: x.shape[-1]], self.compute_dtype)
        return flat_call(lambda y: tf.matmul(y, kernel), tf.cast(x, self.compute_dtype))

    def step(
        self,
        state: RecurrentState,
        *,
        x: tf.Tensor | None = None,
        projected: tf.Tensor | None = None,
        start: int = 0,
    ) -> RecurrentState:
        """One frame.

        Args:
            state: after the frame before.
            x: the input `[B, F]`, from column `start` on.
            projected: the part of the input's columns before `start`, as `project` made it, `[B, G * H]`.
        """
        per_layer = 2 if self.cell == "lstm" else 1
        flat = (*state.memory, state.h)
        new: list[tf.Tensor] = []
        for i, layer in enumerate(self.stack):
            old = flat[i * per_layer : (i + 1) * per_layer]
            if i > 0:
                x, projected, start = random.dropout(new[-1], self.dropout, f"{self.name}/{i}"), None, 0
            new.extend(_STEPS[self.cell](layer.cell, x, projected, old, start, self.compute_dtype))
        return RecurrentState(new[-1], tuple(new[:-1]))

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
        parts: tf.Tensor | int = 1,
    ) -> tf.Tensor:
        """Outputs of the top layer for right-padded sequences `[B, T, F]`, in or, with `backward`, against time.

        They start from `state`, or from zeros.

        `exists`, the mask `[B, T]`, concerns the backward direction alone: padding at the end cannot reach what
        stands before it. It is not called `mask`, because Keras would hand it to the layers inside and choose their
        slower kernels. A sequence that stands in `parts` adjacent rows has one mask of dropout.
        """
        x = masks.reverse(x, exists) if backward else x
        starts = [None] * self.num_layers if state is None else self.layer_states(state)
        for i, (layer, start) in enumerate(zip(self.stack, starts, strict=True)):
            x = random.dropout(x, self.dropout, f"{self.name}/{i}", parts) if i > 0 else x
            x = layer(x, initial_state=start)
        return masks.reverse(x, exists) if backward else x

    def get_config(self) -> dict:
        config = {"units": self.units, "cell": self.cell, "num_layers": self.num_layers, "dropout": self.dropout}
        return {**super().get_config(), **config}


def _weight(name: str, make: Callable[[], tf.Tensor], cell: keras.layers.Layer, start: int = 0) -> tf.Tensor:
    """A weight as a step needs it, made once before the loop that the step is in: cut in the loop's body, each frame
    would add its gradient to a kernel full of zeros."""
    return loop.before_loop((id(cell), name, start), make)


def _affine(
    cell: keras.layers.Layer,
    x: tf.Tensor | None,
    projected: tf.Tensor | None,
    h: tf.Tensor,
    start: int,
    dtype: str,
) -> tf.Tensor:
    """W x_t + R h_{t-1} + b, by one product for x (from column `start` on, where there is one) and h."""

    def joint() -> tf.Tensor:
        rows = [cell.recurrent_kernel] if x is None else [cell.kernel[start:], cell.recurrent_kernel]
        return tf.concat([tf.cast(kernel, dtype) for kernel in rows], axis=0)

    inputs = h if x is None else tf.concat([tf.cast(x, dtype), h], axis=-1)
    found = tf.matmul(inputs, _weight("joint" if x is not None else "recurrent", joint, cell, start))
    found = found if projected is None else found + projected
    return tf.nn.bias_add(found, _weight("bias", lambda: tf.cast(cell.bias, dtype), cell))


def _lstm_step(
    cell: keras.layers.LSTMCell,
    x: tf.Tensor | None,
    projected: tf.Tensor | None,
    state: tuple,
    start: int,
    dtype: str,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Keras' LSTM equations, gates in the order i, f, c, o; the state is (carry, output)."""
    c, h = state
    i, f, g, o = tf.split(_affine(cell, x, projected, h, start, dtype), 4, axis=-1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return c, tf.sigmoid(o) * tf.tanh(c)


def _gru_step(
    cell: keras.layers.GRUCell,
    x: tf.Tensor | None,
    projected: tf.Tensor | None,
    state: tuple,
    start: int,
    dtype: str,
) -> tuple[tf.Tensor]:
    """Keras' GRU equations with `reset_after`, gates in the order z, r, h."""
    (h,) = state
    bias = _weight("bias", lambda: tf.cast(cell.bias, dtype), cell)
    from_h = tf.matmul(h, _weight("recurrent", lambda: tf.cast(cell.recurrent_kernel, dtype), cell)) + bias[1]
    if x is not None:
        kernel = _weight("kernel", lambda: tf.cast(cell.kernel[start:], dtype), cell, start)
        own = tf.matmul(tf.cast(x, dtype), kernel)
        projected = own if projected is None else projected + own
    zx, rx, hx = tf.split(projected + bias[0], 3, axis=-1)
    zh, rh, hh = tf.split(from_h, 3, axis=-1)
    z = tf.sigmoid(zx + zh)
    return (z * h + (1.0 - z) * tf.tanh(hx + tf.sigmoid(rx + rh) * hh),)


def _rnn_step(
    cell: keras.layers.SimpleRNNCell,
    x: tf.Tensor | None,
    projected: tf.Tensor | None,
    state: tuple,
    start: int,
    dtype: str,
) -> tuple[tf.Tensor]:
    """h_t = tanh(W x_t + R h_{t-1} + b)."""
    return (tf.tanh(_affine(cell, x, projected, *state, start, dtype)),)


_STEPS = {"lstm": _lstm_step, "gru": _gru_step, "rnn": _rnn_step}
