"""VRNN (Chung et al. 2015) on digits that turn, of which 60% of the pixels are missing: what it puts there.

    python -m trainers.train --config configs/healing_digits/vrnn.py --workdir runs/healing_digits_vrnn
    python -m trainers.reproduce healing --workdir results/healing --row VRNN

Sizes are ours.

Variants: `configs/healing_digits/vrnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "healing_digits",
        "vrnn",
        arg,
        latent_dim=32,
        units=256,
        phi_x=(256,),
        phi_z=(128,),
        prior_units=(128,),
        posterior_units=(128,),
        decoder_units=(256,),
    )
