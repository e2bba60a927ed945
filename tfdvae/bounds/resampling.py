"""Resampling of particles: which ancestor each takes over from, and when. Functions of weights and uniform numbers."""

from collections.abc import Callable

import tensorflow as tf

__all__ = ["CRITERIA", "RESAMPLING", "effective_sample_size", "multinomial", "noise_dim", "systematic"]

Criterion = Callable[[tf.Tensor, float], tf.Tensor]

_BELOW_ONE = 1.0 - 2.0**-24


def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """1 / sum_k w_k^2 of normalised weights `[B, K]` (Kong et al. 1994): between 1 and K, `[B]`."""
    return tf.exp(-tf.reduce_logsumexp(2.0 * log_weights, axis=-1))


def systematic(log_weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Ancestors `[B, K]` at (k + u) / K of the cumulated weights (Kitagawa 1996).

    The number of children of a particle differs from K times its weight by less than 1, and is that in expectation.

    Args:
        log_weights: normalised, `[B, K]`.
        uniform: in (0, 1), `[B, 1]`.
    """
    count = log_weights.shape[-1]
    return _invert(log_weights, (tf.range(count, dtype=tf.float32) + uniform) / count)


def multinomial(log_weights: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Ancestors `[B, K]`, each drawn by its weight and independent of the others (Gordon et al. 1993).

    Args:
        log_weights: normalised, `[B, K]`.
        uniform: in (0, 1), `[B, K]`.
    """
    return _invert(log_weights, uniform)


def noise_dim(resampling: str, num_samples: int) -> int:
    """How many uniform numbers a scheme takes per sequence and frame."""
    return 1 if resampling == "systematic" else num_samples


def _invert(log_weights: tf.Tensor, positions: tf.Tensor) -> tf.Tensor:
    """The first particle at which the cumulated weights exceed each position: never one of weight zero."""
    cumulated = tf.cumsum(tf.exp(log_weights), axis=-1)
    cumulated /= cumulated[:, -1:]
    # float32 may round a position up to 1, and no cumulated weight exceeds that.
    return tf.searchsorted(cumulated, tf.minimum(positions, _BELOW_ONE), side="right")


RESAMPLING: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "multinomial": multinomial,
    "systematic": systematic,
}
"""Schemes: normalised log-weights `[B, K]` and uniform numbers to ancestors `[B, K]`."""

CRITERIA: dict[str, Criterion | None] = {
    "always": lambda log_weights, ratio: tf.ones(tf.shape(log_weights)[:1], tf.bool),
    "ess": lambda log_weights, ratio: effective_sample_size(log_weights) < ratio * log_weights.shape[-1],
    "never": None,
}
"""When to resample: normalised log-weights `[B, K]` and the ratio of `FIVO` to `[B]` bool."""
