"""The model sizes that the benchmark compares: those of the survey's experiments, and a tiny one for tests."""

from typing import Any, NamedTuple

import keras
import numpy as np

from tfdvae.models import DVAE, MODELS

__all__ = ["SIZES", "Size", "build_model", "frames"]


class Size(NamedTuple):
    """Shapes and networks of one experiment.

    Attributes:
        x_dim, length, batch_size: D, T and B.
        observation: name of p(x_t | .).
        learning_rate: of Adam.
        common: arguments of every model.
        options: arguments of a model by its name; a model without any keeps its defaults beside `common`.
    """

    x_dim: int
    length: int
    batch_size: int
    observation: str
    learning_rate: float
    common: dict[str, Any]
    options: dict[str, dict[str, Any]]


SPEECH = Size(
    x_dim=513,
    length=50,
    batch_size=128,
    observation="gamma",
    learning_rate=0.002,
    common={"latent_dim": 16, "units": 128, "cell": "lstm", "activation": "tanh", "scale": "exp"},
    options={
        "rnn": {"latent_dim": 0, "phi_x": (256,)},
        "vae": {"encoder_units": (256, 128, 64, 32), "decoder_units": (32, 64, 128, 256)},
        "dkf": {
            "transition_units": (16,),
            "decoder_units": (32, 64, 128, 256),
            "encoder_phi_x": (256,),
            "combiner_units": (32,),
            "posterior_units": (32,),
        },
        "storn": {
            "phi_x": (256,),
            "phi_z": (32, 64),
            "decoder_units": (256,),
            "encoder_phi_x": (256,),
            "encoder_units": (64, 32),
        },
        "vrnn": {"phi_x": (256,), "phi_z": (32, 64)},
        "srnn": {
            "phi_x": (256,),
            "prior_units": (64, 32),
            "decoder_units": (256,),
            "smoother_units": (256,),
            "posterior_units": (64, 32),
        },
    },
)
"""Power spectrograms: Girin et al. 2021, section 13.2 and appendix B. VAE and RNN by analogy: the survey lists none."""

MOTION = Size(
    x_dim=96,
    length=50,
    batch_size=128,
    observation="identity_gaussian",
    learning_rate=0.0001,
    common={"latent_dim": 10, "units": 64, "cell": "lstm", "activation": "tanh", "scale": "exp"},
    options={
        "rnn": {"latent_dim": 0, "phi_x": (64,)},
        "vae": {"encoder_units": (64, 32), "decoder_units": (32, 64)},
        "dkf": {
            "transition_units": (10,),
            "decoder_units": (32, 64),
            "encoder_phi_x": (64,),
            "combiner_units": (16,),
            "posterior_units": (32,),
        },
        "storn": {
            "phi_x": (64,),
            "phi_z": (32,),
            "decoder_units": (),
            "encoder_phi_x": (64,),
            "encoder_units": (32,),
        },
        "vrnn": {"phi_x": (64,), "phi_z": (16, 32)},
        "srnn": {
            "phi_x": (64,),
            "prior_units": (32,),
            "decoder_units": (64,),
            "smoother_units": (64,),
            "posterior_units": (32,),
        },
    },
)
"""3D human motion: Girin et al. 2021, section 13.3 and appendix C."""

TINY = Size(
    x_dim=7,
    length=6,
    batch_size=4,
    observation="gamma",
    learning_rate=0.001,
    common={"latent_dim": 3, "units": 5},
    options={"rnn": {"latent_dim": 0}, "vrnn": {"phi_x": (11,), "phi_z": (9,)}},
)
"""Says nothing about speed; makes the programs run in seconds."""

SIZES: dict[str, Size] = {"speech": SPEECH, "motion": MOTION, "tiny": TINY}
"""Every size by its name."""


def build_model(name: str, size: Size, jit_compile: bool = False) -> DVAE:
    """The model `name` of `tfdvae.MODELS` with the networks of `size`, built and compiled for training."""
    options = size.common | size.options.get(name, {})
    model = MODELS[name](observation=size.observation, **options)
    model.compile(keras.optimizers.Adam(size.learning_rate), jit_compile=jit_compile)
    model.build_for(size.x_dim)
    model.optimizer.build(model.trainable_variables)
    return model


def frames(size: Size) -> np.ndarray:
    """One batch `[B, T, D]` of exponential noise, which is in the support of Gamma and Gaussian observations alike."""
    shape = (size.batch_size, size.length, size.x_dim)
    return np.random.default_rng(0).exponential(size=shape).astype(np.float32)
