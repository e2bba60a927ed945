"""Latent LDS (Johnson et al. 2016) on a ball in a box: what one linear system, without KVAE's mixture, does.

    python -m trainers.train --config configs/ball_in_box/latent_lds.py --workdir runs/ball_in_box_latent_lds
    python -m trainers.impute --workdir runs/ball_in_box_latent_lds

Sizes are ours: KVAE's networks, and more latents, since oscillations stand in for bounces. Training hides a tenth of
the pixels, so that `impute` may trust the posterior of what was observed.

Variants: `configs/ball_in_box/latent_lds.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "ball_in_box",
        "latent_lds",
        arg,
        latent_dim=12,
        encoder_units=(128, 64),
        decoder_units=(64, 128),
        training__hide=0.1,
        training__kl_warmup_epochs=20,
        training__kl_warmup_start=0.01,
        optimizer__learning_rate=0.003,
        optimizer__schedule="exponential",
        optimizer__final_fraction=0.05,
    )
