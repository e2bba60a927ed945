"""Layers of the equations in `reference`, in float64 numpy, by the weights of ours."""

from collections.abc import Callable
from typing import Any

import numpy as np


def array(weight: Any) -> np.ndarray:
    return np.asarray(weight, np.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def affine(dense: Any, x: np.ndarray) -> np.ndarray:
    return x @ array(dense.kernel) + array(dense.bias)


def mlp(net: Any, x: np.ndarray, activation: Callable[[np.ndarray], np.ndarray] = np.tanh) -> np.ndarray:
    for dense in net.hidden:
        x = activation(affine(dense, x))
    return x


def gaussian_head(head: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    loc, raw = np.split(affine(head.output_layer, x), 2, axis=-1)
    return loc, (softplus(raw) if head.family.scale_map == "softplus" else np.exp(0.5 * raw)) + head.family.min_scale


def join(*parts: np.ndarray | None) -> np.ndarray:
    return np.concatenate([part for part in parts if part is not None], axis=-1)


def lstm_step(
    kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, x: np.ndarray, h: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hochreiter and Schmidhuber (1997) with forget gates (Gers et al. 2000); Keras' columns are i, f, c, o."""
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Cho et al. (2014), version 1 (reset after the product); Keras' columns are z, r, h."""
    xz, xr, xh = np.split(x @ kernel + bias[0], 3, axis=-1)
    hz, hr, hh = np.split(h @ recurrent + bias[1], 3, axis=-1)
    update, reset = sigmoid(xz + hz), sigmoid(xr + hr)
    return update * h + (1.0 - update) * np.tanh(xh + reset * hh)


def rnn_step(kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Elman (1990)."""
    return np.tanh(x @ kernel + h @ recurrent + bias)


def linear(net: Any, x: np.ndarray) -> np.ndarray:
    """Layers without an activation."""
    return mlp(net, x, lambda y: y)


class Stack:
    """A stack of recurrent layers that remembers its state."""

    def __init__(self, recurrent: Any, batch: int) -> None:
        self.kind = recurrent.cell
        cells = [layer.cell for layer in recurrent.stack]
        self.weights = [(array(cell.kernel), array(cell.recurrent_kernel), array(cell.bias)) for cell in cells]
        self.state = [(np.zeros([batch, recurrent.units]),) * 2 for _ in cells]

    @property
    def h(self) -> np.ndarray:
        return self.state[-1][0]

    def step(self, x: np.ndarray) -> np.ndarray:
        for i, (weights, (h, c)) in enumerate(zip(self.weights, self.state, strict=True)):
            if self.kind == "lstm":
                self.state[i] = lstm_step(*weights, x, h, c)
            else:
                step = {"gru": gru_step, "rnn": rnn_step}[self.kind]
                self.state[i] = (step(*weights, x, h), c)
            x = self.state[i][0]
        return x


def run(recurrent: Any, x: np.ndarray, backward: bool = False) -> np.ndarray:
    """Outputs [N, T, H] of a stack over a whole sequence."""
    stack, length = Stack(recurrent, len(x)), x.shape[1]
    out = np.zeros([*x.shape[:2], recurrent.units])
    for t in reversed(range(length)) if backward else range(length):
        out[:, t] = stack.step(x[:, t])
    return out
