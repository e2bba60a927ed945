"""Inference for the data at hand: posteriors that gradient steps improve from where the networks put them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import masks, random, validation
from tfdvae.bounds import log_weight
from tfdvae.models.frame_refining import moves_by_frame
from tfdvae.models.moves import adam, at_rest, chosen, law_change, moved_noise
from tfdvae.models.streaming import CAUSAL_FORMS
from tfdvae.types import Batch, Imputed, Move, Refined, StepTerms, Trajectory

__all__ = ["RefiningMixin"]

_RATE = 0.05


class _Search(NamedTuple):
    """Where the ascent stands: the moves, Adam's moments of each, their bound `[B]`, and the best moves so far with
    theirs."""

    moves: dict[str, Move]
    means: dict[str, Move]
    squares: dict[str, Move]
    bound: tf.Tensor
    best: dict[str, Move]
    best_bound: tf.Tensor


class RefiningMixin:
    """What a model with reparameterised latents can do beyond its inference network."""

    def refine(
        self,
        x: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        steps: int = 50,
        num_samples: int = 8,
        learning_rate: float = _RATE,
        by: str = "sequence",
        seed: int | None = None,
    ) -> Refined:
        """Improves the posteriors of these sequences by gradient ascent on their bound (Marino et al. 2018; Kim et al.
        2018 start from it, too).

        A latent is a function of noise eps ~ N(0, I), so q(z | x) is improved by another law of its noise: each entry,
        of each frame of each sequence, becomes N(m, s^2), where m = 0 and s = 1 is what the networks say. So it is for
        every family and every model whose latents take normal noise; posteriors given earlier latents stay what they
        are. Categorical latents, and those of segments and of the data set, stay as they are.

        The ascent (Adam, at a rate that falls to zero) draws noise anew at each step. Each step is judged, for each
        sequence by itself, under noise that all steps share. The last one is kept where it is better than the networks'
        own posterior, else the best one, else that posterior: no bound falls. (The best of many noisy estimates would
        often be a lucky one.)

        All frames of a sequence are improved together, each for what it does to all others. Frame by frame (variational
        filtering, Marino et al. 2018) a causal model stays one: see `tfdvae.models.frame_refining`.

        Args:
            x, mask, u, observed, context: the sequences, as everywhere. With `observed` it is the bound of what was
                observed, and `impute(..., refined=)` draws what is missing given that.
            steps: of the ascent, at each frame where it goes frame by frame.
            num_samples: paths per sequence, of each gradient and of the shared noise.
            learning_rate: of the first step, in standard deviations of the noise.
            by: "sequence", or "frame" for models whose latents are inferred frame by frame.

        Returns:
            Refined, for `encode`, `impute` and `log_prob` of the same sequences.

        Raises:
            ValueError: no latent takes normal noise, no steps, sequences that cannot be right, or "frame" for a model
                that infers latents from later frames or outside of the loop over frames.

        Example:
            refined = model.refine(x, observed=seen, steps=100)
            gained = refined.bound - refined.amortised  # nats per sequence
            filled = model.impute(x, observed=seen, refined=refined).mean
        """
        steps = validation.whole("steps", steps, at_least=1)
        num_samples = validation.whole("num_samples", num_samples, at_least=1)
        learning_rate = validation.real("learning_rate", learning_rate, positive=True)
        if by not in ("sequence", "frame"):
            raise ValueError(f"`by` must be 'sequence' or 'frame', got {by!r}.")
        batch = self.check(x, mask, u, observed, context)
        if not self.moved_latents:
            raise ValueError(
                f"`refine` moves normal noise of latents of frames and sequences, of which {type(self).__name__} as "
                "configured has none."
            )
        if by == "frame" and self.not_by_frames is not None:
            raise ValueError(
                f"by='frame' improves one frame after the other, and {type(self).__name__} as configured "
                f"{self.not_by_frames}. Take by='sequence', or choose {CAUSAL_FORMS}."
            )
        seed_tensor = self.next_seed(seed)
        kept = random.fold_in(seed_tensor, "kept")
        search = start = self._start_search(batch, kept, num_samples)
        if by == "frame":
            rate = tf.constant(learning_rate)
            found = self._moves_by_frame(batch, random.fold_in(seed_tensor, "frames"), kept, num_samples, steps, rate)
            return Refined(*chosen(found[1] > start.bound, found, (start.moves, start.bound)), start.bound)
        for step in range(steps):
            own = random.fold_in(seed_tensor, step)
            rate = tf.constant(learning_rate * (1.0 - step / steps))
            search = self._ascend(batch, search, own, kept, num_samples, tf.constant(step + 1.0), rate)
        return Refined(*self._kept(search, start.bound), start.bound)

    @property
    def moved_latents(self) -> tuple[Any, ...]:
        """The latents that `refine` improves: of frames or sequences, from normal noise."""
        levels = ("frame", "sequence")
        return tuple(y for y in self.latents if y.level in levels and y.q.noise_kind == "normal" and y.q.noise_dim)

    @tf.function(reduce_retracing=True, autograph=False)
    def _start_search(self, batch: Batch, seed: tf.Tensor, count: int) -> _Search:
        size, length = tf.shape(batch.x)[0], batch.x.shape[1] or tf.shape(batch.x)[1]
        still, means, squares = (at_rest(self.moved_latents, size, length) for _ in range(3))
        bound = self._bound_of(batch, still, seed, count)
        return _Search(still, means, squares, bound, still, bound)

    @tf.function(reduce_retracing=True, autograph=False)
    def _ascend(
        self,
        batch: Batch,
        search: _Search,
        seed: tf.Tensor,
        kept: tf.Tensor,
        count: int,
        step: tf.Tensor,
        rate: tf.Tensor,
    ) -> _Search:
        """One step of the ascent, and what it is worth."""
        moves = search.moves
        with tf.GradientTape() as tape:
            tape.watch(moves)
            bound = self._bound_of(batch, moves, seed, count)
        slopes = tape.gradient(bound, moves, unconnected_gradients="zero")
        moves, means, squares = adam(moves, slopes, search.means, search.squares, step, rate)
        bound = self._bound_of(batch, moves, kept, count)
        best, best_bound = chosen(bound > search.best_bound, (moves, bound), (search.best, search.best_bound))
        return _Search(moves, means, squares, bound, best, best_bound)

    @tf.function(reduce_retracing=True, autograph=False)
    def _moves_by_frame(
        self, batch: Batch, seed: tf.Tensor, kept: tf.Tensor, count: int, steps: int, rate: tf.Tensor
    ) -> tuple[dict[str, Move], tf.Tensor]:
        """The moves of variational filtering, and their bound."""
        moves = moves_by_frame(self, batch, seed, count, steps, rate)
        return moves, self._bound_of(batch, moves, kept, count)

    @staticmethod
    def _kept(search: _Search, amortised: tf.Tensor) -> tuple[dict[str, Move], tf.Tensor]:
        """The last moves where they are better than none, else the best; and their bound."""
        last, best = (search.moves, search.bound), (search.best, search.best_bound)
        return chosen(search.bound > amortised, last, best)

    def _bound_of(self, batch: Batch, moves: Mapping[str, Move], seed: tf.Tensor, count: int) -> tf.Tensor:
        """The bound by `count` paths under moved posteriors, nats per sequence `[B]`."""
        weights = log_weight(self.moved_terms(batch, moves, seed, count))
        return tf.reduce_mean(tf.reshape(weights, [-1, count]), axis=1)

    def moved_terms(self, batch: Batch, moves: Mapping[str, Move], seed: tf.Tensor, count: int = 1) -> StepTerms:
        """Terms of K paths per sequence under moved posteriors, in adjacent rows: `[B * K, T]`."""
        return self.moved_path(batch, moves, seed, count)[1]

    def moved_path(
        self, batch: Batch, moves: Mapping[str, Move], seed: tf.Tensor, count: int = 1
    ) -> tuple[Trajectory, StepTerms]:
        """The same with the K paths themselves, for those who score other frames than these by them."""
        batch, moves = tf.nest.map_structure(
            lambda y: None if y is None else tf.repeat(y, count, axis=0), (batch, dict(moves))
        )
        noise = self.draw_noise(seed, tf.shape(batch.x)[0], batch.x.shape[1] or tf.shape(batch.x)[1])
        moved = moved_noise(noise, moves)
        path = self.infer(*batch, moved)
        terms = self.terms(path, batch)
        found = dict(terms.latents)
        for name, move in moves.items():
            change = law_change(move, moved[name])
            change = masks.zero_masked(change, batch.mask) if change.shape.rank == 2 else change
            own = found[name]._replace(log_q=found[name].log_q + change)
            found[name] = own._replace(kl=tf.expand_dims(own.log_q - own.log_p, -1))
        return path, terms._replace(latents=found)

    # What verbs make of a result.

    def moves_of(self, refined: Refined | None, batch: Batch) -> dict[str, Move] | None:
        """The moves of a result for these sequences; ValueError where they are others."""
        if refined is None:
            return None
        if not isinstance(refined, Refined):
            raise ValueError(f"`refined` must be what `refine` returned, got {type(refined).__name__}.")
        names = {latent.name for latent in self.moved_latents}
        expected = list(batch.x.shape[:2])
        got = [list(move.shift.shape[: min(2, move.shift.shape.rank - 1)]) for move in refined.moves.values()]
        if set(refined.moves) != names or any(shape != expected[: len(shape)] for shape in got):
            raise ValueError(
                f"`refined` must come from `refine` of the same model and sequences, here {expected[0]} of "
                f"{expected[1]} frames with {', '.join(sorted(names)) or 'nothing'} to move; got "
                f"{', '.join(f'{name} of {shape}' for name, shape in zip(refined.moves, got, strict=True))}."
            )
        return dict(refined.moves)

    def _moved_posteriors(self, batch: Batch, moves: Mapping[str, Move]) -> dict[str, Any]:
        """Posteriors along the path of their modes, moved."""
        path = self.infer(*batch, {name: move.shift for name, move in moves.items()})
        found = {name: latent.q for name, latent in path.latents.items()}
        for latent in self.moved_latents:
            q = latent.q.moved(found[latent.name], *moves[latent.name])
            if latent.of_frame and batch.mask is not None:
                q = tf.nest.map_structure(lambda y: masks.zero_masked(y, batch.mask), q)
            found[latent.name] = q
        return {**found, **path.states}

    @tf.function(reduce_retracing=True, autograph=False)
    def _impute_moved(self, batch: Batch, moves: Mapping[str, Move], count: int, seed: tf.Tensor) -> Imputed:
        """`impute` with latents from moved posteriors of what was observed."""
        many, moves = tf.nest.map_structure(
            lambda y: None if y is None else tf.repeat(y, count, axis=0), (batch, moves)
        )
        noise, uniform = self.draw(seed, tf.shape(many.x)[0], many.x.shape[1] or tf.shape(many.x)[1], True)
        params = self.infer(*many, moved_noise(noise, moves)).x
        means, drawn = self.frames.mean(params), self.emit(params, uniform)

        def by_sample(y: tf.Tensor) -> tf.Tensor:
            completed = masks.zero_masked(tf.where(many.observed, many.x, y), many.mask)
            parted = tf.reshape(completed, tf.concat([[-1, count], tf.shape(y)[1:]], axis=0))
            return tf.transpose(parted, [1, 0, 2, 3])

        return Imputed(by_sample(drawn), tf.reduce_mean(by_sample(means), axis=0))
