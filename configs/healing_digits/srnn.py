"""SRNN (Fraccaro et al. 2016) on digits that turn, of which 60% of the pixels are missing: what it puts there.

    python -m trainers.train --config configs/healing_digits/srnn.py --workdir runs/healing_digits_srnn
    python -m trainers.reproduce healing --workdir results/healing --row SRNN

Sizes are ours.

Variants: `configs/healing_digits/srnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "healing_digits",
        "srnn",
        arg,
        latent_dim=32,
        units=256,
        phi_x=(256,),
        prior_units=(128,),
        smoother_units=(256,),
        posterior_units=(128,),
        decoder_units=(256,),
    )
