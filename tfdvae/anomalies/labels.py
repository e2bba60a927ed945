"""Labels in the form of the Numenta benchmark: a JSON file of windows of time for each file of data."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdvae.data.files import named_damage, read_json
from tfdvae.data.timeseries import TimeSeries

__all__ = ["label_steps", "read_labels"]


def read_labels(path: str | os.PathLike) -> Mapping[str, list[tuple[np.datetime64, np.datetime64]]]:
    """Windows of time, first and last, by the name of the file that they label, such as "realTraffic/speed_6005.csv".

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such JSON, a time is none, or a window ends before it begins.
    """
    says = 'is no file of labels such as {"folder/series.csv": [["2014-04-01 00:00", "2014-04-01 12:00"]]}'
    found = read_json(path, says)
    with named_damage(path, says):
        labels = {}
        for name, windows in found.items():
            labels[name] = [tuple(np.datetime64(time, "us") for time in (first, last)) for first, last in windows]
            wrong = [window for window in labels[name] if not window[0] <= window[1]]
            if wrong:
                raise ValueError(f"{name} has a window from {wrong[0][0]} to {wrong[0][1]}")
    return labels


def label_steps(series: TimeSeries, windows: Sequence[tuple[Any, Any]], index: int = 0) -> list[tuple[int, int]]:
    """Windows of time as pairs (first, last) of steps of a series, both inside.

    A window may reach over the end of the series by less than its own length (the benchmark's do, since they were
    centred on an anomaly), and is cut there.

    Raises:
        ValueError: a window that lies outside of the series, or that holds no step of it; times that are no dates.
    """
    times = series.times(index, 0, len(series.x[index]))
    if times.dtype.kind != "M":
        raise ValueError(f"Labels are dates, and the times of the series are {times.dtype}.")
    found = []
    for first, last in windows:
        if last < times[0] or first > times[-1]:
            raise ValueError(
                f"The label from {first} to {last} lies outside of the series, which lasts from {times[0]} to "
                f"{times[-1]}: is it that of another file, or of another time zone?"
            )
        a, b = int(np.searchsorted(times, first)), int(np.searchsorted(times, last, side="right")) - 1
        if a > b:
            raise ValueError(f"The label from {first} to {last} holds no step of the series.")
        found.append((a, b))
    return found
