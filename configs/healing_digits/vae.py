"""VAE (Kingma and Welling 2014) on digits that turn, of which 60% of the pixels are missing: what it puts there.

    python -m trainers.train --config configs/healing_digits/vae.py --workdir runs/healing_digits_vae
    python -m trainers.reproduce healing --workdir results/healing --row VAE

Sizes are the GP-VAE's.

Variants: `configs/healing_digits/vae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "healing_digits",
        "vae",
        arg,
        latent_dim=64,
        encoder_units=(256, 256),
        decoder_units=(256, 256, 256),
        activation="relu",
    )
