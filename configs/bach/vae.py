"""Frame-wise VAE (Kingma and Welling 2014) on Bach chorales (music21).

    python -m trainers.train --config configs/bach/vae.py --workdir runs/bach_vae

Variants: `configs/bach/vae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bach",
        "vae",
        arg,
        latent_dim=16,
        encoder_units=(128,),
        decoder_units=(128,),
    )
