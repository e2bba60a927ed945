"""Frames in the user's units on one side, what networks see and say of them on the other: the one place for units."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import observations
from tfdvae.arguments import CheckedArguments
from tfdvae.layers.filling import between_neighbours, last_observed
from tfdvae.layers.frame_data import FrameDataMixin
from tfdvae.layers.frame_io_within import FrameIOWithin
from tfdvae.layers.frame_networks import frame_decoder as make_decoder
from tfdvae.layers.frame_networks import frame_encoder as make_encoder
from tfdvae.layers.frame_networks import spec_config, uses_training_state
from tfdvae.layers.frame_skips import Newest, Skips, check_frame_skips, skips_of
from tfdvae.layers.frame_specs import as_spec, unbuilt_config
from tfdvae.layers.units import Units
from tfdvae.layers.x_scale import check_x_scale, logarithm

__all__ = ["FILLS", "FRAME_OPTIONS", "STANDARDIZE", "FrameIO"]

FRAME_OPTIONS = (
    *("standardize", "given_frames", "x_scale", "fill", "indicator"),
    *("frame_encoder", "frame_decoder", "frame_skips"),
)
"""Arguments of a model that say how frames enter and leave it."""
STANDARDIZE = ("auto", "feature", "global", "sequence", None)
FILLS = ("zero", "last", "line")


@keras.saving.register_keras_serializable(package="tfdvae")
class FrameIO(CheckedArguments, FrameDataMixin, keras.layers.Layer):
    """How frames enter and leave a model: units, missing entries, frame networks and the observation p(x_t | .).

    On the way in (`see`): what was not observed is filled, frames are standardised, the indicator joins them, and the
    frame encoder makes features of them. On the way out (`params`): the frame decoder and the observation map the
    features of the cell to parameters of p(x_t | .). Parameters are of standardised frames; `log_prob`, `mean`,
    `stddev`, `sample` and `distribution` are in the units of the data, so `log_prob` holds the Jacobian of the
    standardisation, and nats are of the data. With units by sequence, parameters hold those of their sequence in the
    last 2 D columns, and so need nothing beside them.

    Args:
        observation: p(x_t | .), a name, a config or an Observation.
        standardize: "feature" shifts and scales each feature by its mean and standard deviation, "global" all by the
            same two numbers, None leaves frames alone; "auto" is "feature" where the observation is continuous and
            learns its scale, None otherwise. Statistics are set by `adapt`; before it they are 0 and 1. Positive data
            (gamma) are scaled by their mean and not shifted. "sequence" takes mean and deviation of each feature from
            the first `given_frames` of each sequence (see `tfdvae.layers.units`), for forecasts of series whose levels
            differ; where nothing is given, `generate` without a prefix, those that `adapt` found are used.
        given_frames: how many frames at the start of each sequence are given: seen by the networks, and not scored, so
            that log p(x) is that of the frames after them. Their latents have their KL.
        x_scale: "linear", or "log": networks see log(x + 1e-8) / 10 of the raw frames, for the powers of spectra.
        fill: what networks see where nothing was observed: "zero" in standardised units, the "last" value that was, or
            the "line" between the nearest values before and after it, which models take whose latents are inferred from
            past and future and whose p reads no frames.
        indicator: whether networks also see which entries were observed, as D more features of 0 and 1.
        frame_encoder, frame_decoder: see `tfdvae.layers.frame_networks`; None for networks of the cell alone.
        frame_skips: whether the decoder also takes what the encoder's layers made of the newest given frame before x_t
            (Denton and Fergus 2018), for frame_encoder="conv" and frame_decoder="conv" and at least one of
            `given_frames`; see `tfdvae.layers.frame_skips`. After the given frames that is the last of them; at the
            first frame of a sequence it is zeros. A frame of which nothing was observed leaves the one before.
        activation, dropout: of these.
        presence: whether cells are told in one more column which frames hold anything that was observed.

    Raises:
        ValueError: an unknown name, or a standardisation that the observation cannot have.
    """

    def __init__(
        self,
        observation: str | Mapping | observations.Observation = "gaussian",
        *,
        standardize: str | None = "auto",
        given_frames: int = 0,
        x_scale: str = "linear",
        fill: str = "zero",
        indicator: bool = False,
        frame_encoder: Any = None,
        frame_decoder: Any = None,
        frame_skips: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
        presence: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.observation = observations.get(observation)
        for what, value, known in (("standardize", standardize, STANDARDIZE), ("fill", fill, FILLS)):
            if value not in known:
                raise ValueError(f"`{what}` must be one of {', '.join(map(repr, known))}, got {value!r}.")
        if standardize in ("feature", "global", "sequence") and self.observation.units == "none":
            raise ValueError(
                f"{type(self.observation).__name__} explains values that have no unit: standardize=None, got "
                f"{standardize!r}."
            )
        if given_frames < 0 or (standardize == "sequence" and given_frames < 1):
            raise ValueError(
                f"`given_frames` must not be negative, and at least 1 with standardize='sequence', which takes the "
                f"units of a sequence from them; got {given_frames}."
            )
        if frame_skips:
            check_frame_skips(given_frames, as_spec(frame_encoder), as_spec(frame_decoder))
        self.frame_skips = frame_skips
        self.standardize = standardize
        self.given_frames = given_frames
        self.x_scale = check_x_scale(x_scale)
        self.fill = fill
        self.indicator = indicator
        self.frame_encoder = spec_config(frame_encoder)
        self.frame_decoder = spec_config(frame_decoder)
        keras.activations.get(activation)  # networks without hidden layers would never ask what it is
        self.activation = activation
        self.dropout = dropout
        self.presence = presence
        self.encoder_spec, self.decoder_spec = frame_encoder, frame_decoder
        self.frame_shape: tuple[int, ...] | None = None
        self.encoder = self.decoder = None

    @property
    def mode(self) -> str | None:
        """ "feature", "global", "sequence" or None, with "auto" resolved."""
        if self.standardize != "auto":
            return self.standardize
        return "feature" if self.observation.standardized_by_default else None

    @property
    def x_dim(self) -> int:
        """D, how many numbers a frame has."""
        return int(np.prod(self.frame_shape))

    @property
    def params_dim(self) -> int:
        """P, width of `params`; known once built."""
        return self.observation.params_dim + (2 * self.x_dim if self.mode == "sequence" else 0)

    @property
    def skips_dim(self) -> int:
        """S, how many numbers the decoder takes of a given frame; 0 without `frame_skips`, known once built."""
        return self.decoder.network.skips_dim if self.frame_skips else 0

    @property
    def seen_dim(self) -> int:
        """E, how many features the cell sees of a frame."""
        width = self.x_dim * (2 if self.indicator else 1)
        return (width if self.encoder is None else self.encoder.output_dim(width)) + self.presence

    def build_input(self, frame_shape: tuple[int, ...]) -> None:
        """Creates statistics and the frame encoder, for frames of this shape."""
        self.frame_shape = tuple(frame_shape)
        seen = self.frame_shape
        if self.indicator:
            seen = (*seen[:-1], 2 * seen[-1])
        if self.mode is not None:
            options = {"shape": (self.x_dim,), "trainable": False, "dtype": "float32", "autocast": False}
            self.shift = self.add_weight(name="shift", initializer="zeros", **options)
            self.scale = self.add_weight(name="scale", initializer="ones", **options)
        networks = {"activation": self.activation, "dropout": self.dropout, "dtype": self.dtype_policy}
        self.encoder = make_encoder(self.encoder_spec, seen, **networks)
        if self.encoder is not None:
            self.encoder.build((None, int(np.prod(seen))))

    def build_output(self, features_dim: int) -> None:
        """Creates the frame decoder and the observation, for features `[..., H]` of the cell."""
        networks = {"activation": self.activation, "dropout": self.dropout, "dtype": self.dtype_policy}
        if self.decoder_spec is not None:
            networks["maps"] = max(self.observation.params_dim_for(self.x_dim) // self.x_dim, 1)
            networks["skips"] = self.encoder.pictures if self.frame_skips else ()
            self.decoder = make_decoder(self.decoder_spec, self.frame_shape, **networks)
            features_dim += self.skips_dim
            self.decoder.build((None, features_dim))
            features_dim = self.decoder.output_dim(features_dim)
            params_dim = self.observation.params_dim_for(self.x_dim)
            own = isinstance(self.decoder.spec, keras.layers.Layer) and features_dim == params_dim
            if (own or not self.decoder.projection) and self.observation.projection:
                if self.observation.built:
                    config = {**self.observation.get_config(), "projection": False}
                    self.observation = type(self.observation).from_config(config)
                # In place: another object would stand behind the networks in the order of weights, and before them in a
                # loaded model, which the state of its optimizer would not fit.
                self.observation.projection = False
        if not self.observation.built:
            self.observation.build((None, features_dim), (None, self.x_dim))
        self.build((None, None, *self.frame_shape))

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Tells Keras the shape of frames; `build_input` and `build_output` have created what there is."""

    @property
    def uses_training_state(self) -> bool:
        """Whether a frame network holds state that a call in training changes, before it is built as well."""
        networks = [n.network for n in (self.encoder, self.decoder) if n is not None]
        networks += [s for s in (self.encoder_spec, self.decoder_spec) if isinstance(s, keras.layers.Layer)]
        return any(map(uses_training_state, networks))

    # What the decoder takes of given frames.

    def skips(
        self, pictures: tf.Tensor | None, mask: tf.Tensor | None = None, observed: tf.Tensor | None = None
    ) -> Skips | None:
        """The pictures that hold for each frame of right-padded sequences, from those of all frames, `[B, T, S]`.

        Args:
            pictures: from `look`; None without `frame_skips`.
            mask, observed: `[B, T]` and `[B, T, D]`, what the networks saw.
        """
        if pictures is None:
            return None
        known = tf.ones(tf.shape(pictures)[:2], tf.bool) if mask is None else mask
        known = known if observed is None else known & tf.reduce_any(observed, axis=-1)
        return skips_of(pictures, known, self.given_frames)

    def newest(self, size: tf.Tensor | int) -> Newest | None:
        """The pictures that hold for the first frame of so many sequences: zeros; None without `frame_skips`."""
        if not self.frame_skips:
            return None
        pictures = tf.zeros([size, self.skips_dim], self.decoder.compute_dtype)
        return Newest(pictures, tf.zeros([size], tf.int32))

    def at(self, newest: Newest | None) -> "FrameIO | FrameIOWithin":
        """The same for frames whose pictures these are."""
        return self.within(None, None, newest)

    # The way in.

    def see(
        self,
        x: tf.Tensor,
        observed: tf.Tensor | None = None,
        last: tf.Tensor | None = None,
        units: Units | None = None,
    ) -> tf.Tensor:
        """What the cell sees of frames `[..., D]`: `[..., E]`.

        Args:
            observed: `[..., D]` bool; x may hold anything where it is false. None: everything was.
            last: for fill="last" and a single frame `[B, D]`, the last values that were observed before it.
            units: of the sequences; None for the usual ones.
        """
        return self.look(x, observed, last, units)[0]

    def look(
        self,
        x: tf.Tensor,
        observed: tf.Tensor | None = None,
        last: tf.Tensor | None = None,
        units: Units | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """The same, and the pictures that the encoder's layers made of it, `[..., S]`; None without `frame_skips`."""
        x, units = tf.cast(x, tf.float32), units or self.usual
        if observed is not None:
            x = self.filled(x, observed, last, units)
        if self.x_scale == "log":
            seen = logarithm(x)
        else:
            seen = x if units is None else units.standardized(x)
        seen = tf.cast(seen, self.compute_dtype)
        if self.indicator:
            known = tf.ones_like(seen) if observed is None else tf.cast(observed, seen.dtype)
            seen = self._beside(seen, known)
        pictures = None
        if self.frame_skips:
            seen, pictures = self.encoder.with_pictures(seen)
        elif self.encoder is not None:
            seen = self.encoder(seen)
        if not self.presence:
            return seen, pictures
        known = tf.ones_like(x[..., :1]) if observed is None else tf.reduce_any(observed, axis=-1, keepdims=True)
        return tf.concat([seen, tf.cast(known, seen.dtype)], axis=-1), pictures

    def filled(
        self, x: tf.Tensor, observed: tf.Tensor, last: tf.Tensor | None = None, units: Units | None = None
    ) -> tf.Tensor:
        """Frames with what was not observed filled in, in the units of the data."""
        blank = self.blank(x, units)
        if self.fill == "line":
            return between_neighbours(x, observed, blank)
        if self.fill == "last" and x.shape.rank == 3:
            return last_observed(x, observed, blank[:, 0] if last is None else last)
        return tf.where(observed, x, last if self.fill == "last" and last is not None else blank)

    def blank(self, like: tf.Tensor, units: Units | None = None) -> tf.Tensor:
        """What stands for a frame of which nothing was ever observed, `[..., D]`: zero in standardised units."""
        units = units or self.usual
        return tf.zeros_like(like) if units is None else tf.zeros_like(like) + units.along(like).shift

    def _beside(self, seen: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
        """The indicator as more features; beside the channels of a picture."""
        channels = self.frame_shape[-1]
        if channels == self.x_dim:
            return tf.concat([seen, known], axis=-1)
        lead = tf.shape(seen)[:-1]
        parts = [tf.reshape(y, tf.concat([lead, [-1, channels]], axis=0)) for y in (seen, known)]
        joined = tf.reshape(tf.concat(parts, axis=-1), tf.concat([lead, [2 * self.x_dim]], axis=0))
        return tf.ensure_shape(joined, seen.shape[:-1].concatenate(2 * self.x_dim))

    # The way out.

    def params(self, features: tf.Tensor, units: Units | None = None, pictures: tf.Tensor | None = None) -> tf.Tensor:
        """Parameters of p(x_t | .), `[..., P]`, from features of the cell `[..., H]`.

        With units by sequence these are `units` `[B, D]`, or the usual ones for None. With `frame_skips` the decoder
        takes `pictures` `[..., S]`, or zeros for None.
        """
        if self.frame_skips:
            if pictures is None:
                pictures = tf.zeros([*tf.unstack(tf.shape(features))[:-1], self.skips_dim], features.dtype)
            features = tf.concat([features, tf.cast(pictures, features.dtype)], axis=-1)
        params = self.observation(features if self.decoder is None else self.decoder(features))
        if self.mode != "sequence":
            return params
        like = tf.zeros(tf.concat([tf.shape(params)[:-1], [self.x_dim]], axis=0))
        like = tf.ensure_shape(like, [*params.shape[:-1], self.x_dim])
        return tf.concat([params, *(like + y for y in (units or self.usual).along(like))], axis=-1)

    def parted(self, params: tf.Tensor) -> tuple[tf.Tensor, Units | None]:
        """Parameters as the observation knows them, and the units that hold for them."""
        if self.mode != "sequence":
            return params, self.usual
        sizes = [self.observation.params_dim, self.x_dim, self.x_dim]
        params, shift, scale = tf.split(params, sizes, axis=-1)
        # Frames that do not exist have zeros for parameters; what they divide must stay finite, or gradients do not.
        return params, Units(shift, tf.where(scale > 0.0, scale, 1.0))

    def log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None = None) -> tf.Tensor:
        """log p(x_t | .) of what was observed of x `[..., D]`, in nats of the data, `[...]`."""
        x = tf.cast(x, tf.float32)
        params, units = self.parted(params)
        if units is None:
            return self.observation.log_prob(params, x, observed)
        volume = tf.math.log(units.scale)
        if observed is not None:
            x = tf.where(observed, x, tf.zeros_like(x) + units.shift)
            volume = tf.where(observed, volume, 0.0)
        volume = tf.reduce_sum(volume, axis=-1)
        return self.observation.log_prob(params, units.standardized(x), observed) - volume

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """E[x_t | .], `[..., D]`."""
        params, units = self.parted(params)
        mean = self.observation.mean(params)
        return mean if units is None else units.restored(mean)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """x_t `[..., D]` as a function of uniform noise `[..., noise_dim]`."""
        params, units = self.parted(params)
        x = self.observation.sample(params, noise)
        return x if units is None else units.restored(x)

    def stddev(self, params: tf.Tensor) -> tf.Tensor:
        """Standard deviation of each feature, `[..., D]`; NotImplementedError where the observation has none."""
        params, units = self.parted(params)
        stddev = self.observation.distribution(params).stddev()
        return stddev if units is None else stddev * units.scale

    def distribution(self, params: tf.Tensor) -> tfp.distributions.Distribution:
        """p(x_t | .) over `[D]`, for use at the edge."""
        params, units = self.parted(params)
        found = self.observation.distribution(params)
        if units is None:
            return found
        bijectors = tfp.bijectors
        return tfp.distributions.TransformedDistribution(
            found, bijectors.Shift(units.shift)(bijectors.Scale(units.scale))
        )

    def within(
        self, context: tf.Tensor | None, units: Units | None = None, skips: Skips | Newest | None = None
    ) -> "FrameIO | FrameIOWithin":
        """The same for sequences of which this is known: a `context` `[B, C]`, which joins the features of every
        frame, their `units` `[B, D]`, and the pictures of given frames, of whole sequences or at one frame."""
        known = any(y is not None for y in (context, units, skips))
        return FrameIOWithin(self, context, units, skips) if known else self

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the parameters of p(x_t | .)."""
        return (*input_shape[:2], self.params_dim)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in (*FRAME_OPTIONS, "activation", "dropout", "presence")}
        return {**super().get_config(), "observation": unbuilt_config(self.observation), **own}
