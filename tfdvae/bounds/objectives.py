"""Bounds on log p(x) from the terms of independent paths. They read `StepTerms` and know no model by name."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import keras
import tensorflow as tf

from tfdvae import random, replicas
from tfdvae.types import Batch, LatentTerms, StepTerms
from tfdvae.validation import whole

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["ELBO", "IWAE", "Bound", "Estimate", "Weighing", "log_weight", "no_kl_weights", "no_terms"]

Loss = Callable[[tf.Tensor, float], tf.Tensor]
"""The objective of each sequence `[B]`, or a part of it, and which part, to what is differentiated."""


def log_weight(terms: StepTerms, beta: tf.Tensor | float = 1.0) -> tf.Tensor:
    """log p(x, z) - log q(z | x) of each sequence, `[B]` nats; `beta` scales the part that compares p(z) with q(z)."""
    return tf.reduce_sum(terms.log_px + beta * terms.log_ratio, axis=1) + beta * terms.sequence_log_ratio


class Weighing(NamedTuple):
    """How training weighs the parts of a bound: see `compile`, whose arguments these are. Evaluation has none of it."""

    beta: tf.Tensor | float = 1.0
    free_bits: float | Mapping[str, float] = 0.0
    reconstruction: float = 1.0
    penalty: tf.Tensor | float = 1.0
    balance: float | None = None
    temperature: tf.Tensor | float = 1.0
    free_bits_per: str = "group"

    def apply(self, terms: StepTerms) -> StepTerms:
        """Terms with the weights that do not need to know the bound."""
        return terms._replace(log_px=self.reconstruction * terms.log_px, penalty=self.penalty * terms.penalty)


class Estimate(NamedTuple):
    """What training maximises, or the bound itself, nats per sequence `[B]`; and terms for the metrics."""

    objective: tf.Tensor
    terms: StepTerms


class Bound:
    """A bound on log p(x), for training and for evaluation.

    Args:
        num_samples: K, paths drawn per sequence. Terms arrive as `[B * K, T]`, the K paths of a sequence adjacent.
    """

    tempered = True
    """Whether a weight of the KL other than 1 has a meaning."""
    by_path = True
    """Whether it is made of whole paths of `infer`; a particle filter's is not."""
    by_window = False
    """Whether the bound of a sequence is the sum of those of its windows, each going on where the one before ended."""

    def __init__(self, num_samples: int = 1):
        self.num_samples = whole("num_samples", num_samples, at_least=1)

    def check(self, model: "DVAE", weighing: Weighing | None = None) -> None:
        """Raises ValueError where the model cannot have this bound, or `compile` weighs what it does not have."""

    def estimate(self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing | None = None) -> Estimate:
        """The objective of training, or, where `weighing` is None, the plain bound of each sequence."""
        if weighing is None:
            terms = model.sample_terms(batch, seed, self.num_samples)
            return Estimate(self.per_sequence(terms), terms)
        terms = model.training_terms(batch, seed, self.num_samples, weighing)
        return Estimate(self.objective(weighing.apply(terms), weighing), terms)

    def differentiate(
        self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing, loss: Loss, variables: Sequence
    ) -> tuple[Estimate, list[tf.Tensor]]:
        """The objective of training, and the gradients of the loss of it."""
        with tf.GradientTape() as tape:
            found = self.estimate(model, batch, seed, weighing)
            target = loss(found.objective, 1.0)
        return found, gradients_of(tape, target, variables)

    def per_sequence(self, terms: StepTerms) -> tf.Tensor:
        """The bound itself, `[B]`, nats per sequence; auxiliary losses are no part of it."""
        return self.objective(terms._replace(penalty=tf.zeros_like(terms.penalty)), Weighing())

    def objective(self, terms: StepTerms, weighing: Weighing) -> tf.Tensor:
        """What training maximises, `[B]`: the bound, its KL weighed and floored, less penalties."""
        raise NotImplementedError

    def get_config(self) -> dict:
        return {"num_samples": self.num_samples}

    @classmethod
    def from_config(cls, config: dict) -> "Bound":
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfdvae")
class ELBO(Bound):
    """Timestep-wise evidence lower bound, sum_t E[log p(x_t | .) - KL(q(z_t | .) || p(z_t | .))].

    Survey (4.24), VRNN paper (11). KL in closed form at each frame of a sampled path; several paths are averaged.

    Free bits (Kingma et al. 2016): in each group of a latent of frames the KL, averaged over the frames of the batch,
    is not pushed below `free_bits` nats per frame. Per "latent" its groups are added up first; per "frame" nothing is
    averaged either, max(KL of the latent at the frame, free_bits), the free nats of Hafner et al. (2019).

    With a temperature c other than 1 it is E[c log p(x, z) - log q(z | x)] (Karl et al. 2017, section 3.1): the KL in
    closed form c-fold, and (1 - c) times the entropy of q by the sample.
    """

    by_window = True

    def objective(self, terms: StepTerms, weighing: Weighing) -> tf.Tensor:
        kl = terms.kl
        for name, own in terms.of_frames().items():
            floor = weighing.free_bits
            floor = floor.get(name, 0.0) if isinstance(floor, Mapping) else floor
            if floor > 0.0:
                groups = own.kl if weighing.free_bits_per == "group" else tf.reduce_sum(own.kl, -1, keepdims=True)
                if weighing.free_bits_per != "frame":
                    groups, frames = replicas.total((tf.reduce_sum(groups, axis=[0, 1]), tf.reduce_sum(terms.weight)))
                    groups /= tf.maximum(frames, 1.0)
                kl += tf.reduce_sum(tf.nn.relu(floor - groups), axis=-1) * terms.weight
        cooled, once, c = terms.log_px - weighing.beta * kl, weighing.beta * terms.sequence_kl, weighing.temperature
        if isinstance(c, tf.Tensor) or c != 1.0:
            entropy = -sum((t.log_q for t in terms.of_frames().values()), tf.zeros_like(kl))
            cooled = c * cooled + (1.0 - c) * entropy
            once = c * once + (1.0 - c) * sum((t.log_q for t in terms.of_sequences().values()), tf.zeros_like(once))
        total = tf.reduce_sum(cooled - terms.penalty, axis=1) - once
        return tf.reduce_mean(tf.reshape(total, [-1, self.num_samples]), axis=1)


@keras.saving.register_keras_serializable(package="tfdvae")
class IWAE(Bound):
    """Importance-weighted bound, log 1/K sum_k p(x, z_k) / q(z_k | x) (Burda et al. 2016).

    A KL weight `beta` is the exponent of p(z) / q(z | x) in the weights. Free bits have no meaning here, since no KL
    appears.

    Args:
        num_samples: K.
        chunk: None holds all K paths of a sequence in memory; a number, a divisor of K, that many at a time. The
            gradient is sum_k v_k d log w_k with v_k = w_k / sum_j w_j, so a first pass finds the weights, and a second,
            with the same noise, the gradient of each chunk: exact, for one forward pass more.

    Raises:
        ValueError: `num_samples` is not positive, or not a multiple of `chunk`.
    """

    def __init__(self, num_samples: int = 5, chunk: int | None = None):
        super().__init__(num_samples)
        chunk = None if chunk is None else whole("chunk", chunk)
        if chunk is not None and (chunk < 1 or num_samples % chunk):
            raise ValueError(f"`chunk` must divide `num_samples`, {num_samples}; got {chunk}.")
        self.chunk = chunk

    def check(self, model: "DVAE", weighing: Weighing | None = None) -> None:
        no_kl_weights(self, weighing or Weighing())
        if self.chunk is not None and model.frames.uses_training_state:
            raise ValueError(
                "IWAE in chunks runs every path twice and needs the same numbers both times, which Keras' own layers "
                "with random or moving state in a frame network do not promise: leave out `chunk`, or take layers "
                "without."
            )

    def objective(self, terms: StepTerms, weighing: Weighing) -> tf.Tensor:
        no_kl_weights(self, weighing)
        weights = log_weight(terms, weighing.beta) - tf.reduce_sum(terms.penalty, axis=1)
        weights = tf.reshape(weights, [-1, self.num_samples])
        return tf.reduce_logsumexp(weights, axis=1) - tf.math.log(float(self.num_samples))

    def estimate(self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing | None = None) -> Estimate:
        if self.chunk is None:
            return super().estimate(model, batch, seed, weighing)
        return self._weigh(model, batch, seed, weighing or Weighing(penalty=0.0), training=False)

    def differentiate(
        self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing, loss: Loss, variables: Sequence
    ) -> tuple[Estimate, list[tf.Tensor]]:
        if self.chunk is None:
            return super().differentiate(model, batch, seed, weighing, loss, variables)
        found = self._weigh(model, batch, seed, weighing, training=True)
        total = found.objective + tf.math.log(float(self.num_samples))

        def add(i: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                weights, _ = self._chunk(model, batch, seed, i, weighing, training=True)
                share = tf.stop_gradient(tf.exp(weights - total[:, None]))
                target = loss(tf.reduce_sum(share * weights, axis=1), self.chunk / self.num_samples)
            own = gradients_of(tape, target, variables)
            return i + 1, [a + b for a, b in zip(gradients, own, strict=True)]

        start = [tf.zeros(v.shape, v.dtype) for v in variables]
        return found, self._loop(add, start)

    def _weigh(self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing, training: bool) -> Estimate:
        """The bound, and terms averaged over the K paths, `[B, T]`."""

        def add(i: tf.Tensor, sums: Estimate) -> tuple[tf.Tensor, Estimate]:
            weights, terms = self._chunk(model, batch, seed, i, weighing, training)
            total = tf.reduce_logsumexp(tf.concat([sums.objective[:, None], weights], axis=1), axis=1)
            parts = tf.nest.map_structure(
                lambda y: tf.reduce_mean(tf.reshape(y, [-1, self.chunk, *_tail(y)]), axis=1), terms
            )
            new = Estimate(total, tf.nest.map_structure(lambda a, b: a + b, sums.terms, parts))
            return i + 1, tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), new, sums)

        size, length = (batch.x.shape[i] or tf.shape(batch.x)[i] for i in (0, 1))
        start = Estimate(tf.fill([size], -float("inf")), no_terms(model, size, length))
        total, terms = self._loop(add, start)
        count = self.num_samples // self.chunk
        terms = tf.nest.map_structure(lambda y: y / count, terms)
        return Estimate(total - tf.math.log(float(self.num_samples)), terms)

    def _chunk(
        self, model: "DVAE", batch: Batch, seed: tf.Tensor, i: tf.Tensor, weighing: Weighing, training: bool
    ) -> tuple[tf.Tensor, StepTerms]:
        """Log-weights `[B, chunk]` and terms of the i-th chunk: the same at every call."""
        own = random.fold_in(seed, i)
        with random.dropout_scope(random.fold_in(own, "dropout") if training else None):
            terms = model.sample_terms(batch, own, self.chunk)
        weighed = weighing.apply(terms)
        weights = log_weight(weighed, weighing.beta) - tf.reduce_sum(weighed.penalty, axis=1)
        return tf.reshape(weights, [-1, self.chunk]), terms

    def _loop(self, body: Callable, start: list | Estimate) -> list | Estimate:
        """One chunk after the other; unrolled, a graph would run them side by side."""
        count = self.num_samples // self.chunk
        carried = (tf.constant(0), start)
        return tf.while_loop(lambda i, _: i < count, body, carried, maximum_iterations=count, parallel_iterations=1)[1]

    def get_config(self) -> dict:
        return {**super().get_config(), "chunk": self.chunk}


def no_terms(model: "DVAE", size: int | tf.Tensor, length: int | tf.Tensor) -> StepTerms:
    """Terms of so many sequences that are all zero, for loops to add to."""
    # From the sizes themselves, so that those which are known stay known to the loop.
    frames, latents = tf.zeros([size, length]), {}
    for latent in model.latents:
        lead = [size, length] if latent.of_frame else [size]
        once = tf.zeros(lead)
        latents[latent.name] = LatentTerms(once, once, tf.zeros([*lead, latent.kl_groups]))
    return StepTerms(frames, latents, frames, frames)


def gradients_of(tape: tf.GradientTape, target: tf.Tensor, variables: Sequence) -> list[tf.Tensor]:
    """The gradient for each variable, zero for one that the target does not hang on."""
    found = tape.gradient(target, variables)
    pairs = zip(found, variables, strict=True)
    return [tf.zeros(v.shape, v.dtype) if g is None else tf.convert_to_tensor(g) for g, v in pairs]


def no_kl_weights(bound: Bound, weighing: Weighing) -> None:
    """Raises ValueError where a bound without a KL is asked to weigh one."""
    if weighing.free_bits != 0.0:
        raise ValueError(
            f"{type(bound).__name__} has no KL term to keep free: compile with free_bits=0, or with bound='elbo'."
        )
    if weighing.balance is not None or not isinstance(weighing.temperature, float) or weighing.temperature != 1.0:
        raise ValueError(
            f"{type(bound).__name__} has no KL to balance or to anneal: compile without `kl_balance` and "
            "`temperature`, or with bound='elbo'."
        )


def _tail(x: tf.Tensor) -> list:
    """The dimensions of `x` after the first."""
    return [x.shape[i] or tf.shape(x)[i] for i in range(1, x.shape.rank)]
