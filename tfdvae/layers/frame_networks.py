"""Networks for single frames of any shape: what maps a frame to features, and features back to a frame's parameters.

`tfdvae.layers.frame_specs` says which networks there are, and what shapes they see.

Layers of Keras in training: Within `tfdvae.random.dropout_scope` they are called with `training=True`, otherwise with
False, whether or not the layer that holds them takes that argument. That holds eagerly, in a tf.function, under XLA
and in the body of a loop. Two things differ from the networks of this library:

- Keras' dropout and noise differ from frame to frame, where `tfdvae.random.dropout` has one mask per sequence. They
  follow from the seed in scope, so a training run is repeatable (XLA draws other numbers than TensorFlow from the same
  seed), and the same scope has the same noise again; called in a loop, so has each iteration.
- `keras.layers.BatchNormalization` takes its statistics over all N frames, which includes those that pad short
  sequences. Where sequences differ in length, take `keras.layers.LayerNormalization`, or batches of one length.

Losses of a layer's weights (`kernel_regularizer`) join the model's; those of its outputs (`activity_regularizer`,
`add_loss`) do so only where the model does not call the layer in a loop over frames.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import random
from tfdvae.layers.frame_shapes import as_frame_shape, check_frame_shape, restore_frames
from tfdvae.layers.frame_specs import Spec, as_spec, spec_config
from tfdvae.layers.frames import ConvDecoder, ConvEncoder
from tfdvae.layers.mlp import MLP, flat_call
from tfdvae.layers.training_state import seed_states, uses_training_state

__all__ = [
    "FrameDecoder",
    "FrameEncoder",
    "as_spec",
    "frame_decoder",
    "frame_encoder",
    "spec_config",
    "uses_training_state",
]

FLAT_NETWORKS = (MLP, ConvEncoder, ConvDecoder)
PROBE_FRAMES = 3


class _FrameNetwork(keras.layers.Layer):
    """What encoder and decoder share: the network of a spec, applied to frames with any leading axes."""

    def __init__(
        self,
        spec: Spec,
        frame_shape: Sequence[int] | None = None,
        activation: str = "relu",
        dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}.")
        self.spec = as_spec(spec)
        if self.spec is None:
            raise ValueError(f"A {type(self).__name__} needs a network: its spec is None.")
        self.frame_shape = as_frame_shape(frame_shape)
        self.activation = activation
        self.dropout = dropout

    def _make(self, conv: type[ConvEncoder | ConvDecoder], **conv_options: Any) -> keras.layers.Layer:
        """The network that the spec names."""
        if isinstance(self.spec, keras.layers.Layer):
            return self.spec
        options = {
            "activation": self.activation,
            "dropout": self.dropout,
            "dtype": self.dtype_policy,
            "name": f"{self.name}_network",
        }
        if isinstance(self.spec, tuple):
            return MLP(self.spec, **options)
        if self.frame_shape is None or len(self.frame_shape) != 3:
            raise ValueError(
                f"Convolutions need frames of shape (height, width, channels), got `frame_shape` {self.frame_shape}. "
                "Give widths of layers, such as (256, 128), for other frames."
            )
        return conv(self.frame_shape, **{**options, **conv_options, **self.spec["config"]})

    @property
    def _takes_flat(self) -> bool:
        return isinstance(self.network, FLAT_NETWORKS)

    def _build(self, input_dim: int, shape: tuple[int, ...]) -> None:
        """Builds the network for inputs `[N, *shape]`, or flat ones, and finds the shape of its outputs."""
        if self._takes_flat:
            if not self.network.built:
                self.network.build((None, input_dim))
            self._output_shape = (self.network.output_dim(input_dim),)
            return
        # A symbolic call builds layers that only make their variables when called, and computes no values.
        found = self.network(keras.KerasTensor((None, *shape)))
        self._check_output(found, None)
        # That of a fixed number of frames tells a batch axis from one that was merged with another.
        found = self.network.compute_output_spec(keras.KerasTensor((PROBE_FRAMES, *shape)))
        self._check_output(found, PROBE_FRAMES)
        self._output_shape = tuple(found.shape[1:])

    def _check_output(self, found: Any, frames: int | None) -> None:
        shape = getattr(found, "shape", None)
        if shape is None:
            raise ValueError(f"{self._network_name} must return one tensor, got {type(found).__name__}.")
        if not shape or shape[0] not in (None, frames):
            count = "N" if frames is None else frames
            raise ValueError(
                f"{self._network_name} must return one output per frame, a first axis of {count} for {count} frames; "
                f"got outputs of shape {list(shape)}. Keep the first axis: it is the batch of frames."
            )
        if None in shape[1:]:
            raise ValueError(
                f"{self._network_name} must return outputs of known size, got shape {list(shape)}. Implement its "
                "`compute_output_shape`, or reshape to sizes that are known."
            )

    @property
    def _network_name(self) -> str:
        return f"The layer {self.network.name!r} ({type(self.network).__name__})"

    def output_dim(self, input_dim: int) -> int:
        """Width of the output for inputs of width `input_dim`; builds the network if it was not built."""
        if not self.built:
            self.build((None, input_dim))
        return math.prod(self._output_shape)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.output_dim(input_shape[-1]))

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """The output `[..., output_dim]` for `x` `[..., input_dim]`.

        `training` is for layers of Keras, and by default `tfdvae.random.is_training()`.
        """
        if self._takes_flat:
            return self.network(x)
        training = random.is_training() if training is None else training
        seed = random.dropout_seed()
        if training and seed is not None:
            for i, state in enumerate(seed_states(self.network)):
                state.assign(tf.cast(random.fold_in(seed, f"{self.name}/{i}"), state.dtype))
        return flat_call(lambda frames: self._apply(frames, training), x)

    def _apply(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        # Keras passes `training` on to layers further inside, even where this one's `call` does not take it.
        y = self.network(self._restored(x), training=training)
        # The number of frames is spelt out, so that an output that lost some is an error.
        frames = x.shape[0] or tf.shape(x)[0]
        return tf.cast(self._flattened(y, frames), self.compute_dtype)

    def _restored(self, x: tf.Tensor) -> tf.Tensor:
        return x

    def _flattened(self, y: tf.Tensor, frames: tf.Tensor | int) -> tf.Tensor:
        return tf.reshape(y, [frames, math.prod(self._output_shape)])

    def get_config(self) -> dict:
        config = {
            "spec": spec_config(self.spec),
            "frame_shape": self.frame_shape,
            "activation": self.activation,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="tfdvae")
class FrameEncoder(_FrameNetwork):
    """Maps flattened frames `[..., D]` to features `[..., E]`, each frame by itself.

    Args:
        spec: of the network, see `tfdvae.layers.frame_specs`; not None.
        frame_shape: S, with prod(S) = D; None for vectors of any width.
        activation: of every layer of an MLP, or of convolutions.
        dropout: rate in these, one mask per sequence.

    Raises:
        ValueError: for a spec that names no network, convolutions without pictures; when built, for frames of another
            size, and for a layer whose outputs are not one tensor of known size per frame.
    """

    def __init__(self, spec: Spec, frame_shape: Sequence[int] | None = None, **kwargs):
        super().__init__(spec, frame_shape, **kwargs)
        self.network = self._make(ConvEncoder)

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = (input_shape[-1],) if self.frame_shape is None else self.frame_shape
        check_frame_shape(shape, input_shape[-1])
        self._build(input_shape[-1], shape)

    @property
    def pictures(self) -> tuple[tuple[int, int, int], ...]:
        """(height, width, channels) of what each layer of convolutions makes of a frame; of other networks none."""
        return self.network.pictures if isinstance(self.network, ConvEncoder) else ()

    def with_pictures(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The features, and the `pictures` of convolutions one after the other, `[..., S]`."""
        return self.network.with_pictures(x)

    def _restored(self, x: tf.Tensor) -> tf.Tensor:
        return x if self.frame_shape is None else restore_frames(x, self.frame_shape)


@keras.saving.register_keras_serializable(package="tfdvae")
class FrameDecoder(_FrameNetwork):
    """Maps features `[..., H]` to what an observation takes, `[..., F]`, each frame by itself.

    An observation's parameters are `maps` whole frames, one after the other: all locations, then all scales. So the
    output `[N, ..., maps * C]` of a layer that has the frame's shape, but `maps` times as many channels, is read as
    `maps` frames; that of any other layer is flattened as it is.

    Args:
        spec: of the network, see `tfdvae.layers.frame_specs`; not None.
        frame_shape: S; None for vectors of any width.
        maps: parameters of the observation per entry of a frame.
        skips: `pictures` of a `FrameEncoder` that convolutions take in the last columns of the features; see
            `ConvDecoder`.
        activation: of every layer of an MLP, or of convolutions but the last.
        dropout: rate in these, one mask per sequence.

    Raises:
        ValueError: see `FrameEncoder`.
    """

    def __init__(
        self,
        spec: Spec,
        frame_shape: Sequence[int] | None = None,
        maps: int = 1,
        skips: Sequence[Sequence[int]] = (),
        **kwargs,
    ):
        super().__init__(spec, frame_shape, **kwargs)
        if maps < 1:
            raise ValueError(f"`maps` must be at least 1, got {maps}.")
        self.maps = maps
        self.skips = tuple(map(tuple, skips))
        self.network = self._make(ConvDecoder, maps=maps, skips=self.skips)

    @property
    def projection(self) -> bool:
        """Whether the observation needs its dense layer after this network: False for convolutions.

        For a layer of Keras it is True, and who has the observation decides: not if `output_dim` is the number of its
        parameters.
        """
        return not isinstance(self.network, ConvDecoder)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self._build(input_shape[-1], (input_shape[-1],))

    def _flattened(self, y: tf.Tensor, frames: tf.Tensor | int) -> tf.Tensor:
        if self.frame_shape is not None and self.maps > 1:
            *rows, channels = self.frame_shape
            if self._output_shape == (*rows, self.maps * channels):
                maps = tf.reshape(y, [frames, math.prod(rows), self.maps, channels])
                y = tf.transpose(maps, [0, 2, 1, 3])
        return super()._flattened(y, frames)

    def get_config(self) -> dict:
        return {**super().get_config(), "maps": self.maps, "skips": self.skips}


def frame_encoder(
    spec: Spec,
    frame_shape: Sequence[int] | None,
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    dtype: Any = None,
    name: str = "frame_encoder",
) -> FrameEncoder | None:
    """The `FrameEncoder` of a spec, None for None.

    Example:
        encoder = frame_encoder("conv", (28, 28, 1))
        encoder.build((None, 784))
        features = encoder(x)  # [B, T, 784] -> [B, T, encoder.output_dim(784)]
    """
    if spec is None:
        return None
    return FrameEncoder(spec, frame_shape, activation=activation, dropout=dropout, dtype=dtype, name=name)


def frame_decoder(
    spec: Spec,
    frame_shape: Sequence[int] | None,
    *,
    maps: int = 1,
    skips: Sequence[Sequence[int]] = (),
    activation: str = "relu",
    dropout: float = 0.0,
    dtype: Any = None,
    name: str = "frame_decoder",
) -> FrameDecoder | None:
    """The `FrameDecoder` of a spec, None for None; `maps` parameters per entry of a frame, and `skips` (see there)."""
    if spec is None:
        return None
    options = {"activation": activation, "dropout": dropout, "dtype": dtype, "name": name}
    return FrameDecoder(spec, frame_shape, maps=maps, skips=skips, **options)
