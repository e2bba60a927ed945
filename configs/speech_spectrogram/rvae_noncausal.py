"""RVAE, non-causal (Leglaive et al. 2020) on power spectrograms of speech, at the survey's sizes.

    python -m trainers.train --config configs/speech_spectrogram/rvae_noncausal.py \
        --workdir runs/speech_spectrogram_rvae_noncausal

The data are `librispeech_subset` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.path=FOLDER` takes another folder of WAV or FLAC files.
Variants: `configs/speech_spectrogram/rvae_noncausal.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment
from tfdvae import presets

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment("speech_spectrogram", "rvae_noncausal", arg, **presets.speech["rvae_noncausal"])
