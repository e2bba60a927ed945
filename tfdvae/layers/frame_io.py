"""Frames in the user's units on one side, what networks see and say of them on the other: the one place for units."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import masks, observations
from tfdvae.arguments import CheckedArguments
from tfdvae.layers.filling import last_observed
from tfdvae.layers.frame_io_within import FrameIOWithin
from tfdvae.layers.frame_networks import frame_decoder as make_decoder
from tfdvae.layers.frame_networks import frame_encoder as make_encoder
from tfdvae.layers.frame_networks import spec_config, uses_training_state
from tfdvae.layers.frame_specs import unbuilt_config
from tfdvae.layers.units import Units, units_of_sequences, usual_units
from tfdvae.layers.x_scale import check_frames, check_x_scale, logarithm
from tfdvae.moments import observed_moments
from tfdvae.observations.values import Values

__all__ = ["FILLS", "FRAME_OPTIONS", "STANDARDIZE", "FrameIO"]

FRAME_OPTIONS = ("standardize", "given_frames", "x_scale", "fill", "indicator", "frame_encoder", "frame_decoder")
"""Arguments of a model that say how frames enter and leave it."""
STANDARDIZE = ("auto", "feature", "global", "sequence", None)
FILLS = ("zero", "last")


@keras.saving.register_keras_serializable(package="tfdvae")
class FrameIO(CheckedArguments, keras.layers.Layer):
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
        fill: what networks see where nothing was observed: "zero" in standardised units, or the "last" value that was.
        indicator: whether networks also see which entries were observed, as D more features of 0 and 1.
        frame_encoder, frame_decoder: see `tfdvae.layers.frame_networks`; None for networks of the cell alone.
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
            maps = self.observation.params_dim_for(self.x_dim) // self.x_dim
            self.decoder = make_decoder(self.decoder_spec, self.frame_shape, maps=max(maps, 1), **networks)
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

    # Units, and what is given.

    @property
    def usual(self) -> Units | None:
        """The units that `adapt` found, `[D]`; None where frames are left alone."""
        if self.mode is None:
            return None
        return Units(tf.convert_to_tensor(self.shift), tf.convert_to_tensor(self.scale))

    def units(self, x: tf.Tensor, mask: tf.Tensor | None = None, observed: tf.Tensor | None = None) -> Units | None:
        """The units of each sequence from its given frames, `[B, D]`; None but for standardize="sequence".

        Args:
            x, mask, observed: `[B, T, D]`, `[B, T]` and `[B, T, D]`.
        """
        if self.mode != "sequence":
            return None
        given = tf.expand_dims(masks.first(self.given_frames, x, mask), -1)
        known = tf.broadcast_to(given, tf.shape(x)) if observed is None else given & observed
        return units_of_sequences(tf.cast(x, tf.float32), known, self._kinds(), self.usual)

    def scored(self, x: tf.Tensor, mask: tf.Tensor | None, observed: tf.Tensor | None) -> tf.Tensor | None:
        """Which entries of x `[B, T, D]` are scored: those that were observed, less the given frames."""
        if not self.given_frames:
            return observed
        later = tf.expand_dims(~masks.first(self.given_frames, x, mask), -1)
        return tf.broadcast_to(later, tf.shape(x)) if observed is None else later & observed

    def _kinds(self) -> np.ndarray:
        """Which units each feature has: "affine", "scale" or "none", `[D]`."""
        units = self.observation.units
        return np.array([units] * self.x_dim if isinstance(units, str) else units)

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
        seen = seen if self.encoder is None else self.encoder(seen)
        if not self.presence:
            return seen
        known = tf.ones_like(x[..., :1]) if observed is None else tf.reduce_any(observed, axis=-1, keepdims=True)
        return tf.concat([seen, tf.cast(known, seen.dtype)], axis=-1)

    def filled(
        self, x: tf.Tensor, observed: tf.Tensor, last: tf.Tensor | None = None, units: Units | None = None
    ) -> tf.Tensor:
        """Frames with what was not observed filled in, in the units of the data."""
        blank = self.blank(x, units)
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

    def params(self, features: tf.Tensor, units: Units | None = None) -> tf.Tensor:
        """Parameters of p(x_t | .), `[..., P]`, from features of the cell `[..., H]`.

        With units by sequence these are `units` `[B, D]`, or the usual ones for None.
        """
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

    def within(self, context: tf.Tensor | None, units: Units | None = None) -> "FrameIO | FrameIOWithin":
        """The same for sequences of which this is known: a `context` `[B, C]`, which joins the features of every
        frame, and their `units` `[B, D]`."""
        return self if context is None and units is None else FrameIOWithin(self, context, units)

    # Data.

    def adapt(self, x: np.ndarray, mask: np.ndarray | None = None, observed: np.ndarray | None = None) -> None:
        """Sets the statistics and the output bias from what was observed of frames `[B, T, D]` that exist."""
        x = np.asarray(x, np.float64)
        exists = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask, bool)
        known = exists[..., None] & (np.ones(x.shape, bool) if observed is None else np.asarray(observed, bool))
        given = masks.first(self.given_frames, x, tf.constant(exists)).numpy()
        if self.mode is not None:
            shift, scale = self._statistics(x, known, given)
            self.shift.assign(shift)
            self.scale.assign(scale)
            filled = tf.constant(np.where(known, x, shift), tf.float32)
            units = self.units(filled, tf.constant(exists), tf.constant(known)) or self.usual
            x = np.where(known, units.standardized(filled), 0.0)
        scored = exists & ~given
        if given.any() and scored.any():
            mask = scored
        self.observation.adapt(x.astype(np.float32), mask, observed)

    def _statistics(self, x: np.ndarray, known: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shift and scale of each feature, 0 and 1 for one that was never observed or has no unit."""
        kinds = self._kinds()
        if self.mode == "sequence":
            return usual_units(x, known, given, kinds)
        mean, deviation = observed_moments(x, known & (kinds != "none"), shared=self.mode == "global")
        shift = np.where(kinds == "affine", mean, 0.0)
        positive = np.where(mean > 0.0, mean, 1.0)
        scale = np.select([kinds == "affine", kinds == "scale"], [deviation, positive], 1.0)
        return shift, scale

    def validate(self, frames: np.ndarray, observed: np.ndarray | None = None) -> None:
        """Raises ValueError where frames `[N, D]` are none that the observation or the networks can take."""
        self.observation.validate(frames, observed)
        check_frames(frames if observed is None else frames[observed], self.x_scale)

    @property
    def support(self) -> str:
        """What frames are expected to hold, and what to do about others, as a part of a sentence."""
        what, advice = self.observation.support
        expected = f"{type(self.observation).__name__} expects {what} ({advice})"
        return f"{expected}, and x_scale='log' frames that are not negative" if self.x_scale == "log" else expected

    def supported(self, x: Any, observed: Any = None) -> np.ndarray | tf.Tensor:
        """Which entries of finite `[..., D]` observation and networks can take; not those where `observed` is false."""
        found = self.observation.supported(x, observed)
        return found & (x >= 0.0) if self.x_scale == "log" else found

    @property
    def values(self) -> tuple[Values, ...]:
        """The same as intervals, one for all features or one for each."""
        own = self.observation.values
        found = (own,) if isinstance(own, Values) else own
        return tuple(one._replace(low=max(one.low, 0.0)) for one in found) if self.x_scale == "log" else found

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """That of the parameters of p(x_t | .)."""
        return (*input_shape[:2], self.params_dim)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in (*FRAME_OPTIONS, "activation", "dropout", "presence")}
        return {**super().get_config(), "observation": unbuilt_config(self.observation), **own}
