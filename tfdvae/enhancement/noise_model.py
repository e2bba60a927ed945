"""Noise of low rank: what a mixture of speech and noise has besides speech, learnt from that mixture alone.

Axes: B mixtures, K samples of the latents of speech, T frames, F frequencies, R spectra that noise is made of.
"""

from typing import NamedTuple

import tensorflow as tf

__all__ = [
    "LowRankNoise",
    "Mixture",
    "log_likelihood",
    "log_steadiness",
    "quiet_spectrum",
    "start_noise",
    "updated",
    "wiener_gain",
]

FLOOR = 1e-10
"""What variances do not fall below, in the units of power spectra of waveforms in [-1, 1], where the rounding of 16
bits is about 4e-8."""

QUIET = 0.1
"""Part of the frames, those with the least power, that the first guess of the noise is made of."""


class LowRankNoise(NamedTuple):
    """Variances of noise, (W H)_ft as a non-negative matrix factorisation.

    Attributes:
        templates: R spectra per mixture, `[B, R, F]`.
        activations: how much of each is in each frame, `[B, T, R]`.
    """

    templates: tf.Tensor
    activations: tf.Tensor

    @property
    def power(self) -> tf.Tensor:
        """Variances of the noise, `[B, T, F]`."""
        return tf.matmul(self.activations, self.templates) + FLOOR


class Mixture(NamedTuple):
    """What explains x_ft ~ N_c(0, g_t v_s,ft + (W H)_ft) but for the variances v_s of speech.

    Attributes:
        noise: W and H.
        gain: g_t, how loud the speech is beside that which its model was trained on, `[B, T, 1]`.
    """

    noise: LowRankNoise
    gain: tf.Tensor

    def variance(self, speech: tf.Tensor) -> tf.Tensor:
        """Of the mixture, for variances of speech `[B, K, T, F]`."""
        return self.gain[:, None] * speech + self.noise.power[:, None]


def log_likelihood(power: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
    """log N_c(x_t; 0, diag v_t) + F log pi, nats per frame `[...]`, of |x|^2 and v `[..., F]`: the density of the power
    itself, as `tfdvae.observations.Gamma` has it."""
    return -tf.reduce_sum(tf.math.log(variance) + power / variance, axis=-1)


def wiener_gain(speech: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """v_s / (v_s + v_n): what the posterior mean of speech is, as a part of the mixture, where both variances are
    known."""
    return speech / (speech + noise)


def quiet_spectrum(power: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
    """Mean power `[B, F]` of the tenth of the frames (at least one) of |x|^2 `[B, T, F]` that is most quiet.

    Args:
        exists: which frames there are, `[B, T]` bool, at least one per mixture.
    """
    level = tf.where(exists, tf.reduce_sum(power, axis=-1), power.dtype.max)
    count = tf.reduce_sum(tf.cast(exists, tf.int32), axis=1, keepdims=True)
    count = tf.maximum(1, tf.cast(QUIET * tf.cast(count, tf.float32), tf.int32))
    rank = tf.argsort(tf.argsort(level, axis=1, stable=True), axis=1)
    chosen = tf.cast(rank < count, power.dtype)
    return tf.matmul(chosen[:, None], power)[:, 0] / tf.cast(count, power.dtype)


def start_noise(power: tf.Tensor, exists: tf.Tensor, uniform: tf.Tensor) -> LowRankNoise:
    """A first guess: the spectrum of the quiet frames, divided among R spectra that differ at random.

    Args:
        power: |x|^2 `[B, T, F]`.
        exists: which frames there are, `[B, T]` bool.
        uniform: numbers from (0, 1), `[B, R, F]`; the same start follows from the same numbers.
    """
    rank = tf.cast(tf.shape(uniform)[1], power.dtype)
    templates = (quiet_spectrum(power, exists) + FLOOR)[:, None] * (0.5 + uniform)
    activations = tf.ones(tf.concat([tf.shape(power)[:2], tf.shape(uniform)[1:2]], axis=0), power.dtype) / rank
    return LowRankNoise(templates, activations)


def log_steadiness(noise: LowRankNoise, exists: tf.Tensor, steadiness: float) -> tf.Tensor:
    """log p(H), nats per mixture `[B]`, up to a constant: what holds noise to a level that does not change,

        log p(H) = -lambda sum_tr (log h_tr + 1 / (R h_tr)),

    the likelihood of lambda more frequencies in each frame, whose power is 1 / R and whose variance h_tr. Without it
    h_tr may be 0, in frames that are digital silence."""
    if not steadiness:
        return tf.zeros(tf.shape(noise.activations)[:1], noise.activations.dtype)
    rank = tf.cast(tf.shape(noise.activations)[2], noise.activations.dtype)
    held = tf.math.log(noise.activations) + 1.0 / (rank * noise.activations)
    return -steadiness * tf.reduce_sum(tf.where(exists[..., None], held, 0.0), axis=(1, 2))


def updated(
    mixture: Mixture, power: tf.Tensor, speech: tf.Tensor, exists: tf.Tensor, gain: str, steadiness: float = 0.0
) -> Mixture:
    """The M-step: multiplicative updates of H, W and g in turn. None of them lets the likelihood of the mixture, as a
    mean over the K samples, fall; with a steadiness, the sum of it and `log_steadiness`.

    Each maximises a lower bound of it that touches it where it stands (Févotte and Idier 2011, whose bound gives
    the square root; for samples of v_s, Leglaive et al. 2018): with means over K of P / v^2 and 1 / v, v = g v_s + W H,

        H <- H sqrt(([P / v^2] W^T) / ([1 / v] W^T)),    W, g likewise.

    The steadiness lambda, which the papers do not have, counts as lambda more frequencies, which see h_tr alone: it
    adds lambda / (R h^2) above and lambda / h below.

    Args:
        mixture: where it stands.
        power: P = |x|^2 `[B, T, F]`.
        speech: samples of v_s `[B, K, T, F]`.
        exists: which frames there are, `[B, T]` bool.
        gain: "frame" for a g_t of each frame, "sequence" for one g per mixture, "none" where it stays.
        steadiness: lambda, 0 or more.
    """
    there = tf.cast(exists, power.dtype)[..., None]

    def slopes(mixture: Mixture) -> tuple[tf.Tensor, tf.Tensor]:
        """P / v^2 and 1 / v, `[B, K, T, F]`, zero where there is no frame."""
        inverse = there[:, None] / mixture.variance(speech)
        return power[:, None] * tf.square(inverse), inverse

    def factor(up: tf.Tensor, down: tf.Tensor) -> tf.Tensor:
        # Where nothing hangs on it, such as a frame that does not exist, it stays.
        return tf.where(down > 0.0, tf.sqrt(up / tf.where(down > 0.0, down, 1.0)), 1.0)

    up, down = (tf.reduce_mean(y, axis=1) for y in slopes(mixture))
    templates, activations = mixture.noise
    up, down = (tf.matmul(y, templates, transpose_b=True) for y in (up, down))
    if steadiness:
        held = steadiness * there / activations
        rank = tf.cast(tf.shape(activations)[2], power.dtype)
        up, down = up + held / (rank * activations), down + held
    activations *= factor(up, down)
    mixture = mixture._replace(noise=LowRankNoise(templates, activations))

    up, down = (tf.reduce_mean(y, axis=1) for y in slopes(mixture))
    templates *= factor(*(tf.matmul(activations, y, transpose_a=True) for y in (up, down)))
    mixture = mixture._replace(noise=LowRankNoise(templates, activations))

    if gain == "none":
        return mixture
    axes = (1, 3) if gain == "frame" else (1, 2, 3)
    up, down = (tf.reduce_sum(speech * y, axis=axes) for y in slopes(mixture))
    scale = factor(up, down)
    return mixture._replace(gain=mixture.gain * (scale[..., None] if gain == "frame" else scale[:, None, None]))
