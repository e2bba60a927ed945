"""VRNN (Chung et al. 2015) on three bouncing balls: one-step predictions.

    python -m trainers.train --config configs/bouncing_balls/vrnn.py --workdir runs/bouncing_balls_vrnn
    python -m trainers.predict --workdir runs/bouncing_balls_vrnn

Variants: `configs/bouncing_balls/vrnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bouncing_balls",
        "vrnn",
        arg,
        latent_dim=32,
        units=256,
        phi_x=(400,),
        phi_z=(100,),
        decoder_units=(400,),
        prior_units=(200,),
        posterior_units=(200,),
        activation="relu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=2,
        training__kl_warmup_start=0.1,
    )
