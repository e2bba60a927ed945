"""Sequences as the equations of a model take them."""

from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae.layers.frame_io import FrameIO
from tfdvae.layers.frame_skips import Skips
from tfdvae.layers.units import Units

__all__ = ["Packed"]


class Packed(NamedTuple):
    """Right-padded sequences as the equations of a model take them.

    Attributes:
        x: frames in the units of the data, `[B, T, D]`, zero in the padding.
        mask: `[B, T]`, or None where all frames exist.
        u: inputs `[B, T, U + C]` with the context of the sequence in the last columns; None where there is neither.
        observed: `[B, T, D]`, or None where all that exists was observed.
        seen: frames as the networks see them, `[B, T, E]`.
        context: `[B, C]`, or None.
        units: of each sequence, `[B, D]`, where they are its own.
        skips: what the frame decoder takes of the given frames, with `frame_skips`.
    """

    x: tf.Tensor
    mask: tf.Tensor | None
    u: tf.Tensor | None
    observed: tf.Tensor | None
    seen: tf.Tensor
    context: tf.Tensor | None
    units: Units | None = None
    skips: Skips | None = None

    def within(self, frames: FrameIO) -> Any:
        """The model's `FrameIO`, for what is known of these sequences."""
        return frames.within(self.context, self.units, self.skips)

    def repeated(self, count: tf.Tensor | int) -> "Packed":
        """`count` adjacent copies of each sequence."""
        if isinstance(count, int) and count == 1:
            return self
        return tf.nest.map_structure(lambda y: None if y is None else tf.repeat(y, count, axis=0), self)
