"""What the latents of a model do: which are in use, how much they tell, and when they move."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfdvae.metrics.frames import ACTIVE_NATS

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["ACTIVE_VARIANCE", "Diagnosis", "diagnose"]

ACTIVE_VARIANCE = 0.01
"""A latent dimension whose posterior mean varies by more than this over the data is active (Burda et al. 2016)."""


class Diagnosis(NamedTuple):
    """Measures of one latent of frames along the posterior modes; those of frames that do not exist are zero.

    Attributes:
        kl: `[B, T, G]`, KL(q(z_t | .) || p(z_t | .)) by groups (dimensions of a Gaussian), nats.
        kl_per_group: `[G]`, its mean over existing frames, nats per frame.
        mean_variance: `[Z]`, variance of the posterior mean over existing frames.
        active: `[G]` bool, true where the KL is above ACTIVE_NATS: what `active_units` of the logs counts.
        active_by_variance: `[Z]` bool, true where the posterior mean varies by more than ACTIVE_VARIANCE, the measure
            of Burda et al. (2016). A prior that follows the posterior everywhere leaves the first small, not this one.
        change: `[B, T]`, delta_t = sum_j (mu_t,j - mu_t-1,j)^2 (VRNN paper, figure 2), zero at the first frame of a
            sequence; the frame before is the one that exists before it.
    """

    kl: np.ndarray
    kl_per_group: np.ndarray
    mean_variance: np.ndarray
    active: np.ndarray
    active_by_variance: np.ndarray
    change: np.ndarray


def diagnose(
    model: "DVAE", x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None
) -> dict[str, Diagnosis]:
    """Measures of each latent of frames, by name, on sequences `[B, T, D]`.

    Raises:
        ValueError: the model has no latents for each frame, or data that cannot be right.
    """
    if not model.frame_latents:
        raise ValueError(f"{type(model).__name__} has no latents for each frame to diagnose.")
    batch = model.check(x, mask, u, observed, context)
    path = model.infer(*batch)
    terms = model.terms(path, batch)
    exists = np.ones(batch.x.shape[:2], bool) if batch.mask is None else np.asarray(batch.mask)
    found = {}
    for latent in model.frame_latents:
        means = np.asarray(latent.q.mean(path.latents[latent.name].q), np.float64)
        found[latent.name] = _diagnosis(np.asarray(terms.latents[latent.name].kl), means, exists)
    return found


def _diagnosis(kl: np.ndarray, means: np.ndarray, exists: np.ndarray) -> Diagnosis:
    change = np.zeros(exists.shape)
    for sequence, frames in enumerate(exists):
        steps = np.square(np.diff(means[sequence, frames], axis=0)).sum(axis=-1)
        change[sequence, np.flatnonzero(frames)[1:]] = steps
    per_group = kl[exists].mean(axis=0)
    variance = means[exists].var(axis=0)
    return Diagnosis(kl, per_group, variance, per_group > ACTIVE_NATS, variance > ACTIVE_VARIANCE, change)
