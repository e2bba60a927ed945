"""What a state holds beside a cell's own entries where latents exist once per segment."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdvae.types import State

__all__ = ["held_on", "parted", "start_segments"]


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
