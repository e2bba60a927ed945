"""Scores and predicts speech frames of a WAV file one by one, and tells how much faster than real time it was.

python -m export.edge.speech --model speech.tflite --wav speech.wav --scale 0.1 --csv scores.csv
python -m export.edge.speech --model speech.tflite --wav speech.wav --spectrum

A frame is D samples, side by side, D being the model's; with --spectrum it is the power spectrum |STFT|^2 of a sine
window of 2 (D - 1) samples that moves on by a quarter of it, as in the survey of Girin et al. (2021). The model sees
(x - mean) / scale, by default as its training data were scaled, at their sampling rate: a file of another one is
resampled by soxr. Reads PCM with the standard library, other recordings by soundfile, piece by piece.
"""

import argparse
import contextlib
import csv
import sys
import time
import wave
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from export import program
from export.edge.anomaly import known_scaling
from export.edge.files import new_file
from export.edge.stream import Stream

__all__ = ["Recording", "open_wav", "run", "sample_frames", "spectra"]

PIECE = 1 << 14
"""Samples that are read at once."""


class Recording(NamedTuple):
    """Samples per second, and pieces of mono samples in [-1, 1), float32."""

    rate: float
    pieces: Iterator[np.ndarray]


@contextlib.contextmanager
def open_wav(path: str, rate: float | None = None) -> Iterator[Recording]:
    """A WAV file, read piece by piece: channels become their mean, and samples those of `rate`.

    Files of PCM with 8 to 32 bits are read by the standard library; others (floats, compressed ones) and other formats
    by soundfile, where that is installed. Another rate than the file's needs soxr.

    Args:
        rate: samples per second that are wanted; None for those of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
        ImportError: a package that is needed is not installed.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(wave.open(path, "rb"))
        except OSError:
            raise
        # The parser of chunks raises whatever the next byte leads to.
        except Exception as error:
            found = _open_other(path, error, stack)
        else:
            if file.getframerate() < 1 or file.getnchannels() < 1 or file.getsampwidth() not in (1, 2, 3, 4):
                raise ValueError(
                    f"{path} is damaged: it states {file.getframerate()} samples per second, {file.getnchannels()} "
                    f"channels and {8 * file.getsampwidth()} bits."
                )
            found = Recording(file.getframerate(), _pcm(file))
        yield found if rate in (None, found.rate) else Recording(rate, _resampled(path, found, rate))


def _pcm(file: wave.Wave_read) -> Iterator[np.ndarray]:
    """Pieces of an open file of PCM."""
    width, channels = file.getsampwidth(), file.getnchannels()
    while content := file.readframes(PIECE):
        raw = np.frombuffer(content[: len(content) // (width * channels) * width * channels], np.uint8)
        raw = raw.reshape(-1, width)
        if width == 1:  # unsigned, the others are signed
            samples = raw[:, 0].astype(np.float32) / 128.0 - 1.0
        else:
            wide = np.zeros([len(raw), 4], np.uint8)
            wide[:, 4 - width :] = raw
            samples = wide.view("<i4")[:, 0] / np.float32(2**31)
        yield samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)


def _open_other(path: str, error: Exception, stack: contextlib.ExitStack) -> Recording:
    """What the standard library does not read."""
    try:
        import soundfile
    except (ImportError, OSError):
        raise ValueError(
            f"{path} cannot be read as a WAV file of PCM: {error!r}. soundfile reads more: pip install soundfile"
        ) from error
    try:
        file = stack.enter_context(soundfile.SoundFile(path))
    except Exception:
        raise ValueError(f"{path} cannot be read as a WAV file or other recording: {error!r}") from error

    def pieces() -> Iterator[np.ndarray]:
        for block in file.blocks(PIECE, dtype="float32", always_2d=True):
            yield block.mean(axis=1)

    return Recording(file.samplerate, pieces())


def _resampled(path: str, found: Recording, rate: float) -> Iterator[np.ndarray]:
    """Pieces at another rate.

    Raises:
        ImportError: soxr is not installed.
    """
    try:
        import soxr
    except ImportError as error:
        raise ImportError(
            f"{path} has {found.rate:g} samples per second, and the model's frames come from {rate:g}: soxr resamples "
            "them (pip install soxr)."
        ) from error
    resampler = soxr.ResampleStream(found.rate, rate, 1, dtype="float32")

    def pieces() -> Iterator[np.ndarray]:
        for piece in found.pieces:
            yield resampler.resample_chunk(piece)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)

    return pieces()


def sample_frames(pieces: Iterable[np.ndarray], width: int, hop: int) -> Iterator[np.ndarray]:
    """Frames `[width]` of samples, a new one every `hop` samples; a remainder is dropped."""
    window = np.zeros(0, np.float32)
    for piece in pieces:
        window, start = np.concatenate([window, piece]), 0
        while len(window) - start >= width:
            yield window[start : start + width]
            start += hop
        window = window[start:]


def spectra(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Power spectra `[width / 2 + 1]` of frames under a sine window."""
    for samples in frames:
        window = np.sin(np.pi * (np.arange(len(samples)) + 0.5) / len(samples))
        yield np.abs(np.fft.rfft(window * samples)) ** 2


def main(given: argparse.Namespace) -> int:
    stream = Stream(given.model)
    if given.scale is not None and not given.scale > 0.0:
        raise ValueError(f"--scale must be positive, got {given.scale}.")
    if given.csv:
        program.check_new(given.csv, given.overwrite)
    mean, scale = known_scaling(stream.known, stream.features) or (0.0, 1.0)
    mean, scale = mean if given.mean is None else given.mean, scale if given.scale is None else given.scale
    width = 2 * (stream.features - 1) if given.spectrum else stream.features
    hop = width // 4 if given.spectrum else width
    if hop < 1:
        raise ValueError(f"Frames of {stream.features} features are too few for a spectrum.")
    took, predicted, power, error = [], None, 0.0, 0.0
    with contextlib.ExitStack() as stack:
        rate, pieces = stack.enter_context(open_wav(given.wav, given.rate or stream.known.sampling_rate))
        _check_period(stream.known.seconds, hop / rate, given.spectrum)
        frames = sample_frames(pieces, width, hop)
        table = None
        if given.csv:
            partial = stack.enter_context(new_file(given.csv))
            table = csv.writer(stack.enter_context(open(partial, "w", newline="", encoding="utf-8")))
            table.writerow(["seconds", "score", "prediction_snr_db"])
        for i, frame in enumerate(spectra(frames) if given.spectrum else frames):
            begin = time.perf_counter()
            x = (frame - mean) / scale
            pushed = stream.push(x)
            took.append(time.perf_counter() - begin)
            snr = ""
            if predicted is not None:
                signal, noise = float(np.sum(x**2)), float(np.sum((x - predicted) ** 2))
                power, error = power + signal, error + noise
                snr = f"{_decibel(signal, noise):.2f}"
            predicted = pushed.prediction
            if table is not None:
                table.writerow([f"{i * hop / rate:.4f}", f"{pushed.score:.4f}", snr])
        if not took:
            raise ValueError(f"{given.wav} is shorter than one frame, {width} samples.")
    every = hop / rate
    print(
        f"{len(took)} frames, one every {1e3 * every:.2f} ms: {1e6 * np.median(took):.0f} us each (median; 99 % within "
        f"{1e6 * np.quantile(took, 0.99):.0f}), {len(took) * every / sum(took):.0f} times faster than real time"
    )
    if len(took) > 1:
        print(f"Each frame predicted from those before it: {_decibel(power, error):.2f} dB of signal over error")
    return 0


def _check_period(known: float | None, found: float, spectrum: bool) -> None:
    if known is not None and abs(found / known - 1.0) > 1e-3:
        other = "leave out --spectrum" if spectrum else "were they power spectra, give --spectrum"
        raise ValueError(
            f"The model's frames come every {1e3 * known:g} ms, these would every {1e3 * found:g} ms: {other}; --rate "
            "sets the samples per second."
        )


def _decibel(signal: float, noise: float) -> float:
    tiny = np.finfo(np.float64).tiny
    return 10.0 * float(np.log10(max(signal, tiny) / max(noise, tiny)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.edge.speech", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .tflite file with 'step'")
    found.add_argument("--wav", required=True, help="a recording, of any rate and number of channels")
    found.add_argument("--spectrum", action="store_true", help="power spectra instead of samples")
    found.add_argument("--mean", type=float, help="subtracted from a frame (default: the model's, or 0)")
    found.add_argument("--scale", type=float, help="divides a frame (default: the model's, or 1)")
    found.add_argument("--rate", type=float, help="samples per second (default: the model's, or the file's)")
    found.add_argument("--overwrite", action="store_true", help="replace the file of --csv where there is one")
    found.add_argument(
        "--csv", help="file for the score of each frame, and the signal-to-error ratio of its prediction"
    )
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
