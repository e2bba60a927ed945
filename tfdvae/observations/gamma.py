"""Power spectra."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.observations import numerics
from tfdvae.observations.base import Observation
from tfdvae.observations.values import NOT_NEGATIVE

__all__ = ["Gamma"]

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfdvae")
class Gamma(Observation):
    """Gamma with shape 1 and mean m per bin, for power spectrograms |STFT|^2:

        log p(x) = sum_i -log m_i - x_i / m_i.

    m is the variance of a circular complex Gaussian STFT coefficient. As functions of m, log p and minus the
    Itakura-Saito divergence x/m - log(x/m) - 1 differ by a constant (Girin et al. 2021, section 13.2.1).
    Parameters [.., D] are log m, softly bounded. A bin that `adapt` never sees observed starts at m = 1, or at the
    bound next to it.

    Args:
        min_mean, max_mean: bounds of m, in the units of x. The lower one keeps log p finite at x = 0.

    Raises ValueError unless 0 < min_mean < max_mean, at least a factor of 100 apart.
    """

    support = (
        "frames that are not negative",
        "pass the power |STFT|^2 itself, neither its logarithm nor a standardised version, or choose a Gaussian "
        "observation",
    )
    values = NOT_NEGATIVE

    units = "scale"

    def __init__(self, min_mean: float = 1e-10, max_mean: float = 1e10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 < 100.0 * min_mean <= max_mean < math.inf:
            raise ValueError(f"Gamma needs 0 < 100 min_mean <= max_mean, got {min_mean!r} and {max_mean!r}.")
        self.min_mean = min_mean
        self.max_mean = max_mean

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "min_mean": self.min_mean, "max_mean": self.max_mean}

    @property
    def params_dim(self) -> int:
        return self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return self._built_x_dim()

    def log_mean(self, params: tf.Tensor) -> tf.Tensor:
        """log m, [.., D]: the log-variance of the STFT coefficients."""
        return numerics.hold_within(tf.cast(params, tf.float32), math.log(self.min_mean), math.log(self.max_mean))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        gamma = tfd.Gamma(concentration=1.0, log_rate=-self.log_mean(params))
        return tfd.Independent(gamma, reinterpreted_batch_ndims=1)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        log_mean = self.log_mean(params)
        return numerics.sum_observed(-log_mean - x * tf.exp(-log_mean), observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        noise = tf.maximum(tf.cast(noise, tf.float32), numerics.SMALLEST_UNIFORM)
        return -tf.math.log(noise) * self.mean(params)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return tf.exp(self.log_mean(params))

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        mean = np.clip(numerics.observed_mean(frames, 1.0), 2.0 * self.min_mean, 0.5 * self.max_mean)
        return np.log(mean)
