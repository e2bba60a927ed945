"""VRAE (Fabius and van Amersfoort 2014) on windows of Bach chorales (music21): a map of latent space.

    python -m trainers.train --config configs/bach/vrae.py --workdir runs/bach_vrae
    python -m trainers.latent_map --workdir runs/bach_vrae

Variants: `configs/bach/vrae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bach",
        "vrae",
        arg,
        latent_dim=2,
        units=256,
        reverse=True,
        data__window=32,
        data__hop=16,
        data__transpose=0,
        training__epochs=60,
        optimizer__learning_rate=0.001,
        training__kl_warmup_epochs=20,
        training__kl_warmup_start=0.01,
    )
