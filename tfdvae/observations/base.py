"""The contract of an observation model p(x_t | features)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["Observation"]


class Observation(keras.layers.Layer):
    """p(x_t | features): maps features [.., H] to parameters [.., P] (always float32) and knows what they
    mean.

    A family implements `params_dim`, `noise_dim`, `distribution`, `log_prob`, `sample`, `mean`,
    `_check_support` and `_bias_from`. Leading dimensions are free: [B, H], [B, T, H], [K, B, T, H].
    Log-probabilities are nats per frame, summed over the D features.

    Args:
        projection: False leaves out the dense layer from features to parameters, for networks that end in the
            parameters themselves (pictures from convolutions): H must be P then, and only the bias is added.
    """

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

    def log_prob(self, params: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """log p(x | params), [..], in nats per frame, float32. Leading dimensions broadcast."""
        raise NotImplementedError

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """x [.., D] as a deterministic function of `noise` [.., noise_dim], independent uniforms in (0,
        1)."""
        raise NotImplementedError

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """E[x | params], [.., D]."""
        raise NotImplementedError

    def adapt(self, x: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Sets the output bias so that p(x) starts at the data's mean (and scale).

        `x` is [B, T, D] (or any [.., D]), `mask` [B, T] is true where a frame exists. Raises ValueError
        before `build`, for a mask of another shape, for data without a frame and for data outside of the
        support.
        """
        self._built_x_dim()
        x = np.asarray(x)
        if x.ndim < 2:
            raise ValueError(f"adapt expects x of shape [B, T, D], got {x.shape}.")
        frames = x.reshape(-1, x.shape[-1])
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != x.shape[:-1]:
                raise ValueError(f"adapt expects a mask of shape {x.shape[:-1]} for x of {x.shape}, got {mask.shape}.")
            frames = frames[mask.reshape(-1).astype(bool)]
        if len(frames) == 0:
            raise ValueError("adapt got no frame to take statistics from: x is empty or the mask is false everywhere.")
        self.validate(frames)
        self.bias.assign(self._bias_from(frames.astype(np.float64)).astype(np.float32))

    def validate(self, x: np.ndarray) -> None:
        """Raises ValueError where observed frames x [N, D] (or [.., D]) are not in the support of the
        family."""
        x = np.asarray(x)
        x_dim = self.x_dim if self.x_dim is not None else x.shape[-1] if x.ndim else 0
        if x.ndim < 1 or x.shape[-1] != x_dim:
            raise ValueError(f"{type(self).__name__} expects frames [.., {x_dim}], got shape {x.shape}.")
        if not np.all(np.isfinite(x)):
            raise ValueError(
                f"{type(self).__name__} got NaN or infinity in observed frames: clean the data or mask these frames."
            )
        self._check_support(x)

    def _check_support(self, x: np.ndarray) -> None:
        """Raises ValueError for finite x [.., D] outside of the support."""

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        """Output bias [P] from valid frames [N, D]."""
        raise NotImplementedError

    def _check_binary(self, x: np.ndarray, what: str) -> None:
        if not np.all((np.abs(x) <= 1e-6) | (np.abs(x - 1.0) <= 1e-6)):
            raise ValueError(
                f"{type(self).__name__} expects {what} to be 0 or 1, got values between {x.min():.6g} and "
                f"{x.max():.6g}: binarise the data or choose a continuous observation."
            )
