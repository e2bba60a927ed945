"""The one training path: the train step on a bound, and the step of evaluation."""

from typing import Any

import keras
import tensorflow as tf

from tfdvae import bounds, indices, random, replicas, validation
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.models import prior_phase
from tfdvae.models.compiling import CompilingMixin, Factor
from tfdvae.models.fitting import FittingMixin
from tfdvae.models.micro_batches import Part, summed
from tfdvae.models.semi_amortized import terms_of_refined
from tfdvae.passages import Carried, Passage, passage_scope
from tfdvae.types import Batch, StepTerms

__all__ = ["Factor", "TrainingMixin"]


class TrainingMixin(CompilingMixin, FittingMixin):
    """Keras' training verbs for a DVAE: mixed into `keras.Model`."""

    @property
    def not_stateful(self) -> str | None:
        """Why sequences cannot go on from batch to batch (`stateful` of `compile`), as a part of a sentence; None where
        they can."""
        return "infers or decodes sequences as a whole"

    def carried(self, rows: int) -> Carried:
        """Variables for the states that pass from batches of so many rows to the next, of a model that is built and can
        have them."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `carried`.")

    def current_beta(self) -> tf.Tensor:
        """The KL's weight at the optimizer's present step; 0 where latents come from the prior, and there is no KL."""
        if self.latents_from == "prior":
            return tf.constant(0.0)
        return self._scheduled(self.beta) * tf.convert_to_tensor(self.kl_weight.variable)

    def _scheduled(self, value: Any) -> tf.Tensor:
        """A number, or the value of a schedule at the optimizer's present step."""
        return tf.cast(value(self.optimizer.iterations) if callable(value) else value, tf.float32)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update on the bound. A batch whose gradient is not finite is skipped and counted.

        Weights of sequences `[B]` weigh the objective of each in the loss, which stays divided by the number of frames;
        the ELBO and its parts in the logs are not weighed.

        Raises:
            ValueError: the model learns something of single training sequences, and nobody says which these are.
        """
        batch, beside, rows = self._unpack(data)
        self._check_indexed(beside)
        passage = self._passage(beside, learning=True)
        self._clear_losses()  # of a call before, which has added its own
        self.partly_observed |= batch.observed is not None or self.hide > 0.0
        seed = random.fold_in(random.make_seed(self.seed), _batches_given(self.optimizer))
        beta = self.current_beta()
        variables = self.trainable_variables
        penalty = self._scheduled(self.penalty_weight)
        temperature = self._scheduled(self.temperature) if self.temperature != 1.0 else 1.0
        weighing = bounds.Weighing(
            beta,
            self.free_bits,
            self.reconstruction_weight,
            penalty,
            self.kl_balance,
            temperature,
            self.free_bits_per,
        )
        if self.latents_from == "prior":
            weighing = bounds.Weighing(beta, reconstruction=self.reconstruction_weight)
        frames = self._frames(batch)

        def part(
            batch: Batch, beside: validation.Beside, rows: replicas.Rows | None, share: tf.Tensor | float = 1.0
        ) -> Part:
            """What sequences add, which are that share of the batch."""

            def loss(objective: tf.Tensor, own: float = 1.0) -> tf.Tensor:
                return self._loss(_weighed(objective, beside.sample_weight, rows), frames, own * share)

            def scaled(objective: tf.Tensor, own: float) -> tf.Tensor:
                return self.optimizer.scale_loss(loss(objective, own))

            with replicas.part_of(rows), indices.index_scope(beside.sequence_index), passage_scope(passage):
                found, gradients = self.bound.differentiate(self, batch, seed, weighing, scaled, variables)
            return Part(loss(found.objective), found.terms, gradients)

        rate = None
        if self.scheduled_sampling != 0.0:
            rate = self._scheduled(self.scheduled_sampling) * tf.convert_to_tensor(self.own_output.variable)
        replacing = random.replacement_scope(rate, random.fold_in(seed, "replacement"))
        hiding = random.hiding_scope(self.hide, random.fold_in(seed, "hide"))
        with random.dropout_scope(random.fold_in(seed, "dropout")), replacing, hiding:
            if self.micro_batch is None:
                own, terms, gradients = part(batch, beside, rows)
            else:
                own, terms, gradients = summed(part, self, variables, batch, beside, rows, self.micro_batch)
        loss, gradients = replicas.total((own, gradients))
        means = self._means(batch)
        finite = self._update(gradients, variables, loss)
        if passage is not None:
            self.carried_by_fit.keep(passage)
        self.objective_metrics.update_state(loss, terms if rows is None else rows.only(terms), finite)
        self._measure(batch, means, finite)
        logs = {**self.objective_metrics.result(), "kl_weight": beta}
        return replicas.logged(logs if rate is None else {**logs, "own_output": rate})

    def training_terms(self, batch: Batch, seed: tf.Tensor, num_samples: int, weighing: bounds.Weighing) -> StepTerms:
        """Terms of K paths per sequence as training draws them, in adjacent rows: `[B * K, T]`."""
        if self.latents_from == "prior":
            return prior_phase.terms_of_prior(self, batch, seed, num_samples)
        if not self.semi_amortized:
            return self.sample_terms(batch, seed, num_samples, weighing.balance)
        return terms_of_refined(self, batch, seed, num_samples, weighing, self.semi_amortized)

    def _update(self, gradients: list[tf.Tensor], variables: list[keras.Variable], loss: tf.Tensor) -> tf.Tensor:
        """Clips and applies gradients where they and the loss are finite; returns whether they were, bool []."""
        norm = tf.linalg.global_norm([tf.cast(g, tf.float32) for g in gradients])
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)
        if self.clip_norm is not None:
            limit = self.optimizer.scale_loss(tf.constant(self.clip_norm, tf.float32))
            factor = limit / tf.maximum(norm, limit)
            # What is applied is the product; with it and the norm finite, that is finite too.
            finite &= tf.math.is_finite(factor)
            gradients = [g * tf.cast(factor, g.dtype) for g in gradients]
        replicas.apply_where(finite, self.optimizer, gradients, variables, loss)
        return finite

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The bound on a batch, plain, with the same noise at every evaluation of the same data."""
        batch, beside, rows = self._unpack(data)
        passage = self._passage(beside)
        seen = replicas.total(tf.convert_to_tensor(self.objective_metrics.loss.frames))
        seed = random.fold_in(random.fold_in(random.make_seed(self.seed), "evaluation"), seen)
        with replicas.part_of(rows), passage_scope(passage):
            value, terms = self.bound.estimate(self, batch, seed)
        if passage is not None:
            self.carried_by_evaluate.keep(passage)
        loss = replicas.total(-tf.reduce_sum(_weighed(value, beside.sample_weight, rows)) / self._frames(batch))
        self.objective_metrics.update_state(loss, terms if rows is None else rows.only(terms))
        self._measure(batch, self._means(batch))
        return replicas.logged(self.objective_metrics.result())

    def _means(self, batch: Batch) -> tf.Tensor | None:
        """E[x_t | .] as `predict` tells it, `[B, T, D]`, where a metric asks for it."""
        return self.frames.mean(self.infer(*batch).x) if self.metrics_of_means.metrics else None

    def _measure(self, batch: Batch, means: tf.Tensor | None, valid: tf.Tensor | bool = True) -> None:
        """Adds a batch to the metrics of `compile`."""
        if means is None:
            return
        scored = self.frames.scored(batch.x, batch.mask, batch.observed)
        x, means = (restore_frames(y, self.frame_shape) for y in (batch.x, means))
        scored = None if scored is None else restore_frames(scored, self.frame_shape)
        self.metrics_of_means.update(x, means, batch.mask, scored, valid)

    def _unpack(self, data: Any) -> tuple[Batch, validation.Beside, replicas.Rows | None]:
        """What Keras hands to a step, as tensors, and which rows of the global batch a replica got."""
        batch, beside, rows = replicas.split(*validation.as_training_data(data))
        batch = self.tensors(batch)
        validation.check_static(batch, self.built_sizes)
        validation.check_beside_static(beside, batch, self.built_sizes)
        kinds = (tf.float32, tf.int32, tf.bool)
        beside = validation.Beside(
            *(None if y is None else tf.cast(y, kind) for y, kind in zip(beside, kinds, strict=True))
        )
        return batch, beside, rows

    def _passage(self, beside: validation.Beside, learning: bool = False) -> Passage | None:
        """How sequences go on from the batch before; None where they do not."""
        self._check_continued(beside, learning)
        if beside.continues is None:
            return None
        return (self.carried_by_fit if learning else self.carried_by_evaluate).passage(beside.continues)

    def _loss(self, objective: tf.Tensor, frames: tf.Tensor, share: float = 1.0) -> tf.Tensor:
        """This replica's part of minus the objective, nats per frame, plus what layers added (weight decay), or that
        share of it."""
        return sum((replicas.share(share * loss) for loss in self.losses), -tf.reduce_sum(objective) / frames)

    @staticmethod
    def _frames(batch: Batch) -> tf.Tensor:
        """How many frames exist in the global batch, at least 1."""
        exists = tf.ones(tf.shape(batch.x)[:2]) if batch.mask is None else tf.cast(batch.mask, tf.float32)
        return tf.maximum(replicas.total(tf.reduce_sum(exists)), 1.0)


def _weighed(objective: tf.Tensor, weights: tf.Tensor | None, rows: replicas.Rows | None) -> tf.Tensor:
    """The objective of each sequence `[B]` times its weight."""
    objective = objective if rows is None else rows.only(objective)
    return objective if weights is None else objective * weights


def _batches_given(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """How many batches an optimizer was given and did not skip.

    Its `iterations` count updates of the weights, of which gradient accumulation makes one out of several batches; each
    of these needs noise of its own. The counter of batches is the first variable of every optimizer.
    """
    return getattr(optimizer, "inner_optimizer", optimizer).variables[0]
