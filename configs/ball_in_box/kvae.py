"""KVAE (Fraccaro et al. 2017) on a ball in a box: imputation of missing frames.

    python -m trainers.train --config configs/ball_in_box/kvae.py --workdir runs/ball_in_box_kvae
    python -m trainers.impute --workdir runs/ball_in_box_kvae

Variants: `configs/ball_in_box/kvae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "ball_in_box",
        "kvae",
        arg,
        latent_dim=4,
        encoding_dim=2,
        num_mixtures=3,
        units=50,
        training__reconstruction_weight=0.3,
        training__frozen=("mixing",),
        training__frozen_epochs=5,
        optimizer__learning_rate=0.007,
        optimizer__schedule="exponential",
        optimizer__final_fraction=0.05,
        training__clip_norm=150.0,
    )
