"""Z-forcing VRNN (Goyal et al. 2017) on piano-rolls.

    python -m trainers.train --config configs/pianoroll/zforcing_vrnn.py --workdir runs/pianoroll_zforcing_vrnn

Variants: `configs/pianoroll/zforcing_vrnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "zforcing_vrnn",
        arg,
        latent_dim=32,
        units=200,
        data__transpose=4,
        training__kl_warmup_epochs=20,
        training__kl_warmup_start=0.2,
    )
