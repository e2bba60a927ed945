"""DSAE (Li and Mandt 2018) on human motion, at the survey's sizes.

    python -m trainers.train --config configs/motion/dsae.py --workdir runs/motion_dsae

The data are `cmu_mocap/cmu_mocap_60hz.npz` in the folder that the environment variable TFDVAE_DATA names;
`--config.data.path=FOLDER` takes H3.6M as SUBJECT/NAME.npy, or .asf and .amc files of the CMU database.
Variants: `configs/motion/dsae.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment
from tfdvae import presets

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment("motion", "dsae", arg, **presets.motion["dsae"])
