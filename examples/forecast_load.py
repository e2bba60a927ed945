"""Forecasts of an hourly load, from a table to a fan, beside what needs no model.

    python examples/forecast_load.py             # a made-up load, some minutes
    python examples/forecast_load.py --toy       # seconds, to see that all runs

The table is made here; with your own, replace `made_load` by `tfdvae.data.read_csv("load.csv")` or a DataFrame. A
picture is drawn where the extra `plots` is there.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfdvae import forecasting, recipes
from tfdvae.data import regular_series

DAY, HORIZON = 24, 48


def made_load(days: int = 300) -> dict[str, np.ndarray]:
    """Hours with a pattern of the day and of the week, a level that wanders, and a temperature that moves the load and
    is known two days ahead, as a weather forecast would be."""
    rng = np.random.default_rng(0)
    hours = np.arange(days * DAY)
    time = np.datetime64("2024-01-01", "s") + np.timedelta64(1, "h") * hours
    weekend = (hours // DAY) % 7 >= 5
    pattern = 12.0 * np.sin(2 * np.pi * (hours - 9) / DAY) + 5.0 * np.sin(4 * np.pi * (hours - 6) / DAY)
    level = np.repeat(60.0 + np.cumsum(rng.normal(scale=0.8, size=days)), DAY)
    # Weather lasts for days: an autoregression of its mean, with a daily swing.
    weather = np.zeros(days)
    for day in range(1, days):
        weather[day] = 0.8 * weather[day - 1] + rng.normal(scale=2.0)
    temperature = np.repeat(weather, DAY) + 3.0 * np.sin(2 * np.pi * (hours - 9) / DAY) + 12.0
    load = level + pattern * np.where(weekend, 0.5, 1.0) + 1.2 * np.abs(temperature - 15.0)
    return {"time": time, "load": load + rng.normal(size=len(hours)), "temperature": temperature}


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Prints a table, and returns the mean CRPS of each method over two days."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="a model and a training for seconds")
    parser.add_argument("--picture", type=Path, default=Path("forecast.png"), help="where to draw to")
    given = parser.parse_args(arguments)

    # 1. From rows to a series. Times are checked, and columns have their parts: what is forecast, and what is known.
    series = regular_series(made_load(60 if given.toy else 300), ["load"], time="time", known=["temperature"])
    steps = len(series.x[0])
    test_from, valid_from = steps - 28 * DAY, steps - 35 * DAY

    # 2. A forecaster: a DVAE whose frames are days. Windows before `valid_from` are learnt, and the epoch that is best
    # on the week after it is kept.
    sizes = {"units": 8, "latent_dim": 2, "updates": 10, "given": 7} if given.toy else {"units": 32, "updates": 600}
    forecaster = recipes.forecaster(horizon=HORIZON, season=DAY, **sizes)
    forecaster.fit(series, valid_from=valid_from, stop=test_from, hop=6)

    # 3. Forecasts from each midnight of the last four weeks, scored beside simple methods.
    origins = forecasting.rolling_origins(series, HORIZON, start=test_from, stride=DAY)
    methods = {"srnn": forecaster.method(num_samples=50), **forecasting.baselines(season=DAY)}
    scores = forecasting.backtest(methods, series, origins, HORIZON, season=DAY)
    print(forecasting.score_table(scores, [DAY, HORIZON]))

    # 4. One forecast: samples, quantiles, an interval, and its picture.
    now = steps - HORIZON
    forecast = forecaster.forecast(series, [forecasting.Origin(0, now)], num_samples=200)
    lower, upper = forecast.interval(0.9)
    inside = float(np.mean((series.x[0][now:] >= lower[0]) & (series.x[0][now:] <= upper[0])))
    print(f"The 90% interval of the last two days holds {inside:.0%} of what came.")
    if importlib.util.find_spec("matplotlib"):
        from tfdvae import plots

        shown = now - 5 * DAY
        past, future = series.x[0][None, shown:now], series.x[0][None, now:]
        times = series.times(0, shown, steps - shown)
        figure = plots.plot_forecast(forecast, past, future, features=series.targets, times=times)
        figure.savefig(given.picture)
    return {name: float(np.mean(rows.crps)) for name, rows in scores.items()}


if __name__ == "__main__":
    main()
