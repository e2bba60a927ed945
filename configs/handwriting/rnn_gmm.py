"""RNN-GMM of the VRNN paper (Chung et al. 2015, table 1) on pen strokes: 20 components per frame.

    python -m trainers.train --config configs/handwriting/rnn_gmm.py --workdir runs/handwriting_rnn_gmm

The data are KanjiVG, `strokes_kanji` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.set=omniglot` takes Omniglot, `--config.data.path=FOLDER` a copy of IAM-OnDB.
Variants: `configs/handwriting/rnn_gmm.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "handwriting",
        "rnn",
        arg,
        units=256,
        phi_x=(256,),
        decoder_units=(256,),
        activation="relu",
        observation_options={"num_components": 20},
    )
