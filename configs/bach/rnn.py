"""Recurrent network without latent variables on Bach chorales (music21).

    python -m trainers.train --config configs/bach/rnn.py --workdir runs/bach_rnn

Variants: `configs/bach/rnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "bach",
        "rnn",
        arg,
        units=200,
        phi_x=(100,),
        dropout=0.2,
    )
