"""Densities and draws of counts and of gamma variables, from arithmetic that XLA compiles and LiteRT has built in.

`tf.math.lgamma` will not do: LiteRT lacks it, and in float32 the differences of large log-gammas that densities consist
of lose their digits. Here they are taken apart as in Loader (2000), "Fast and accurate computation of binomial
probabilities": Stirling's formula cancels on paper, and what is left is small.

Draws take uniforms as an input, so a method that rejects gets a fixed number of tries. What it draws is exact but for
the probability, stated with each, that all of them are rejected.
"""

import math

import numpy as np
import tensorflow as tf

from tfdvae.observations import numerics

__all__ = [
    "GAMMA_NOISE",
    "MAX_RATE",
    "POISSON_NOISE",
    "gamma_sample",
    "log_gamma_ratio_of_halves",
    "negative_binomial_log_prob",
    "poisson_log_prob",
    "poisson_sample",
    "stirling_rest",
]

MAX_RATE = 1e6
"""Counts beyond some 16 million would have gaps in float32; rates keep well below."""

_FRACTION = (1 / 12, 1 / 30, 53 / 210, 195 / 371, 22999 / 22737)
"""Stieltjes' continued fraction of the rest of Stirling's formula: below 1e-7 off from x = 2 on."""

# A try is accepted with a probability of at least 0.75 (Poisson at the smallest rate that is drawn so), 0.95 (gamma).
_POISSON_TRIES, _GAMMA_TRIES = 14, 7
_SMALL_RATE = 10.0
_TABLE = 48
POISSON_NOISE = 1 + 2 * _POISSON_TRIES
"""Uniforms that `poisson_sample` takes per count."""
GAMMA_NOISE = 1 + 3 * _GAMMA_TRIES
"""Uniforms that `gamma_sample` takes per value."""


def stirling_rest(x: tf.Tensor) -> tf.Tensor:
    """log Gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2, for x > 0: about 1 / (12 x)."""
    rest = tf.zeros_like(x)
    for coefficient in reversed(_FRACTION):
        rest = coefficient / (x + 2.0 + rest)
    for shift in (1.0, 0.0):
        y = x + shift
        rest += (y + 0.5) * tf.math.log1p(1.0 / y) - 1.0
    return rest


def log_gamma_ratio_of_halves(x: tf.Tensor) -> tf.Tensor:
    """log Gamma(x + 1/2) - log Gamma(x), for x > 0."""
    large = x * tf.math.log1p(0.5 / x) + 0.5 * tf.math.log(x) - 0.5
    return large + stirling_rest(x + 0.5) - stirling_rest(x)


def poisson_log_prob(x: tf.Tensor, log_rate: tf.Tensor) -> tf.Tensor:
    """Elementwise log Poisson(x; rate) of counts x, in Loader's form."""
    rate = tf.exp(log_rate)
    some = tf.maximum(x, 1.0)
    deviance = some * tf.math.log1p((some - rate) / rate) - (some - rate)
    log_prob = -deviance - stirling_rest(some) - 0.5 * (numerics.LOG_2PI + tf.math.log(some))
    return tf.where(x < 0.5, -rate, log_prob)


def negative_binomial_log_prob(x: tf.Tensor, mean: tf.Tensor, concentration: tf.Tensor) -> tf.Tensor:
    """Elementwise log p(x) of counts x whose rate is gamma distributed with this mean and this shape r:

        p(x) = Gamma(r + x) / (Gamma(r) x!) (r / (r + m))^r (m / (r + m))^x,

    of variance m + m^2 / r.
    """
    r, m, some = concentration, mean, tf.maximum(x, 1.0)
    total = r + some
    change = (m - some) / total
    # 1 + change has no digits left near 0, its logarithm none near 1.
    log_change = tf.where(change < -0.5, tf.math.log((r + m) / total), tf.math.log1p(tf.maximum(change, -0.5)))
    deviance = r * log_change + some * tf.math.log1p(r * (some - m) / (total * m))
    rests = stirling_rest(total) - stirling_rest(r) - stirling_rest(some)
    density = 0.5 * (tf.math.log1p(r / some) - tf.math.log(r) - numerics.LOG_2PI) - tf.math.log1p(some / r)
    return tf.where(x < 0.5, -r * tf.math.log1p(m / r), density + rests - deviance)


def _first_accepted(values: tf.Tensor, accepted: tf.Tensor, otherwise: tf.Tensor) -> tf.Tensor:
    """Of tries `values` [.., n, K] the first that was accepted, [.., n]; `otherwise` where none was."""
    accepted = tf.cast(accepted, tf.float32)
    first = accepted * tf.cast(tf.cumsum(accepted, axis=-1) < 1.5, tf.float32)
    found = tf.reduce_sum(tf.where(first > 0.5, values, 0.0), axis=-1)
    return tf.where(tf.reduce_sum(first, axis=-1) > 0.5, found, otherwise)


def _per_value(noise: tf.Tensor, count: int) -> tf.Tensor:
    """Uniforms [.., n * count] as [.., n, count], away from 0."""
    parts = tf.split(tf.maximum(noise, numerics.SMALLEST_UNIFORM), count, axis=-1)
    return tf.stack(parts, axis=-1)


def poisson_sample(rate: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Counts [.., n] as float32 from rates [.., n] and uniforms [.., n POISSON_NOISE].

    Below a rate of 10 by inversion of the distribution function; above by transformed rejection (Hoermann 1993, PTRS),
    where fourteen tries fail together with a probability below 1e-8, and the mode is returned.
    """
    noise = _per_value(noise, POISSON_NOISE)
    return tf.where(rate < _SMALL_RATE, _inverted_poisson(rate, noise[..., 0]), _rejected_poisson(rate, noise[..., 1:]))


def _inverted_poisson(rate: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    rate = tf.minimum(rate, _SMALL_RATE)[..., None]
    counts = np.arange(_TABLE)
    log_factorial = np.array([math.lgamma(k + 1.0) for k in counts], np.float32)
    pmf = tf.exp(tf.constant(counts, tf.float32) * tf.math.log(rate) - rate - log_factorial)
    return tf.reduce_sum(tf.cast(uniform[..., None] >= tf.cumsum(pmf, axis=-1)[..., :-1], tf.float32), axis=-1)


def _rejected_poisson(rate: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    rate = tf.maximum(rate, _SMALL_RATE)
    shared, log_rate = rate[..., None], tf.math.log(rate)[..., None]
    u, v = tf.split(noise, 2, axis=-1)
    b = 0.931 + 2.53 * tf.sqrt(shared)
    a = -0.059 + 0.02483 * b
    u = u - 0.5
    distance = tf.maximum(0.5 - tf.abs(u), 1e-6)
    counts = tf.floor((2.0 * a / distance + b) * u + shared + 0.43)
    bounded = tf.clip_by_value(counts, 0.0, 4.0 * MAX_RATE)
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    log_height = tf.math.log(v * inverse_alpha / (a / tf.square(distance) + b))
    accepted = (counts >= 0.0) & (log_height <= poisson_log_prob(bounded, log_rate))
    return _first_accepted(bounded, accepted, tf.floor(rate))


def gamma_sample(concentration: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Gamma variables [.., n] of scale 1 from their shapes [.., n] and uniforms [.., n GAMMA_NOISE].

    By Marsaglia and Tsang (2000) for the shape plus one, which is then drawn towards zero by a power of a uniform: each
    of seven tries is accepted with a probability of at least 0.95, so all fail with less than 1e-8; the mode is
    returned then.
    """
    noise = _per_value(noise, GAMMA_NOISE)
    towards_zero = tf.exp(tf.math.log(noise[..., 0]) / concentration)
    d = concentration + 2.0 / 3.0
    shared = d[..., None]
    radius, angle, u = tf.split(noise[..., 1:], 3, axis=-1)
    normal = tf.sqrt(-2.0 * tf.math.log(radius)) * tf.cos(2.0 * math.pi * angle)
    root = 1.0 + normal / tf.sqrt(9.0 * shared)
    v = tf.maximum(root, 1e-6) ** 3
    log_bound = 0.5 * tf.square(normal) + shared * (1.0 - v + tf.math.log(v))
    accepted = (root > 0.0) & (tf.math.log(u) < log_bound)
    return _first_accepted(shared * v, accepted, concentration) * towards_zero
