"""From a network's features to a distribution over z."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae.families.base import Family

__all__ = ["Head"]


@keras.saving.register_keras_serializable(package="tfdvae")
class Head(keras.layers.Layer):
    """Maps features `[.., F]` to the parameters of a family, always in float32, at first of scale one or uniform.

    Args:
        family: what the distribution is, or its serialized config. The weights of a flow are not the head's: their
            owner tracks `family.network`.
    """

    def __init__(self, family: Family | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(family, dict):
            family = keras.saving.deserialize_keras_object(family)
        if not isinstance(family, Family):
            raise ValueError(f"`family` must be a Family or its serialized config, got {family!r}.")
        self.family = family
        self.output_layer = keras.layers.Dense(family.params_dim, dtype=self.dtype_policy, name="output")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.output_layer.build((None, input_shape[-1]))
        self.output_layer.bias.assign(self.family.initial_bias())

    def call(self, x: tf.Tensor) -> NamedTuple:
        # tfdvae.layers imports the families, so this cannot be imported with the module.
        from tfdvae.layers.mlp import flat_call

        return self.finish(flat_call(self.output_layer, x))

    def finish(self, preactivation: tf.Tensor) -> NamedTuple:
        """The distribution, from what the layer computes before (see `tfdvae.layers.mlp.SplitNetwork`)."""
        return self.family.parameters(tf.cast(preactivation, tf.float32))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "family": keras.saving.serialize_keras_object(self.family)}
