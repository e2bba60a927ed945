"""Groups of categorical variables, one-hot, with straight-through gradients."""

import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.families import numerics
from tfdvae.families.base import Family
from tfdvae.observations.numerics import categorical_one_hot

__all__ = ["Categorical", "CategoricalGroups"]

tfd = tfp.distributions


class CategoricalGroups(NamedTuple):
    """Independent categorical variables by the logarithms of their probabilities, `[.., Z]`, group after group."""

    logits: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class Categorical(Family):
    """Z / classes independent categorical variables; z is the concatenation of their one-hot vectors.

    The probabilities are (1 - uniform_share) softmax(raw) + uniform_share / classes, as in DreamerV3 (Hafner et al.
    2023): no class dies, and the divergence stays bounded. Samples pass gradients straight through to the
    probabilities (Bengio et al. 2013; DreamerV2, Hafner et al. 2021): the value is one-hot, the gradient is that of
    the mean. It is biased.

    Args:
        latent_dim: Z, a multiple of `classes`.
        classes: number of classes of each variable.
        uniform_share: weight of the uniform distribution in the mixture, in [0, 1).

    Raises ValueError for fewer than 2 classes, a Z that they do not divide, and a share outside of [0, 1).

    Example:
        family = Categorical(128, classes=32)                                       # 4 variables
        q = family.parameters(network(x))                                           # CategoricalGroups([B, T, 128])
        z = family.sample(q, random.uniform(seed, [B, T, family.noise_dim]))        # [B, T, 128], 4 ones each
    """

    noise_kind = "uniform"
    min_latent_dim = 0

    def __init__(self, latent_dim: int, classes: int = 32, uniform_share: float = 0.01) -> None:
        super().__init__(latent_dim)
        if classes < 2:
            raise ValueError(f"`classes` must be at least 2, got {classes!r}.")
        if self.latent_dim % classes:
            raise ValueError(
                f"The latent_dim of Categorical is groups times classes: {latent_dim} is not a multiple of {classes}; "
                "change `latent_dim` or `classes`."
            )
        if not 0.0 <= uniform_share < 1.0:
            raise ValueError(f"`uniform_share` must be in [0, 1), got {uniform_share!r}.")
        self.classes = classes
        self.uniform_share = uniform_share

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "uniform_share": self.uniform_share}

    @property
    def noise_dim(self) -> int:
        return self.num_groups

    @property
    def num_groups(self) -> int:
        return self.latent_dim // self.classes

    @property
    def params_dim(self) -> int:
        return self.latent_dim

    @property
    def support(self) -> Hashable:
        return ("one-hot", self.latent_dim, self.classes)

    def parameters(self, raw: tf.Tensor) -> CategoricalGroups:
        raw = self.grouped(self._checked(raw))
        if self.uniform_share == 0.0:
            return CategoricalGroups(self._flat(tf.nn.log_softmax(raw)))
        mixed = (1.0 - self.uniform_share) * tf.nn.softmax(raw) + self.uniform_share / self.classes
        return CategoricalGroups(self._flat(tf.math.log(mixed)))

    def initial_bias(self) -> np.ndarray:
        return np.zeros(self.latent_dim, np.float32)

    def standard(self, like: tf.Tensor) -> CategoricalGroups:
        return CategoricalGroups(numerics.constant_like(like, -math.log(self.classes), self.latent_dim))

    def sample(self, dist: CategoricalGroups, noise: tf.Tensor | None = None) -> tf.Tensor:
        """One-hot vectors `[.., Z]` by the inverse CDF, of one uniform per group; gradients go to the probabilities."""
        if noise is None:
            return self.mode(dist)
        return self._straight_through(categorical_one_hot(self.grouped(dist.logits), noise[..., None]), dist)

    def mode(self, dist: CategoricalGroups) -> tf.Tensor:
        """The most probable class of each group, one-hot; gradients go to the probabilities, as from a sample."""
        index = tf.argmax(self.grouped(dist.logits), axis=-1, output_type=tf.int32)
        return self._straight_through(tf.one_hot(index, self.classes, dtype=tf.float32), dist)

    def mean(self, dist: CategoricalGroups) -> tf.Tensor:
        return tf.exp(dist.logits)

    def scale(self, dist: CategoricalGroups) -> tf.Tensor:
        mean = self.mean(dist)
        return tf.sqrt(mean * (1.0 - mean))

    def log_prob(self, dist: CategoricalGroups, z: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        return tf.reduce_sum(z * dist.logits, axis=-1)

    def distribution(self, dist: CategoricalGroups) -> tfd.Distribution:
        one_hot = tfd.OneHotCategorical(logits=self.grouped(dist.logits), dtype=tf.float32)
        flatten = tfp.bijectors.Reshape([self.latent_dim], [self.num_groups, self.classes])
        return tfd.TransformedDistribution(tfd.Independent(one_hot, reinterpreted_batch_ndims=1), flatten)

    def grouped(self, x: tf.Tensor) -> tf.Tensor:
        """`[.., Z]` to `[.., groups, classes]`."""
        return numerics.reshape_last(x, self.num_groups, self.classes)

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        """`[.., groups, classes]` to `[.., Z]`."""
        return numerics.reshape_last(x, self.latent_dim, axes=2)

    def _straight_through(self, one_hot: tf.Tensor, dist: CategoricalGroups) -> tf.Tensor:
        mean = self.mean(dist)
        # The difference first: it is exactly zero, and the sum exactly one-hot.
        return tf.stop_gradient(self._flat(one_hot)) + (mean - tf.stop_gradient(mean))
