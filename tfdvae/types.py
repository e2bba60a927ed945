"""What crosses module borders, and the glossary of axes.

Axes: B batch, T time, D features of x, Z latent, U control inputs, K samples, P parameters of p(x_t | .), H hidden.
The API is batch-major, `[B, T, .]`. `mask` is `[B, T]`, true where a frame exists. Log-probabilities are in nats.
"""

from typing import Any, NamedTuple

import tensorflow as tf

__all__ = ["Batch", "Forecast", "Gaussian", "Generated", "Imputed", "Latent", "StepOutput", "StepTerms", "Trajectory"]

State = dict[str, Any]


class Gaussian(NamedTuple):
    """A diagonal Gaussian by its parameters; both `[..., Z]`, float32."""

    loc: tf.Tensor
    scale: tf.Tensor


class Latent(NamedTuple):
    """A latent vector that exists once per sequence: a sample `[B, V]`, its posterior and its prior.

    `share` is the part of its divergence that this sequence bears: less than 1 for what all sequences share.
    """

    z: tf.Tensor
    q: Gaussian
    p: Gaussian
    share: float = 1.0


class Batch(NamedTuple):
    """What a model sees: frames `[B, T, D]`, which of them exist `[B, T]`, and inputs `[B, T, U]`."""

    x: tf.Tensor
    mask: tf.Tensor | None = None
    u: tf.Tensor | None = None


class Trajectory(NamedTuple):
    """One path through a model: everything bounds, metrics and exporters may use.

    Attributes:
        z: sample of q along the path, `[B, T, Z]`.
        q: posterior q(z_t | .) along the path, each `[B, T, Z]`.
        p: prior p(z_t | .), evaluated on the same (posterior) path, each `[B, T, Z]`.
        x: parameters of p(x_t | .), `[B, T, P]`.
        global_latents: latents that exist once per sequence, by name.
        penalties: auxiliary losses in nats, by name, each `[B, T]`.
    """

    z: tf.Tensor
    q: Gaussian
    p: Gaussian
    x: tf.Tensor
    global_latents: dict[str, Latent] = {}
    penalties: dict[str, tf.Tensor] = {}


class StepTerms(NamedTuple):
    """The terms of every bound, in nats, already zero where `weight` is zero.

    Attributes:
        log_px: log p(x_t | .), `[B, T]`.
        kl: KL(q(z_t | .) || p(z_t | .)) of each latent dimension, `[B, T, Z]`.
        log_ratio: log p(z_t | .) - log q(z_t | .) at the sample, `[B, T]`.
        global_kl: KL of the once-per-sequence latents, `[B]`.
        global_log_ratio: their log p - log q at the sample, `[B]`.
        penalty: sum of the auxiliary losses, `[B, T]`.
        weight: 1 where a frame exists, else 0, `[B, T]`.
    """

    log_px: tf.Tensor
    kl: tf.Tensor
    log_ratio: tf.Tensor
    global_kl: tf.Tensor
    global_log_ratio: tf.Tensor
    penalty: tf.Tensor
    weight: tf.Tensor


class Generated(NamedTuple):
    """Frames drawn from a model: `x` `[B, T, D]`, the latents behind them `[B, T, Z]`, parameters of p(x_t | .)."""

    x: tf.Tensor
    z: tf.Tensor
    params: tf.Tensor


class Forecast(NamedTuple):
    """Continuations of given sequences: `samples` `[K, B, horizon, D]`, their `mean` `[B, horizon, D]`."""

    samples: tf.Tensor
    mean: tf.Tensor


class Imputed(NamedTuple):
    """Completed sequences: `samples` `[K, B, T, D]` and `mean` `[B, T, D]`; observed entries are as given."""

    samples: tf.Tensor
    mean: tf.Tensor


class StepOutput(NamedTuple):
    """One streamed frame: sample, posterior and prior of z_t (`[B, Z]`), parameters of p(x_t | .) `[B, P]`,

    `log_px` and `kl` of this frame in nats (`[B]`), and the state to give to the next call."""

    z: tf.Tensor
    q: Gaussian
    p: Gaussian
    x: tf.Tensor
    log_px: tf.Tensor
    kl: tf.Tensor
    state: State
