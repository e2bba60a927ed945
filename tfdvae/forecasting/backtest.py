"""Rolling-origin backtests: many forecasts of the past, scored by how far ahead they look."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdvae import metrics
from tfdvae.data.seasons import Origin
from tfdvae.data.timeseries import TimeSeries
from tfdvae.forecasting.baselines import Method
from tfdvae.markdown import markdown_table

__all__ = ["HorizonScores", "backtest", "score_table"]


class HorizonScores(NamedTuple):
    """Scores of a method for each step of the horizon, `[horizon]`, means over origins and targets that were observed.

    Attributes:
        mae: absolute error of the median.
        mse: squared error of the mean.
        mase: absolute error over that of the seasonal naive forecast before the first origin.
        crps: of the samples as they are (see `tfdvae.metrics.crps`).
        coverage: part of the values in the central interval; NaN of a method with fewer than 20 samples.
        energy: energy score of all targets of a step together.
        count: values that were scored.
    """

    mae: np.ndarray
    mse: np.ndarray
    mase: np.ndarray
    crps: np.ndarray
    coverage: np.ndarray
    energy: np.ndarray
    count: np.ndarray

    def up_to(self, steps: int) -> dict[str, float]:
        """Means over all values of the first `steps` steps, by name; without the count.

        Raises:
            ValueError: `steps` is not from 1 to the horizon.
        """
        if not 1 <= steps <= len(self.count):
            raise ValueError(f"`steps` must be from 1 to {len(self.count)}, the horizon that was scored, got {steps}.")
        weight = self.count[:steps]
        found = {}
        for name in self._fields[:-1]:
            values = getattr(self, name)[:steps]
            known = np.isfinite(values) & (weight > 0)
            found[name] = float(np.average(values[known], weights=weight[known])) if known.any() else float("nan")
        return found


def backtest(
    methods: Mapping[str, Method],
    series: TimeSeries,
    origins: Sequence[Origin],
    horizon: int,
    *,
    season: int = 1,
    scale: Any = None,
    level: float = 0.9,
) -> dict[str, HorizonScores]:
    """Forecasts from each origin by each method, scored against what came.

    Args:
        methods: by name, see `Method`: `Forecaster.method`, and those of `baselines`.
        series: with what came.
        origins: see `rolling_origins`.
        horizon: steps of each forecast.
        season: steps in a season, for MASE.
        scale: unit of errors for each target, `[J]`, such as its standard deviation in training; by default errors are
            in the units of the series. MASE and coverage have none.
        level: of the intervals whose coverage is counted.

    Raises:
        ValueError: a method that returns another shape, or a scale that is not positive.

    Example:
        origins = rolling_origins(series, 24, start=1000, stride=24)
        scores = backtest({"vrnn": forecaster.method(), **baselines(24)}, series, origins, 24, season=24)
        print(score_table(scores, [1, 24]))
    """
    targets = series.num_targets
    unit = np.ones(targets) if scale is None else np.asarray(scale, np.float64)
    if unit.shape != (targets,) or not (unit > 0.0).all():
        raise ValueError(f"`scale` must hold {targets} positive numbers, one for each target, got {scale!r}.")
    x, seen = (
        np.stack([values[i][step : step + horizon, :targets] for i, step in origins])
        for values in (series.x, series.observed)
    )
    mase_scale = _scales(series, origins, season)
    return {
        name: _score(name, method(series, origins, horizon), x, seen, mase_scale, unit, level)
        for name, method in methods.items()
    }


def _scales(series: TimeSeries, origins: Sequence[Origin], season: int) -> np.ndarray:
    """What MASE divides by, `[N, J]`: of each series what lies before its first origin."""
    first = {i: min(origin.step for origin in origins if origin.series == i) for i in {o.series for o in origins}}
    found = {}
    for i, step in first.items():
        past, seen = (values[i][None, :step, : series.num_targets] for values in (series.x, series.observed))
        known = season < step
        found[i] = metrics.seasonal_scale(past, season, seen)[0] if known else np.full(series.num_targets, np.nan)
    return np.stack([found[i] for i, _ in origins])


def _score(
    name: str, samples: Any, x: np.ndarray, seen: np.ndarray, mase_scale: np.ndarray, unit: np.ndarray, level: float
) -> HorizonScores:
    samples = np.asarray(samples)
    if samples.ndim != 4 or samples.shape[1:] != x.shape:
        raise ValueError(
            f"Expected samples with K paths in front of {list(x.shape)}, {name} gave {list(samples.shape)}."
        )
    median, mean = np.median(samples, axis=0), samples.mean(axis=0)
    rows = {"observed": seen, "axis": (0, 2)}
    coverage = np.full(x.shape[1], np.nan)
    if len(samples) >= 20:
        ends = np.quantile(samples, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
        coverage = metrics.coverage(*ends, x, **rows)
    return HorizonScores(
        metrics.mae(median / unit, x / unit, **rows),
        metrics.mse(mean / unit, x / unit, **rows),
        metrics.mase(median, x, mase_scale, **rows),
        metrics.crps(samples / unit, x / unit, **rows),
        coverage,
        metrics.energy_score(samples / unit, x / unit, seen, axis=0),
        seen.sum(axis=(0, 2)),
    )


def score_table(scores: Mapping[str, HorizonScores], horizons: Sequence[int], markdown: bool = False) -> str:
    """A row for each method and horizon, means over the first so many steps, as text or as a table of Markdown."""
    head = ["method", "steps", "MAE", "MSE", "MASE", "CRPS", "coverage", "energy"]
    rows = [
        [name, str(steps), *(("-" if np.isnan(value) else f"{value:.4f}") for value in row.up_to(steps).values())]
        for steps in horizons
        for name, row in scores.items()
    ]
    if markdown:
        return markdown_table(head, rows)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ([cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in [head, *rows])
    return "\n".join("  ".join([first.strip().ljust(widths[0]), *rest]) for first, *rest in lines)
