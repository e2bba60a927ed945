"""Frame-wise VAE (Kingma and Welling 2014) on piano-rolls.

    TFDVAE_DATA=DATA_FOLDER python -m trainers.train --config configs/pianoroll/vae.py --workdir runs/pianoroll_vae

The data set is JSB chorales; `--config.data.set=nottingham` takes another one of the folder `polyphonic` in
TFDVAE_DATA, `--config.data.path=FILE` a file. Variants: `configs/pianoroll/vae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "vae",
        arg,
        latent_dim=32,
        encoder_units=(200,),
        decoder_units=(200,),
        data__transpose=4,
        training__epochs=35,
        training__kl_warmup_epochs=4,
        training__kl_warmup_start=0.1,
        optimizer__learning_rate=3e-3,
        optimizer__schedule="cosine",
        optimizer__final_fraction=0.02,
        training__batch_size=16,
        training__buckets=4,
    )
