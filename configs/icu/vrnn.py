"""VRNN (Chung et al. 2015) on intensive-care stays (PhysioNet 2012): imputation.

    python -m trainers.train --config configs/icu/vrnn.py --workdir runs/icu_vrnn
    python -m trainers.impute --workdir runs/icu_vrnn

Variants: `configs/icu/vrnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "icu",
        "vrnn",
        arg,
        latent_dim=32,
        units=128,
        phi_x=(128,),
        phi_z=(64,),
        prior_units=(64,),
        posterior_units=(64,),
        decoder_units=(128,),
    )
