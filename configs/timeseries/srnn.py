"""SRNN on hourly time series of a CSV file: forecasts of four days, by days.

    python -m trainers.train --config configs/timeseries/srnn.py --workdir runs/timeseries_srnn
    python -m trainers.forecast --workdir runs/timeseries_srnn

Variants: `configs/timeseries/srnn.py:smoke` (seconds).
"""

from ml_collections import ConfigDict

from configs.defaults import experiment

__all__ = ["get_config"]


def get_config(arg: str = "") -> ConfigDict:
    """The experiment, in a variant of `configs.defaults.VARIANTS`."""
    return experiment("timeseries", "srnn", arg, inference="filter")
