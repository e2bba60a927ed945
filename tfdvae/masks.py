"""The one place for masks: frames that do not exist are zeroed and moved to the end, once, before a model sees
anything.

A masked frame is skipped, as in Keras' own recurrent layers: the frame after a gap follows the frame before it. With
the existing frames packed to the left, every model only ever meets right-padded sequences: causal recursions need no
masks at all, backward ones start at the last existing frame, and padding can reach neither values nor gradients.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae.types import Batch

__all__ = [
    "Packing",
    "first",
    "pack",
    "pack_batch",
    "packing",
    "restored",
    "reverse",
    "shift",
    "unpack",
    "zero_masked",
]


class Packing(NamedTuple):
    """`order` `[B, T]`: which frame each packed place holds; `mask` `[B, T]`: which packed places are frames."""

    order: tf.Tensor
    mask: tf.Tensor


def zero_masked(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """`x` `[B, T, ...]` with zeros where the frame does not exist, whatever stood there, NaN included."""
    if mask is None:
        return x
    mask = tf.reshape(mask, tf.concat([tf.shape(mask), tf.ones([x.shape.rank - 2], tf.int32)], axis=0))
    return tf.where(mask, x, tf.zeros([], x.dtype))


def packing(mask: tf.Tensor) -> Packing:
    """How to move the frames of a `[B, T]` mask to the left, keeping their order."""
    time = tf.range(tf.shape(mask)[1])
    key = tf.where(mask, time, time + tf.shape(mask)[1])
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True)
    return Packing(tf.argsort(key, axis=1), time < lengths)


def pack(x: tf.Tensor, how: Packing) -> tf.Tensor:
    """Moves the frames of `x` `[B, T, ...]` to the left."""
    return tf.ensure_shape(tf.gather(x, how.order, batch_dims=1), x.shape)


def unpack(x: tf.Tensor, how: Packing) -> tf.Tensor:
    """Moves packed frames back to where they were; zeros where no frame exists."""
    x = zero_masked(x, how.mask)
    return tf.ensure_shape(tf.gather(x, tf.argsort(how.order, axis=1), batch_dims=1), x.shape)


def restored(found: Any, how: Packing | None) -> Any:
    """A nest of packed tensors `[B, T, ...]`, None among them, unpacked; as it is where `how` is None."""
    return found if how is None else tf.nest.map_structure(lambda y: None if y is None else unpack(y, how), found)


def pack_batch(batch: Batch) -> tuple[Batch, Packing | None]:
    """The batch right-padded, zero in the padding, and how to undo that; as it is, and None, where all frames exist."""
    if batch.mask is None:
        return batch, None
    how = packing(batch.mask)
    series = (batch.x, batch.u, batch.observed)
    x, u, observed = (None if y is None else pack(zero_masked(y, batch.mask), how) for y in series)
    return Batch(x, how.mask, u, observed, batch.context), how


def first(count: int, x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """True at the first `count` frames that exist of each sequence of `x` `[B, T, ...]`: `[B, T]`."""
    if mask is None:
        return tf.broadcast_to(tf.range(tf.shape(x)[1]) < count, tf.shape(x)[:2])
    return mask & (tf.cumsum(tf.cast(mask, tf.int32), axis=1) <= count)


def shift(x: tf.Tensor, first: tf.Tensor | None = None) -> tf.Tensor:
    """The previous frame at each time, `first` `[B, F]` or zeros at the first: `[B, T, F]`."""
    before = tf.zeros_like(x[:, :1]) if first is None else first[:, None]
    return tf.concat([before, x[:, :-1]], axis=1)


def opening(x: tf.Tensor) -> tf.Tensor:
    """Whether a frame is the first, for right-padded sequences like x `[B, T, F]`: `[B, T, 1]`, bool."""
    size, length = tf.shape(x)[0], tf.shape(x)[1]
    return tf.broadcast_to((tf.range(length) == 0)[:, None], [size, length, 1])


def at_opening(found: Any, x: tf.Tensor) -> Any:
    """A nest of what is known of the first frame, `[B, F]`, as frames like those of x `[B, T, F]`: zeros after it."""
    after = tf.shape(x)[1] - 1
    return tf.nest.map_structure(lambda y: tf.pad(y[:, None], [[0, 0], [0, after], [0, 0]]), found)


def select(condition: tf.Tensor, found: Any, otherwise: Any) -> Any:
    """`tf.where` of two nests of one structure."""
    return tf.nest.map_structure(lambda a, b: tf.where(condition, a, b), found, otherwise)


def last(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """The last frame that exists of each right-padded sequence `[B, T, F]`: `[B, F]`."""
    return reverse(x, mask)[:, 0]


def reverse(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Reverses the frames of right-padded sequences `[B, T, F]` in time and leaves the padding where it is."""
    if mask is None:
        return tf.reverse(x, axis=[1])
    return tf.reverse_sequence(x, tf.reduce_sum(tf.cast(mask, tf.int32), axis=1), seq_axis=1, batch_axis=0)
