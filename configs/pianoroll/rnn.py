"""Recurrent network without latent variables on piano-rolls.

    TFDVAE_DATA=DATA_FOLDER python -m trainers.train --config configs/pianoroll/rnn.py --workdir runs/pianoroll_rnn

The data set is JSB chorales; `--config.data.set=nottingham` takes another one of the folder `polyphonic` in
TFDVAE_DATA, `--config.data.path=FILE` a file. Variants: `configs/pianoroll/rnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "rnn",
        arg,
        units=200,
        phi_x=(200,),
        decoder_units=(200,),
        dropout=0.1,
        data__transpose=4,
        training__epochs=35,
        optimizer__learning_rate=3e-3,
        optimizer__schedule="cosine",
        optimizer__final_fraction=0.02,
        training__batch_size=16,
        training__buckets=4,
    )
