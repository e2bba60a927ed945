"""DKF (Krishnan et al. 2017) on three bouncing balls: one-step predictions.

    python -m trainers.train --config configs/bouncing_balls/dkf.py --workdir runs/bouncing_balls_dkf
    python -m trainers.predict --workdir runs/bouncing_balls_dkf

Variants: `configs/bouncing_balls/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bouncing_balls",
        "dkf",
        arg,
        latent_dim=32,
        units=256,
        transition_units=(200,),
        decoder_units=(400,),
        encoder_phi_x=(400,),
        combiner_units=(),
        posterior_units=(200,),
        activation="relu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=2,
        training__kl_warmup_start=0.1,
    )
