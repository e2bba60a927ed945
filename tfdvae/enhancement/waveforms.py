"""The gate for recordings that are to be denoised, and their spectra."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.files import finite_float32
from tfdvae.data.spectrograms import HOP, WINDOW, check_window, istft, stft

__all__ = ["MOST_SECONDS", "Transform", "checked_recordings"]

MOST_SECONDS = 600
"""Of one recording: its frames are in memory all at once, with what gradients need of them."""


class Transform(NamedTuple):
    """How waveforms become frames.

    Attributes:
        rate: samples per second, Hz.
        window_length, hop_length: samples, see `tfdvae.data.stft`.
    """

    rate: int = 16000
    window_length: int = WINDOW
    hop_length: int = HOP

    def checked(self) -> "Transform":
        """The same as plain integers.

        Raises:
            ValueError: there is no way back from such frames.
        """
        found = Transform(*(whole(name, value, at_least=1) for name, value in self._asdict().items()))
        check_window(found.window_length, found.hop_length)
        return found

    def spectra(self, waveform: np.ndarray) -> np.ndarray:
        """Complex spectra `[T, F]` of a waveform `[L]`."""
        return stft(waveform, self.window_length, self.hop_length)

    def waveform(self, spectra: np.ndarray, length: int) -> np.ndarray:
        """The waveform `[L]` of `length` samples with these spectra."""
        return istft(spectra, length, self.window_length, self.hop_length)


def checked_recordings(waveforms: Sequence[np.ndarray], transform: Transform, rate: int | None) -> list[np.ndarray]:
    """Recordings as float32 `[L_i]`.

    Args:
        waveforms: at least one, each of one channel, in any scale.
        transform: how they become frames.
        rate: theirs, samples per second; None where it is known to be that of the transform.

    Raises:
        ValueError: another rate, several channels, NaN or infinity, silence, or a recording that is shorter than one
            window or longer than `MOST_SECONDS`; says which recording.
    """
    if not isinstance(waveforms, list | tuple | np.ndarray):
        raise ValueError(f"Expected a list of waveforms, got {type(waveforms).__name__}.")
    if rate is not None and rate != transform.rate:
        raise ValueError(f"Expected recordings at {transform.rate} Hz, got {rate} Hz: resample them first.")
    if isinstance(waveforms, np.ndarray) and waveforms.ndim < 2:
        raise ValueError("Expected a list of waveforms; for a single one that is [waveform].")
    if not len(waveforms):
        raise ValueError("Expected at least one recording, got none.")
    found = []
    for i, waveform in enumerate(waveforms):
        array = _array(i, waveform)
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise ValueError(
                f"Recording {i}: expected samples of one channel [L], got shape {list(array.shape)} of {array.dtype}; "
                "mix channels down, or denoise one by one."
            )
        if not transform.window_length <= len(array) <= MOST_SECONDS * transform.rate:
            advice = "it is too short" if len(array) < transform.window_length else "cut it"
            raise ValueError(
                f"Recording {i} has {len(array)} samples; expected at least one window of {transform.window_length} "
                f"and at most {MOST_SECONDS} s: {advice}."
            )
        array = finite_float32(array, f"Recording {i}")
        if not array.any():
            raise ValueError(f"Recording {i} is digital silence: all samples are zero.")
        found.append(array)
    return found


def _array(i: int, waveform: Any) -> np.ndarray:
    try:
        return np.asarray(waveform)
    except ValueError:
        raise ValueError(f"Recording {i}: expected samples of one channel [L], got lists of several lengths.") from None
