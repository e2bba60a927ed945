"""Regimes that switch linear dynamics: what each half of a structured mean field, q(s) and q(z), tells the other.

Regime k moves z_{t-1} to N(A_k z_{t-1} + b_k, diag(v_k)). Means over regimes are products with a matrix whose rows are
those of all regimes, so that no tensor has more than four axes, as LiteRT wants it.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from tfdvae import loop, masks
from tfdvae.families.numerics import linear, reshape_last
from tfdvae.layers.information import Chain, Potential, transposed_matvec
from tfdvae.layers.kalman import Belief

__all__ = [
    "Dynamics",
    "ExpectedDynamics",
    "expected_dynamics",
    "expected_log_densities",
    "most_likely_path",
    "regime_conditionals",
    "regime_marginals",
    "regime_messages",
]

_NEVER = -1e30


class Dynamics(NamedTuple):
    """Of K regimes: A `[K, Z, Z]`, b `[K, Z]` and v `[K, Z]`."""

    transition: tf.Tensor
    offset: tf.Tensor
    variance: tf.Tensor


class ExpectedDynamics(NamedTuple):
    """sum_k q(s_t = k) log N(z_t; A_k y + b_k, v_k) as a function of z_t and y = z_{t-1}, but for a constant:
    log N(z_t; A_t y + b_t, v_t), and the logarithm of a potential of y beside.

    Attributes:
        transition, offset, variance: A_t `[B, T, Z, Z]`, b_t and v_t `[B, T, Z]`.
        beside: how the regimes disagree, a potential of z_{t-1}, `[B, T, Z]` and `[B, T, Z, Z]`.
    """

    transition: tf.Tensor
    offset: tf.Tensor
    variance: tf.Tensor
    beside: Potential


def expected_dynamics(weights: tf.Tensor, dynamics: Dynamics) -> ExpectedDynamics:
    """The dynamics that q(z) sees, from q(s_t), `weights` `[B, T, K]`."""
    count, size = dynamics.offset.shape
    precision = 1.0 / dynamics.variance
    total = linear(weights, precision)
    weighed = tf.expand_dims(precision, -1) * dynamics.transition
    transition = linear(weights, tf.reshape(weighed, [count, size * size]))
    transition = reshape_last(transition, size, size) / tf.expand_dims(total, -1)
    offset = linear(weights, precision * dynamics.offset) / total
    # Rows of all regimes below each other, as differences from their means: what is left of the squares is a square.
    share = reshape_last(tf.expand_dims(weights, -1) * precision, count * size, axes=2)
    turned = tf.reshape(dynamics.transition, [count * size, size]) - tf.tile(transition, [1, 1, count, 1])
    pushed = tf.reshape(dynamics.offset, [count * size]) - tf.tile(offset, [1, 1, count])
    weighed = tf.expand_dims(share, -1) * turned
    beside = Potential(-transposed_matvec(weighed, pushed), tf.matmul(weighed, turned, transpose_a=True))
    return ExpectedDynamics(transition, offset, 1.0 / total, beside)


def expected_log_densities(
    chain: Chain, belief: Belief, dynamics: Dynamics, drift: tf.Tensor | None = None
) -> tf.Tensor:
    """E_q(z) log N(z_t; A_k z_{t-1} + b_k + drift_t, v_k) of each regime, `[B, T, K]`; the first frame has no z before.

    Args:
        chain, belief: q(z) by the chain rule, and its marginals.
        drift: added to z_t as it arrives at frame t, `[B, T, Z]`.
    """
    count, size = dynamics.offset.shape
    rows = tf.reshape(dynamics.transition, [count * size, size])
    variance = tf.reshape(dynamics.variance, [count * size])
    arrived = belief.mean if drift is None else belief.mean - drift
    expected = linear(masks.shift(belief.mean), tf.transpose(rows)) + tf.reshape(dynamics.offset, [count * size])
    error = tf.tile(arrived, [1, 1, count]) - expected
    # z_t - A_k z_{t-1} is (F_t - A_k) z_{t-1} and noise of its own.
    turned = tf.tile(chain.moves, [1, 1, count, 1]) - rows
    spread = tf.reduce_sum(tf.matmul(turned, masks.shift(belief.covariance)) * turned, axis=-1)
    spread += tf.tile(tf.reduce_sum(tf.square(chain.factor), axis=-1), [1, 1, count])
    terms = (tf.square(error) + spread) / variance + tf.math.log(2.0 * math.pi * variance)
    return -0.5 * tf.reduce_sum(reshape_last(terms, count, size), axis=-1)


def regime_messages(told: tf.Tensor, transition: tf.Tensor) -> tf.Tensor:
    """What the frames from t on say of s_t, as logarithms but for a constant, `[B, T, K]`, frame by frame against time.

    Args:
        told: what each frame says of its own regime, `[B, T, K]`; zero in the padding.
        transition: log p(s_t = k | s_{t-1} = j), `[K, K]`, j in rows.
    """

    def frame(later: tf.Tensor, own: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = own + later
        before = tf.reduce_logsumexp(transition + tf.expand_dims(found, 1), axis=-1)
        # Constants would grow with the sequence.
        return before - tf.reduce_max(before, axis=-1, keepdims=True), found

    _, found = loop.scan(frame, tf.zeros_like(told[:, 0]), tf.reverse(told, [1]))
    return tf.reverse(found, [1])


def regime_conditionals(messages: tf.Tensor, transition: tf.Tensor, initial: tf.Tensor) -> tf.Tensor:
    """log q(s_t = k | s_{t-1} = j), `[B, T, K, K]`, from what `regime_messages` returned; at the first frame each row
    is q(s_1), `initial` being log p(s_1) `[K]`."""
    opening = tf.expand_dims(masks.opening(messages), -1)
    prior = tf.where(opening, initial + tf.zeros_like(transition), transition)
    return tf.nn.log_softmax(prior + tf.expand_dims(messages, -2))


def regime_marginals(conditionals: tf.Tensor) -> tf.Tensor:
    """q(s_t), `[B, T, K]`, of a chain of regimes."""

    def frame(before: tf.Tensor, moves: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        after = tf.reduce_sum(tf.expand_dims(before, -1) * moves, axis=-2)
        return after, after

    start = tf.ones_like(conditionals[:, 0, 0]) / conditionals.shape[-1]
    return loop.scan(frame, start, tf.exp(conditionals))[1]


def most_likely_path(conditionals: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """The regimes s_1:T that are most likely together, `[B, T]` int32, of a chain (Viterbi 1967).

    In the padding, where `mask` `[B, T]` is false, a regime stays what it is.
    """
    if mask is not None:
        stays = tf.where(tf.eye(conditionals.shape[-1], dtype=tf.bool), 0.0, _NEVER)
        conditionals = tf.where(mask[..., None, None], conditionals, stays)

    def forward(best: tf.Tensor, moves: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        reached = tf.expand_dims(best, -1) + moves
        return tf.reduce_max(reached, axis=-2), tf.argmax(reached, axis=-2, output_type=tf.int32)

    best, sources = loop.scan(forward, tf.zeros_like(conditionals[:, 0, 0]), conditionals)

    def backward(later: tf.Tensor, source: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(source, later, batch_dims=1), later

    _, path = loop.scan(backward, tf.argmax(best, axis=-1, output_type=tf.int32), tf.reverse(sources, [1]))
    return tf.reverse(path, [1])
