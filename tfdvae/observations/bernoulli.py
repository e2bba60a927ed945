"""Binary frames with independent features."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.observations import numerics
from tfdvae.observations.base import Observation
from tfdvae.observations.values import BINARY

__all__ = ["Bernoulli"]

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfdvae")
class Bernoulli(Observation):
    """prod_i Bernoulli(x_ti; sigmoid(logit_i)), for binary frames such as piano-rolls; parameters [.., D] are
    logits. A feature that `adapt` never sees observed starts at probability one half."""

    support = ("every feature to be 0 or 1", numerics.BINARISE)
    values = BINARY

    @property
    def params_dim(self) -> int:
        return self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return self._built_x_dim()

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits = tf.cast(params, tf.float32)
        return tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), reinterpreted_batch_ndims=1)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        return numerics.sum_observed(numerics.bernoulli_log_prob(x, tf.cast(params, tf.float32)), observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        return numerics.bernoulli_sample(tf.cast(params, tf.float32), tf.cast(noise, tf.float32))

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(tf.cast(params, tf.float32))

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        return numerics.frequency_logits(frames)
