"""Speech as sequences: frames of raw samples (Chung et al. 2015), or power spectra (Girin et al. 2021)."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdvae.data.files import finite_float32
from tfdvae.data.sequences import Sequences, Splits, from_arrays, windows
from tfdvae.data.spectrograms import HOP, WINDOW, check_window, peak_normalised, power_spectrogram, trim_silence
from tfdvae.data.speech_files import SpeechSplits, Utterances, read_speech
from tfdvae.data.splitting import Lists, Scaled, loader_of

__all__ = [
    "load_speech_spectrogram",
    "load_speech_waveform",
    "scaled_speech_waveform",
    "trimmed",
    "waveform_moments",
]


def scaled_speech_waveform(
    path: str | os.PathLike,
    frame_length: int = 200,
    max_frames: int | None = 40,
    keep_short: bool = False,
    standardise: bool = True,
    rate: int = 16000,
    trim_db: float | None = None,
    train_list: Lists | None = None,
    valid_list: Lists | None = None,
    test_list: Lists | None = None,
    valid_ratio: float = 0.1,
    test_ratio: float = 0.1,
    split_seed: int = 0,
    split_by: str = "speaker",
    speaker_pattern: str | None = None,
    limit: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Scaled:
    """Raw audio in frames of consecutive samples, x [T, frame_length], as Chung et al. (2015), section 4: frames of 200
    samples at 16 kHz, "global standardization using the mean and standard deviation of the entire training set", and
    for long recordings chunks of half a second, which are 40 frames.

    Samples behind the last whole frame are left out. Everything is in memory; for what does not fit there is
    `stream_waveforms`.

    Args:
        path: a folder of WAV or FLAC files; `read_speech` says which layouts, and what the arguments from `rate` on
            mean.
        frame_length: samples per frame, D.
        max_frames: frames per sequence, in all splits; None for whole recordings.
        keep_short: keep the end of a recording that fills no sequence.
        standardise: by mean and standard deviation over all samples of the training set (before they are cut).
        trim_db: leave out the beginning and the end where they are so many dB below the loudest part.

    Returns:
        `Scaled`: splits, mean and scale, unit "full scale" (samples in [-1, 1]).

    Raises:
        FileNotFoundError, ValueError, ImportError: as `read_speech`; ValueError also for recordings that are all
            shorter than a sequence, and for a training set of constant samples.
    """
    if frame_length < 1:
        raise ValueError(f"frame_length must be at least 1 sample; got {frame_length}.")
    speech = _read(locals())
    mean, std = waveform_moments(speech.train.waveforms) if standardise else (0.0, 1.0)

    def frames(waveform: np.ndarray) -> np.ndarray:
        count = len(waveform) // frame_length
        scaled = (waveform[: count * frame_length] - np.float32(mean)) / np.float32(std)
        return scaled.reshape(count, frame_length)

    parts = [_sequences(part, frames, max_frames, keep_short) for part in speech]
    full = np.full(frame_length, 1.0, np.float32)
    splits = Splits(*parts).described(
        units=("full scale",),
        frame_period=frame_length / rate,
        sampling_rate=rate,
        shift=(mean,),
        scale=(std,),
        origin=f"recordings of {Path(path).name}",
    )
    return Scaled(splits, full * np.float32(mean), full * np.float32(std), "full scale")


load_speech_waveform = loader_of(scaled_speech_waveform, "load_speech_waveform")


def load_speech_spectrogram(
    path: str | os.PathLike,
    num_frames: int | None = 50,
    window_length: int = WINDOW,
    hop_length: int = HOP,
    keep_short: bool = False,
    normalise: bool = True,
    rate: int = 16000,
    trim_db: float | None = 30.0,
    train_list: Lists | None = None,
    valid_list: Lists | None = None,
    test_list: Lists | None = None,
    valid_ratio: float = 0.1,
    test_ratio: float = 0.1,
    split_seed: int = 0,
    split_by: str = "speaker",
    speaker_pattern: str | None = None,
    limit: int | None = None,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Splits:
    """Power spectrograms, x [T, window_length / 2 + 1], as Girin et al. (2021), section 13.2.1: |STFT|^2 with a sine
    window of 1024 samples every 256 at 16 kHz, training and validation in sequences of 50 frames (0.8 s), each test
    recording as a whole, without the silence at its beginning and end.

    The survey states no rule for silence and no scaling: the threshold of 30 dB (which its authors' programs have), its
    use on all splits, and the division of each recording by its largest magnitude are choices of this library.

    Everything is in memory, 460 MB per hour; for what does not fit there is `stream_spectrograms`.

    Args:
        path: a folder of WAV or FLAC files; `read_speech` says which layouts, and what the arguments from `rate` on
            mean.
        num_frames: frames per training and validation sequence, T; None for whole recordings.
        window_length: samples per window.
        hop_length: samples from window to window.
        keep_short: keep the end of a training or validation recording that fills no sequence.
        normalise: divide each recording by its largest magnitude.
        trim_db: leave out the beginning and the end where they are so many dB below the loudest part; None for nothing.

    Returns:
        Splits; test sequences are in the order of `trimmed(read_speech(...).test, trim_db)`, whose waveforms
        `resynthesise` takes the phase from.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `read_speech`; ValueError also for recordings that are all
            shorter than a sequence, or silent.
    """
    check_window(window_length, hop_length)
    speech = _read(locals())
    bar = keras.utils.Progbar(sum(len(part.names) for part in speech), unit_name="recording", verbose=verbose)

    def frames(waveform: np.ndarray) -> np.ndarray:
        bar.add(1)
        return power_spectrogram(peak_normalised(waveform) if normalise else waveform, window_length, hop_length)

    lengths = (num_frames, num_frames, None)
    splits = Splits(*(_sequences(part, frames, n, keep_short) for part, n in zip(speech, lengths, strict=True)))
    return splits.described(
        units=("full scale^2",),
        frame_period=hop_length / rate,
        sampling_rate=rate,
        origin=f"recordings of {Path(path).name}" + (", each divided by its largest magnitude" if normalise else ""),
    )


def trimmed(utterances: Utterances, top_db: float | None = 30.0) -> Utterances:
    """The same recordings without silence at the beginning and at the end, by `trim_silence`; all of it for None."""
    if top_db is None:
        return utterances
    return utterances._replace(waveforms=tuple(w[slice(*trim_silence(w, top_db))] for w in utterances.waveforms))


def waveform_moments(waveforms: Iterable[np.ndarray]) -> tuple[float, float]:
    """Mean and standard deviation over all samples of all waveforms, in two passes over one at a time.

    Raises:
        ValueError: all samples are equal.
    """
    waveforms = list(waveforms)
    count = sum(map(len, waveforms))
    mean = sum(float(np.sum(w, dtype=np.float64)) for w in waveforms) / count
    std = (sum(float(np.square(w - mean, dtype=np.float64).sum()) for w in waveforms) / count) ** 0.5
    # In float32, in which samples are divided by it.
    if not np.float32(std) > 0.0:
        raise ValueError("All training samples are equal, so they cannot be standardised.")
    return mean, std


def _read(arguments: dict[str, Any]) -> SpeechSplits:
    """`read_speech` with those of a loader's arguments that it takes, trimmed."""
    own = (
        "frame_length",
        "max_frames",
        "keep_short",
        "standardise",
        "num_frames",
        "window_length",
        "hop_length",
        "normalise",
    )
    options = {key: value for key, value in arguments.items() if key not in (*own, "trim_db")}
    return SpeechSplits(*(trimmed(part, arguments["trim_db"]) for part in read_speech(**options)))


def _sequences(
    part: Utterances, frames: Callable[[np.ndarray], np.ndarray], length: int | None, keep_short: bool
) -> Sequences:
    """Frames of each recording, in windows."""
    arrays, names = [], []
    for waveform, name in zip(part.waveforms, part.names, strict=True):
        try:
            # Samples are finite; their squares, and what is divided by a small scale, need not be.
            with np.errstate(over="ignore"):
                array = finite_float32(frames(waveform), "what is made of it")
        except ValueError as error:
            raise ValueError(f"The recording {name}: {error}") from error
        if len(array):
            arrays.append(array)
            names.append(name)
    if not arrays:
        raise ValueError(f"None of {len(part.names)} recordings is as long as one frame.")
    whole = from_arrays(arrays, names=names)
    return whole if length is None else windows(whole, length, keep_short=keep_short)
