"""Forecasts of tables: a model over windows of seasons, rolling-origin backtests, and what to beat.

Series, windows and time features come from `tfdvae.data` (`regular_series`, `Seasons`), scores from `tfdvae.metrics`,
a good model from `tfdvae.recipes.forecaster`.
"""

from tfdvae.data.seasons import Origin, Seasons, rolling_origins
from tfdvae.data.timeseries import TimeSeries, read_csv, regular_series
from tfdvae.forecasting.backtest import HorizonScores, backtest, score_table
from tfdvae.forecasting.baselines import Method, baselines, last_seasons, last_value, seasonal_naive
from tfdvae.forecasting.forecaster import Forecaster, load_forecaster
from tfdvae.forecasting.statistical import auto_arima, auto_ets

__all__ = [
    "Forecaster",
    "HorizonScores",
    "Method",
    "Origin",
    "Seasons",
    "TimeSeries",
    "auto_arima",
    "auto_ets",
    "backtest",
    "baselines",
    "last_seasons",
    "last_value",
    "load_forecaster",
    "read_csv",
    "regular_series",
    "rolling_origins",
    "score_table",
    "seasonal_naive",
]
