"""The one place for diagonal Gaussians over latents: density, divergence, reparameterised sample."""

import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfdvae.types import Gaussian

__all__ = ["kl_per_dimension", "log_prob", "sample", "standard_normal"]


def sample(dist: Gaussian, noise: tf.Tensor | None) -> tf.Tensor:
    """loc + scale * noise (Kingma and Welling 2014); the mean where `noise` is None. `[..., Z]`."""
    return dist.loc if noise is None else dist.loc + dist.scale * noise


def log_prob(dist: Gaussian, z: tf.Tensor) -> tf.Tensor:
    """Log-density of `z` `[..., Z]` in nats, summed over Z: `[...]`."""
    return tf.reduce_sum(tfd.Normal(dist.loc, dist.scale).log_prob(z), axis=-1)


def kl_per_dimension(q: Gaussian, p: Gaussian) -> tf.Tensor:
    """KL(q || p) of each dimension in nats, in closed form: `[..., Z]`."""
    return tfd.kl_divergence(tfd.Normal(q.loc, q.scale), tfd.Normal(p.loc, p.scale))


def standard_normal(like: tf.Tensor, latent_dim: int) -> Gaussian:
    """N(0, I) with the leading axes of `like` `[..., F]`."""
    shape = tf.concat([tf.shape(like)[:-1], [latent_dim]], axis=0)
    static = like.shape[:-1].concatenate([latent_dim])
    zeros, ones = tf.zeros(shape), tf.ones(shape)
    return Gaussian(tf.ensure_shape(zeros, static), tf.ensure_shape(ones, static))
