"""What `trainers.forecast --beside` sets beside a model: statistical methods, and networks of GluonTS.

Networks are trained when they forecast, on what lies before the part that is scored. They run in a process of their own
(`trainers/gluonts_process.py`), since PyTorch and TensorFlow do not load into one.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfdvae.data.seasons import Origin
from tfdvae.data.timeseries import TimeSeries
from tfdvae.forecasting import Method, auto_arima, auto_ets

__all__ = ["BESIDE", "Task"]

PROGRAM = Path(__file__).with_name("gluonts_process.py")


class Task(NamedTuple):
    """What a method is made for.

    Attributes:
        season: steps in a season.
        given: steps before an origin that a model reads.
        stop: the step from which on nothing is trained on.
        num_samples: of each forecast.
        seed: of weights and of samples.
        epochs: of a network, each of 50 batches of 32 windows.
    """

    season: int
    given: int
    stop: int
    num_samples: int
    seed: int
    epochs: int


def _network(name: str, task: Task) -> Method:
    """A network of GluonTS that takes each target for a series of its own.

    Raises:
        ImportError: GluonTS is not installed.
    """
    if importlib.util.find_spec("gluonts") is None or importlib.util.find_spec("torch") is None:
        raise ImportError(f'{name} needs gluonts and torch: pip install "tfdvae[gluonts]"')

    def method(series: TimeSeries, origins: Sequence[Origin], horizon: int) -> np.ndarray:
        dated = np.issubdtype(np.asarray(series.step).dtype, np.timedelta64)
        told = {
            **task._asdict(),
            **{"network": name, "horizon": horizon, "origins": [[int(i), int(step)] for i, step in origins]},
            "start": [str(start) for start in series.start] if dated else None,
            "seconds": series.step / np.timedelta64(1, "s") if dated else None,
        }
        with tempfile.TemporaryDirectory() as folder:
            values = (
                np.where(seen, x, np.nan)[:, : series.num_targets]
                for x, seen in zip(series.x, series.observed, strict=True)
            )
            np.savez(Path(folder) / "series.npz", *values)
            (Path(folder) / "task.json").write_text(json.dumps(told))
            # -P: no file of this folder stands in for a module that PyTorch imports.
            command = [sys.executable, "-P", PROGRAM, folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{name} failed: {done.stderr.strip()[-2000:]}")
            return np.load(Path(folder) / "samples.npy", allow_pickle=False)

    return method


BESIDE: dict[str, Callable[[Task], Method]] = {
    "AutoETS": lambda task: auto_ets(task.season, task.given, task.num_samples),
    "AutoARIMA": lambda task: auto_arima(task.season, task.given, task.num_samples),
    "DeepAR": lambda task: _network("DeepAR", task),
    "feed-forward": lambda task: _network("feed-forward", task),
}
"""By the names that tables have."""
