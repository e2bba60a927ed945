"""Gaussians over z whose entries are correlated."""

import math
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfdvae.families import numerics
from tfdvae.families.scaled import ScaledGaussian

__all__ = ["Triangular", "TriangularGaussian"]


class Triangular(NamedTuple):
    """A Gaussian by its mean `[.., Z]` and the lower triangular factor L of its covariance L L^T, `[.., Z, Z]`."""

    loc: tf.Tensor
    scale_tril: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class TriangularGaussian(ScaledGaussian):
    """N(z; loc, L L^T) with a lower triangular L of positive diagonal, any Gaussian with a density.

    The network gives loc `[Z]`, the raw diagonal `[Z]` and the Z (Z - 1) / 2 entries below it, which start at 0. The
    divergence takes Z steps, one after another, and Z^3 multiplications per frame: meant for Z of up to about 32.

    Args:
        latent_dim: Z.
        scale: how the diagonal of L follows from the network's output, "softplus" or "exp" of a log-variance, as in
            DiagonalGaussian. The attribute is called `scale_map`.
        min_scale: floor of the diagonal.
        scale_floor: "sum" adds `min_scale`, "clip" holds scales above it (see `tfdvae.scales`).

    Raises ValueError for another `scale` or `scale_floor`, and for a negative `min_scale`.
    """

    @property
    def num_groups(self) -> int:
        return 1

    @property
    def params_dim(self) -> int:
        return 2 * self.latent_dim + self._below

    @property
    def _below(self) -> int:
        """Number of entries below the diagonal."""
        return self.latent_dim * (self.latent_dim - 1) // 2

    def parameters(self, raw: tf.Tensor) -> Triangular:
        dim = self.latent_dim
        loc, raw_scale, below = tf.split(self._checked(raw), [dim, dim, self._below], axis=-1)
        scale = numerics.positive_scale(raw_scale, self.scale_map, self.min_scale, self.scale_floor)
        diagonal = scale[..., None] * tf.eye(dim)
        return Triangular(loc, diagonal if dim == 1 else diagonal + self._strictly_lower(below))

    def _strictly_lower(self, below: tf.Tensor) -> tf.Tensor:
        """The entries below the diagonal in their places, `[.., Z, Z]`."""
        side = self.latent_dim - 1
        # The entries and, behind them, the same backwards fill a square whose lower triangle has each of them once
        # (tfp.math.fill_triangular, which itself uses an operation that LiteRT lacks).
        square = tf.concat([below[..., side:], tf.reverse(below, axis=[-1])], axis=-1)
        square = numerics.reshape_last(square, side, side) * np.tri(side, dtype=np.float32)
        rows = tf.concat([tf.zeros_like(square[..., :1, :]), square], axis=-2)
        return tf.concat([rows, tf.zeros_like(rows[..., :1])], axis=-1)

    def initial_bias(self) -> np.ndarray:
        raw_scale = numerics.initial_raw_scale(self.scale_map)
        return np.repeat([0.0, raw_scale, 0.0], [self.latent_dim, self.latent_dim, self._below]).astype(np.float32)

    def standard(self, like: tf.Tensor) -> Triangular:
        dim = self.latent_dim
        return Triangular(numerics.constant_like(like, 0.0, dim), numerics.constant_like(like, tf.eye(dim), dim, dim))

    def sample(self, dist: Triangular, noise: tf.Tensor | None = None) -> tf.Tensor:
        """loc + L noise, `[.., Z]`."""
        if noise is None:
            return dist.loc
        return dist.loc + tf.reduce_sum(dist.scale_tril * noise[..., None, :], axis=-1)

    def mode(self, dist: Triangular) -> tf.Tensor:
        return dist.loc

    def moved(self, dist: Triangular, shift: tf.Tensor, log_scale: tf.Tensor) -> Triangular:
        return Triangular(self.sample(dist, shift), dist.scale_tril * tf.exp(log_scale)[..., None, :])

    def mean(self, dist: Triangular) -> tf.Tensor:
        return dist.loc

    def scale(self, dist: Triangular) -> tf.Tensor:
        return tf.norm(dist.scale_tril, axis=-1)

    def log_prob(self, dist: Triangular, z: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        if noise is None:
            noise = numerics.solve_lower(dist.scale_tril, (z - dist.loc)[..., None])[..., 0]
        squares = tf.reduce_sum(tf.square(noise), axis=-1)
        return -0.5 * (squares + self.latent_dim * math.log(2.0 * math.pi)) - self.log_det(dist)

    def log_det(self, dist: Triangular) -> tf.Tensor:
        """log det L, `[..]`."""
        diagonal = tf.reduce_sum(dist.scale_tril * tf.eye(self.latent_dim), axis=-1)
        return tf.reduce_sum(tf.math.log(diagonal), axis=-1)

    def distribution(self, dist: Triangular) -> tfd.Distribution:
        return tfd.MultivariateNormalTriL(dist.loc, dist.scale_tril)
