"""Gaussians over time with a tridiagonal precision: every dimension a Markov chain, told by marginals and correlations
of neighbours."""

from typing import NamedTuple

import tensorflow as tf

from tfdvae import loop, masks
from tfdvae.layers.gaussian_process import Factors
from tfdvae.layers.information import associative_scan
from tfdvae.types import Gaussian

__all__ = ["MAX_CORRELATION", "MarkovChain"]

MAX_CORRELATION = 0.9999
"""Correlations of neighbours stay within this, so that no frame is known for sure from the one before."""


class MarkovChain(NamedTuple):
    """N(m, (B B')^-1) of each dimension, with B upper bidiagonal, `[B, T, Z]` each.

    z_t - m_t = r_t (s_t / s_{t-1}) (z_{t-1} - m_{t-1}) + s_t sqrt(1 - r_t^2) e_t, which B' makes white: it has
    1 / (s_t sqrt(1 - r_t^2)) on the diagonal, and -r_t / (s_{t-1} sqrt(1 - r_t^2)) beside it. Each such B with a
    positive diagonal is of this form, with |r_t| < 1.

    Attributes:
        loc, scale: m_t and s_t, marginal means and standard deviations.
        correlation: r_t, of z_t and z_{t-1}; zero at the first frame.
    """

    loc: tf.Tensor
    scale: tf.Tensor
    correlation: tf.Tensor

    @property
    def remaining(self) -> tf.Tensor:
        """1 - r_t^2, the part of the variance that the frame before does not explain."""
        return (1.0 - self.correlation) * (1.0 + self.correlation)

    def path(self, noise: tf.Tensor | None) -> tf.Tensor:
        """z_1:T from white noise, or the means, `[B, T, Z]`: a scan in log2 T rounds."""
        if noise is None:
            return self.loc

        def joined(first: tuple, second: tuple) -> tuple:
            return second[0] * first[0], second[0] * first[1] + second[1]

        shifts = tf.sqrt(self.remaining) * noise
        none = tf.ones_like(shifts[0, 0]), tf.zeros_like(shifts[0, 0])
        return self.loc + self.scale * associative_scan(joined, (self.correlation, shifts), none)[1]

    def conditionals(self, z: tf.Tensor) -> Gaussian:
        """q(z_t | z_{t-1}) along paths `[B, T, Z]`."""
        before = masks.shift((z - self.loc) / self.scale)
        return Gaussian(self.loc + self.scale * self.correlation * before, self.scale * tf.sqrt(self.remaining))

    def divergence(self, prior: Factors) -> tf.Tensor:
        """KL(q || p) in nats for p = N(0, L L'), by frames and dimensions, `[B, T, Z]`.

        By the chain rule it is E_q log q(z_t | z_{t-1}) - log p(z_t | z_<t) of each frame, none of which is negative,
        in closed form: with a_t the row t of L^-1 and S the covariance of q,
        (a_t' S a_t + (a_t' m)^2 - 1) / 2 + log L_tt - log(s_t sqrt(1 - r_t^2)). Frames do not hang on later ones.
        The quadratic form takes T steps of T numbers, against time, in place of a T x T covariance.
        """
        following = tf.concat([self.correlation[:, 1:], tf.zeros_like(self.correlation[:, :1])], axis=1)
        place = tf.range(self.loc.shape[1] or tf.shape(self.loc)[1])[None]
        inputs = (place, self.scale, following, self.remaining)

        def frame(state: tuple[tf.Tensor, tf.Tensor], inputs: tuple) -> tuple[tuple[tf.Tensor, tf.Tensor], tuple]:
            reach, spread = state
            scale, following, remaining = (tf.expand_dims(y, -1) for y in inputs[1:])
            column = tf.squeeze(tf.gather(prior.inverse, inputs[0], axis=3), 3)
            reach = column * scale + following * reach
            return (reach, spread + remaining * tf.square(reach)), ()

        start = tf.zeros_like(tf.transpose(self.loc, [0, 2, 1]))
        (_, spread), _ = loop.scan(frame, (start, start), tf.nest.map_structure(lambda y: tf.reverse(y, [1]), inputs))
        spread = tf.transpose(spread, [0, 2, 1])
        ratio = tf.math.log(self.scale * tf.sqrt(self.remaining)) - tf.math.log(prior.scale)
        return 0.5 * (spread + tf.square(prior.whitened(self.loc)) - 1.0) - ratio
