"""Keras callbacks for training: warm-up of the KL, best weights, layers at rest, resuming after an interruption."""

from tfdvae.callbacks.best_weights import BestWeights
from tfdvae.callbacks.freeze import FreezeLayers
from tfdvae.callbacks.kl_warmup import KLWarmup
from tfdvae.callbacks.resume import Resume

__all__ = ["BestWeights", "FreezeLayers", "KLWarmup", "Resume"]
