"""What is known of whole sequences, at the edge between their frames and the networks."""

from typing import Any

import tensorflow as tf

from tfdvae.layers.frame_skips import Newest, Skips
from tfdvae.layers.units import Units

__all__ = ["FrameIOWithin"]


class FrameIOWithin:
    """A `FrameIO` for sequences of which a context, units and pictures of given frames are known; otherwise it is the
    one that it wraps."""

    def __init__(
        self,
        frames: Any,
        context: tf.Tensor | None,
        units: Units | None = None,
        skips: Skips | Newest | None = None,
    ):
        self.frames, self.context, self.units, self._skips = frames, context, units, skips

    def look(
        self, x: tf.Tensor, observed: tf.Tensor | None = None, last: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """As `FrameIO.look`, in the units of the sequences."""
        return self.frames.look(x, observed, last, self.units)

    def see(self, x: tf.Tensor, observed: tf.Tensor | None = None, last: tf.Tensor | None = None) -> tf.Tensor:
        """As `FrameIO.see`, likewise."""
        return self.frames.see(x, observed, last, self.units)

    def filled(self, x: tf.Tensor, observed: tf.Tensor, last: tf.Tensor | None = None) -> tf.Tensor:
        """As `FrameIO.filled`, likewise."""
        return self.frames.filled(x, observed, last, self.units)

    def newest(self, size: tf.Tensor | int) -> Newest | None:
        """As `FrameIO.newest`; where sequences go on, the pictures that hold for their next frame."""
        return self._skips if isinstance(self._skips, Newest) else self.frames.newest(size)

    def at(self, newest: Newest | None) -> "FrameIOWithin":
        """As `FrameIO.at`, with the same context and units."""
        return FrameIOWithin(self.frames, self.context, self.units, newest)

    def params(self, features: tf.Tensor) -> tf.Tensor:
        """As `FrameIO.params`, of `[features, context]`, with the units and the pictures of the sequences."""
        if self.context is not None:
            features = _joined(features, tf.cast(self.context, features.dtype))
        pictures = self._skips
        if pictures is not None:
            pictures = pictures.along() if isinstance(pictures, Skips) else pictures.pictures
        return self.frames.params(features, self.units, pictures)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.frames, name)


def _joined(features: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
    """`[features, context]`, of which the context `[B, C]` holds for all frames of a sequence."""
    width = features.shape[-1] + context.shape[-1]
    if features.shape.rank == 3:
        context = tf.tile(context[:, None], [1, tf.shape(features)[1], 1])
    return tf.ensure_shape(tf.concat([features, context], axis=-1), [*features.shape[:-1], width])
