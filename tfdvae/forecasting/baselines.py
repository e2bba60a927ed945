"""Forecasts without a model, which every model must beat: the last value, the last season, the last seasons as samples.

Each is a `Method` of `tfdvae.forecasting.backtest`, and reads nothing from the origins on.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.seasons import Origin
from tfdvae.data.timeseries import TimeSeries

__all__ = ["Method", "baselines", "last_seasons", "last_value", "seasonal_naive"]

Method = Callable[[TimeSeries, Sequence[Origin], int], np.ndarray]
"""Samples `[K, N, horizon, J]` of the J targets from N origins on; of the series it may read what lies before them."""


def last_value(series: TimeSeries, origins: Sequence[Origin], horizon: int) -> np.ndarray:
    """The last observed value again and again, as one sample."""
    return last_seasons(series, origins, horizon, season=1, count=1)


def seasonal_naive(series: TimeSeries, origins: Sequence[Origin], horizon: int, season: int) -> np.ndarray:
    """The last season again and again, as one sample; for a value that was not observed, the one a season earlier."""
    return last_seasons(series, origins, horizon, season=season, count=1)


def last_seasons(series: TimeSeries, origins: Sequence[Origin], horizon: int, *, season: int, count: int) -> np.ndarray:
    """The last `count` seasons, each repeated over the horizon, as samples: `[count, N, horizon, J]`.

    Where a step of the season was observed less often, the observed ones are repeated, the latest first; where never,
    the last observed value stands in.

    Args:
        series, origins, horizon: see `Method`.
        season: steps in a season.
        count: of seasons; fewer where a series has fewer before its origin, which are then repeated.

    Raises:
        ValueError: a number below 1, or an origin before which a target was never observed.
    """
    numbers = {"horizon": horizon, "season": season, "count": count}
    horizon, season, count = (whole(name, value, at_least=1) for name, value in numbers.items())
    found = np.empty([count, len(origins), horizon, series.num_targets], np.float32)
    for n, (i, step) in enumerate(origins):
        x, seen = (y[i][:step, : series.num_targets] for y in (series.x, series.observed))
        never = ~seen.any(axis=0)
        if never.any():
            raise ValueError(f"{series.targets[never.argmax()]!r} was never observed before step {step}.")
        # Seasons from the latest to the first, [seasons, season, J]; the first one may lack its beginning.
        short = -len(x) % season
        x, seen = (np.pad(y, [(short, 0), (0, 0)]).reshape(-1, season, y.shape[1])[::-1] for y in (x, seen))
        latest = np.argsort(~seen, axis=0, kind="stable")
        known = seen.sum(axis=0)
        last = _last(x, seen)
        for k in range(count):
            which = np.take_along_axis(latest, (k % np.maximum(known, 1))[None], axis=0)
            profile = np.where(known > 0, np.take_along_axis(x, which, axis=0)[0], last)
            found[k, n] = np.resize(profile, [horizon, profile.shape[1]])
    return found


def _last(x: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """The last observed value of each target, `[J]`, of seasons from the latest to the first."""
    backwards = x[:, ::-1].reshape(-1, x.shape[-1])
    at = seen[:, ::-1].reshape(-1, x.shape[-1]).argmax(axis=0)
    return np.take_along_axis(backwards, at[None], axis=0)[0]


def baselines(season: int, count: int = 7) -> dict[str, Method]:
    """The three of them by the names that tables have."""

    def naive(series: TimeSeries, origins: Sequence[Origin], horizon: int) -> np.ndarray:
        return seasonal_naive(series, origins, horizon, season)

    def profiles(series: TimeSeries, origins: Sequence[Origin], horizon: int) -> np.ndarray:
        return last_seasons(series, origins, horizon, season=season, count=count)

    return {"last value": last_value, "seasonal naive": naive, f"last {count} seasons": profiles}
