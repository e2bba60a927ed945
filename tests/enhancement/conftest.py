"""A small VAE of "speech" that only has voiced harmonics, trained for a moment, and its transform."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tfdvae.enhancement import Transform

TRANSFORM = Transform(2000, 64, 16)


def voice(seed: int, length: int = 1600) -> np.ndarray:
    """Syllables of a tone with harmonics."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / TRANSFORM.rate
    pitch = rng.uniform(90.0, 160.0)
    tone = sum(np.sin(2.0 * np.pi * k * pitch * time + rng.uniform(0.0, 6.0)) / k for k in range(1, 5))
    loud = np.clip(np.sin(2.0 * np.pi * rng.uniform(1.5, 2.5) * time + rng.uniform(0.0, 6.0)), 0.0, None)
    return (0.3 * loud * tone + 1e-4 * rng.normal(size=length)).astype(np.float32)


@pytest.fixture(scope="session")
def transform() -> Transform:
    return TRANSFORM


@pytest.fixture(scope="session")
def prior() -> tfdvae.DVAE:
    """A VAE of the power spectra of such voices."""
    tf.keras.utils.set_random_seed(0)
    waves = [voice(seed) for seed in range(40, 56)]
    power = np.stack([np.square(np.abs(TRANSFORM.spectra(w / np.abs(w).max()))) for w in waves])
    model = tfdvae.VAE(
        4, encoder_units=(32,), decoder_units=(32,), observation="gamma", x_scale="log", standardize=None
    )
    model.data = tfdvae.DataDescription(sampling_rate=2000.0, frame_period=0.008)
    model.adapt(power)
    model.compile(tf.keras.optimizers.Adam(5e-3))
    model.fit(power, epochs=40, batch_size=4, verbose=0)
    return model
