"""SRNN (Fraccaro et al. 2016) on intensive-care stays (PhysioNet 2012): imputation.

    python -m trainers.train --config configs/icu/srnn.py --workdir runs/icu_srnn
    python -m trainers.impute --workdir runs/icu_srnn

Variants: `configs/icu/srnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "icu",
        "srnn",
        arg,
        latent_dim=32,
        units=128,
        phi_x=(128,),
        prior_units=(64,),
        smoother_units=(128,),
        posterior_units=(64,),
        decoder_units=(128,),
    )
