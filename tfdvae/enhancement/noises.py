"""Noises that are made, and speech mixed with them at a given ratio."""

from collections.abc import Callable, Sequence

import numpy as np

from tfdvae.arguments import whole

__all__ = ["NOISES", "make_noise", "mixed"]

VOICES = 6
"""Speakers that babble at once."""

HUM = 50.0
HARMONICS = 12


def _white(length: int, rate: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    return rng.normal(size=length)


def _pink(length: int, rate: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Power that falls by 3 dB per octave above 20 Hz: white noise, filtered in its spectrum."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    frequencies = np.fft.rfftfreq(length, 1.0 / rate)
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 20.0)), length)


def _hum(length: int, rate: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Mains: 50 Hz and its harmonics, weaker as 1 / k, with phases at random, which slowly swell; and a little hiss."""
    time = np.arange(length) / rate
    phases, slow = rng.uniform(0.0, 2.0 * np.pi, [2, HARMONICS]), rng.uniform(0.1, 0.5, HARMONICS)
    found = 0.01 * rng.normal(size=length)
    for k in range(HARMONICS):
        swell = 1.0 + 0.3 * np.sin(2.0 * np.pi * slow[k] * time + phases[1, k])
        found += swell * np.sin(2.0 * np.pi * HUM * (k + 1) * time + phases[0, k]) / (k + 1)
    return found


def _babble(length: int, rate: int, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Six of the other recordings at once, equally loud, each from a random place on, round and round."""
    if len(others) < VOICES:
        raise ValueError(f"Babble needs recordings of at least {VOICES} other speakers, got {len(others)}.")
    found = np.zeros(length)
    for i in rng.choice(len(others), VOICES, replace=False):
        voice = np.asarray(others[i], np.float64)
        voice = np.take(voice, np.arange(length) + rng.integers(len(voice)), mode="wrap")
        found += voice / max(np.sqrt(np.mean(np.square(voice))), np.finfo(np.float64).tiny)
    return found


NOISES: dict[str, Callable[..., np.ndarray]] = {"white": _white, "pink": _pink, "babble": _babble, "hum": _hum}
"""Makers of noise by name."""


def make_noise(name: str, length: int, rate: int, seed: int, others: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Noise `[L]`, float64 with a root mean square of 1.

    Args:
        name: in NOISES: white; pink, -3 dB per octave; hum of mains; babble of other speakers.
        length: samples, L.
        rate: samples per second, Hz.
        seed: the same noise follows from the same seed.
        others: recordings that babble is made of.

    Raises:
        ValueError: an unknown name, no length, or less than six others for babble.
    """
    if name not in NOISES:
        raise ValueError(f"Unknown noise {name!r}: expected one of {', '.join(sorted(NOISES))}.")
    length, rate = whole("length", length, at_least=1), whole("rate", rate, at_least=1)
    noise = NOISES[name](length, rate, np.random.default_rng(whole("seed", seed)), others)
    return noise / np.sqrt(np.mean(np.square(noise)))


def mixed(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech `[L]` plus noise `[L]`, scaled so that the energy of the speech is `snr_db` above that of the noise.

    Raises:
        ValueError: different shapes, or silence, which has no such ratio.
    """
    speech, noise = np.asarray(speech, np.float64), np.asarray(noise, np.float64)
    if speech.shape != noise.shape:
        raise ValueError(f"Expected speech and noise of one shape, got {speech.shape} and {noise.shape}.")
    energies = [float(np.square(y).sum()) for y in (speech, noise)]
    if not all(energies):
        raise ValueError("Silence cannot be mixed at a ratio: speech or noise is all zeros.")
    scale = np.sqrt(energies[0] / energies[1] / 10.0 ** (snr_db / 10.0))
    return (speech + scale * noise).astype(np.float32)
