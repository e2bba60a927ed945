"""FHVAE (Hsu, Zhang and Glass 2017) on power spectrograms of speech, at sizes like the survey's.

    python -m trainers.train --config configs/speech_spectrogram/fhvae.py --workdir runs/speech_spectrogram_fhvae

Segments are of 20 frames, a third of a second. With a table of sequence means, a row for each training recording, and
the discriminative objective: `--config.model.num_sequences=128 --config.training.penalty_weight=10`.

The data are `librispeech_subset` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.path=FOLDER` takes another folder of WAV or FLAC files.
Variants: `configs/speech_spectrogram/fhvae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment
from tfdvae import presets

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment("speech_spectrogram", "fhvae", arg, **presets.speech["fhvae"])
