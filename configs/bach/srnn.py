"""SRNN (Fraccaro et al. 2016) on Bach chorales (music21).

    python -m trainers.train --config configs/bach/srnn.py --workdir runs/bach_srnn

Variants: `configs/bach/srnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bach",
        "srnn",
        arg,
        latent_dim=16,
        units=200,
        phi_x=(100,),
        prior_units=(64,),
        smoother_units=(100,),
        posterior_units=(64,),
        decoder_units=(128,),
        residual_posterior=True,
        dropout=0.2,
        training__kl_warmup_epochs=10,
        training__kl_warmup_start=0.2,
    )
