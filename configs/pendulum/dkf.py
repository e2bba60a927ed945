"""DKF (Krishnan et al. 2015) on the driven pendulum: what its latents know of the state.

    python -m trainers.train --config configs/pendulum/dkf.py --workdir runs/pendulum_dkf
    python -m trainers.regress --workdir runs/pendulum_dkf

Variants: `configs/pendulum/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pendulum",
        "dkf",
        arg,
        latent_dim=3,
        units=64,
        transition_units=(64,),
        decoder_units=(128,),
        encoder_phi_x=(128,),
        combiner_units=(),
        posterior_units=(64,),
        activation="relu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=30,
        training__kl_warmup_start=0.01,
    )
