"""Training with latents from their priors, in which the posterior takes no part: the first of the phases in which
Babaeizadeh et al. (2018) train SV2P.

What is maximised is E log p(x | z, .) over z ~ p(z | .), the path on which every x_t that the model hears is the data.
There is no KL: the weights of the posterior's networks have the gradient zero, those of a learned prior that of the
samples. Reports of such steps have a KL of zero; it is a bound by the prior as posterior, and a poor one.
"""

from typing import TYPE_CHECKING

import tensorflow as tf

from tfdvae import masks
from tfdvae.bounds import ELBO
from tfdvae.bounds.objectives import no_terms
from tfdvae.types import Batch, StepTerms

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["SOURCES", "check", "terms_of_prior"]

SOURCES = ("posterior", "prior")
"""What training may draw latents from."""


def terms_of_prior(model: "DVAE", batch: Batch, seed: tf.Tensor, num_samples: int) -> StepTerms:
    """Terms of K paths per sequence with latents from their priors, in adjacent rows, `[B * K, T]`: log p(x_t | .), and
    zero for everything that compares a posterior with a prior.

    The noise is that of paths from the posterior with the same seed.
    """
    packed, _ = model.pack(batch)
    packed = packed.repeated(num_samples)
    x = packed.x
    size, length = x.shape[0] or tf.shape(x)[0], x.shape[1] or tf.shape(x)[1]
    params = model.params_by_priors(packed, model.draw_noise(seed, tf.shape(x)[0], length))
    scored = model.frames.scored(x, packed.mask, packed.observed)
    log_px = masks.zero_masked(model.frames.log_prob(params, x, scored), packed.mask)
    exists = tf.ones(tf.shape(x)[:2]) if packed.mask is None else tf.cast(packed.mask, tf.float32)
    return no_terms(model, size, length)._replace(log_px=log_px, weight=exists)


def check(model: "DVAE") -> None:
    """Raises ValueError where a model, as it was compiled, cannot be trained so."""
    reason = _reason(model)
    if reason is not None:
        raise ValueError(f"Latents of training cannot come from the prior: {type(model).__name__} {reason}.")


def _reason(model: "DVAE") -> str | None:
    """What stands in the way, as the end of a sentence; None where nothing does."""
    if not model.has_latents:
        return "has no latents"
    if not model.draws_by_priors:
        return "does not say how to draw them along the data (`params_by_priors`)"
    shared = [latent.name for latent in model.latents if latent.level == "dataset"]
    if shared:
        return f"has one value of {shared[0]!r} for the whole data set, for which its posterior stands in"
    if model.indexed_sequences:
        return "learns a value of a latent for each training sequence, which stands in for a posterior"
    if model.has_penalties:
        return "has auxiliary losses, which hang on the posterior"
    if not isinstance(model.bound, ELBO):
        return f"was compiled with {type(model.bound).__name__}, which weighs paths by their posterior (bound='elbo')"
    if model.scheduled_sampling != 0.0:
        return "was compiled with `scheduled_sampling`, which follows paths of the posterior"
    if model.stateful:
        return "was compiled with `stateful`, which passes states of paths of the posterior on"
    return None
