"""Windows of Gaussian filters through which a picture is read and written (Gregor et al. 2015, section 3.3)."""

import math
from typing import NamedTuple

import tensorflow as tf

from tfdvae.scales import hold_within

__all__ = ["NUM_NUMBERS", "Window", "filters", "read", "tiling", "window", "write"]

NUM_NUMBERS = 5
"""How many numbers a window is told by."""
_MAX_LOG = 10.0
"""Logarithms are held within this distance from 0, where squares and quotients of their exponentials are finite."""


class Window(NamedTuple):
    """A grid of N x N Gaussian filters over a picture; every entry `[...]`, float32.

    Attributes:
        column, row: of the middle of the grid, g_X and g_Y, in pixels; that of the upper left pixel is 0.
        stride: delta, pixels between neighbouring filters.
        variance: sigma^2 of each filter, in squared pixels.
        intensity: gamma, what is read is multiplied by and what is written divided by.
    """

    column: tf.Tensor
    row: tf.Tensor
    stride: tf.Tensor
    variance: tf.Tensor
    intensity: tf.Tensor

    def square(self, size: int) -> tf.Tensor:
        """`[..., 4]`: row and column of the middle, side, and standard deviation of the filters, all in pixels. Each of
        `size` filters in a row stands for one stride of the side."""
        return tf.stack([self.row, self.column, size * self.stride, tf.sqrt(self.variance)], axis=-1)


def window(raw: tf.Tensor, height: int, width: int, size: int) -> Window:
    """(21)-(24): the window of five numbers `[..., 5]`, for N = `size` and pictures of B = `height`, A = `width`.

    Zeros are a window over the whole picture. The paper counts pixels from 1, and `Window` from 0. A single filter has
    no neighbours, and its stride is that of two.
    """
    column, row, variance, stride, intensity = tf.unstack(tf.cast(raw, tf.float32), axis=-1)
    variance, stride, intensity = (tf.exp(hold_within(y, -_MAX_LOG, _MAX_LOG)) for y in (variance, stride, intensity))
    return Window(
        0.5 * (width + 1) * (column + 1.0) - 1.0,
        0.5 * (height + 1) * (row + 1.0) - 1.0,
        _stride_of_zeros(height, width, size) * stride,
        variance,
        intensity,
    )


def tiling(height: int, width: int, size: int) -> tuple[float, ...]:
    """The five numbers of the window whose N x N filters tile the picture's longer axis: a stride of an N-th of it,
    deviations of half a stride. Windows begin there, not at zeros, whose outer filters stand in the picture's corners,
    N = 2 with nothing between: what is read of a digit is black wherever the window moves to, and no gradient says so.
    """
    stride, at_zeros = max(height, width) / size, _stride_of_zeros(height, width, size)
    return 0.0, 0.0, 2.0 * math.log(0.5 * stride), math.log(stride / at_zeros) if at_zeros else 0.0, 0.0


def _stride_of_zeros(height: int, width: int, size: int) -> float:
    """The factor of (24): N filters from the first pixel of the longer axis to its last."""
    return (max(width, height) - 1) / max(size - 1, 1)


def filters(centre: tf.Tensor, stride: tf.Tensor, variance: tf.Tensor, size: int, length: int) -> tf.Tensor:
    """(19), (20), (25), (26): N = `size` filters along an axis of `length` pixels, `[..., N, length]`.

    Filter i has the mean centre + (i - (N - 1) / 2) stride for i = 0, ..., N - 1, and sums to 1 over the pixels: as a
    softmax, which does so for means far outside of the picture as well.
    """
    offset = tf.range(size, dtype=tf.float32) - 0.5 * (size - 1)
    mean = centre[..., None] + offset * stride[..., None]
    distance = tf.range(length, dtype=tf.float32) - mean[..., None]
    return tf.nn.softmax(-0.5 * tf.square(distance) / variance[..., None, None], axis=-1)


def read(pictures: tf.Tensor, seen: Window, size: int) -> tf.Tensor:
    """(27): gamma F_Y x F_X' of each channel of pictures `[N, C, H, W]`: `[N, C, size, size]`."""
    rows, columns = _both(seen, size, *pictures.shape[-2:])
    found = tf.matmul(tf.matmul(rows, tf.cast(pictures, tf.float32)), columns, transpose_b=True)
    return seen.intensity[:, None, None, None] * found


def write(patch: tf.Tensor, drawn: Window, height: int, width: int) -> tf.Tensor:
    """(29): F_Y' w F_X / gamma of each channel of patches `[N, C, size, size]`: `[N, C, height, width]`."""
    rows, columns = _both(drawn, patch.shape[-1], height, width)
    found = tf.matmul(tf.matmul(rows, tf.cast(patch, tf.float32), transpose_a=True), columns)
    return found / drawn.intensity[:, None, None, None]


def _both(of: Window, size: int, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """F_Y and F_X, the same for every channel: `[N, 1, size, height]` and `[N, 1, size, width]`."""
    rows = filters(of.row, of.stride, of.variance, size, height)
    columns = filters(of.column, of.stride, of.variance, size, width)
    return rows[:, None], columns[:, None]
