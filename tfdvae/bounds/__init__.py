"""Bounds on log p(x): training objectives and evaluation."""

from tfdvae.bounds.objectives import BOUNDS, ELBO, IWAE, Bound, get, log_weight

__all__ = ["BOUNDS", "Bound", "ELBO", "IWAE", "get", "log_weight"]
