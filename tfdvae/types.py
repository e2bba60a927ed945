"""What crosses module borders, and the glossary of axes.

Axes: B batch, T time, D features of x, Z latent, G groups of a KL, U control inputs, C context, K samples, P parameters
of p(x_t | .), H hidden. The API is batch-major, `[B, T, .]`. `mask` is `[B, T]`, true where a frame exists; `observed`
is `[B, T, D]`, true where a frame that exists was measured. Log-probabilities are in nats.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae.forecasts import Forecast, Interval

__all__ = [
    "Averaged",
    "Batch",
    "Drawing",
    "Forecast",
    "Gaussian",
    "Generated",
    "Imputed",
    "Interval",
    "LatentPath",
    "LatentTerms",
    "Move",
    "Refined",
    "Segmentation",
    "StateEstimate",
    "StepOutput",
    "StepTerms",
    "Trajectory",
]

State = dict[str, Any]


class Gaussian(NamedTuple):
    """A diagonal Gaussian by its parameters; both `[..., Z]`, float32."""

    loc: tf.Tensor
    scale: tf.Tensor


class Batch(NamedTuple):
    """What a model sees of B sequences; only `x` is always there. Every verb takes these five, in this order.

    Attributes:
        x: frames `[B, T, D]`; outside of a model they may have any shape, `[B, T, H, W, C]` for pictures.
        mask: which frames exist, `[B, T]`.
        u: control inputs `[B, T, U]`.
        observed: which entries of frames that exist were measured, `[B, T, D]` (`[B, T]` for whole frames).
        context: what is known of each sequence, `[B, C]`: its class, speaker or subject.
    """

    x: Any
    mask: Any = None
    u: Any = None
    observed: Any = None
    context: Any = None


class Averaged(NamedTuple):
    """Pairs of a posterior and a prior, one for each value of a discrete latent, whose KL a bound averages: what the
    latent chooses is integrated out, so that no gradient passes through a drawn value.

    Attributes:
        weight: probabilities of the K values, `[B, T, K]`.
        q, p: parameters of the families of the latent that it chooses for, `[B, T, K, ...]`.
    """

    weight: tf.Tensor
    q: Any
    p: Any


class LatentPath(NamedTuple):
    """One latent variable along a path of the model.

    Attributes:
        z: the sample of q, `[B, T, Z]`; `[B, Z]` where the latent exists once per sequence.
        q: parameters of its posterior at that path, a NamedTuple of its family.
        p: parameters of its prior at the same path.
        noise: what z was drawn with, None along the means. It spares a flow its inversion.
        terms: log p, log q and KL, where the model knows them better than the families do: a posterior with
            structure over time brings its own, frame by frame, by the chain rule.
        average: where its KL is a mean over the values of a discrete latent; log p and log q stay those at the sample.
    """

    z: tf.Tensor
    q: Any
    p: Any
    noise: tf.Tensor | None = None
    terms: "LatentTerms | None" = None
    average: Averaged | None = None


class LatentTerms(NamedTuple):
    """What one latent variable adds to a bound, in nats: `[B, T]`, or `[B]` where it exists once per sequence.

    Attributes:
        log_p, log_q: log-densities of prior and posterior at the sample.
        kl: KL(q || p) by groups, `[B, T, G]` or `[B, G]`: of each dimension of a diagonal Gaussian, of each group of
            categoricals; log q - log p at the sample, as one group, where there is no closed form.
    """

    log_p: tf.Tensor
    log_q: tf.Tensor
    kl: tf.Tensor


class Trajectory(NamedTuple):
    """One path through a model: everything bounds, metrics and exporters may use.

    Attributes:
        latents: the latent variables by name, in the order in which they are drawn.
        x: parameters of p(x_t | .), `[B, T, P]`.
        penalties: auxiliary losses in nats, by name, each `[B, T]`.
        states: deterministic states that the model tells of (`StochasticCell.states`), by name, each `[B, T, .]`.
    """

    latents: dict[str, LatentPath]
    x: tf.Tensor
    penalties: dict[str, tf.Tensor] = {}
    states: dict[str, tf.Tensor] = {}


class StepTerms(NamedTuple):
    """The terms of every bound, in nats, already zero where `weight` is zero.

    Attributes:
        log_px: log p(x_t | .) of what was observed, `[B, T]`.
        latents: what each latent variable adds, by name.
        penalty: sum of the auxiliary losses, `[B, T]`.
        weight: 1 where a frame exists, else 0, `[B, T]`.
    """

    log_px: tf.Tensor
    latents: dict[str, LatentTerms]
    penalty: tf.Tensor
    weight: tf.Tensor

    def of_frames(self) -> dict[str, LatentTerms]:
        """The latents that have a term at each frame."""
        return {name: terms for name, terms in self.latents.items() if terms.log_q.shape.rank == 2}

    def of_sequences(self) -> dict[str, LatentTerms]:
        """The latents that have one term per sequence."""
        return {name: terms for name, terms in self.latents.items() if terms.log_q.shape.rank == 1}

    @property
    def kl(self) -> tf.Tensor:
        """KL of all latents of each frame, `[B, T]`."""
        return sum((tf.reduce_sum(t.kl, axis=-1) for t in self.of_frames().values()), tf.zeros_like(self.log_px))

    @property
    def log_ratio(self) -> tf.Tensor:
        """log p - log q at the sample of all latents of each frame, `[B, T]`."""
        return sum((t.log_p - t.log_q for t in self.of_frames().values()), tf.zeros_like(self.log_px))

    @property
    def sequence_kl(self) -> tf.Tensor:
        """KL of the latents that exist once per sequence, `[B]`."""
        start = tf.zeros_like(self.log_px[:, 0])
        return sum((tf.reduce_sum(t.kl, axis=-1) for t in self.of_sequences().values()), start)

    @property
    def sequence_log_ratio(self) -> tf.Tensor:
        """Their log p - log q at the sample, `[B]`."""
        return sum((t.log_p - t.log_q for t in self.of_sequences().values()), tf.zeros_like(self.log_px[:, 0]))


class Generated(NamedTuple):
    """Frames drawn from a model.

    Attributes:
        x: `[B, T, D]`.
        latents: the latent variables of each frame behind them, `[B, T, Z]` by name.
        params: parameters of p(x_t | .), `[B, T, P]`.
    """

    x: tf.Tensor
    latents: dict[str, tf.Tensor]
    params: tf.Tensor


class Imputed(NamedTuple):
    """Completed sequences: `samples` `[K, B, T, D]` and `mean` `[B, T, D]`; observed entries are as given."""

    samples: tf.Tensor
    mean: tf.Tensor


class Drawing(NamedTuple):
    """How pictures were drawn in G glimpses; zeros at frames that do not exist.

    Attributes:
        frames: E[x_t | .] if nothing were drawn after each glimpse, `[B, T, G, D]` or in the shape of frames.
        read: the window through which each glimpse looked, `[B, T, G, 4]`: row and column of its middle, its side, and
            the standard deviation of its filters, all in pixels; None without attention, and where nothing was seen.
        write: the window in which it drew, likewise.
    """

    frames: tf.Tensor
    read: tf.Tensor | None
    write: tf.Tensor | None


class Move(NamedTuple):
    """Another law of the normal noise of a latent: N(`shift`, exp(`log_scale`)^2) of each entry, `[B, T, n]` or
    `[B, n]`."""

    shift: tf.Tensor
    log_scale: tf.Tensor


class Refined(NamedTuple):
    """What `refine` found for some sequences.

    Attributes:
        moves: of the noise of each latent, by name, aligned with x.
        bound: of each sequence under the moved posteriors, nats, `[B]`: a mean over paths from noise that was the same
            for all.
        amortised: that of the networks' own posteriors, from the same noise, `[B]`; never above `bound`.
    """

    moves: dict[str, Move]
    bound: tf.Tensor
    amortised: tf.Tensor


class Segmentation(NamedTuple):
    """Which regime each frame is in.

    Attributes:
        probabilities: q(s_t), `[B, T, K]`; zeros at frames that do not exist.
        path: the regimes that are most likely together, `[B, T]` int32; -1 at frames that do not exist.
    """

    probabilities: tf.Tensor
    path: tf.Tensor


class StepOutput(NamedTuple):
    """One streamed frame.

    Attributes:
        latents: the latent variables of the frame by name; in each, tensors `[B, .]`.
        x: parameters of p(x_t | .), `[B, P]`.
        log_px: log p(x_t | .) of what was observed, nats, `[B]`.
        kl: KL of all latents of the frame, nats, `[B]`.
        state: to give to the next call.
    """

    latents: dict[str, LatentPath]
    x: tf.Tensor
    log_px: tf.Tensor
    kl: tf.Tensor
    state: State


class StateEstimate(NamedTuple):
    """What the Kalman filter or smoother says about each frame; zeros at frames that do not exist.

    Attributes:
        mean: of z_t, `[B, T, Z]`.
        covariance: of z_t, `[B, T, Z, Z]`.
        weights: alpha_t of the mixture, `[B, T, K]`.
        encoding: mean of a_t, C_t times that of z_t, `[B, T, A]`.
        x: mean of p(x_t | a_t) at that a_t, in the shape of the frames, `[B, T, D]`.
    """

    mean: tf.Tensor
    covariance: tf.Tensor
    weights: tf.Tensor
    encoding: tf.Tensor
    x: tf.Tensor
