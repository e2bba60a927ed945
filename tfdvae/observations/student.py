"""Real frames with outliers."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import scales
from tfdvae.observations import numerics, special
from tfdvae.observations.base import Observation

__all__ = ["StudentT"]

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfdvae")
class StudentT(Observation):
    """prod_i Student(x_ti; loc_i, scale_i, df_i), whose heavy tails make single outliers cheap, where a Gaussian would
    widen its scale for them.

    Parameters [.., 3D] are the location, the raw scale (softplus), and the raw degrees of freedom = softplus(raw) +
    `min_df`. A feature that `adapt` never sees observed starts at location 0 and standard deviation 1.
    The scale is not the standard deviation, which is scale sqrt(df / (df - 2)).

    Args:
        min_scale: smallest scale, in the units of x.
        scale_floor: "sum" adds `min_scale`, "clip" holds scales above it (see `tfdvae.scales`).
        min_df: smallest degrees of freedom; above 2, so that frames have a variance.

    Raises ValueError for another `scale_floor`, a `min_scale` outside of [1e-6, 1e3], and a `min_df` outside of
    (2, 100].
    """

    units = "affine"
    standardized_by_default = True
    _START = 8.0

    def __init__(self, min_scale: float = 1e-3, min_df: float = 2.5, scale_floor: str = "sum", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_scale = numerics.check_min_scale(min_scale)
        self.scale_floor = scales.check_floor(scale_floor)
        if not 2.0 < min_df <= 100.0:
            raise ValueError(f"min_df must be in (2, 100], so that frames have a variance; got {min_df!r}.")
        self.min_df = min_df

    def get_config(self) -> dict[str, Any]:
        own = {"min_scale": self.min_scale, "min_df": self.min_df, "scale_floor": self.scale_floor}
        return {**super().get_config(), **own}

    @property
    def params_dim(self) -> int:
        return 3 * self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return 2 * self._built_x_dim()

    def components(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Degrees of freedom, location and scale, each [.., D]."""
        loc, scale, df = tf.split(tf.cast(params, tf.float32), 3, axis=-1)
        scale = scales.softplus_scale(scale, self.min_scale, self.scale_floor)
        return scales.softplus_scale(df, self.min_df), loc, scale

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.StudentT(*self.components(params)), reinterpreted_batch_ndims=1)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        df, loc, scale = self.components(params)
        tails = 0.5 * (df + 1.0) * tf.math.log1p(tf.square((x - loc) / scale) / df)
        normaliser = special.log_gamma_ratio_of_halves(0.5 * df) - 0.5 * tf.math.log(math.pi * df)
        return numerics.sum_observed(normaliser - tf.math.log(scale) - tails, observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """By the polar method of Bailey (1994), which needs no rejection: radius sqrt(df (u^(-2 / df) - 1))."""
        df, loc, scale = self.components(params)
        radius, angle = tf.split(tf.cast(noise, tf.float32), 2, axis=-1)
        radius = tf.maximum(radius, numerics.SMALLEST_UNIFORM)
        radius = tf.sqrt(df * tf.math.expm1(-2.0 / df * tf.math.log(radius)))
        return loc + scale * radius * tf.cos(2.0 * math.pi * angle)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return self.components(params)[1]

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        df = max(self._START, 2.0 * self.min_df)
        mean = numerics.observed_mean(frames, 0.0)
        scale = np.sqrt(numerics.observed_mean(np.square(frames - mean), 1.0) * (df - 2.0) / df)
        raw = scales.scale_inverse(np.full_like(mean, df), "softplus", self.min_df, "sum")
        raw_scale = scales.scale_inverse(scale, "softplus", self.min_scale, self.scale_floor)
        return np.concatenate([mean, raw_scale, raw])
