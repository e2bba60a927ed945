"""GP-VAE (Fortuin et al. 2020) on intensive-care stays (PhysioNet 2012): imputation.

    python -m trainers.train --config configs/icu/gpvae.py --workdir runs/icu_gpvae
    python -m trainers.impute --workdir runs/icu_gpvae

The kernel, its length scale of seven hours and the number of latents are the paper's, from memory; layers are ours.

Variants: `configs/icu/gpvae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "icu",
        "gpvae",
        arg,
        latent_dim=35,
        kernel="cauchy",
        length_scales=(7.0,),
        window=13,
        encoder_units=(128, 128),
        decoder_units=(128, 128),
    )
