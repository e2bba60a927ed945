"""What the latents of a model do: which are in use, how much they tell, and when they move."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfdvae import gaussian
from tfdvae.metrics.frames import ACTIVE_NATS

if TYPE_CHECKING:
    from tfdvae.models import VerbsDVAE

__all__ = ["ACTIVE_VARIANCE", "Diagnosis", "diagnose"]

ACTIVE_VARIANCE = 0.01
"""A latent dimension whose posterior mean varies by more than this over the data is active (Burda et al. 2016)."""


class Diagnosis(NamedTuple):
    """Measures along the posterior means; those of frames that do not exist are zero.

    Attributes:
        kl: `[B, T, Z]`, KL(q(z_t | .) || p(z_t | .)), nats.
        kl_per_dimension: `[Z]`, its mean over existing frames, nats per frame.
        mean_variance: `[Z]`, variance of the posterior mean over existing frames.
        active: `[Z]` bool, true where the KL is above ACTIVE_NATS: what `active_units` of the logs counts.
        active_by_variance: `[Z]` bool, true where the posterior mean varies by more than ACTIVE_VARIANCE, the measure
            of Burda et al. (2016). A prior that follows the posterior everywhere leaves the first small, not this one.
        change: `[B, T]`, delta_t = sum_j (mu_t,j - mu_t-1,j)^2 (VRNN paper, figure 2), zero at the first frame of a
            sequence; the frame before is the one that exists before it.
    """

    kl: np.ndarray
    kl_per_dimension: np.ndarray
    mean_variance: np.ndarray
    active: np.ndarray
    active_by_variance: np.ndarray
    change: np.ndarray


def diagnose(model: "VerbsDVAE", x: Any, mask: Any = None, u: Any = None) -> Diagnosis:
    """Measures of the latents on sequences `[B, T, D]`.

    Raises:
        ValueError: the model has no latents for each frame, or data that cannot be right.
    """
    if not model.frame_latent_dim:
        raise ValueError(f"{type(model).__name__} has no latents for each frame to diagnose.")
    batch = model.check(x, mask, u)
    path = model.infer(*batch)
    exists = np.ones(batch.x.shape[:2], bool) if batch.mask is None else np.asarray(batch.mask)
    means = np.asarray(path.q.loc, np.float64)
    kl = np.where(exists[..., None], gaussian.kl_per_dimension(path.q, path.p), 0.0)
    change = np.zeros(exists.shape)
    for sequence, frames in enumerate(exists):
        steps = np.square(np.diff(means[sequence, frames], axis=0)).sum(axis=-1)
        change[sequence, np.flatnonzero(frames)[1:]] = steps
    per_dimension = kl[exists].mean(axis=0)
    variance = means[exists].var(axis=0)
    return Diagnosis(kl, per_dimension, variance, per_dimension > ACTIVE_NATS, variance > ACTIVE_VARIANCE, change)
