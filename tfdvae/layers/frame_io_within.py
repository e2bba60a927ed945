"""What is known of whole sequences, at the edge between their frames and the networks."""

from typing import Any

import tensorflow as tf

from tfdvae.layers.units import Units

__all__ = ["FrameIOWithin"]


class FrameIOWithin:
    """A `FrameIO` for sequences of which a context and units are known; otherwise it is the one that it wraps."""

    def __init__(self, frames: Any, context: tf.Tensor | None, units: Units | None = None):
        self.frames, self.context, self.units = frames, context, units

    def see(self, x: tf.Tensor, observed: tf.Tensor | None = None, last: tf.Tensor | None = None) -> tf.Tensor:
        """As `FrameIO.see`, in the units of the sequences."""
        return self.frames.see(x, observed, last, self.units)

    def filled(self, x: tf.Tensor, observed: tf.Tensor, last: tf.Tensor | None = None) -> tf.Tensor:
        """As `FrameIO.filled`, likewise."""
        return self.frames.filled(x, observed, last, self.units)

    def params(self, features: tf.Tensor) -> tf.Tensor:
        """As `FrameIO.params`, of `[features, context]`, with the units of the sequences."""
        if self.context is None:
            return self.frames.params(features, self.units)
        context = tf.cast(self.context, features.dtype)
        if features.shape.rank == 3:
            context = tf.tile(context[:, None], [1, tf.shape(features)[1], 1])
        joined = tf.concat([features, context], axis=-1)
        width = features.shape[-1] + self.context.shape[-1]
        return self.frames.params(tf.ensure_shape(joined, [*features.shape[:-1], width]), self.units)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.frames, name)
