"""RSSM (Hafner et al. 2019) on a cart and pole that are pushed: what it imagines under given forces.

    python -m trainers.train --config configs/cart_pole/rssm.py --workdir runs/cart_pole_rssm
    python -m trainers.regress --workdir runs/cart_pole_rssm
    python -m trainers.reproduce cart-pole --workdir results/cart_pole --row RSSM

Sizes are ours, ELU layers the paper's.

Variants: `configs/cart_pole/rssm.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "cart_pole",
        "rssm",
        arg,
        latent_dim=16,
        units=128,
        phi_x=(256,),
        transition_units=(128,),
        prior_units=(128,),
        posterior_units=(128,),
        decoder_units=(256,),
        activation="elu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
    )
