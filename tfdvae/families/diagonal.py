"""Diagonal Gaussians over z."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfdvae.families import numerics
from tfdvae.families.scaled import ScaledGaussian
from tfdvae.types import Gaussian

__all__ = ["DiagonalGaussian"]


@keras.saving.register_keras_serializable(package="tfdvae")
class DiagonalGaussian(ScaledGaussian):
    """N(z; loc, diag(scale^2)), the family of Kingma and Welling (2014); the network gives loc and the raw scale.

    Args:
        latent_dim: Z, which may be 0.
        scale: "softplus" of the network's output (VRNN, DKF), or "exp" of half of it, a log-variance (the survey).
            The attribute is called `scale_map`.
        min_scale: floor of the scale. A log-variance is bounded above as well.
        scale_floor: "sum" adds `min_scale`, "clip" holds scales above it (see `tfdvae.scales`).

    Raises ValueError for another `scale` or `scale_floor`, and for a negative `min_scale`.

    Example:
        family = DiagonalGaussian(16)
        q = family.parameters(network(x))                               # Gaussian(loc, scale), each [B, T, 16]
        z = family.sample(q, random.normal(seed, tf.shape(q.loc)))      # [B, T, 16]
        log_q = family.log_prob(q, z)                                   # [B, T], nats
    """

    min_latent_dim = 0

    @property
    def num_groups(self) -> int:
        return self.latent_dim

    @property
    def params_dim(self) -> int:
        return 2 * self.latent_dim

    def parameters(self, raw: tf.Tensor) -> Gaussian:
        loc, raw_scale = tf.split(self._checked(raw), 2, axis=-1)
        return Gaussian(loc, numerics.positive_scale(raw_scale, self.scale_map, self.min_scale, self.scale_floor))

    def initial_bias(self) -> np.ndarray:
        return np.repeat([0.0, numerics.initial_raw_scale(self.scale_map)], self.latent_dim).astype(np.float32)

    def standard(self, like: tf.Tensor) -> Gaussian:
        return Gaussian(*(numerics.constant_like(like, value, self.latent_dim) for value in (0.0, 1.0)))

    def sample(self, dist: Gaussian, noise: tf.Tensor | None = None) -> tf.Tensor:
        return dist.loc if noise is None else dist.loc + dist.scale * noise

    def mode(self, dist: Gaussian) -> tf.Tensor:
        return dist.loc

    def moved(self, dist: Gaussian, shift: tf.Tensor, log_scale: tf.Tensor) -> Gaussian:
        return Gaussian(dist.loc + dist.scale * shift, dist.scale * tf.exp(log_scale))

    def mean(self, dist: Gaussian) -> tf.Tensor:
        return dist.loc

    def scale(self, dist: Gaussian) -> tf.Tensor:
        return dist.scale

    def log_prob(self, dist: Gaussian, z: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        return tf.reduce_sum(tfd.Normal(dist.loc, dist.scale).log_prob(z), axis=-1)

    def distribution(self, dist: Gaussian) -> tfd.Distribution:
        return tfd.MultivariateNormalDiag(dist.loc, dist.scale)
