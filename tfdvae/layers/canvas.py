"""The canvas of a model that draws: how its numbers are pixels, and what stands on it before anything is drawn."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

__all__ = ["Canvas", "ContextOnCanvas"]


class Canvas(NamedTuple):
    """Frames as pictures of `height` x `columns` pixels in `channels` colours, and a canvas of `maps` such pictures.

    Frames are flat, `[N, H W C]`, and so is the canvas, `[N, M H W C]`: one picture after the other. Planes are what
    filters go over, `[N, C, H, W]` of a frame and `[N, M C, H, W]` of the canvas.
    """

    height: int
    columns: int
    channels: int
    maps: int
    last_axis: int

    @classmethod
    def of(cls, frame_shape: Sequence[int], picture: Sequence[int] | None, maps: int) -> "Canvas":
        """That of frames of a shape: `(D,)`, `(height, width)` or `(height, width, channels)`.

        Args:
            picture: height and width of frames `(D,)`; None for squares where D is one, and else a row of D pixels.

        Raises:
            ValueError: frames of another shape, or not of as many pixels as `picture`, or of one column without it.
        """
        shape = tuple(frame_shape)
        if picture is None and len(shape) == 2 and shape[1] == 1:
            # What is left of [batch, height, width, 1], whose rows would be learned as pictures without a word.
            raise ValueError(
                f"Expected pictures [batch, time, height, width, channels], got frames of shape {shape}, of one "
                f"column: still pictures need an axis of time, x[:, None]; or say picture={shape}, if they are that "
                "narrow."
            )
        if picture is not None:
            if len(picture) != 2 or math.prod(picture) != math.prod(shape) or shape[:-1] not in ((), picture[:1]):
                raise ValueError(f"`picture` must be height and width of frames of shape {shape}, got {picture}.")
        if len(shape) == 1:
            side = math.isqrt(shape[0])
            height, columns = picture or ((side, side) if side**2 == shape[0] else (1, shape[0]))
            return cls(height, columns, 1, maps, shape[0])
        if len(shape) > 3:
            raise ValueError(
                f"Expected frames that are pictures, (height, width) or (height, width, channels), or vectors; got "
                f"frames of shape {shape}."
            )
        return cls(shape[0], shape[1], shape[2] if len(shape) == 3 else 1, maps, shape[-1])

    @property
    def planes(self) -> int:
        """M C."""
        return self.maps * self.channels

    @property
    def width(self) -> int:
        """How many numbers the canvas has, M H W C."""
        return self.planes * self.height * self.columns

    def parted(self, seen: tf.Tensor, indicator: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Pictures, and which of their entries were observed, 1 or 0, from what networks see of frames `[N, E]`; None
        for that without an `indicator`, which stands beside the channels."""
        if not indicator:
            return seen, None
        both = tf.reshape(seen, [-1, seen.shape[-1] // (2 * self.last_axis), 2, self.last_axis])
        picture, known = (tf.reshape(y, [-1, seen.shape[-1] // 2]) for y in tf.unstack(both, axis=2))
        return picture, known

    def as_planes(self, picture: tf.Tensor) -> tf.Tensor:
        """`[N, H W C]` to `[N, C, H, W]`."""
        if self.channels == 1:
            return tf.reshape(picture, [-1, 1, self.height, self.columns])
        return tf.transpose(tf.reshape(picture, [-1, self.height, self.columns, self.channels]), [0, 3, 1, 2])

    def from_planes(self, planes: tf.Tensor) -> tf.Tensor:
        """`[N, M C, H, W]` to `[N, M H W C]`."""
        if self.channels > 1:
            planes = tf.reshape(planes, [-1, self.maps, self.channels, self.height, self.columns])
            planes = tf.transpose(planes, [0, 1, 3, 4, 2])
        return tf.reshape(planes, [-1, self.width])


@keras.saving.register_keras_serializable(package="tfdvae")
class ContextOnCanvas(keras.layers.Layer):
    """[c, context] to c + W context: what is known of a sequence moves the canvas; without a context, c itself.

    Args:
        context_dim: C, how many of the last columns are the context.
    """

    def __init__(self, context_dim: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.context_dim = context_dim

    def build(self, input_shape: Sequence[int | None]) -> None:
        if self.context_dim:
            width = input_shape[-1] - self.context_dim
            self.first = keras.layers.Dense(width, use_bias=False, dtype=self.dtype_policy, name="first")
            self.first.build((None, self.context_dim))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], input_shape[-1] - self.context_dim)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if not self.context_dim:
            return x
        width = x.shape[-1] - self.context_dim
        return x[..., :width] + self.first(x[..., width:])

    def get_config(self) -> dict:
        return {**super().get_config(), "context_dim": self.context_dim}
