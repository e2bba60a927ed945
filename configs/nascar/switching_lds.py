"""Switching LDS (Johnson et al. 2016) on a car on an oval track: which regimes it finds, in a plane of its own.

    python -m trainers.train --config configs/nascar/switching_lds.py --workdir runs/nascar_switching_lds
    python -m trainers.reproduce regimes --workdir results/regimes

Sizes are ours: as many regimes as there are (six with `data.both_ways`), and frames that are linear in z, since a
decoder with a hidden layer may bend any dynamics straight.

Variants: `configs/nascar/switching_lds.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "nascar",
        "switching_lds",
        arg,
        latent_dim=2,
        num_regimes=4,
        rounds=2,
        encoder_units=(64,),
        decoder_units=(),
        transition_scale=0.1,
        optimizer__learning_rate=0.02,
    )
