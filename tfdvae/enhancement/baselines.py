"""Simple ways to denoise, to be compared with: each takes recordings and their transform, and returns speech."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfdvae.data.files import import_extra
from tfdvae.enhancement.noise_model import quiet_spectrum
from tfdvae.enhancement.waveforms import Transform, checked_recordings

__all__ = ["Method", "decision_directed", "spectral_gating", "unchanged"]

Method = Callable[[Sequence[np.ndarray], Transform], list[np.ndarray]]
"""Recordings `[L_i]` and their transform to speech `[L_i]`."""

SMOOTHING = 0.98
WEAKEST_DB = -25.0


def unchanged(waveforms: Sequence[np.ndarray], transform: Transform) -> list[np.ndarray]:
    """The recordings as they are."""
    return checked_recordings(waveforms, transform, None)


def decision_directed(waveforms: Sequence[np.ndarray], transform: Transform) -> list[np.ndarray]:
    """Wiener filter with the decision-directed estimate of the a-priori ratio (Ephraim and Malah 1984, equation 51 as
    remembered; Scalart and Filho 1996 for the Wiener gain):

        xi_t = 0.98 |s_{t-1}|^2 / v_n + 0.02 max(|x_t|^2 / v_n - 1, 0),    s_t = xi_t / (1 + xi_t) x_t

    v_n is the mean power of the tenth of the frames that is most quiet, xi_t at least -25 dB.
    """
    found = []
    for waveform in checked_recordings(waveforms, transform, None):
        spectra = transform.spectra(waveform).astype(np.complex128)
        power = np.square(np.abs(spectra))
        quiet = quiet_spectrum(tf.constant(power[None]), tf.ones([1, len(power)], tf.bool))[0].numpy()
        # Something to divide by where a recording has digital silence.
        noise = quiet + 1e-10 * power.mean()
        before = np.zeros_like(power[0])
        speech = np.empty_like(spectra)
        for t, frame in enumerate(power):
            ratio = SMOOTHING * before / noise + (1.0 - SMOOTHING) * np.maximum(frame / noise - 1.0, 0.0)
            ratio = np.maximum(ratio, 10.0 ** (WEAKEST_DB / 10.0))
            speech[t] = ratio / (1.0 + ratio) * spectra[t]
            before = np.square(np.abs(speech[t]))
        found.append(transform.waveform(speech, len(waveform)))
    return found


def spectral_gating(waveforms: Sequence[np.ndarray], transform: Transform) -> list[np.ndarray]:
    """Spectral subtraction with a threshold per frequency, for noise that does not change, by the package noisereduce
    with its own defaults.

    Raises:
        ImportError: noisereduce is not installed.
    """
    package = import_extra("noisereduce", "Spectral gating", "enhancement")
    given = checked_recordings(waveforms, transform, None)
    return [np.float32(package.reduce_noise(y=y, sr=transform.rate, stationary=True)) for y in given]
