"""Variational EM for a mixture of speech, whose prior is a DVAE, and noise of low rank (Bie et al. 2022)."""

from typing import NamedTuple

import tensorflow as tf

from tfdvae import masks, random
from tfdvae.arguments import real, whole
from tfdvae.bounds import log_weight
from tfdvae.enhancement.noise_model import (
    FLOOR,
    Mixture,
    log_likelihood,
    log_steadiness,
    quiet_spectrum,
    start_noise,
    updated,
    wiener_gain,
)
from tfdvae.models import DVAE
from tfdvae.models.moves import adam
from tfdvae.types import Batch, Move, StepTerms

__all__ = ["Found", "VariationalEM"]

GAINS = ("frame", "sequence", "none")

WEAKEST = 0.1
"""Gain that frames which networks see keep at least, since a spectrum with holes is none that they know."""


class _Search(NamedTuple):
    """Where EM stands: moves of the noise with Adam's moments, the frames that networks see, and W, H, g."""

    moves: dict[str, Move]
    means: dict[str, Move]
    squares: dict[str, Move]
    seen: tf.Tensor
    mixture: Mixture


class Found(NamedTuple):
    """What EM found for B mixtures.

    Attributes:
        gain: E[g v_s / (g v_s + W H)] over the posterior of the latents, in [0, 1]: the posterior mean of speech is
            that part of the mixture, `[B, T, F]`.
        noise: variances of the noise, `[B, T, F]`.
        bounds: the objective at each iteration, before its steps, from the samples it drew, nats per mixture `[S, B]`.
    """

    gain: tf.Tensor
    noise: tf.Tensor
    bounds: tf.Tensor


class VariationalEM:
    """Variational EM, of a model and its options; one trace serves all mixtures.

        x_ft = sqrt(g_t) s_ft + n_ft,    s_ft | z ~ N_c(0, v_s,ft(z)),    n_ft ~ N_c(0, (W H)_ft)
        L(q, g, W, H) = E_q [ sum_ft log N_c(x_ft; 0, g_t v_s,ft(z) + (W H)_ft) ] - KL(q(z) || p(z)) + log p(H)

    log p(H), which the paper has not, is `log_steadiness`; 0 with a steadiness of 0.

    Each iteration draws noise, makes a step of Adam on q with the samples of z that follow from it (E-step, in part),
    and then a multiplicative update of W, H and g with those of the new q (M-step). The speech is at last the posterior
    mean, which is a Wiener filter given z, as a mean over samples.

    Bie et al. fine-tune the weights of the encoder on the mixture. Here q itself has parameters for the mixture, those
    of `DVAE.refine`: each latent's noise becomes N(m, s^2), entry by entry, which starts at what the networks say of
    the frames they see. So the model stays as it is, mixtures do not share a step, and no model has to say which of
    its weights are the encoder's. The mixture enters through the density alone: the model's parameters of p(s_t | .)
    give v_s, and its own frames score nothing.

    The first iterations move q alone, which the paper does not: noise that is learnt while q is still far from the
    mixture takes the speech for noise, and keeps it.

    Frames that the networks see are the mixture's power times a Wiener gain whose noise is the spectrum of the quiet
    frames. In models whose p(s_t | .) reads s_<t (`hears_frames`) they stand for the clean speech as well, and are
    replaced, in each M-step, by what is known of it: E|s_ft|^2. The objective is one given them, and may fall then.

    Args:
        model: a DVAE of power spectra.
        rank: columns of W.
        num_samples: paths of latents per iteration.
        gain: whether g is learnt for each "frame", for the "sequence", or is 1 ("none").
        steadiness: of `log_steadiness`; 0 for none.

    Raises:
        ValueError: another gain, counts that are no whole numbers or less than 1, or a negative steadiness.
    """

    def __init__(self, model: DVAE, rank: int = 8, num_samples: int = 1, gain: str = "none", steadiness: float = 0.0):
        if gain not in GAINS:
            raise ValueError(f"`gain` must be one of {', '.join(GAINS)}; got {gain!r}.")
        self.model = model
        self.rank = whole("rank", rank, at_least=1)
        self.num_samples = whole("num_samples", num_samples, at_least=1)
        self.gain = gain
        self.steadiness = real("steadiness", steadiness)
        self.hears = model.hears_frames

    def run(
        self,
        power: tf.Tensor,
        exists: tf.Tensor,
        *,
        steps: int,
        settling: int,
        learning_rate: float,
        seed: int,
        final_samples: int,
    ) -> Found:
        """EM on mixtures.

        Args:
            power: |x|^2 `[B, T, F]`, right-padded.
            exists: which frames there are, `[B, T]` bool.
            steps: iterations, S.
            settling: how many of them, the first ones, move q alone.
            learning_rate: of the first step on q, in standard deviations of the noise; it falls to zero.
            seed: of all samples, and of the start of W.
            final_samples: samples of z that the speech is a mean over.
        """
        seeds = random.make_seed(seed)
        search = self._start(power, exists, random.fold_in(seeds, "start"))
        bounds = []
        for step in range(steps):
            rate = tf.constant(learning_rate * (1.0 - step / steps))
            own = random.fold_in(seeds, step)
            learns = tf.constant(step >= settling)
            search, bound = self._iterate(power, exists, search, own, tf.constant(step + 1.0), rate, learns)
            bounds.append(bound)
        gain = self._filter(exists, search, random.fold_in(seeds, "speech"), final_samples)
        found = tf.stack(bounds) if bounds else tf.zeros([0, tf.shape(power)[0]])
        return Found(gain, search.mixture.noise.power, found)

    @tf.function(reduce_retracing=True, autograph=False)
    def _start(self, power: tf.Tensor, exists: tf.Tensor, seed: tf.Tensor) -> _Search:
        size, length = tf.shape(power)[0], tf.shape(power)[1]
        zeros = {}
        for latent in self.model.moved_latents:
            still = tf.zeros(latent.noise_shape(size, length))
            zeros[latent.name] = Move(still, still)
        uniform = random.uniform(seed, [size, self.rank, power.shape[-1]])
        mixture = Mixture(start_noise(power, exists, uniform), tf.ones(tf.concat([tf.shape(power)[:2], [1]], axis=0)))
        quiet = quiet_spectrum(power, exists)[:, None] + FLOOR
        wiener = wiener_gain(tf.maximum(power - quiet, 0.0), quiet)
        seen = power * tf.square(tf.maximum(wiener, WEAKEST))
        return _Search(zeros, zeros, zeros, seen, mixture)

    @tf.function(reduce_retracing=True, autograph=False)
    def _iterate(
        self,
        power: tf.Tensor,
        exists: tf.Tensor,
        search: _Search,
        seed: tf.Tensor,
        step: tf.Tensor,
        rate: tf.Tensor,
        learns: tf.Tensor,
    ) -> tuple[_Search, tf.Tensor]:
        """One iteration, with its M-step where `learns`, and the objective that it began from, `[B]`."""
        moves = search.moves
        with tf.GradientTape() as tape:
            tape.watch(moves)
            bound, _ = self.objective(power, exists, search, seed, self.num_samples)
        slopes = tape.gradient(bound, moves, unconnected_gradients="zero")
        moves, means, squares = adam(moves, slopes, search.means, search.squares, step, rate)
        search = _Search(moves, means, squares, search.seen, search.mixture)
        return tf.cond(learns, lambda: self._maximise(power, exists, search, seed), lambda: search), bound

    def _maximise(self, power: tf.Tensor, exists: tf.Tensor, search: _Search, seed: tf.Tensor) -> _Search:
        """The M-step, with samples of the new q from the noise that its step was made with."""
        speech, _ = self._speech(exists, search, seed, self.num_samples)
        mixture = updated(search.mixture, power, speech, exists, self.gain, self.steadiness)
        if not self.hears:
            return search._replace(mixture=mixture)
        gain, noise = mixture.gain[:, None], mixture.noise.power[:, None]
        # E|s|^2 without a division by g, which is 0 in frames that are digital silence: what is known of them is v_s.
        ratio = speech / (gain * speech + noise)
        clean = tf.reduce_mean(ratio * (gain * ratio * power[:, None] + noise), axis=1)
        return search._replace(mixture=mixture, seen=clean)

    def objective(
        self, power: tf.Tensor, exists: tf.Tensor, search: _Search, seed: tf.Tensor, count: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """L, nats per mixture `[B]`, and the samples of v_s that it is from, `[B, K, T, F]`."""
        speech, terms = self._speech(exists, search, seed, count)
        found = log_likelihood(power[:, None], search.mixture.variance(speech))
        found = tf.reshape(found, [-1, tf.shape(power)[1]])
        there = tf.repeat(exists, count, axis=0)
        weights = log_weight(terms._replace(log_px=masks.zero_masked(found, there)))
        bound = tf.reduce_mean(tf.reshape(weights, [-1, count]), axis=1)
        return bound + log_steadiness(search.mixture.noise, exists, self.steadiness), speech

    def _speech(self, exists: tf.Tensor, search: _Search, seed: tf.Tensor, count: int) -> tuple[tf.Tensor, StepTerms]:
        """Samples of v_s `[B, K, T, F]`, and the terms of their latents."""
        path, terms = self.model.moved_path(Batch(search.seen, exists), search.moves, seed, count)
        speech = self.model.frames.mean(path.x)
        return tf.reshape(speech, [-1, count, tf.shape(speech)[1], speech.shape[-1]]), terms

    @tf.function(reduce_retracing=True, autograph=False)
    def _filter(self, exists: tf.Tensor, search: _Search, seed: tf.Tensor, count: int) -> tf.Tensor:
        """The posterior mean of speech as a part of the mixture, `[B, T, F]`."""
        speech, _ = self._speech(exists, search, seed, count)
        gain, noise = search.mixture.gain[:, None], search.mixture.noise.power[:, None]
        return tf.reduce_mean(wiener_gain(gain * speech, noise), axis=1)
