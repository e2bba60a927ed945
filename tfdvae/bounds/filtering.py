"""The particle filter of FIVO, NASMC and `particle_log_prob`: one pass of the one loop over a model's frames."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import loop
from tfdvae.bounds.resampling import CRITERIA, RESAMPLING
from tfdvae.layers.latent import Latent
from tfdvae.types import State, StepOutput

__all__ = ["Draw", "Filtered", "Particles", "particle_filter", "repeat_rows"]

Draw = Callable[[Latent, Any], tuple[tf.Tensor, tf.Tensor | None]]
"""A latent and its posterior to a sample, and the noise that it is a function of (None: it is held fixed)."""


class Particles(NamedTuple):
    """A model as a particle filter sees it: K particles per sequence, those of a sequence in adjacent rows.

    Attributes:
        state: the state before the first frame, `[B * K, .]`.
        inputs: nest of `[B, T, .]` (or `[B * K, T, .]`, see `shared`) that `advance` reads at each frame.
        advance: one frame: state, inputs of the frame in `B * K` rows, and how latents come from q, to a StepOutput.
        shared: whether the inputs have one row per sequence, so that the filter repeats them frame by frame.
        latents: the declared latents of a frame.
    """

    state: State
    inputs: Any
    advance: Callable[[State, Any, Draw], StepOutput]
    shared: bool
    latents: tuple[Latent, ...]


class Filtered(NamedTuple):
    """What a filter found, in nats; zeros at frames that do not exist.

    Attributes:
        log_evidence: log sum_k w_{t-1}^k alpha_t^k, `[B, T]`, where alpha_t is a particle's incremental weight. Its sum
            over time is the logarithm of an unbiased estimate of p(x).
        log_px, log_p, log_q: log p(x_t | .), log p(z_t | .) and log q(z_t | .) of each particle, `[B, T, K]`.
        weights: normalised, after x_t and before the next resampling, `[B, T, K]`.
        ancestors: the particle before frame t that each goes on from, `[B, T, K]`.
        resampled: `[B, T]`, where they were drawn before frame t.
    """

    log_evidence: tf.Tensor
    log_px: tf.Tensor
    log_p: tf.Tensor
    log_q: tf.Tensor
    weights: tf.Tensor
    ancestors: tf.Tensor
    resampled: tf.Tensor


def particle_filter(
    particles: Particles,
    num_samples: int,
    noise: Mapping[str, tf.Tensor],
    uniform: tf.Tensor,
    mask: tf.Tensor | None = None,
    *,
    resampling: str = "systematic",
    criterion: str = "ess",
    ess_ratio: float = 0.5,
    reconstruction: tf.Tensor | float = 1.0,
    beta: tf.Tensor | float = 1.0,
    fixed: bool = False,
) -> Filtered:
    """Proposes each z_t from q, weighs by alpha_t = p(x_t | .) p(z_t | .) / q(z_t | .), and resamples before the next.

    Padded frames leave weights alone and are never resampled at. No gradient passes through the choice of ancestors;
    all else is differentiable along the lineage of each particle.

    Args:
        num_samples: K.
        noise: of each latent by name, `[B * K, T, n]`.
        uniform: in (0, 1), `[B, T, n]`, n from `resampling.noise_dim`.
        mask: `[B, T]` of right-padded sequences.
        resampling, criterion, ess_ratio: see `FIVO`.
        reconstruction, beta: exponents of p(x_t | .) and of p(z_t | .) / q(z_t | .) in the weights.
        fixed: particles and weights are taken as given: no gradient passes through either.
    """
    decide, choose = CRITERIA[criterion], RESAMPLING[resampling]
    size = tf.shape(uniform)[0]
    own = tf.broadcast_to(tf.range(num_samples), [size, num_samples])
    equal = tf.fill([size, num_samples], -math.log(num_samples))
    equal = tf.ensure_shape(equal, [uniform.shape[0], num_samples])

    def resample(state: State, log_weights: tf.Tensor, uniform_t: tf.Tensor, exists: tf.Tensor | None) -> tuple:
        judged = tf.stop_gradient(log_weights)
        chosen = decide(judged, ess_ratio) if exists is None else decide(judged, ess_ratio) & exists
        ancestors = tf.where(chosen[:, None], choose(judged, uniform_t), own)
        rows = tf.reshape(ancestors + num_samples * tf.range(size)[:, None], [-1])
        state = tf.nest.map_structure(lambda y: tf.ensure_shape(tf.gather(y, rows), y.shape), state)
        return state, tf.where(chosen[:, None], equal, log_weights), ancestors, chosen

    def frame(carried: tuple[State, tf.Tensor], inputs: Any) -> tuple[tuple[State, tf.Tensor], Filtered]:
        (state, log_weights), (inputs_t, noise_t, uniform_t, exists) = carried, inputs
        ancestors, chosen = own, tf.zeros([size], tf.bool)
        if decide is not None:
            state, log_weights, ancestors, chosen = resample(state, log_weights, uniform_t, exists)
        if particles.shared:
            inputs_t = tf.nest.map_structure(lambda y: repeat_rows(y, num_samples), inputs_t)

        def draw(latent: Latent, q: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
            z = latent.q.sample(q, noise_t[latent.name])
            return (tf.stop_gradient(z), None) if fixed else (z, noise_t[latent.name])

        out = particles.advance(state, inputs_t, draw)
        found = [(latent, out.latents[latent.name]) for latent in particles.latents]
        nothing = tf.zeros_like(out.log_px)
        log_p = sum((latent.p.log_prob(path.p, path.z) for latent, path in found), nothing)
        log_q = sum((latent.q.log_prob(path.q, path.z, path.noise) for latent, path in found), nothing)
        parts = (out.log_px, log_p, log_q)
        parts = [tf.ensure_shape(tf.reshape(y, [-1, num_samples]), equal.shape) for y in parts]
        if exists is not None:
            parts = [tf.where(exists[:, None], y, tf.zeros_like(y)) for y in parts]
        # Not as a sum of three: TensorFlow makes one AddN of such, whose order hangs on which buffer is free first, so
        # that the same seed would not give the same bits.
        alpha = tf.reduce_sum(tf.stack([reconstruction * parts[0], beta * (parts[1] - parts[2])]), axis=0)
        joint = log_weights + (tf.stop_gradient(alpha) if fixed else alpha)
        evidence = tf.reduce_logsumexp(joint, axis=1)
        weighed = joint - evidence[:, None]
        if exists is not None:
            evidence = tf.where(exists, evidence, tf.zeros_like(evidence))
            weighed = tf.where(exists[:, None], weighed, log_weights)
        return (out.state, weighed), Filtered(evidence, *parts, tf.exp(weighed), ancestors, chosen)

    return loop.scan(frame, (particles.state, equal), (particles.inputs, noise, uniform, mask))[1]


def repeat_rows(x: tf.Tensor | None, count: int) -> tf.Tensor | None:
    """Each row of `x` `[B, ...]` in `count` adjacent rows."""
    if x is None:
        return None
    rows = None if x.shape[0] is None else x.shape[0] * count
    if x.dtype.is_floating:
        # XLA cannot find the shapes of the gradient of tf.repeat in a loop.
        copies = tf.expand_dims(x, 1) * tf.ones([count, *[1] * (x.shape.rank - 1)], x.dtype)
        repeated = tf.reshape(copies, tf.concat([[-1], tf.shape(x)[1:]], axis=0))
    else:
        repeated = tf.repeat(x, count, axis=0)
    return tf.ensure_shape(repeated, [rows, *x.shape[1:]])
