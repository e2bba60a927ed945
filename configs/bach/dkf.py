"""DKF, also known as DMM (Krishnan et al. 2017) on Bach chorales (music21).

    python -m trainers.train --config configs/bach/dkf.py --workdir runs/bach_dkf

Variants: `configs/bach/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bach",
        "dkf",
        arg,
        latent_dim=64,
        units=200,
        transition_units=(128,),
        decoder_units=(128,),
        encoder_phi_x=(128,),
        combiner_units=(),
        posterior_units=(),
        training__kl_warmup_epochs=20,
    )
