"""Deep Kalman filter on time series of a CSV file, whose latents see past and future: for filling gaps.

    python -m trainers.train --config configs/timeseries/dkf.py --workdir runs/timeseries_dkf
    python -m trainers.impute --workdir runs/timeseries_dkf --rates 0.1,0.3,0.5,0.7

All that p(x_t | .) knows of other frames comes through z_t, so a gap is filled from both sides; the posterior looks
into the future, so it does not forecast as well as `configs/timeseries/srnn.py`. For gaps of single steps take frames
of fewer steps (--config.data.season=12), hide values in training (--config.training.hide=0.4), and score all frames
(--config.model.standardize=global --config.model.given_frames=0).

Variants: `configs/timeseries/dkf.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment("timeseries", "dkf", arg, inference="mf_lr")
