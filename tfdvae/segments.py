"""Segments of sequences: how frames are cut into them, and what a state holds beside a cell's own entries for latents
that exist once per segment."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdvae.types import State

__all__ = ["begins", "by_sequence", "cut", "held_on", "joined", "parted", "start_segments"]


def begins(clock: tf.Tensor, segment: int) -> tf.Tensor:
    """Whether a segment begins where that many frames have passed, bool in the shape of `clock`."""
    # Not by a comparison with 0: LiteRT would quantise one, and knows no range of whole numbers.
    return ~tf.cast(clock % segment, tf.bool)


def cut(x: tf.Tensor, segment: int) -> tf.Tensor:
    """Sequences `[B, T, ...]` as their segments, one below the other, `[B * S, segment, ...]`; zeros fill up the last
    one of each sequence."""
    missing = -(x.shape[1] or tf.shape(x)[1]) % segment
    x = tf.pad(x, [[0, 0], [0, missing], *[[0, 0]] * (x.shape.rank - 2)])
    return tf.reshape(x, [-1, segment, *x.shape[2:]])


def by_sequence(y: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """What belongs to each segment, `[B * S, F]`, or to each of its frames, by sequences: `[B, S, F]`, `[B, T, F]`."""
    return tf.reshape(y, [size, -1, y.shape[-1]])


def joined(y: tf.Tensor, size: tf.Tensor | int, length: tf.Tensor | int) -> tf.Tensor:
    """Segments `[B * S, segment, F]` as the sequences that they were cut from, `[B, T, F]`."""
    return by_sequence(y, size)[:, :length]


def start_segments(cell: Any, batch_size: tf.Tensor | int) -> State:
    """What a state holds beside the cell's own entries where there are latents of segments: how many frames have
    passed, and the present value of each. It stands under "segments"; no equation sees it."""
    own = [latent for latent in cell.frame_latents if latent.level == "segment"]
    if not own:
        return {}
    values = {latent.name: tf.zeros([batch_size, latent.latent_dim]) for latent in own}
    return {"segments": {"clock": tf.zeros([batch_size], tf.int32), **values}}


def parted(state: State) -> tuple[State, State | None]:
    """The cell's own entries, and those of segments."""
    return {k: v for k, v in state.items() if k != "segments"}, state.get("segments")


def held_on(held: State | None, drawn: Mapping[str, tf.Tensor]) -> State:
    """The entries of segments after a frame in which these values were in use."""
    if held is None:
        return {}
    return {"segments": {k: v + 1 if k == "clock" else drawn[k] for k, v in held.items()}}
