"""The contract of an observation model p(x_t | features)."""

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.arguments import CheckedArguments
from tfdvae.observations.values import REAL, Values, contained

__all__ = ["Observation"]


class Observation(CheckedArguments, keras.layers.Layer):
    """p(x_t | features): maps features [.., H] to parameters [.., P] (always float32) and knows what they
    mean.

    A family implements `params_dim`, `noise_dim`, `distribution`, `_log_prob`, `sample`, `mean` and `_bias_from`, and
    where it cannot explain every number, `values`, or `supported` beside it, with `support` in words. Leading
    dimensions are free: [B, H], [B, T, H], [K, B, T, H]. Log-probabilities are nats per frame, summed over the D
    features.

    Of a partly observed frame only some features were measured: `observed` [.., D] is true where x holds data, and
    nothing depends on what stands elsewhere. A family that overrides `log_prob(params, x)` itself in place of
    `_log_prob` knows whole frames alone, and raises ValueError where `observed` is given.

    Args:
        projection: False leaves out the dense layer from features to parameters, for networks that end in the
            parameters themselves (pictures from convolutions): H must be P then, and only the bias is added.

    Attributes:
        stand_in: a value inside of the support, which takes the place of what was not observed before anything is
            computed; 0 unless a family says otherwise.
        units: what a change of units may do to x, of all features or of each: "affine" for real numbers, "scale" for
            positive ones, "none" where x cannot be standardised (see `tfdvae.layers.FrameIO`).
        standardized_by_default: whether models standardise x unless told not to.
        support: what x is expected to be, and what to do about other data, in words.
        values: the same as intervals, of all features or of each. Exported files hold them, so that what runs those
            checks frames without TensorFlow.
    """

    stand_in: float = 0.0
    units: str | tuple[str, ...] = "none"
    standardized_by_default = False
    support: tuple[str, str] = ("real numbers", "choose another observation")
    values: Values | tuple[Values, ...] = REAL
    _takes_observed = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Lets a `log_prob(params, x)` of a family's own refuse `observed` by name, which Python would call an
        unexpected argument."""
        super().__init_subclass__(**kwargs)
        own = vars(cls).get("log_prob")
        if own is None:
            return
        cls._takes_observed = "observed" in inspect.signature(own).parameters
        if not cls._takes_observed:

            def log_prob(
                self: Observation, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None = None
            ) -> tf.Tensor:
                self._check_takes_observed(observed)
                return own(self, params, x)

            log_prob.__doc__ = own.__doc__
            cls.log_prob = log_prob

    def __init__(self, projection: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.projection = projection
        self.features_dim: int | None = None
        self.x_dim: int | None = None

    @property
    def params_dim(self) -> int:
        """P, the number of parameters per frame. ValueError before `build` where it depends on D."""
        raise NotImplementedError

    def params_dim_for(self, x_dim: int) -> int:
        """P for frames of D features, before `build` as well."""
        unbuilt = type(self).from_config(self.get_config())
        unbuilt.x_dim = x_dim
        return unbuilt.params_dim

    @property
    def noise_dim(self) -> int:
        """Number of uniforms per frame that `sample` takes. ValueError before `build`."""
        raise NotImplementedError

    def _built_x_dim(self) -> int:
        if self.x_dim is None:
            raise ValueError(
                f"{type(self).__name__} does not know the number of features yet: "
                "call build(features_shape, x_shape) first."
            )
        return self.x_dim

    def build(self, features_shape: tuple[int | None, ...], x_shape: tuple[int | None, ...] | None = None) -> None:
        """Creates the output layer. Only the last dimensions, H and D, are read.

        Raises ValueError where one of them is missing or not positive, or where features are to be the parameters
        and H is not P.
        """
        if x_shape is None:
            raise ValueError(
                f"{type(self).__name__} cannot infer the number of features of x from the features: "
                "call build(features_shape, x_shape) before the layer is used."
            )
        features_dim, x_dim = features_shape[-1], x_shape[-1]
        if not features_dim or not x_dim or features_dim < 1 or x_dim < 1:
            raise ValueError(
                f"{type(self).__name__} needs known, positive last dimensions, "
                f"got features_shape={tuple(features_shape)} and x_shape={tuple(x_shape)}."
            )
        self.features_dim, self.x_dim = int(features_dim), int(x_dim)
        if self.projection:
            self.head = keras.layers.Dense(
                self.params_dim,
                use_bias=False,
                kernel_initializer="glorot_uniform",
                dtype=self.dtype_policy,
                name="head",
            )
            self.head.build((None, self.features_dim))
        elif self.features_dim != self.params_dim:
            raise ValueError(
                f"{type(self).__name__} without a projection takes its {self.params_dim} parameters as features, "
                f"got {self.features_dim} features."
            )
        # Kept apart from the head: under mixed precision the bias carries the data's location and must not be
        # rounded.
        self.bias = self.add_weight(
            name="bias", shape=(self.params_dim,), initializer="zeros", dtype="float32", autocast=False
        )

    def get_build_config(self) -> dict[str, int | None]:
        return {"features_dim": self.features_dim, "x_dim": self.x_dim} if self.built else {}

    def build_from_config(self, config: dict[str, int | None]) -> None:
        if config.get("features_dim") and config.get("x_dim"):
            self.build((None, config["features_dim"]), (None, config["x_dim"]))

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Features [.., H] to parameters [.., P], float32 under every dtype policy."""
        return tf.cast(self.head(features) if self.projection else features, tf.float32) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "projection": self.projection}

    def distribution(self, params: tf.Tensor) -> tfp.distributions.Distribution:
        """The distribution with event shape [D] and batch shape [..], for use outside of `call`."""
        raise NotImplementedError

    def log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None = None) -> tf.Tensor:
        """log p(x | params), [..], in nats per frame, float32. Leading dimensions broadcast.

        With `observed`, bool [.., D], it is the density of the observed features alone, 0 where there is none. Neither
        it nor its gradients depend on x elsewhere, be it NaN, infinite or outside of the support. Raises ValueError
        for `observed` without an entry per feature, and for a family that knows whole frames alone.

        Example:
            observation.log_prob(observation(features), x, observed=~tf.math.is_nan(x))
        """
        x = tf.cast(x, tf.float32)
        if observed is not None:
            observed = tf.cast(observed, tf.bool)
            if not observed.shape[-1:].is_compatible_with(x.shape[-1:]):
                raise ValueError(
                    f"{type(self).__name__}.log_prob expects observed [.., D], true where a feature holds data, for x "
                    f"of shape {x.shape}; got shape {observed.shape}. Where frames are missing as a whole, repeat it "
                    "along the features."
                )
            # Before any arithmetic: a NaN that is only selected away afterwards still reaches the gradients.
            x = tf.where(observed, x, self.stand_in)
        return self._log_prob(params, x, observed)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        """`log_prob` for float32 x [.., D] which is `stand_in` where bool `observed` [.., D] is false; None where all
        was observed."""
        raise NotImplementedError

    def _check_takes_observed(self, observed: Any) -> None:
        if observed is not None and not self._takes_observed:
            raise ValueError(
                f"{type(self).__name__} does not know partly observed frames: implement _log_prob(params, x, observed) "
                "in place of log_prob(params, x), or leave out `observed` and mask the frames that are not whole."
            )

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """x [.., D] as a deterministic function of `noise` [.., noise_dim], independent uniforms in (0,
        1)."""
        raise NotImplementedError

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """E[x | params], [.., D]."""
        raise NotImplementedError

    def adapt(self, x: np.ndarray, mask: np.ndarray | None = None, observed: np.ndarray | None = None) -> None:
        """Sets the output bias so that p(x) starts at the data's mean (and scale).

        `x` is [B, T, D] (or any [.., D]), `mask` [B, T] is true where a frame exists, `observed` [B, T] or [B, T, D]
        where it holds data. Every feature's statistics are those of what was observed of it; what a feature never
        observed starts at is neutral, and said by the family. Raises ValueError before `build`, for a mask or
        `observed` of another shape, for data without a frame or without an observed value, for data outside of the
        support, and for `observed` where the family knows whole frames alone.
        """
        self._built_x_dim()
        x = np.asarray(x)
        if x.ndim < 2:
            raise ValueError(f"adapt expects x of shape [B, T, D], got {x.shape}.")
        frames = x.reshape(-1, x.shape[-1])
        if observed is not None:
            observed = self._per_feature(observed, x).reshape(frames.shape)
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != x.shape[:-1]:
                raise ValueError(f"adapt expects a mask of shape {x.shape[:-1]} for x of {x.shape}, got {mask.shape}.")
            exists = mask.reshape(-1).astype(bool)
            frames, observed = frames[exists], None if observed is None else observed[exists]
        if len(frames) == 0:
            raise ValueError("adapt got no frame to take statistics from: x is empty or the mask is false everywhere.")
        self.validate(frames, observed)
        frames = frames.astype(np.float64)
        if observed is not None:
            if not observed.any():
                raise ValueError(
                    "adapt got no observed value to take statistics from: observed is false wherever a frame exists."
                )
            frames[~observed] = np.nan
        self.bias.assign(self._bias_from(frames).astype(np.float32))

    def validate(self, x: np.ndarray, observed: np.ndarray | None = None) -> None:
        """Raises ValueError where frames x [N, D] (or [.., D]) are not in the support of the family.

        With `observed`, bool [..] or [.., D], only values where it is true count, and ValueError is also raised for
        another shape of it and where the family knows whole frames alone.
        """
        self._check_takes_observed(observed)
        x = np.asarray(x)
        x_dim = self.x_dim if self.x_dim is not None else x.shape[-1] if x.ndim else 0
        if x.ndim < 1 or x.shape[-1] != x_dim:
            raise ValueError(f"{type(self).__name__} expects frames [.., {x_dim}], got shape {x.shape}.")
        if observed is not None:
            observed = self._per_feature(observed, x)
            x = np.where(observed, x, self.stand_in)
        if not np.all(np.isfinite(x)):
            raise ValueError(
                f"{type(self).__name__} got NaN or infinity in observed frames: clean the data, mask these frames, or "
                "pass `observed`, false at these values."
            )
        self._check_support(x, observed)

    @staticmethod
    def _per_feature(observed: np.ndarray, x: np.ndarray) -> np.ndarray:
        """`observed` [..] or [.., D] as bool [.., D], for x [.., D]. ValueError for another shape."""
        observed = np.asarray(observed).astype(bool)
        if observed.shape not in (x.shape, x.shape[:-1]):
            raise ValueError(
                f"observed must say which values hold data, {x.shape}, or which frames, {x.shape[:-1]}, for x of shape "
                f"{x.shape}; got shape {observed.shape}."
            )
        return observed if observed.ndim == x.ndim else np.broadcast_to(observed[..., None], x.shape)

    def supported(
        self, x: np.ndarray | tf.Tensor, observed: np.ndarray | tf.Tensor | None = None
    ) -> np.ndarray | tf.Tensor:
        """Which entries of finite x [.., D] lie in the support, bool [.., D]. Default: those within `values`.

        Where bool `observed` [.., D] is false, x may hold any finite number, and what is found there does not count:
        only families of variables with several features need to read it.

        A family that overrides it, since intervals cannot say all, still names intervals around its support, for
        exported files know no more. It is written in operators that arrays and tensors share: Datasets, graphs and
        exported models ask it in graphs, data loaders in processes of their own, where TensorFlow must not run.
        """
        return contained([self.values] if isinstance(self.values, Values) else self.values, x)

    def _check_support(self, x: np.ndarray, observed: np.ndarray | None) -> None:
        """Raises ValueError for finite x [.., D] outside of the support, where bool `observed` [.., D] is true."""
        bad = ~self.supported(x, observed)
        if observed is not None:
            bad &= observed
        if bad.any():
            what, advice = self.support
            raise ValueError(
                f"{type(self).__name__} expects {what}, got values between {x[bad].min():.6g} and {x[bad].max():.6g}: "
                f"{advice}."
            )

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        """Output bias [P] from valid float64 frames [N, D], NaN at values that were not observed."""
        raise NotImplementedError
