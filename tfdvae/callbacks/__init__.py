"""Keras callbacks for training: warm-up of the KL, three phases, scheduled sampling, best weights, layers at rest,
resuming."""

from tfdvae.callbacks.best_weights import BestWeights
from tfdvae.callbacks.collapse import CollapseWarning
from tfdvae.callbacks.freeze import FreezeLayers
from tfdvae.callbacks.kl_warmup import KLWarmup
from tfdvae.callbacks.phases import Phases
from tfdvae.callbacks.resume import Resume
from tfdvae.callbacks.scheduled_sampling import ScheduledSampling

__all__ = ["BestWeights", "CollapseWarning", "FreezeLayers", "KLWarmup", "Phases", "Resume", "ScheduledSampling"]
