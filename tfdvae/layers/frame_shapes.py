"""Shapes of frames: models hold a frame of any shape S flattened, `[..., D]` with D = prod(S)."""

import math
from collections.abc import Sequence

import tensorflow as tf

__all__ = ["as_frame_shape", "check_frame_shape", "flatten_frames", "restore_frames"]


def as_frame_shape(frame_shape: Sequence[int] | None) -> tuple[int, ...] | None:
    """The shape as a tuple, or None, which stands for vectors of any width.

    Raises:
        ValueError: it is not a sequence of sizes.
    """
    if frame_shape is None:
        return None
    shape = tuple(frame_shape) if isinstance(frame_shape, Sequence) and not isinstance(frame_shape, str) else ()
    if not shape or not all(hasattr(size, "__index__") and size > 0 for size in shape):
        raise ValueError(f"`frame_shape` must be None or sizes such as (height, width, channels), got {frame_shape!r}.")
    return tuple(map(int, shape))


def check_frame_shape(frame_shape: Sequence[int], x_dim: int) -> None:
    """Raises ValueError where frames of D features cannot be frames of that shape."""
    if math.prod(frame_shape) != x_dim:
        raise ValueError(
            f"`frame_shape` {tuple(frame_shape)} makes frames of {math.prod(frame_shape)} features, got {x_dim}."
        )


def flatten_frames(x: tf.Tensor, frame_shape: Sequence[int]) -> tf.Tensor:
    """Frames `[..., *S]` as vectors `[..., D]`, in row-major order; vectors `[..., D]` with S = (D,) stay as they are.

    Args:
        x: frames with any number of leading axes, whose sizes stay known where they were.
        frame_shape: S.

    Raises:
        ValueError: the last axes of `x` are not S.
    """
    x, shape = tf.convert_to_tensor(x), tuple(frame_shape)
    rank = x.shape.rank - len(shape)
    if rank < 0 or not x.shape[rank:].is_compatible_with(shape):
        raise ValueError(f"Expected frames of shape [..., {', '.join(map(str, shape))}], got shape {list(x.shape)}.")
    return x if len(shape) == 1 else _with_last_axes(x, rank, [math.prod(shape)])


def restore_frames(x: tf.Tensor, frame_shape: Sequence[int]) -> tf.Tensor:
    """Vectors `[..., D]` as frames `[..., *S]`: the inverse of `flatten_frames`.

    Raises:
        ValueError: D is not prod(S).
    """
    x, shape = tf.convert_to_tensor(x), tuple(frame_shape)
    check_frame_shape(shape, x.shape[-1])
    return x if len(shape) == 1 else _with_last_axes(x, x.shape.rank - 1, shape)


def _with_last_axes(x: tf.Tensor, rank: int, last: Sequence[int]) -> tf.Tensor:
    """`x` with its first `rank` axes kept, and the others reshaped to `last`."""
    leading = x.shape[:rank].as_list()
    if leading.count(None) > 1:
        leading = [size or tf.shape(x)[i] for i, size in enumerate(leading)]
    return tf.reshape(x, [-1 if size is None else size for size in leading] + list(last))
