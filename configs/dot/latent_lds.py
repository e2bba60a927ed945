"""Latent LDS (Johnson et al. 2016) on a dot that bounces on a line, the paper's own example.

    python -m trainers.train --config configs/dot/latent_lds.py --workdir runs/dot_latent_lds
    python -m trainers.regress --workdir runs/dot_latent_lds

The paper does not print its sizes; these are ours. A bounce is no linear motion, but a turn of several latents is.

Variants: `configs/dot/latent_lds.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "dot",
        "latent_lds",
        arg,
        latent_dim=8,
        encoder_units=(50, 50),
        decoder_units=(50, 50),
        optimizer__learning_rate=0.005,
        optimizer__schedule="cosine",
    )
