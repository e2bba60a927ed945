"""Gaussian processes over time: their kernels, the factors of their covariances, and what they say given some frames.

The factors come from elimination that is written out, since LiteRT has neither a Cholesky factor nor a triangular
solve. Its work grows with T^3 for T frames, and is shared by all sequences with the same times.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdvae import loop
from tfdvae.layers.kalman import outer
from tfdvae.types import Gaussian

__all__ = ["Factors", "GaussianProcess", "KERNELS"]


def _cauchy(distance: tf.Tensor) -> tf.Tensor:
    return 1.0 / (1.0 + tf.square(distance))


def _rbf(distance: tf.Tensor) -> tf.Tensor:
    return tf.exp(-0.5 * tf.square(distance))


def _matern12(distance: tf.Tensor) -> tf.Tensor:
    return tf.exp(-distance)


def _matern32(distance: tf.Tensor) -> tf.Tensor:
    reach = 3.0**0.5 * distance
    return (1.0 + reach) * tf.exp(-reach)


def _matern52(distance: tf.Tensor) -> tf.Tensor:
    reach = 5.0**0.5 * distance
    return (1.0 + reach + tf.square(reach) / 3.0) * tf.exp(-reach)


KERNELS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "cauchy": _cauchy,
    "rbf": _rbf,
    "matern12": _matern12,
    "matern32": _matern32,
    "matern52": _matern52,
}
"""Correlation of two frames by their distance in length scales: Cauchy, a mixture of RBF kernels of all lengths
(Fortuin et al. 2020), and Matern with nu = 1/2, 3/2 and 5/2 (Rasmussen and Williams 2006, chapter 4)."""


class Factors(NamedTuple):
    """Of covariances K = L L' of T frames, for N sequences, or for N = 1 that stands for all of them.

    Attributes:
        lower: L, lower triangular, `[N, Z, T, T]`.
        inverse: L^-1, of the same shape. Row t whitens z_t given z_<t.
        scale: the diagonal of L, standard deviations of z_t given z_<t, `[N, T, Z]`.
    """

    lower: tf.Tensor
    inverse: tf.Tensor
    scale: tf.Tensor

    def coloured(self, noise: tf.Tensor) -> tf.Tensor:
        """z_1:T with the covariance K from white noise, `[B, T, Z]` each."""
        return _along(self.lower, noise)

    def whitened(self, z: tf.Tensor) -> tf.Tensor:
        """The noise that makes z_1:T, `[B, T, Z]` each."""
        return _along(self.inverse, z)

    def conditionals(self, z: tf.Tensor) -> Gaussian:
        """p(z_t | z_<t) of each dimension along paths `[B, T, Z]`."""
        scale = self.scale + tf.zeros_like(z)
        return Gaussian(z - scale * self.whitened(z), scale)

    def completed(self, z: tf.Tensor, known: tf.Tensor, noise: tf.Tensor | None) -> tf.Tensor:
        """Paths `[B, T, Z]` from p(z | z_known), for known frames that come first.

        Args:
            z: `[B, T, Z]`, of which only the known frames count.
            known: `[B, T]` bool, of each sequence the first few.
            noise: for the others, `[B, T, Z]`; None takes their means.
        """
        known = known[..., None]
        noise = tf.zeros_like(z) if noise is None else noise
        white = tf.where(known, self.whitened(tf.where(known, z, 0.0)), noise)
        return tf.where(known, z, self.coloured(white))


def _along(matrix: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """`[N, Z, T, T]` times z over time, `[B, T, Z]`."""
    columns = tf.expand_dims(tf.transpose(z, [0, 2, 1]), -1)
    return tf.transpose(tf.squeeze(tf.matmul(matrix, columns), -1), [0, 2, 1])


def _units(times: tf.Tensor) -> tf.Tensor:
    """The identity over the frames of `[N, T]`; `tf.eye` of a length that is not known yet does not run in LiteRT."""
    place = tf.range(times.shape[1] or tf.shape(times)[1])
    return tf.cast(place[:, None] == place, tf.float32)


class GaussianProcess(NamedTuple):
    """Independent Gaussian processes over time, one for each of Z dimensions.

        z_{1:T, j} ~ N(0, K_j),   K_j(t, t') = s^2 k(|t - t'| / l_j) + jitter [t = t']

    Attributes:
        kernel: k, a name in `KERNELS`.
        length_scales: l_j, in the unit of the times.
        scale: s.
        jitter: variance of noise of each frame by itself; no frame is known better from the others.

    Example:
        process = GaussianProcess("rbf", (2.0, 8.0), 1.0, 1e-3)
        factors = process.factors(tf.range(10.0)[None])
        z = factors.coloured(random.normal(seed, [4, 10, 2]))           # [4, 10, 2]
    """

    kernel: str
    length_scales: tuple[float, ...]
    scale: float
    jitter: float

    def covariances(self, times: tf.Tensor) -> tf.Tensor:
        """K of frames at `times` `[N, T]`: `[N, Z, T, T]`."""
        distance = tf.expand_dims(tf.abs(times[:, :, None] - times[:, None]), 1)
        scaled = distance / tf.constant(self.length_scales)[:, None, None]
        return self.scale**2 * KERNELS[self.kernel](scaled) + self.jitter * _units(times)

    def correlations(self, distance: float) -> tf.Tensor:
        """Of z at two times that far apart, `[Z]`."""
        own, other = tf.unstack(self.covariances(tf.constant([[0.0, distance]]))[0, :, 0], axis=-1)
        return other / own

    def factors(self, times: tf.Tensor) -> Factors:
        """Of the covariances of frames at `times` `[N, T]`, by elimination in [K, I]. What it says of a frame does not
        hang on those behind it.

        Computed in float32; variances given the frames before are held above the jitter, which is exact.
        """
        covariances = self.covariances(times)
        length = times.shape[1] or tf.shape(times)[1]
        place = tf.range(length)

        def frame(rest: tf.Tensor, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            row = tf.squeeze(tf.gather(rest, t, axis=2), 2)
            scale = tf.sqrt(tf.maximum(tf.gather(row, t, axis=2), self.jitter))
            row /= scale
            # Row t itself is divided, and stays: LiteRT cannot gather outputs whose size is that of the loop.
            taken = tf.where(place > t, row[..., :length], tf.where(place == t, scale - 1.0, 0.0))
            return rest - outer(taken, row), tf.squeeze(scale, -1)

        start = tf.concat([covariances, _units(times) + tf.zeros_like(covariances)], axis=-1)
        rows, scale = loop.scan(frame, start, place[None])
        below = tf.where(place[:, None] > place, tf.linalg.matrix_transpose(rows[..., :length]), 0.0)
        own = tf.expand_dims(tf.transpose(scale, [0, 2, 1]), -1) * _units(times)
        return Factors(below + own, rows[..., length:], scale)
