"""Latent LDS (Johnson et al. 2016) on spikes of a latent oscillator: its posterior knows the dynamics of its prior.

    python -m trainers.train --config configs/spikes/latent_lds.py --workdir runs/spikes_latent_lds
    python -m trainers.regress --workdir runs/spikes_latent_lds

Sizes are ours, those of `configs/spikes/dkf.py`.

Variants: `configs/spikes/latent_lds.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "spikes",
        "latent_lds",
        arg,
        latent_dim=2,
        encoder_units=(32, 32),
        decoder_units=(),
        optimizer__learning_rate=0.005,
        optimizer__schedule="cosine",
    )
