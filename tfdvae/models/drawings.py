"""Verbs of models that draw frames glimpse by glimpse: how a picture came to be on the canvas."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfdvae import masks, validation
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.glimpses import Window
from tfdvae.loop import scan
from tfdvae.types import Batch, Drawing

__all__ = ["DrawingsMixin", "Seen", "each_picture", "flattened"]

Seen = Window | tuple[()]
"""A window, or nothing where whole pictures are read and written."""


class DrawingsMixin:
    """Mixed into models of pictures with `infer_pictures` and `draw_pictures`, see `tfdvae.models.draw`."""

    def drawing(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        sample: bool = False,
        seed: int | None = None,
    ) -> Drawing:
        """How pictures come to be on the canvas, glimpse by glimpse, inferred from x; zeros at frames that do not
        exist.

        Args:
            sample: draw z instead of following the modes of its posteriors.
        """
        batch, sample = self.check(x, mask, u, observed, context), validation.switch("sample", sample)
        return self._as_drawing(self._drawing(batch, self.next_seed(seed), sample))

    @tf.function(reduce_retracing=True, autograph=False)
    def _drawing(self, batch: Batch, seed: tf.Tensor, sample: bool) -> tuple[tf.Tensor | None, ...]:
        packed, how = self.pack(batch)
        noise, _ = self.draw(seed, tf.shape(packed.x)[0], tf.shape(packed.x)[1], sample)
        given = (packed._replace(mask=None, observed=None), None if noise is None else noise["z"])
        found = each_picture(lambda rows: self.infer_pictures(*rows, told=True), given, packed.seen)
        return found if how is None else tuple(None if y is None else masks.unpack(y, how) for y in found)

    def generated_drawing(
        self, batch_size: int = 1, *, u: Any = None, context: Any = None, sample: bool = True, seed: int | None = None
    ) -> Drawing:
        """The same of pictures that the model makes up: those that `generate(1, ...)` has of the same arguments.

        Args:
            batch_size: B, where there is neither u `[B, 1, U]` nor context `[B, C]`.
        """
        new = self.generate(1, batch_size, u=u, context=context, sample=sample, seed=seed)
        u, context = self._inputs(u, 1), self._context(context)
        return self._as_drawing(self._redrawn(new.latents["z"], u, context))

    @tf.function(reduce_retracing=True, autograph=False)
    def _redrawn(self, z: tf.Tensor, u: tf.Tensor | None, context: tf.Tensor | None) -> tuple[tf.Tensor | None, ...]:
        io, given = self.frames.within(context), (z, self.inputs(u, context, 1))
        return each_picture(lambda rows: self.draw_pictures(*rows, io), given, z)

    def _told(self, means: tf.Tensor, seen: Seen, drawn: Seen) -> tuple[tf.Tensor | None, ...]:
        """E[x | c_g] `[N, G D]` and windows as squares `[N, G 4]`, from those of each glimpse `[N, G, .]`."""
        sizes = zip((seen, drawn), (self.read_size, self.write_size), strict=True)
        return flattened(means), *(flattened(window.square(size)) if window else None for window, size in sizes)

    def _as_drawing(self, found: tuple[tf.Tensor | None, ...]) -> Drawing:
        means, *squares = (None if y is None else tf.reshape(y, [*y.shape[:2], self.num_glimpses, -1]) for y in found)
        return Drawing(restore_frames(means, self.frame_shape), *squares)


def flattened(x: tf.Tensor) -> tf.Tensor:
    """`[N, G, F]` to `[N, G F]`."""
    return tf.reshape(x, [-1, x.shape[1] * x.shape[2]])


def each_picture(draw: Callable[[Any], tuple], frames: Any, like: tf.Tensor) -> tuple:
    """What `draw` makes of pictures, for all frames of sequences that are as long as those of `like` `[B, T, .]`.

    All frames at once are N = B T pictures. LiteRT knows loops over parts of known sizes alone: where B is known and T
    is not, the B pictures of each frame are drawn one frame after the other.

    Args:
        draw: takes the nest of `[N, .]`, and returns tensors `[N, F]` or None.
        frames: nest of `[B, T, .]`, or `[B, .]` for what is known of whole sequences, or None.

    Returns:
        The same tensors, `[B, T, F]`.
    """
    batch, length = like.shape[:2]
    if batch is not None and length is None:
        flat = [y if y is not None and y.shape.rank == 3 else None for y in tf.nest.flatten(frames)]

        def frame(state: tuple, frame_t: list) -> tuple[tuple, list]:
            now = [y if own is None else own for own, y in zip(frame_t, tf.nest.flatten(frames), strict=True)]
            found = draw(tf.nest.pack_sequence_as(frames, now))
            return state, [() if y is None else y for y in found]

        found = scan(frame, (), flat)[1]
        return tuple(None if isinstance(y, tuple) else y for y in found)
    count = like.shape[1] or tf.shape(like)[1]
    lead = [size or tf.shape(like)[i] for i, size in enumerate(like.shape[:2])]

    def rows(y: tf.Tensor | None) -> tf.Tensor | None:
        if y is None or y.shape.rank == 3:
            return None if y is None else tf.reshape(y, [-1, y.shape[-1]])
        held = tf.repeat(y, count, axis=0)
        return tf.ensure_shape(held, [None, y.shape[-1]])

    def restored(y: tf.Tensor | None) -> tf.Tensor | None:
        if y is None:
            return None
        return tf.ensure_shape(tf.reshape(y, [*lead, y.shape[-1]]), [*like.shape[:2], y.shape[-1]])

    return tuple(map(restored, draw(tf.nest.map_structure(rows, frames))))
