"""VSSN on three bouncing balls: one-step predictions, its section 3.3.

    python -m trainers.train --config configs/bouncing_balls/vssn.py --workdir runs/bouncing_balls_vssn
    python -m trainers.predict --workdir runs/bouncing_balls_vssn

Variants: `configs/bouncing_balls/vssn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bouncing_balls",
        "vssn",
        arg,
        latent_dim=32,
        num_sequences=16000,
        units=256,
        phi_u=(400,),
        noise_units=(400,),
        prior_units=(200,),
        smoother_units=(400,),
        posterior_units=(200,),
        decoder_units=(400,),
        activation="relu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=2,
        training__kl_warmup_start=0.1,
    )
