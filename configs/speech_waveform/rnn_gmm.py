"""RNN-GMM of the VRNN paper (Chung et al. 2015, table 1) on raw audio: 20 components per frame.

    python -m trainers.train --config configs/speech_waveform/rnn_gmm.py --workdir runs/speech_waveform_rnn_gmm

The data are `librispeech_subset` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.path=FOLDER` takes another folder of WAV or FLAC files.
Variants: `configs/speech_waveform/rnn_gmm.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "speech_waveform",
        "rnn",
        arg,
        units=256,
        phi_x=(256, 256),
        decoder_units=(256, 256),
        activation="relu",
        observation="gaussian_mixture",
        observation_options={"num_components": 20},
    )
