"""Transformer DVAE on piano-rolls.

    python -m trainers.train --config configs/pianoroll/transformer.py --workdir runs/pianoroll_transformer

Variants: `configs/pianoroll/transformer.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "transformer",
        arg,
        latent_dim=32,
        units=128,
        window=32,
        data__transpose=4,
        training__kl_warmup_epochs=20,
        training__kl_warmup_start=0.2,
    )
