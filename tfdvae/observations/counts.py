"""Counts: spikes in a bin, events in an hour, items sold in a day."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import scales
from tfdvae.observations import numerics, special
from tfdvae.observations.base import Observation
from tfdvae.observations.values import COUNTS

__all__ = ["NegativeBinomial", "Poisson"]

tfd = tfp.distributions

_SUPPORT = ("counts 0, 1, 2, ...", "round them if they are counts, or choose a continuous observation")


def _check_min_mean(name: str, min_mean: float) -> float:
    if not 0.0 < min_mean <= 1.0:
        raise ValueError(f"{name} needs 0 < min_mean <= 1, got {min_mean!r}.")
    return min_mean


def _log_of_mean(frames: np.ndarray, min_mean: float) -> np.ndarray:
    """Logarithms [D] of the means of what was observed of counts [N, D], held where gradients are alive."""
    return np.log(np.clip(numerics.observed_mean(frames, 1.0), 2.0 * min_mean, 0.5 * special.MAX_RATE))


@keras.saving.register_keras_serializable(package="tfdvae")
class Poisson(Observation):
    """prod_i Poisson(x_ti; m_i), for counts whose variance is their mean, such as spikes (Archer et al. 2015).

    Parameters [.., D] are log m, held between log `min_mean` and log 1e6. A feature that `adapt` never sees observed
    starts at m = 1. Networks see counts as they are.

    Args:
        min_mean: lower bound of m, which keeps log p finite where a network is sure of zero.

    Raises ValueError unless 0 < min_mean <= 1.
    """

    support = _SUPPORT
    values = COUNTS

    def __init__(self, min_mean: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_mean = _check_min_mean("Poisson", min_mean)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "min_mean": self.min_mean}

    @property
    def params_dim(self) -> int:
        return self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return special.POISSON_NOISE * self._built_x_dim()

    def log_mean(self, params: tf.Tensor) -> tf.Tensor:
        """log m, [.., D]."""
        return numerics.hold_within(tf.cast(params, tf.float32), math.log(self.min_mean), math.log(special.MAX_RATE))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        return tfd.Independent(tfd.Poisson(log_rate=self.log_mean(params)), reinterpreted_batch_ndims=1)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        return numerics.sum_observed(special.poisson_log_prob(x, self.log_mean(params)), observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        return special.poisson_sample(self.mean(params), tf.cast(noise, tf.float32))

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return tf.exp(self.log_mean(params))

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        return _log_of_mean(frames, self.min_mean)


@keras.saving.register_keras_serializable(package="tfdvae")
class NegativeBinomial(Observation):
    """prod_i NB(x_ti; m_i, r_i), for counts that vary more than a Poisson's: Poisson whose rate is gamma distributed
    with mean m and shape r, so that the variance is m + m^2 / r.

    Parameters [.., 2D] are log m, held between log `min_mean` and log 1e6, and the raw r = softplus(raw) +
    `min_concentration`. A feature that `adapt` never sees observed starts at m = 1 and r = 100, nearly a Poisson.

    Args:
        min_mean: lower bound of m.
        min_concentration: lower bound of r: how far the variance may exceed the mean.

    Raises ValueError unless 0 < min_mean <= 1 and 1e-3 <= min_concentration <= 1e3.
    """

    support = _SUPPORT
    values = COUNTS
    _START = 100.0

    def __init__(self, min_mean: float = 1e-6, min_concentration: float = 1e-2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min_mean = _check_min_mean("NegativeBinomial", min_mean)
        if not 1e-3 <= min_concentration <= 1e3:
            raise ValueError(f"min_concentration must be in [1e-3, 1e3], got {min_concentration!r}.")
        self.min_concentration = min_concentration

    def get_config(self) -> dict[str, Any]:
        own = {"min_mean": self.min_mean, "min_concentration": self.min_concentration}
        return {**super().get_config(), **own}

    @property
    def params_dim(self) -> int:
        return 2 * self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return (special.GAMMA_NOISE + special.POISSON_NOISE) * self._built_x_dim()

    def log_mean_and_concentration(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """log m and r, both [.., D]."""
        log_mean, raw = tf.split(tf.cast(params, tf.float32), 2, axis=-1)
        held = numerics.hold_within(log_mean, math.log(self.min_mean), math.log(special.MAX_RATE))
        return held, scales.softplus_scale(raw, self.min_concentration)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        log_mean, concentration = self.log_mean_and_concentration(params)
        counts = tfd.NegativeBinomial(concentration, logits=log_mean - tf.math.log(concentration))
        return tfd.Independent(counts, reinterpreted_batch_ndims=1)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        log_mean, concentration = self.log_mean_and_concentration(params)
        found = special.negative_binomial_log_prob(x, tf.exp(log_mean), concentration)
        return numerics.sum_observed(found, observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        log_mean, concentration = self.log_mean_and_concentration(params)
        of_rate, of_count = tf.split(
            tf.cast(noise, tf.float32), [special.GAMMA_NOISE * self.x_dim, special.POISSON_NOISE * self.x_dim], axis=-1
        )
        rate = special.gamma_sample(concentration, of_rate) * tf.exp(log_mean) / concentration
        return special.poisson_sample(tf.minimum(rate, special.MAX_RATE), of_count)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return tf.exp(self.log_mean_and_concentration(params)[0])

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        """Method of moments."""
        mean = numerics.observed_mean(frames, 1.0)
        excess = numerics.observed_mean(np.square(frames - mean), 1.0) - mean
        concentration = np.where(excess > 0.0, np.square(mean) / np.maximum(excess, 1e-12), self._START)
        concentration = np.minimum(concentration, self._START)
        raw = scales.scale_inverse(concentration, "softplus", self.min_concentration, "sum")
        return np.concatenate([_log_of_mean(frames, self.min_mean), raw])
