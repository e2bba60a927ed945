"""The state of a stepwise model as flat tensors with stable names."""

from typing import Any

import keras
import tensorflow as tf

from tfdvae.models import DVAE
from tfdvae.serving.fields import Field
from tfdvae.types import State

__all__ = ["StateLayout"]


class StateLayout:
    """How the nested state of a model becomes fields and back: `state["memory"][0]` is "state_memory_0".

    Args:
        model: a built, stepwise model.
        batch: the fixed number of sequences, or None.
    """

    def __init__(self, model: DVAE, batch: int | None):
        self.template = model.initial_state(1, context=tf.zeros([1, model.context_dim]) if model.context_dim else None)
        found = keras.tree.flatten_with_path(self.template)
        self.fields = tuple(
            Field(
                "_".join(["state", *map(str, path)]),
                (batch or "batch", *value.shape[1:]),
                value.dtype,
                "1",
                "Part of the state between two frames; hand it from one call to the next.",
            )
            for path, value in found
        )

    def nest(self, tensors: dict[str, tf.Tensor]) -> State:
        """The state from tensors by name."""
        return keras.tree.pack_sequence_as(self.template, [tensors[field.name] for field in self.fields])

    def flat(self, state: State) -> dict[str, Any]:
        """Tensors by name from the state."""
        return {field.name: value for field, value in zip(self.fields, keras.tree.flatten(state), strict=True)}
