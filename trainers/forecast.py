"""Forecasts of time series from a CSV file: trains a model, and scores it beside what needs none.

    python -m trainers.forecast --config configs/timeseries/srnn.py --workdir runs/load \\
        --config.data.path=load.csv --config.data.time=hour --config.data.horizon=48
    python -m trainers.forecast --workdir runs/load --split valid --horizons 1,24,48
    python -m trainers.forecast --workdir runs/load --beside AutoETS,DeepAR

With --config it first trains as `trainers.train` does, or goes on with it; without, --workdir is that of a finished
run. Forecasts begin once a season, each given what came before it, and are scored over the whole horizon and its
parts. `--beside` adds statistical methods (AutoETS, AutoARIMA: extra `forecasting`) and networks of another package
(DeepAR, feed-forward: extra `gluonts`), which are given as much and trained on the same part. In the working folder are
then

    forecast_test.md .json   the table, and scores of each step
    forecast_test.png        the fan of the last forecast
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from tfdvae.data.forecast_files import read_timeseries, split_steps
from tfdvae.forecasting import (
    Forecaster,
    HorizonScores,
    Seasons,
    TimeSeries,
    backtest,
    baselines,
    rolling_origins,
    score_table,
)
from tfdvae.moments import observed_moments
from tfdvae.plots import plot_forecast
from trainers import building, loading, settings, train
from trainers.forecast_methods import BESIDE, Task
from trainers.generate import save_figure
from trainers.writing import write_json, write_text

__all__ = ["SPLITS", "load_forecaster", "run"]

SPLITS = ("valid", "test")
SERIES = ("path", "time", "targets", "past", "known", "context", "group", "gaps")
STEPS = ("train_steps", "valid_steps", "test_steps")


def run(
    workdir: Path,
    split: str = "test",
    horizons: Sequence[int] | None = None,
    num_samples: int = 100,
    stride: int | None = None,
    seed: int = 0,
    beside: Sequence[str] = (),
    epochs: int = 20,
) -> Mapping[str, HorizonScores]:
    """Prints a table, returns scores by method; writes `forecast_<split>.json`, `.md` and `.png`.

    Errors are in standard deviations of each target over its training steps, means over all targets.

    Args:
        workdir: folder of a finished run on the data set "timeseries".
        split: valid or test.
        horizons: over how many steps to average, each a row of the table; by default one season and all.
        num_samples: paths of the model.
        stride: steps from forecast to forecast; by default a season.
        seed: of the paths.
        beside: names in `trainers.forecast_methods.BESIDE`. Networks among them are trained on what the model was
            trained on.
        epochs: of those networks.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: a run on another data set, an unknown split or method, or a horizon that was not trained.
        ImportError: a package is not installed that a method needs.
    """
    settings.check_split(split, SPLITS)
    unknown = [name for name in beside if name not in BESIDE]
    if unknown:
        raise ValueError(f"Unknown method {unknown[0]!r}: expected some of {', '.join(BESIDE)}.")
    config = settings.load(workdir)
    forecaster, series = load_forecaster(workdir, config)
    seasons = forecaster.seasons
    horizon = seasons.horizon
    horizons = sorted({min(seasons.season, horizon), horizon}) if horizons is None else list(horizons)
    if not all(1 <= steps <= horizon for steps in horizons):
        raise ValueError(f"--horizons must be from 1 to {horizon}, which the model was trained for, got {horizons}.")
    borders = split_steps(series, *(config.data[name] for name in STEPS))
    start, stop = borders[:2] if split == "valid" else borders[1:]
    first = max(start, seasons.given * seasons.season)
    origins = rolling_origins(series, horizon, start=first, stop=stop, stride=stride or seasons.season)
    _, scale = observed_moments(*(np.concatenate([y[: borders[0]] for y in x]) for x in (series.x, series.observed)))
    name = config.model.name
    task = Task(seasons.season, seasons.given * seasons.season, borders[0], num_samples, seed, epochs)
    methods = {
        **baselines(seasons.season),
        **{method: BESIDE[method](task) for method in beside},
        name: forecaster.method(num_samples, seed),
    }
    scores = backtest(methods, series, origins, horizon, season=seasons.season, scale=scale[: series.num_targets])
    print(
        f"{name} on {config.data.path}, split {split}: {len(origins)} forecasts of {series.num_targets} targets; "
        f"errors in standard deviations of the training part, coverage of intervals of 90%\n"
        f"{score_table(scores, horizons)}",
        flush=True,
    )
    output = workdir / f"forecast_{split}"
    write_text(output.with_suffix(".md"), score_table(scores, horizons, markdown=True))
    rows = {
        method: {key: [_plain(y) for y in values] for key, values in row._asdict().items()}
        for method, row in scores.items()
    }
    content = {"model": name, "split": split, "origins": len(origins), "targets": series.targets, "scores": rows}
    write_json(output.with_suffix(".json"), content)
    save_figure(_fan(forecaster, series, origins[-1], num_samples, seed), output.with_suffix(".png"))
    return scores


def load_forecaster(workdir: Path, config: ConfigDict) -> tuple[Forecaster, TimeSeries]:
    """The model of a run with its windows, and the series that it was trained on.

    Raises:
        FileNotFoundError: the run has not finished.
        ValueError: it is on another data set, whose sequences are no windows of series.
    """
    if config.data.name != "timeseries":
        raise ValueError(f"Expected a run on the data set 'timeseries', {workdir} holds one on {config.data.name!r}.")
    options = loading.loader_arguments(config.data)
    seasons = Seasons(**{key: options[key] for key in Seasons._fields if key in options}).checked()
    series = read_timeseries(**{key: options[key] for key in SERIES if key in options})
    return Forecaster(building.load_model(workdir), seasons), series


def _fan(forecaster: Forecaster, series: TimeSeries, origin, num_samples: int, seed: int):
    """The picture of one forecast, after as many steps as it has, or a week of seasons."""
    found = forecaster.forecast(series, [origin], num_samples=num_samples, seed=seed)
    i, step = origin
    horizon, count = forecaster.seasons.horizon, series.num_targets
    before = min(step, max(horizon, 7 * forecaster.seasons.season))
    x = np.where(series.observed[i], series.x[i], np.nan)[:, :count]
    return plot_forecast(
        found,
        x[None, step - before : step],
        x[None, step : step + horizon],
        features=series.targets,
        times=series.times(i, step - before, before + horizon),
        title=series.names[i],
    )


def _plain(value: float) -> float | int | None:
    return None if np.isnan(value) else value.item()


def main() -> None:
    values = flags.FLAGS
    try:
        horizons = None if values.horizons is None else [int(steps) for steps in values.horizons]
    except ValueError as error:
        raise ValueError(f"--horizons must be whole numbers such as 24,96, got {','.join(values.horizons)}.") from error
    workdir = Path(values.workdir)
    if values.config is not None:
        if values.config.data.name != "timeseries":
            raise ValueError(f"Expected a config of the data set 'timeseries', got {values.config.data.name!r}.")
        train.run(values.config, workdir)
    options = {"beside": values.beside, "epochs": values.beside_epochs}
    run(workdir, values.split, horizons, values.num_samples, values.stride, values.seed, **options)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "File with get_config(): trains first; see configs/timeseries.")
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_enum("split", "test", SPLITS, "What to score on.")
    flags.DEFINE_list("horizons", None, "Numbers of steps to average over; by default a season and the whole horizon.")
    flags.DEFINE_integer("num_samples", 100, "Paths of the model.", lower_bound=2)
    flags.DEFINE_integer("stride", None, "Steps from forecast to forecast; by default a season.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the paths.", lower_bound=0)
    flags.DEFINE_list("beside", [], f"Methods to compare with: {', '.join(BESIDE)}.")
    flags.DEFINE_integer("beside_epochs", 20, "Epochs of 50 batches of those that are networks.", lower_bound=1)
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
