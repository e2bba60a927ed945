"""Short-time Fourier transforms of speech, and the way back to a waveform.

Axes: L samples, T frames, F = window_length / 2 + 1 frequencies, D = F.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

__all__ = [
    "batch_transform",
    "check_window",
    "istft",
    "num_stft_frames",
    "peak_normalised",
    "power_spectrogram",
    "resynthesise",
    "stft",
    "trim_silence",
]

WINDOW = 1024
HOP = 256

# What librosa.effects.trim measures loudness with, by default.
_LOUDNESS_WINDOW = 2048
_LOUDNESS_HOP = 512
_FLOOR = 1e-5


def stft(waveform: np.ndarray, window_length: int = WINDOW, hop_length: int = HOP) -> np.ndarray:
    """Complex spectra `[T, F]` of a waveform `[L]`: a sine window of 1024 samples that moves by a quarter of its
    length, as Girin et al. (2021), section 13.2.1, have it.

    Zeros surround the waveform so that every sample is in window_length / hop_length frames: frame t covers the samples
    from (t + 1) hop_length - window_length on. `istft` therefore returns the waveform to within rounding.

    Raises:
        ValueError: no waveform `[L]`, or a window that is odd, no multiple of hop_length, or less than twice as long.
    """
    check_window(window_length, hop_length)
    waveform = _waveform(waveform)
    frames = num_stft_frames(len(waveform), window_length, hop_length)
    before = window_length - hop_length
    padded = np.zeros((frames - 1) * hop_length + window_length, np.float32)
    padded[before : before + len(waveform)] = waveform
    return tf.signal.stft(padded, window_length, hop_length, window_length, _sine).numpy()


def istft(spectra: np.ndarray, length: int, window_length: int = WINDOW, hop_length: int = HOP) -> np.ndarray:
    """The waveform `[L]` of `length` samples whose spectra `stft` gives, by weighted overlap-add; the nearest one in
    the sense of squares where no waveform has these spectra.

    Raises:
        ValueError: spectra of another shape than `stft` gives for `length`.
    """
    check_window(window_length, hop_length)
    expected = (num_stft_frames(length, window_length, hop_length), window_length // 2 + 1)
    if np.shape(spectra) != expected:
        raise ValueError(
            f"Expected spectra {list(expected)} for {length} samples, windows of {window_length} and a hop of "
            f"{hop_length}; got {list(np.shape(spectra))}."
        )
    window = tf.signal.inverse_stft_window_fn(hop_length, forward_window_fn=_sine)
    spectra = tf.cast(spectra, tf.complex64)
    before = window_length - hop_length
    return tf.signal.inverse_stft(spectra, window_length, hop_length, window_length, window).numpy()[
        before : before + length
    ]


def num_stft_frames(length: int, window_length: int = WINDOW, hop_length: int = HOP) -> int:
    """T of `stft` for L samples."""
    return -(-(length + window_length - hop_length) // hop_length)


def power_spectrogram(waveform: np.ndarray, window_length: int = WINDOW, hop_length: int = HOP) -> np.ndarray:
    """Squared magnitudes |STFT|^2, float32 `[T, F]`, of a waveform `[L]`."""
    return np.square(np.abs(stft(waveform, window_length, hop_length)))


def resynthesise(
    power: np.ndarray, original: np.ndarray, window_length: int = WINDOW, hop_length: int = HOP
) -> np.ndarray:
    """The waveform `[L]` of a power spectrogram `[T, F]` with the phase of the original waveform `[L]`.

    Raises:
        ValueError: a power spectrogram that does not fit the original, or with negative or undefined values.
    """
    spectra = stft(original, window_length, hop_length)
    power = np.asarray(power, np.float32)
    if power.shape != spectra.shape:
        raise ValueError(
            f"Expected a power spectrogram {list(spectra.shape)} for a waveform of {len(original)} samples, got "
            f"{list(power.shape)}."
        )
    if not (power >= 0.0).all():
        raise ValueError("A power spectrogram holds values of at least 0; got negative ones or NaN.")
    magnitude = np.abs(spectra)
    # The phase of zero is that of 1.
    phase = np.where(magnitude > 0.0, spectra / np.maximum(magnitude, np.finfo(np.float32).tiny), 1.0)
    return istft(np.sqrt(power) * phase, len(original), window_length, hop_length)


def peak_normalised(waveform: np.ndarray) -> np.ndarray:
    """The waveform `[L]` over its largest magnitude, so that loudness does not depend on the recording.

    Raises:
        ValueError: there is nothing but zeros.
    """
    peak = float(np.abs(waveform).max())
    if not peak > 0.0:
        raise ValueError("The waveform is digital silence: all samples are zero.")
    return waveform / np.float32(peak)


def trim_silence(waveform: np.ndarray, top_db: float = 30.0) -> tuple[int, int]:
    """First and last (exclusive) sample of what is between the silence at the beginning and at the end.

    Silence is where the root mean square over 2048 samples is more than `top_db` below its maximum over the waveform;
    it is measured every 512 samples, with zeros around the waveform: the rule of librosa.effects.trim.

    Raises:
        ValueError: no waveform `[L]`, or `top_db` not above 0.
    """
    waveform = _waveform(waveform)
    if not top_db > 0.0:
        raise ValueError(f"The threshold of silence must be above 0 dB; got {top_db}.")
    padded = np.pad(waveform.astype(np.float64), _LOUDNESS_WINDOW // 2)
    energy = np.concatenate([[0.0], np.cumsum(np.square(padded))])
    starts = np.arange(0, len(waveform) + 1, _LOUDNESS_HOP)
    # A running sum leaves rounding errors where there is silence.
    power = np.maximum(energy[starts + _LOUDNESS_WINDOW] - energy[starts], 0.0) / _LOUDNESS_WINDOW
    loudness = 20.0 * np.log10(np.maximum(np.sqrt(power), _FLOOR))
    sounding = np.flatnonzero(loudness > loudness.max() - top_db)
    return int(sounding[0]) * _LOUDNESS_HOP, min(len(waveform), (int(sounding[-1]) + 1) * _LOUDNESS_HOP)


def batch_transform(window_length: int, hop_length: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """From samples `[B, (T - 1) hop_length + window_length]` to power spectrograms `[B, T, F]`, in a graph."""
    check_window(window_length, hop_length)

    def transform(samples: tf.Tensor) -> tf.Tensor:
        spectra = tf.signal.stft(samples, window_length, hop_length, window_length, _sine)
        return tf.square(tf.abs(spectra))

    return transform


def check_window(window_length: int, hop_length: int) -> None:
    """Raises one ValueError for windows that cannot be inverted."""
    if hop_length < 1 or window_length % 2 or window_length % hop_length or window_length < 2 * hop_length:
        raise ValueError(
            "window_length must be even and at least twice hop_length, and a multiple of it; got "
            f"window_length={window_length}, hop_length={hop_length}."
        )


def _sine(window_length: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
    steps = (tf.range(tf.cast(window_length, dtype), dtype=dtype) + 0.5) * np.pi / tf.cast(window_length, dtype)
    return tf.sin(steps)


def _waveform(waveform: np.ndarray) -> np.ndarray:
    waveform = np.asarray(waveform, np.float32)
    if waveform.ndim != 1 or not len(waveform):
        raise ValueError(f"A waveform is [L] with L of at least 1; got shape {list(waveform.shape)}.")
    return waveform
