"""Small models and data that every test of the gate takes."""

from typing import Any

import numpy as np
import tensorflow as tf

import tfdvae

B, T, D = 3, 5, 4


def frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(B, T, D)).astype("float32")


def rolls() -> np.ndarray:
    return (frames() > 0.0).astype("float32")


def vae(**options: Any) -> tfdvae.DVAE:
    """A new model, not built, of a millisecond per step."""
    return tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), **options)


def vrnn(**options: Any) -> tfdvae.DVAE:
    """The same with a state."""
    small = {"phi_x": (4,), "phi_z": (3,), "prior_units": (3,), "posterior_units": (4,), "decoder_units": (3,)}
    return tfdvae.VRNN(2, units=4, **{**small, **options})


def compiled(model: tfdvae.DVAE, *args: Any, **options: Any) -> tfdvae.DVAE:
    model.compile(*args, run_eagerly=True, **options)
    return model


def dataset(data: Any) -> tf.data.Dataset:
    """One batch."""
    return tf.data.Dataset.from_tensors(data)
