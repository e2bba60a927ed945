"""Dynamical variational autoencoders as Keras models."""

from tfdvae import bounds, callbacks, data, layers, metrics, models, observations, plots, schedules
from tfdvae.models import (
    DKF,
    DVAE,
    MODELS,
    RNN,
    SRNN,
    STORN,
    VAE,
    VRNN,
    DKFCell,
    RNNCell,
    SRNNCell,
    STORNCell,
    VAECell,
    VRNNCell,
)
from tfdvae.types import Batch, Forecast, Gaussian, Generated, Imputed, Latent, StepOutput, StepTerms, Trajectory

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "DKF",
    "DKFCell",
    "DVAE",
    "Forecast",
    "Gaussian",
    "Generated",
    "Imputed",
    "Latent",
    "MODELS",
    "RNN",
    "RNNCell",
    "SRNN",
    "SRNNCell",
    "STORN",
    "STORNCell",
    "StepOutput",
    "StepTerms",
    "Trajectory",
    "VAE",
    "VAECell",
    "VRNN",
    "VRNNCell",
    "bounds",
    "callbacks",
    "data",
    "layers",
    "metrics",
    "models",
    "observations",
    "plots",
    "schedules",
]
