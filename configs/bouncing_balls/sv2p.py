"""SV2P (Babaeizadeh et al. 2018) on three bouncing balls, the first five frames given.

    python -m trainers.train --config configs/bouncing_balls/sv2p.py --workdir runs/bouncing_balls_sv2p
    python -m trainers.predict --workdir runs/bouncing_balls_sv2p

`--config.model.level=frame` has one latent per frame. Variants: `configs/bouncing_balls/sv2p.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bouncing_balls",
        "sv2p",
        arg,
        latent_dim=16,
        units=256,
        phi_x=(400,),
        decoder_units=(400,),
        given_frames=5,
        activation="relu",
        optimizer__learning_rate=0.001,
        optimizer__schedule="cosine",
        training__kl_warmup_epochs=2,
        training__kl_warmup_start=0.1,
    )
