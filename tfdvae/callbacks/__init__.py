"""Keras callbacks for training: warm-up of the KL, best weights, resuming after an interruption."""

from tfdvae.callbacks.best_weights import BestWeights
from tfdvae.callbacks.kl_warmup import KLWarmup
from tfdvae.callbacks.resume import Resume

__all__ = ["BestWeights", "KLWarmup", "Resume"]
