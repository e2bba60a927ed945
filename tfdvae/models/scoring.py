"""Verbs that judge sequences: posteriors, importance-sampled likelihoods and particle filters."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfdvae import random, validation
from tfdvae.bounds import FIVO, Filtered, Particles, log_weight, particle_filter
from tfdvae.bounds.resampling import noise_dim as resampling_noise
from tfdvae.models.streaming import CAUSAL_FORMS
from tfdvae.types import Batch, Move, Refined

__all__ = ["ScoringMixin"]


class ScoringMixin:
    """What every model does with sequences that are given."""

    def encode(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        refined: Refined | None = None,
    ) -> dict[str, Any]:
        """Posteriors along the path of their modes, by the names of the latents.

        Each is the NamedTuple of its family, for a Gaussian `loc` and `scale`: `[B, T, Z]`, or `[B, Z]` where the
        latent exists once per sequence. Beside them stands the state that a model has by another name and does not
        draw, `[B, T, Z]`: "z" of a DVBF. Zeros at frames that do not exist.

        Args:
            refined: what `refine` found for these sequences, whose posteriors are then told.

        Raises:
            ValueError: sequences that cannot be right, and other ones than were refined.
            NotImplementedError: a posterior through a flow, which has no parameters that would tell it refined.
        """
        batch = self.check(x, mask, u, observed, context)
        return self._encode(batch, self.moves_of(refined, batch))

    @tf.function(reduce_retracing=True, autograph=False)
    def _encode(self, batch: Batch, moves: Mapping[str, Move] | None = None) -> dict[str, Any]:
        if moves is not None:
            return self._moved_posteriors(batch, moves)
        path = self.infer(*batch)
        return {**{name: latent.q for name, latent in path.latents.items()}, **path.states}

    def log_prob(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        num_samples: int = 40,
        chunk: int = 8,
        seed: int | None = None,
        refined: Refined | None = None,
    ) -> tf.Tensor:
        """Importance-sampled log p(x), log 1/K sum_k p(x, z_k) / q(z_k | x), nats per sequence: `[B]`.

        A lower bound in expectation that tightens with K = `num_samples` (Burda et al. 2016; the VRNN paper takes
        40). Memory is bounded by `chunk` paths per sequence at a time. Without latent variables it is exact. Of partly
        observed frames it is the likelihood of what was observed.

        Args:
            refined: what `refine` found for these sequences: paths are then drawn from those posteriors, which need
                fewer of them.

        Raises:
            ValueError: sequences that cannot be right, or no samples.
        """
        num_samples = validation.whole("num_samples", num_samples, at_least=1)
        chunk = validation.whole("chunk", chunk, at_least=1)
        batch = self.check(x, mask, u, observed, context)
        seed_tensor = self.next_seed(seed)
        moves, partial = self.moves_of(refined, batch), []
        for start in range(0, num_samples, chunk):
            count = min(chunk, num_samples - start)
            partial.append(self._log_weight_sum(batch, random.fold_in(seed_tensor, start), count, moves))
        return tf.reduce_logsumexp(tf.stack(partial), axis=0) - tf.math.log(float(num_samples))

    @tf.function(reduce_retracing=True, autograph=False)
    def _log_weight_sum(
        self, batch: Batch, seed: tf.Tensor, count: int, moves: Mapping[str, Move] | None = None
    ) -> tf.Tensor:
        plain = moves is None
        weights = log_weight(
            self.sample_terms(batch, seed, count) if plain else self.moved_terms(batch, moves, seed, count)
        )
        return tf.reduce_logsumexp(tf.reshape(weights, [-1, count]), axis=1)

    def particle_log_prob(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        num_samples: int = 128,
        resampling: str = "systematic",
        criterion: str = "ess",
        ess_ratio: float = 0.5,
        seed: int | None = None,
    ) -> tf.Tensor:
        """log p(x) by a particle filter with q as its proposal, nats per sequence: `[B]`.

        A lower bound in expectation (the FIVO bound of K = `num_samples` particles), whose slack grows with the number
        of frames as T / K, where that of `log_prob` grows exponentially. For causal models.

        Args:
            resampling, criterion, ess_ratio: see `tfdvae.bounds.FIVO`.

        Raises:
            ValueError: the posterior of a frame sees later ones; see `FIVO` for the others.
        """
        num_samples = validation.whole("num_samples", num_samples, at_least=1)
        self.check_particles("`particle_log_prob`")
        FIVO(num_samples, resampling, criterion, ess_ratio)
        batch = self.check(x, mask, u, observed, context)
        return self._particle_log_prob(batch, self.next_seed(seed), num_samples, resampling, criterion, ess_ratio)

    @tf.function(reduce_retracing=True, autograph=False)
    def _particle_log_prob(self, batch: Batch, seed: tf.Tensor, count: int, *options: Any) -> tf.Tensor:
        rule = dict(zip(("resampling", "criterion", "ess_ratio"), options, strict=True))
        return tf.reduce_sum(self.filter_particles(batch, seed, count, **rule).log_evidence, axis=1)

    def filter_particles(
        self, batch: Batch, seed: tf.Tensor, num_samples: int, *, resampling: str = "systematic", **options: Any
    ) -> Filtered:
        """A particle filter with q as its proposal, K particles per sequence; frames packed to the left.

        Args:
            resampling, **options: see `tfdvae.bounds.particle_filter`.
        """
        packed, _ = self.pack(batch)
        size, length = tf.shape(packed.x)[0], packed.x.shape[1] or tf.shape(packed.x)[1]
        noise = self.draw_noise(seed, size * num_samples, length)
        shape = [size, length, resampling_noise(resampling, num_samples)]
        uniform = random.uniform(random.fold_in(seed, "resampling"), shape)
        particles = self.particles(packed, num_samples)
        return particle_filter(particles, num_samples, noise, uniform, packed.mask, resampling=resampling, **options)

    def particles(self, packed: Any, num_samples: int) -> Particles:
        """This model as a particle filter sees it, for right-padded sequences; causal models implement it."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `particles`.")

    @property
    def has_penalties(self) -> bool:
        """Whether training adds auxiliary losses to the bound."""
        return False

    def check_particles(self, what: str) -> None:
        """Raises ValueError where a particle filter cannot run frame by frame."""
        reason = self.not_by_frames
        if reason is not None:
            raise ValueError(
                f"{what} weighs particles frame by frame, and {type(self).__name__} as configured {reason}. Take the "
                f"bound 'elbo' or 'iwae' (and `log_prob`), which every model has; or choose {CAUSAL_FORMS}."
            )

    @property
    def not_by_frames(self) -> str | None:
        """What keeps this model from inferring and scoring one frame after the other; None where nothing does."""
        if not self.causal:
            return self.not_causal
        if self.sequence_latents:
            return "has latents that exist once per sequence, which no resampling can renew"
        if not all(latent.in_loop for latent in self.latents):
            return "draws latents of all frames before the first one is weighed"
        return None
