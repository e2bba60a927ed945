"""Forecasts by statistical methods that choose their own form: exponential smoothing and ARIMA, of statsforecast.

Each is a `Method` of `tfdvae.forecasting.backtest`, and needs the extra `forecasting`. Every target is a series by
itself, of which nothing but its own past is read: neither other targets nor covariates.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.files import import_extra
from tfdvae.data.holdout import impute_linear
from tfdvae.data.seasons import Origin
from tfdvae.data.timeseries import TimeSeries
from tfdvae.forecasting.baselines import Method

__all__ = ["auto_arima", "auto_ets"]

LEAST = 10
"""Steps without which no form can be chosen."""


def auto_ets(season: int, given: int | None = None, num_samples: int = 100, **options: Any) -> Method:
    """Exponential smoothing whose error, trend and season are chosen by AICc, fitted anew at each origin (Hyndman et
    al. 2002; `statsforecast.models.AutoETS`).

    Args:
        season: steps in a season.
        given: steps before an origin that are read; by default all.
        num_samples: K. The samples are quantiles of the predictive distribution of each step, (k + 1/2) / K, so that
            scores of single steps are those of the distribution; they are no paths.
        **options: other arguments of AutoETS, such as `model="ZZZ"`.

    Returns:
        A method. It raises ValueError where a target has fewer than ten steps before an origin, counted from its first
        observed one; steps between that were not observed are filled along straight lines.

    Raises:
        ValueError: a number below 1.
        ImportError: statsforecast is not installed.
    """
    return _method("AutoETS", season, given, num_samples, options)


def auto_arima(season: int, given: int | None = None, num_samples: int = 100, **options: Any) -> Method:
    """A seasonal ARIMA whose orders are chosen step by step by AICc, fitted anew at each origin (Hyndman and Khandakar
    2008; `statsforecast.models.AutoARIMA`). Long seasons take long: each forecast of each target tries
    many forms.

    Args:
        season, given, num_samples: see `auto_ets`.
        **options: other arguments of AutoARIMA, such as `approximation=True` or `max_p=2`.

    Returns:
        A method; see `auto_ets`.

    Raises:
        ValueError: a number below 1.
        ImportError: statsforecast is not installed.
    """
    return _method("AutoARIMA", season, given, num_samples, options)


def _method(name: str, season: int, given: int | None, num_samples: int, options: dict[str, Any]) -> Method:
    season, num_samples = (
        whole(key, value, at_least=1) for key, value in {"season": season, "num_samples": num_samples}.items()
    )
    if given is not None:
        given = whole("given", given, at_least=1)
    form = getattr(import_extra("statsforecast.models", name, "forecasting"), name)

    def method(series: TimeSeries, origins: Sequence[Origin], horizon: int) -> np.ndarray:
        horizon = whole("horizon", horizon, at_least=1)
        found = np.empty([num_samples, len(origins), horizon, series.num_targets], np.float32)
        for n, (i, step) in enumerate(origins):
            first = 0 if given is None else max(0, step - given)
            x, seen = (y[i][first:step, : series.num_targets] for y in (series.x, series.observed))
            filled = impute_linear(x, seen, np.zeros(series.num_targets, np.float32))
            for j, target in enumerate(series.targets):
                y = np.float64(filled[seen[:, j].argmax() if seen[:, j].any() else len(x) :, j])
                if len(y) < LEAST:
                    raise ValueError(
                        f"{target!r} has {len(y)} steps before step {step}, counted from the first that was observed, "
                        f"and {name} needs {LEAST}: begin later, or give more steps."
                    )
                found[:, n, :, j] = _quantiles(form(season_length=season, **options), y, horizon, num_samples)
        return found

    return method


def _quantiles(model: Any, y: np.ndarray, horizon: int, count: int) -> np.ndarray:
    """The quantiles (k + 1/2) / `count` of each step, `[count, horizon]`, from central intervals."""
    half = count // 2
    levels = [100.0 * (1.0 - (2 * k + 1) / count) for k in range(half)]
    with warnings.catch_warnings():
        # Of searches that end early: the form that was found is used, and its scores say how good it is.
        warnings.simplefilter("ignore")
        told = model.forecast(y=y, h=horizon, level=levels or None)
    lower, upper = ([np.asarray(told[f"{end}-{level}"]) for level in levels] for end in ("lo", "hi"))
    middle = [np.asarray(told["mean"])] if count % 2 else []
    return np.stack([*lower, *middle, *upper[::-1]])
