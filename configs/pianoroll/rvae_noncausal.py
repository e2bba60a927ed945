"""RVAE (Leglaive et al. 2020), non-causal, on piano-rolls.

    python -m trainers.train --config configs/pianoroll/rvae_noncausal.py --workdir runs/pianoroll_rvae_noncausal

Variants: `configs/pianoroll/rvae_noncausal.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "pianoroll",
        "rvae_noncausal",
        arg,
        latent_dim=32,
        units=200,
        data__transpose=4,
        training__kl_warmup_epochs=20,
        training__kl_warmup_start=0.2,
    )
