"""GP-VAE (Fortuin et al. 2020) on digits that turn, of which 60% of the pixels are missing: what it puts there.

    python -m trainers.train --config configs/healing_digits/gpvae.py --workdir runs/healing_digits_gpvae
    python -m trainers.reproduce healing --workdir results/healing --row GP-VAE

The kernel, its length scale of two frames and the layers are the paper's, from memory; latents are fewer. With the
whole KL from the first step on, nothing is left in the latents (RESULTS.md).

Variants: `configs/healing_digits/gpvae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "healing_digits",
        "gpvae",
        arg,
        latent_dim=64,
        kernel="cauchy",
        length_scales=(2.0,),
        encoder_units=(256, 256),
        decoder_units=(256, 256, 256),
        activation="relu",
        training__kl_warmup_epochs=4,
    )
