"""Bounds on log p(x) from the terms of each frame. They read `StepTerms` and know no model."""

import keras
import tensorflow as tf

from tfdvae.types import StepTerms

__all__ = ["BOUNDS", "ELBO", "IWAE", "Bound", "get", "log_weight"]


def log_weight(terms: StepTerms, beta: tf.Tensor | float = 1.0) -> tf.Tensor:
    """log p(x, z) - log q(z | x) of each sequence, `[B]` nats; `beta` scales the part that compares p(z) with q(z)."""
    return tf.reduce_sum(terms.log_px + beta * terms.log_ratio, axis=1) + beta * terms.global_log_ratio


class Bound:
    """A bound on log p(x), for training and for evaluation.

    Args:
        num_samples: K, paths drawn per sequence. Terms arrive as `[B * K, T]`, the K paths of a sequence adjacent.
    """

    def __init__(self, num_samples: int = 1):
        if num_samples < 1:
            raise ValueError(f"`num_samples` must be at least 1, got {num_samples}.")
        self.num_samples = num_samples

    def per_sequence(self, terms: StepTerms) -> tf.Tensor:
        """The bound itself, `[B]`, nats per sequence; auxiliary losses are no part of it."""
        return self.objective(terms._replace(penalty=tf.zeros_like(terms.penalty)), beta=1.0, free_bits=0.0)

    def objective(self, terms: StepTerms, beta: tf.Tensor | float, free_bits: float) -> tf.Tensor:
        """What training maximises, `[B]`: the bound, its KL scaled by `beta` and floored, less penalties."""
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

    Free bits (Kingma et al. 2016): in each latent dimension the KL, averaged over the frames of the batch, is not
    pushed below `free_bits` nats per frame.
    """

    def objective(self, terms: StepTerms, beta: tf.Tensor | float, free_bits: float) -> tf.Tensor:
        kl = tf.reduce_sum(terms.kl, axis=-1)
        if free_bits > 0.0:
            frames = tf.maximum(tf.reduce_sum(terms.weight), 1.0)
            excess = tf.nn.relu(free_bits - tf.reduce_sum(terms.kl, axis=[0, 1]) / frames)
            kl += tf.reduce_sum(excess) * terms.weight
        total = tf.reduce_sum(terms.log_px - beta * kl - terms.penalty, axis=1) - beta * terms.global_kl
        return tf.reduce_mean(tf.reshape(total, [-1, self.num_samples]), axis=1)


@keras.saving.register_keras_serializable(package="tfdvae")
class IWAE(Bound):
    """Importance-weighted bound, log 1/K sum_k p(x, z_k) / q(z_k | x) (Burda et al. 2016).

    Free bits have no meaning here, since no KL appears: `free_bits` must be 0.
    """

    def __init__(self, num_samples: int = 5):
        super().__init__(num_samples)

    def objective(self, terms: StepTerms, beta: tf.Tensor | float, free_bits: float) -> tf.Tensor:
        if free_bits > 0.0:
            raise ValueError("IWAE has no KL term to keep free: compile with free_bits=0, or with bound='elbo'.")
        weights = tf.reshape(log_weight(terms, beta) - tf.reduce_sum(terms.penalty, axis=1), [-1, self.num_samples])
        return tf.reduce_logsumexp(weights, axis=1) - tf.math.log(float(self.num_samples))


BOUNDS: dict[str, type[Bound]] = {"elbo": ELBO, "iwae": IWAE}


def get(identifier: str | Bound) -> Bound:
    """A bound from its name, or the object itself. Raises ValueError for names that are not in BOUNDS."""
    if isinstance(identifier, Bound):
        return identifier
    if identifier not in BOUNDS:
        raise ValueError(f"Unknown bound {identifier!r}: expected one of {sorted(BOUNDS)} or a Bound object.")
    return BOUNDS[identifier]()
