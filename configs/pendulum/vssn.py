"""VSSN on the driven pendulum: what its latents know of the state, its section 3.1.

    python -m trainers.train --config configs/pendulum/vssn.py --workdir runs/pendulum_vssn
    python -m trainers.regress --workdir runs/pendulum_vssn

Variants: `configs/pendulum/vssn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pendulum",
        "vssn",
        arg,
        latent_dim=3,
        noise_dim=2,
        universal_dim=4,
        num_sequences=500,
        units=64,
        phi_u=(),
        noise_units=(128,),
        prior_units=(64,),
        smoother_units=(128,),
        posterior_units=(64,),
        decoder_units=(128,),
        activation="relu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=30,
        training__kl_warmup_start=0.01,
    )
