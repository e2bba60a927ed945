"""Scores and predicts speech frames of a WAV file one by one, and tells how much faster than real time it was.

python -m export.edge.speech --model speech.tflite --wav speech.wav --scale 0.1 --csv scores.csv
python -m export.edge.speech --model speech.tflite --wav speech.wav --spectrum

A frame is D samples, side by side, D being the model's; with --spectrum it is the power spectrum |STFT|^2 of a sine
window of 2 (D - 1) samples that moves on by a quarter of it, as in the survey of Girin et al. (2021). The model sees
(x - mean) / scale. Reads 16-bit mono PCM with the standard library, piece by piece.
"""

import argparse
import contextlib
import csv
import sys
import time
import wave
from collections.abc import Iterator, Sequence

import numpy as np

from export import program
from export.edge.files import new_file
from export.edge.stream import Stream

__all__ = ["open_wav", "run", "sample_frames", "spectra"]


@contextlib.contextmanager
def open_wav(path: str) -> Iterator[wave.Wave_read]:
    """A WAV file of 16-bit mono PCM.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """
    try:
        file = wave.open(path, "rb")
    except OSError:
        raise
    # The parser of chunks raises whatever the next byte leads to.
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a WAV file of PCM: {error!r}") from error
    with file:
        channels, bits = file.getnchannels(), 8 * file.getsampwidth()
        if (channels, bits) != (1, 16):
            raise ValueError(f"{path} must be mono with 16 bits, got {channels} channel(s) with {bits} bits.")
        if file.getframerate() < 1:
            raise ValueError(f"{path} is damaged: it states {file.getframerate()} samples per second.")
        yield file


def sample_frames(file: wave.Wave_read, width: int, hop: int) -> Iterator[np.ndarray]:
    """Frames `[width]` of samples in [-1, 1), a new one every `hop` samples; a remainder is dropped."""
    window = np.zeros(0, np.float32)
    while True:
        content = file.readframes(width - len(window))
        window = np.concatenate([window, np.frombuffer(content[: len(content) // 2 * 2], "<i2") / np.float32(32768)])
        if len(window) < width:
            return
        yield window
        window = window[hop:]


def spectra(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Power spectra `[width / 2 + 1]` of frames under a sine window."""
    for samples in frames:
        window = np.sin(np.pi * (np.arange(len(samples)) + 0.5) / len(samples))
        yield np.abs(np.fft.rfft(window * samples)) ** 2


def main(given: argparse.Namespace) -> int:
    stream = Stream(given.model)
    if given.scale <= 0.0:
        raise ValueError(f"--scale must be positive, got {given.scale}.")
    width = 2 * (stream.features - 1) if given.spectrum else stream.features
    hop = width // 4 if given.spectrum else width
    if hop < 1:
        raise ValueError(f"Frames of {stream.features} features are too few for a spectrum.")
    took, predicted, power, error = [], None, 0.0, 0.0
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_wav(given.wav))
        rate = file.getframerate()
        frames = sample_frames(file, width, hop)
        table = None
        if given.csv:
            partial = stack.enter_context(new_file(given.csv))
            table = csv.writer(stack.enter_context(open(partial, "w", newline="", encoding="utf-8")))
            table.writerow(["seconds", "score", "prediction_snr_db"])
        for i, frame in enumerate(spectra(frames) if given.spectrum else frames):
            begin = time.perf_counter()
            x = (frame - given.mean) / given.scale
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


def _decibel(signal: float, noise: float) -> float:
    tiny = np.finfo(np.float64).tiny
    return 10.0 * float(np.log10(max(signal, tiny) / max(noise, tiny)))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="export.edge.speech", description=__doc__.partition("\n")[0])
    found.add_argument("--model", required=True, help="a .tflite file with 'step'")
    found.add_argument("--wav", required=True, help="16-bit mono PCM")
    found.add_argument("--spectrum", action="store_true", help="power spectra instead of samples")
    found.add_argument("--mean", type=float, default=0.0, help="subtracted from a frame (default: 0)")
    found.add_argument("--scale", type=float, default=1.0, help="divides a frame (default: 1)")
    found.add_argument(
        "--csv", help="file for the score of each frame, and the signal-to-error ratio of its prediction"
    )
    return found


def run(arguments: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    return program.run(parser(), main, arguments)


if __name__ == "__main__":
    sys.exit(run())
