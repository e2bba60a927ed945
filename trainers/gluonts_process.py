"""Forecasts by networks of GluonTS, in a process that knows nothing of TensorFlow: `trainers.forecast --beside`.

    python trainers/gluonts_process.py FOLDER

FOLDER holds `task.json` and `series.npz`: one series after the other, float32 `[T, J]`, NaN where nothing was observed.
`samples.npy`, float32 `[K, N, horizon, J]`, is written into it. See `trainers/forecast_methods.py`.
"""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["forecast"]

BATCHES = 50
"""Of 32 windows, in an epoch: the default of GluonTS."""


class Entries:
    """A data set of GluonTS: what lies before each origin, target by target."""

    def __init__(self, series: Sequence[np.ndarray], origins: Sequence[tuple[int, int]], clock: Sequence[Any]):
        self.series = series
        self.origins = origins
        self.clock = clock

    def __len__(self) -> int:
        return len(self.origins) * self.series[0].shape[1]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for i, step in self.origins:
            for j, target in enumerate(np.float32(self.series[i][:step]).T):
                number = i * self.series[i].shape[1] + j
                place = {"start": self.clock[i], "item_id": str(number), "feat_static_cat": [number]}
                yield {**place, "target": target}


def forecast(series: Sequence[np.ndarray], task: dict[str, Any], folder: Path) -> np.ndarray:
    """Trains on the first `task["stop"]` steps, and forecasts from each origin.

    Args:
        series: `[T_i, J]` each.
        task: see the fields of `trainers.forecast_methods.Task`; "network", "origins", "horizon", and the clock:
            "start" of each series and "seconds" from step to step, or None where times are no dates.
        folder: for what GluonTS writes.

    Returns:
        `[K, N, horizon, J]`: samples, or the quantiles (k + 1/2) / K of networks that tell a distribution for each
        step.
    """
    import lightning.pytorch as lightning
    import pandas
    import torch

    freq, clock = "D", [pandas.Period("2000-01-01", "D")] * len(series)
    if task["start"] is not None:
        freq = pandas.tseries.frequencies.to_offset(pandas.Timedelta(seconds=task["seconds"])).freqstr
        clock = [pandas.Period(pandas.Timestamp(start), freq) for start in task["start"]]
    options = {
        **{"prediction_length": task["horizon"], "context_length": task["given"], "num_batches_per_epoch": BATCHES},
        "trainer_kwargs": {
            **{"max_epochs": task["epochs"], "accelerator": "cpu", "default_root_dir": folder, "logger": False},
            **{"enable_progress_bar": False, "enable_model_summary": False},
        },
    }
    estimator = NETWORKS[task["network"]](freq, sum(x.shape[1] for x in series), options)
    lightning.seed_everything(task["seed"])
    past = [x[: task["stop"]] for x in series]
    predictor = estimator.train(Entries(past, [(i, len(x)) for i, x in enumerate(past)], clock))
    torch.manual_seed(task["seed"])
    count = task["num_samples"]
    told = predictor.predict(Entries(series, task["origins"], clock), num_samples=count)
    levels = (np.arange(count) + 0.5) / count
    rows = [y.samples if hasattr(y, "samples") else np.stack([y.quantile(level) for level in levels]) for y in told]
    shape = (len(task["origins"]), series[0].shape[1], count, task["horizon"])
    return np.float32(np.stack(rows).reshape(shape).transpose(2, 0, 3, 1))


def _deepar(freq: str, targets: int, options: dict[str, Any]) -> Any:
    """DeepAR (Salinas et al. 2020), which is told the clock and which target it sees."""
    from gluonts.torch import DeepAREstimator

    return DeepAREstimator(freq=freq, num_feat_static_cat=1, cardinality=[targets], **options)


def _feed_forward(freq: str, targets: int, options: dict[str, Any]) -> Any:
    """From the given steps to a Student-t for each step of the horizon."""
    from gluonts.torch import SimpleFeedForwardEstimator

    return SimpleFeedForwardEstimator(**options)


NETWORKS = {"DeepAR": _deepar, "feed-forward": _feed_forward}
"""Estimators by the names that tables have."""


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "series.npz", allow_pickle=False) as file:
        series = [file[name] for name in file.files]
    warnings.simplefilter("ignore")
    samples = forecast(series, json.loads((folder / "task.json").read_text()), folder)
    np.save(folder / "samples.npy", samples)


if __name__ == "__main__":
    main()
