"""KVAE (Fraccaro et al. 2017) on digits that turn, of which 60% of the pixels are missing: what it puts there.

    python -m trainers.train --config configs/healing_digits/kvae.py --workdir runs/healing_digits_kvae
    python -m trainers.reproduce healing --workdir results/healing --row KVAE

Sizes are ours, with the GP-VAE's layers around z.

Variants: `configs/healing_digits/kvae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "healing_digits",
        "kvae",
        arg,
        latent_dim=16,
        encoding_dim=16,
        num_mixtures=4,
        encoder_units=(256, 256),
        decoder_units=(256, 256, 256),
        activation="relu",
    )
