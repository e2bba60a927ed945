"""VRNN-I-Gauss of the VRNN paper (Chung et al. 2015, table 1) on pen strokes: the prior does not depend on the past.

    python -m trainers.train --config configs/handwriting/vrnn_i.py --workdir runs/handwriting_vrnn_i

The data are KanjiVG, `strokes_kanji` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.set=omniglot` takes Omniglot, `--config.data.path=FOLDER` a copy of IAM-OnDB.
Variants: `configs/handwriting/vrnn_i.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment(
        "handwriting",
        "vrnn",
        arg,
        latent_dim=50,
        units=256,
        phi_x=(256,),
        phi_z=(256,),
        prior_units=(256,),
        posterior_units=(256,),
        decoder_units=(256,),
        activation="relu",
        conditional_prior=False,
        observation_options={"num_components": 1},
    )
