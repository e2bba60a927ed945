"""SRNN (Fraccaro et al. 2016) on piano-rolls.

    TFDVAE_DATA=DATA_FOLDER python -m trainers.train --config configs/pianoroll/srnn.py --workdir runs/pianoroll_srnn

The data set is JSB chorales; `--config.data.set=nottingham` takes another one of the folder `polyphonic` in
TFDVAE_DATA, `--config.data.path=FILE` a file. Variants: `configs/pianoroll/srnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "srnn",
        arg,
        latent_dim=32,
        units=150,
        phi_x=(),
        prior_units=(100,),
        smoother_units=(),
        posterior_units=(100,),
        decoder_units=(100,),
        activation="relu",
        residual_posterior=True,
        dropout=0.1,
        data__transpose=4,
        training__epochs=35,
        training__kl_warmup_epochs=4,
        training__kl_warmup_start=0.2,
        training__free_bits=0.05,
        optimizer__learning_rate=3e-3,
        optimizer__schedule="cosine",
        optimizer__final_fraction=0.02,
        training__batch_size=16,
        training__buckets=4,
    )
