"""Float32 building blocks which the families share; they use only operations that LiteRT has built in."""

import math

import tensorflow as tf

from tfdvae import scales

__all__ = [
    "MAX_LOG_VARIANCE",
    "check_scale",
    "constant_like",
    "initial_raw_scale",
    "linear",
    "positive_scale",
    "reshape_last",
    "solve_lower",
]

MAX_LOG_VARIANCE = 20.0


def check_scale(scale: str, min_scale: float, scale_floor: str) -> None:
    """Raises ValueError for a map to scales or a kind of floor that does not exist, and for a negative floor."""
    scales.check_map(scale)
    scales.check_floor(scale_floor)
    if not (math.isfinite(min_scale) and min_scale >= 0.0):
        raise ValueError(f"`min_scale` must be a finite number of at least 0, got {min_scale!r}.")


def positive_scale(raw: tf.Tensor, scale: str, min_scale: float, scale_floor: str = "sum") -> tf.Tensor:
    """Standard deviations: softplus(raw), or exp(raw / 2) with raw held below `MAX_LOG_VARIANCE`, and their floor."""
    if scale == "softplus":
        return scales.softplus_scale(raw, min_scale, scale_floor)
    return scales.exp_scale(raw, min_scale, scale_floor, MAX_LOG_VARIANCE)


def initial_raw_scale(scale: str) -> float:
    """The network output at which `positive_scale` is one, but for the floor."""
    return 0.5413 if scale == "softplus" else 0.0


def reshape_last(x: tf.Tensor, *sizes: int, axes: int = 1) -> tf.Tensor:
    """The last axes of x, one unless told, to `[.., *sizes]`, which have as many numbers; the static shape is kept."""
    return _with_leading(x, x, axes, *sizes)


def linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`[.., F]` times `[F, H]`: one matrix product, with all leading axes of x merged."""
    if x.shape.rank == 2:
        return tf.matmul(x, kernel)
    return _with_leading(tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel), x, 1, kernel.shape[1])


def _with_leading(y: tf.Tensor, x: tf.Tensor, axes: int, *sizes: int) -> tf.Tensor:
    """`y` in the shape `[.., *sizes]` with all but the last axes of `x`."""
    static = x.shape[:-axes].concatenate(sizes)
    if static.num_elements() is not None:
        return tf.reshape(y, static)
    if list(static).count(None) == 1 and 0 not in static:
        # LiteRT's converter follows a static shape through this, but not through the one below.
        return tf.reshape(y, [-1 if size is None else size for size in static])
    return tf.ensure_shape(tf.reshape(y, tf.concat([tf.shape(x)[:-axes], sizes], axis=0)), static)


def constant_like(like: tf.Tensor, value: float | tf.Tensor, *sizes: int) -> tf.Tensor:
    """Float32 `[.., *sizes]` of one value, or of a tensor `[*sizes]`, with the leading axes of `like` `[.., F]`."""
    zeros = tf.reduce_sum(tf.zeros_like(like, tf.float32), axis=-1)
    for _ in sizes:
        zeros = tf.expand_dims(zeros, -1)  # a slice with new axes is one that LiteRT cannot always convert
    return zeros + tf.broadcast_to(tf.cast(value, tf.float32), sizes)


def solve_lower(tril: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """X with L X = R, for lower triangular L `[.., Z, Z]` and R `[.., Z, N]`, by forward substitution.

    Z steps are unrolled, as LiteRT has no triangular solve; the powers of a nilpotent matrix would need log2 Z products
    only, but lose digits where off-diagonal entries are large.
    """
    rows = []
    for i in range(tril.shape[-1]):
        row = right[..., :1, :] / tril[..., i : i + 1, i : i + 1]
        rows.append(row)
        if i + 1 < tril.shape[-1]:
            right = right[..., 1:, :] - tril[..., i + 1 :, i : i + 1] * row
    return tf.concat(rows, axis=-2)
