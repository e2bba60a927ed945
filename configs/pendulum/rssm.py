"""RSSM (Hafner et al. 2019) on the driven pendulum: what its latents know of the state.

    python -m trainers.train --config configs/pendulum/rssm.py --workdir runs/pendulum_rssm
    python -m trainers.regress --workdir runs/pendulum_rssm

Variants: `configs/pendulum/rssm.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pendulum",
        "rssm",
        arg,
        latent_dim=3,
        units=64,
        phi_x=(128,),
        transition_units=(64,),
        prior_units=(64,),
        posterior_units=(64,),
        decoder_units=(128,),
        activation="elu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=30,
        training__kl_warmup_start=0.01,
    )
