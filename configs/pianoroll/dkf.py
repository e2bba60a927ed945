"""DKF, also known as DMM (Krishnan et al. 2017) on piano-rolls.

    TFDVAE_DATA=DATA_FOLDER python -m trainers.train --config configs/pianoroll/dkf.py --workdir runs/pianoroll_dkf

The data set is JSB chorales; `--config.data.set=nottingham` takes another one of the folder `polyphonic` in
TFDVAE_DATA, `--config.data.path=FILE` a file. Variants: `configs/pianoroll/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "dkf",
        arg,
        latent_dim=64,
        units=200,
        transition_units=(200,),
        decoder_units=(200,),
        encoder_phi_x=(),
        combiner_units=(),
        posterior_units=(),
        activation="relu",
        dropout=0.15,
        training__epochs=300,
        training__kl_warmup_epochs=40,
        training__kl_warmup_start=0.2,
        optimizer__learning_rate=3e-3,
        optimizer__schedule="cosine",
        optimizer__final_fraction=0.02,
        training__batch_size=16,
        training__buckets=4,
    )
