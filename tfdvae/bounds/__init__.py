"""Bounds on log p(x): training objectives and evaluation."""

from tfdvae.bounds.filtering import Filtered, Particles, particle_filter
from tfdvae.bounds.fivo import FIVO, NASMC
from tfdvae.bounds.objectives import ELBO, IWAE, Bound, Estimate, Weighing, log_weight
from tfdvae.bounds.registry import BOUNDS, get
from tfdvae.bounds.resampling import RESAMPLING

__all__ = [
    "BOUNDS",
    "Bound",
    "ELBO",
    "Estimate",
    "FIVO",
    "Filtered",
    "IWAE",
    "NASMC",
    "Particles",
    "RESAMPLING",
    "Weighing",
    "get",
    "log_weight",
    "particle_filter",
]
