"""TCN-DVAE (STCN, Aksan and Hilliges 2019) on power spectrograms of speech, with as many weights as the survey's VRNN.

    python -m trainers.train --config configs/speech_spectrogram/tcn.py --workdir runs/speech_spectrogram_tcn

The data are `librispeech_subset` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.path=FOLDER` takes another folder of WAV or FLAC files.
Variants: `configs/speech_spectrogram/tcn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment
from tfdvae import presets

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment("speech_spectrogram", "tcn", arg, **presets.speech["tcn"])
