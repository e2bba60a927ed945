"""Bounds and gradients from a particle filter, for models whose posterior of a frame sees no later frame."""

from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from tfdvae import random
from tfdvae.bounds.filtering import Filtered
from tfdvae.bounds.objectives import Bound, Estimate, Weighing, no_kl_weights
from tfdvae.bounds.resampling import CRITERIA, RESAMPLING
from tfdvae.types import Batch, StepTerms

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["FIVO", "NASMC"]


@keras.saving.register_keras_serializable(package="tfdvae")
class FIVO(Bound):
    """Filtering variational objective: the expected logarithm of a particle filter's estimate of p(x).

        log p^(x_1:T) = sum_t log sum_k w_{t-1}^k alpha_t^k,
        alpha_t^k = p(x_t | .) p(z_t^k | .) / q(z_t^k | .)

    Maddison et al. (2017), algorithm 1; also Le et al. (2018), Naesseth et al. (2018). w_{t-1} are the normalised
    weights, 1 / K after a resampling. p^(x) is unbiased, so its logarithm, nats per sequence, is a lower bound on
    log p(x) in expectation; without resampling it is the IWAE bound. The gradient leaves out the score-function term of
    the resampling, as the paper's experiments do: it has less variance, and a bias.

    A KL weight `beta` is the exponent of p(z_t | .) / q(z_t | .) in the weights, as for IWAE. Logs of the ELBO and of
    its parts come from one plain path of q for each sequence beside the filter, since particles that were resampled
    are no draws of q.

    Args:
        num_samples: K, particles per sequence.
        resampling: "systematic" or "multinomial".
        criterion: "ess" resamples a sequence where the effective sample size 1 / sum_k w_k^2 is below `ess_ratio` times
            K; "always" at every frame; "never".
        ess_ratio: in (0, 1]; the paper takes 0.5.

    Raises:
        ValueError: an unknown scheme or criterion, or a ratio outside of (0, 1].
    """

    by_path = False

    def __init__(
        self,
        num_samples: int = 4,
        resampling: str = "systematic",
        criterion: str = "ess",
        ess_ratio: float = 0.5,
    ):
        super().__init__(num_samples)
        for what, value, known in (("resampling", resampling, RESAMPLING), ("criterion", criterion, CRITERIA)):
            if value not in known:
                raise ValueError(f"`{what}` must be one of {sorted(known)}, got {value!r}.")
        if not 0.0 < ess_ratio <= 1.0:
            raise ValueError(f"`ess_ratio` must be in (0, 1], got {ess_ratio}; criterion='never' never resamples.")
        self.resampling = resampling
        self.criterion = criterion
        self.ess_ratio = ess_ratio

    def check(self, model: "DVAE", weighing: Weighing | None = None) -> None:
        no_kl_weights(self, weighing or Weighing())
        model.check_particles(type(self).__name__)
        if model.has_penalties:
            raise ValueError(
                f"{type(self).__name__} weighs particles by latents alone, and {type(model).__name__} as configured "
                "has auxiliary losses: train with the bound 'elbo' or 'iwae'."
            )

    def estimate(self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing | None = None) -> Estimate:
        found = self.filter(model, batch, seed, weighing or Weighing())
        return Estimate(tf.reduce_sum(found.log_evidence, axis=1), self.plain_terms(model, batch, seed))

    def filter(self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing, fixed: bool = False) -> Filtered:
        """The particle filter itself, see `particle_filter`."""
        return model.filter_particles(
            batch,
            seed,
            self.num_samples,
            resampling=self.resampling,
            criterion=self.criterion,
            ess_ratio=self.ess_ratio,
            reconstruction=weighing.reconstruction,
            beta=weighing.beta,
            fixed=fixed,
        )

    def plain_terms(self, model: "DVAE", batch: Batch, seed: tf.Tensor) -> StepTerms:
        """Terms of one path of q per sequence, for the metrics."""
        return model.sample_terms(batch, random.fold_in(seed, "metrics"))

    def objective(self, terms: StepTerms, weighing: Weighing) -> tf.Tensor:
        raise ValueError(
            f"{type(self).__name__} is no function of the terms of independent paths: its particles meet at every "
            "resampling. Call `estimate` with a model and a batch."
        )

    def get_config(self) -> dict:
        names = ("resampling", "criterion", "ess_ratio")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class NASMC(FIVO):
    """Neural adaptive sequential Monte Carlo (Gu et al. 2015): FIVO's filter, another gradient.

        d/d phi = sum_t sum_k w_t^k d log q(z_t^k | .)              inclusive KL(p(z | x) || q(z | x))
        d/d theta = sum_t sum_k w_t^k d log p(x_t, z_t^k | .)       Fisher's identity

    w_t are the filter's normalised weights; no gradient passes through weights, particles or ancestors, only through
    what densities make of them and of the deterministic states along each lineage. Weights that p and q share get
    the sum of both. The value, in logs and in `evaluate`, is FIVO's bound: there is no function whose gradient this is.

    The arguments are those of `FIVO`. A KL weight or a weight of the reconstruction has no meaning here.
    """

    tempered = False

    def check(self, model: "DVAE", weighing: Weighing | None = None) -> None:
        super().check(model, weighing)
        weighing = weighing or Weighing()
        if callable(weighing.beta) or weighing.beta != 1.0 or weighing.reconstruction != 1.0:
            raise ValueError(
                "NASMC fits q to the filter's particles and has no KL to weigh: compile with beta=1 and "
                "reconstruction_weight=1, or with bound='fivo' or 'iwae'."
            )

    def estimate(self, model: "DVAE", batch: Batch, seed: tf.Tensor, weighing: Weighing | None = None) -> Estimate:
        found = self.filter(model, batch, seed, Weighing(), fixed=True)
        value = tf.reduce_sum(found.log_evidence, axis=1)
        weights = tf.stop_gradient(found.weights)
        surrogate = tf.reduce_sum(weights * (found.log_px + found.log_p + found.log_q), axis=[1, 2])
        value += surrogate - tf.stop_gradient(surrogate)
        return Estimate(value, self.plain_terms(model, batch, seed))
