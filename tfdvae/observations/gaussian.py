"""Diagonal Gaussian frames."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import scales
from tfdvae.observations import numerics
from tfdvae.observations.base import Observation

__all__ = ["Gaussian", "IdentityGaussian"]

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfdvae")
class Gaussian(Observation):
    """N(x_t; loc, diag(scale^2)); parameters [.., 2D] are the location and the raw scale. A feature that
    `adapt` never sees observed starts at location 0 and scale 1.

    Args:
        scale: "softplus" of the network's output, or "exp" of half of it, a log-variance of at most 2 log 1e6.
        min_scale: smallest standard deviation, in the units of x.
        scale_floor: "sum" adds `min_scale`, "clip" holds scales above it (see `tfdvae.scales`); None adds it to a
            softplus and clips exponentials.

    Raises ValueError for another `scale` or `scale_floor`, or a `min_scale` outside of [1e-6, 1e3].
    """

    units = "affine"
    standardized_by_default = True

    def __init__(
        self, scale: str = "softplus", min_scale: float = 1e-3, scale_floor: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scale = scales.check_map(scale)
        self.min_scale = numerics.check_min_scale(min_scale)
        usual = "sum" if scale == "softplus" else "clip"
        self.scale_floor = scales.check_floor(usual if scale_floor is None else scale_floor)

    def get_config(self) -> dict[str, Any]:
        own = {"scale": self.scale, "min_scale": self.min_scale, "scale_floor": self.scale_floor}
        return {**super().get_config(), **own}

    @property
    def params_dim(self) -> int:
        return 2 * self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return numerics.standard_normal_noise_dim(self._built_x_dim())

    def loc_and_scale(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation, both [.., D]."""
        loc, raw = tf.split(tf.cast(params, tf.float32), 2, axis=-1)
        if self.scale == "softplus":
            return loc, scales.softplus_scale(raw, self.min_scale, self.scale_floor)
        return loc, scales.exp_scale(raw, self.min_scale, self.scale_floor, numerics.MAX_LOG_VARIANCE)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(*self.loc_and_scale(params))

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        return numerics.sum_observed(numerics.normal_log_prob(x, *self.loc_and_scale(params)), observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        loc, scale = self.loc_and_scale(params)
        return loc + scale * numerics.standard_normal(tf.cast(noise, tf.float32), self.x_dim)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return self.loc_and_scale(params)[0]

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        mean = numerics.observed_mean(frames, 0.0)
        scale = np.sqrt(numerics.observed_mean(np.square(frames - mean), 1.0))
        return np.concatenate([mean, scales.scale_inverse(scale, self.scale, self.min_scale, self.scale_floor)])


@keras.saving.register_keras_serializable(package="tfdvae")
class IdentityGaussian(Observation):
    """N(x_t; loc, scale^2 I), normaliser included; parameters [.., D] are the location, 0 at first for a feature that
    `adapt` never sees observed.

    With scale 1, -log p is half the squared error plus D/2 log 2 pi: the observation of Girin et al. (2021, section
    13.2.2) for motion data. A smaller scale makes errors dearer beside the KL, as pictures with little noise want it.

    Args:
        scale: standard deviation of every feature, in the units of x, fixed.

    Raises ValueError for a `scale` outside of [1e-6, 1e3].
    """

    units = "affine"

    def __init__(self, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = numerics.check_min_scale(scale, "scale")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}

    @property
    def params_dim(self) -> int:
        return self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return numerics.standard_normal_noise_dim(self._built_x_dim())

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        loc = tf.cast(params, tf.float32)
        return tfd.MultivariateNormalDiag(loc, self.scale * tf.ones_like(loc))

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        error = (x - tf.cast(params, tf.float32)) / self.scale
        count = self.x_dim if observed is None else numerics.count_observed(observed)
        normaliser = count * math.log(self.scale * math.sqrt(2.0 * math.pi))
        return -0.5 * numerics.sum_observed(tf.square(error), observed) - normaliser

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        return tf.cast(params, tf.float32) + self.scale * numerics.standard_normal(
            tf.cast(noise, tf.float32), self.x_dim
        )

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return tf.cast(params, tf.float32)

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        return numerics.observed_mean(frames, 0.0)
