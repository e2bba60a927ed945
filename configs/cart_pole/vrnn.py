"""VRNN (Chung et al. 2015) on a cart and pole that are pushed, beside the RSSM.

    python -m trainers.train --config configs/cart_pole/vrnn.py --workdir runs/cart_pole_vrnn
    python -m trainers.reproduce cart-pole --workdir results/cart_pole --row VRNN

Sizes are ours, those of `configs/cart_pole/rssm.py`.

Variants: `configs/cart_pole/vrnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "cart_pole",
        "vrnn",
        arg,
        latent_dim=16,
        units=128,
        phi_x=(256,),
        phi_z=(64,),
        prior_units=(128,),
        posterior_units=(128,),
        decoder_units=(256,),
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
    )
