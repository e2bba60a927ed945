"""TCN-DVAE (STCN, Aksan and Hilliges 2019) on piano-rolls.

    python -m trainers.train --config configs/pianoroll/tcn.py --workdir runs/pianoroll_tcn

Variants: `configs/pianoroll/tcn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "tcn",
        arg,
        latent_dim=32,
        upper_dims=(16, 8),
        units=128,
        data__transpose=4,
        training__kl_warmup_epochs=20,
        training__kl_warmup_start=0.2,
    )
