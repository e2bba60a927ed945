"""Float32 building blocks which the observation families share.

TensorFlow functions use only operations that LiteRT has built in; the `*_inverse` and statistics functions
are NumPy, for bias initialisation outside of graphs.
"""

import math

import numpy as np
import tensorflow as tf

from tfdvae.scales import hold_within

__all__ = [
    "bernoulli_log_prob",
    "bernoulli_sample",
    "categorical_one_hot",
    "check_min_scale",
    "count_observed",
    "frequency_logits",
    "hold_within",
    "mixture_log_prob",
    "normal_log_prob",
    "observed_mean",
    "spread_components",
    "standard_normal",
    "standard_normal_noise_dim",
    "sum_observed",
]

BINARISE = "binarise the data or choose a continuous observation"
"""What to do about data that are not binary."""
LOG_2PI = math.log(2.0 * math.pi)
MAX_LOG_VARIANCE = 2.0 * math.log(1e6)
SMALLEST_UNIFORM = 2.0**-25


def check_min_scale(scale: float, name: str = "min_scale") -> float:
    """`scale` itself. ValueError outside of [1e-6, 1e3], where squared errors could overflow float32."""
    if not 1e-6 <= scale <= 1e3:
        raise ValueError(f"{name} must be in [1e-6, 1e3], got {scale!r}.")
    return scale


def standard_normal_noise_dim(dim: int) -> int:
    """Number of uniforms that `standard_normal` takes for `dim` normals: two per pair."""
    return 2 * math.ceil(dim / 2)


def standard_normal(noise: tf.Tensor, dim: int) -> tf.Tensor:
    """`dim` independent standard normals [.., dim] from uniforms [.., 2 ceil(dim/2)] (Box & Muller 1958)."""
    radius_noise, angle_noise = tf.split(noise, 2, axis=-1)
    radius = tf.sqrt(-2.0 * tf.math.log(tf.maximum(radius_noise, SMALLEST_UNIFORM)))
    angle = 2.0 * math.pi * angle_noise
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=-1)[..., :dim]


def normal_log_prob(x: tf.Tensor, loc: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Elementwise log N(x; loc, scale^2); x far from 0 keeps its digits, as loc is subtracted first."""
    return -0.5 * tf.square((x - loc) / scale) - tf.math.log(scale) - 0.5 * LOG_2PI


def bernoulli_log_prob(x: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Elementwise log Bernoulli(x; sigmoid(logits)) in its exponential-family form."""
    return x * logits - tf.math.softplus(logits)


def bernoulli_sample(logits: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """0/1 samples as float32; one uniform each."""
    return tf.cast(noise < tf.sigmoid(logits), tf.float32)


def categorical_one_hot(logits: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """One-hot categorical samples [.., K] from logits [.., K] and one uniform [.., 1], by the inverse CDF."""
    cdf = tf.cumsum(tf.nn.softmax(logits), axis=-1)
    index = tf.reduce_sum(tf.cast(noise >= cdf[..., :-1], tf.int32), axis=-1)
    return tf.one_hot(index, logits.shape[-1], dtype=tf.float32)


def sum_observed(values: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
    """Sum over the last axis of `values` [.., D] where `observed` [.., D] is true; over all of it for None."""
    return tf.reduce_sum(values if observed is None else tf.where(observed, values, 0.0), axis=-1)


def count_observed(observed: tf.Tensor) -> tf.Tensor:
    """How many of the last axis of `observed` [.., D] are true, [..], as float32."""
    return tf.reduce_sum(tf.cast(observed, tf.float32), axis=-1)


def mixture_log_prob(logits: tf.Tensor, log_prob: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
    """log sum_k softmax(logits)_k exp(log_prob_k), [..], from [.., K]; exactly 0 where none of `observed` [.., D] is
    true, which the sum of the weights is only up to rounding."""
    mixed = tf.reduce_logsumexp(tf.nn.log_softmax(logits) + log_prob, axis=-1)
    return mixed if observed is None else tf.where(tf.reduce_any(observed, axis=-1), mixed, 0.0)


def observed_mean(values: np.ndarray, neutral: float) -> np.ndarray:
    """Mean [D] of what was observed of `values` [N, D], NaN elsewhere; `neutral` for a feature never observed."""
    count = np.sum(~np.isnan(values), axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), neutral)


def frequency_logits(binary: np.ndarray) -> np.ndarray:
    """Logits [D] of the frequencies of ones in [N, D], NaN where not observed, with half a count added on either
    side: 0 for a feature never observed."""
    ones = np.nansum(binary, axis=0) + 0.5
    return np.log(ones) - np.log(np.sum(~np.isnan(binary), axis=0) + 1.0 - ones)


def spread_components(frames: np.ndarray, num_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Locations [K, D] and a shared within-component covariance [D, D] for an equal-weight Gaussian mixture.

    The mixture has exactly the mean and covariance of `frames` [N, D]. Component means are the data's
    quantiles, in a fixed permutation per dimension, drawn towards the mean by sqrt(D + 1): then the spread
    costs about half a nat of likelihood against a single Gaussian, whatever D is, and still tells the
    components apart.

    Where `frames` are NaN, they were not observed: mean and variance of a feature are those of what was observed of it,
    a covariance is that of the frames with both features. A feature never observed has mean 0 and variance 1.
    """
    seen = ~np.isnan(frames)
    ever = seen.any(axis=0)
    levels = (np.arange(num_components) + 0.5) / num_components
    quantiles = np.nanquantile(np.where(ever, frames, 0.0), levels, axis=0)
    quantiles = np.random.default_rng(0).permuted(quantiles, axis=0)
    dim = frames.shape[1]
    offsets = (quantiles - quantiles.mean(axis=0)) / math.sqrt(dim + 1.0)
    mean = observed_mean(frames, 0.0)
    centred = np.where(seen, frames - mean, 0.0)
    pairs = seen.T.astype(np.float64) @ seen
    within = centred.T @ centred / np.maximum(pairs, 1.0) - offsets.T @ offsets / num_components
    np.fill_diagonal(within, np.where(ever, np.maximum(np.diagonal(within), 0.0), 1.0))
    return mean + offsets, within
