"""A noisy recording in a file to speech in another."""

import os
from pathlib import Path

import numpy as np

from tfdvae.data.files import finite_float32, import_extra, named_damage, require_file
from tfdvae.data.speech_files import read_audio
from tfdvae.data.unfinished import unfinished
from tfdvae.enhancement.denoiser import Denoised, Denoiser

__all__ = ["denoise_file"]


def denoise_file(denoiser: Denoiser, source: str | os.PathLike, target: str | os.PathLike, seed: int = 0) -> Denoised:
    """Writes the speech in a WAV or FLAC file to a WAV file of the same rate, length and scale, 16 bits.

    A file of another rate than the model's is resampled to it and back, so frequencies above half of the model's rate
    are left out.

    Args:
        denoiser: of a model of clean speech.
        source: the noisy recording, of one channel.
        target: where the speech goes; it appears complete or not at all.
        seed: see `Denoiser.denoise`.

    Returns:
        What was found, at the model's rate.

    Raises:
        FileNotFoundError: no such file.
        ValueError: `source` is damaged, has several channels, or is no recording that `Denoiser` takes; `target` is no
            .wav, or the same file.
        ImportError: soundfile is not installed, or soxr where the file has another rate.
    """
    soundfile = import_extra("soundfile", "Reading and writing WAV files", "speech")
    source, target = require_file(source), Path(target)
    if target.suffix.lower() != ".wav" or (target.exists() and target.samefile(source)):
        raise ValueError(f"Expected the name of another file, .wav, for the speech; got {target}.")
    with named_damage(source, "is no WAV or FLAC file, or it is damaged"), soundfile.SoundFile(source) as file:
        channels, rate, length = file.channels, file.samplerate, file.frames
    if channels != 1:
        raise ValueError(f"{source} has {channels} channels; expected one: mix them down, or choose one of them.")
    own = denoiser.transform.rate
    waveform = read_audio(source, own)
    try:
        found = denoiser.denoise([waveform], seed=seed)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    speech = found.speech[0]
    if rate != own:
        soxr = import_extra("soxr", f"Resampling from {own} to {rate} Hz", "speech")
        speech = finite_float32(soxr.resample(speech, own, rate), "The speech")
        # Resampled twice a length may be off by a sample.
        speech = np.pad(speech, (0, max(0, length - len(speech))))[:length]
    with unfinished(target) as temporary:
        soundfile.write(temporary, np.clip(speech, -1.0, 1.0), rate, subtype="PCM_16", format="WAV")
        temporary.replace(target)
    return found
