"""Models together with what makes them good at a task: sizes, observation, units and training."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfdvae.anomalies.detector import Detector, Learning
from tfdvae.arguments import real, whole
from tfdvae.data.seasons import Seasons
from tfdvae.forecasting.forecaster import Forecaster
from tfdvae.models import MODELS

__all__ = ["DETECTOR", "FORECASTER", "detector", "forecaster"]

DETECTOR: Mapping[str, Any] = {
    "latent_dim": 4,
    "units": 32,
    "dropout": 0.1,
    "observation": "student_t",
    "standardize": None,
    "fill": "last",
    "indicator": True,
}
"""Options of the model of `detector`: small, since a clean part is a few thousand steps; heavy tails, so that a single
outlier of the clean part does not widen what is usual; units come from outside, and gaps are told."""

FORECASTER: Mapping[str, Any] = {
    "latent_dim": 8,
    "units": 64,
    "dropout": 0.2,
    "observation": "student_t",
    "standardize": "sequence",
}
"""Options of the model of `forecaster`: units of each window by its past, since the level of series drifts; heavy
tails, since series have outliers; dropout, since a year of days is a small data set."""

OWN: Mapping[str, Mapping[str, Any]] = {"rnn": {"latent_dim": 0}, "srnn": {"inference": "filter"}}
"""Options of single models in all recipes. A posterior that sees the future in training would not have it when a
forecast begins, or a step comes in."""


def forecaster(
    horizon: int,
    season: int = 24,
    *,
    given: int = 14,
    lags: Sequence[int] = (),
    calendar: Sequence[str] = ("hour", "weekday"),
    holidays: str | None = None,
    separate: bool = True,
    model: str = "srnn",
    learning_rate: float = 2e-3,
    updates: int = 1000,
    scheduled_sampling: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> Forecaster:
    """A DVAE over seasons of time series, to be trained by `Forecaster.fit`.

    A frame is a whole season, 24 hours by default, so that a forecast of days takes a few steps and its error does not
    grow with each hour. Each target is a sequence by itself, with one model for all. Every hour of the day is
    standardised by the given frames of its window.

    Args:
        horizon: steps to forecast.
        season: steps in a frame: a day of hours, a week of days; 1 for series without a season.
        given: frames before a forecast.
        lags, calendar, holidays, separate: inputs and frames, see `Seasons`.
        model: a name in `tfdvae.MODELS` that can forecast.
        learning_rate: of AdamW at the start; it falls to nearly nothing over `updates`, as a half cosine.
        updates: training steps.
        scheduled_sampling: part of the frames that training replaces by the model's own output.
        seed: of weights and noise.
        **options: of the model, which replace FORECASTER; "srnn" has inference="filter" by default.

    Raises:
        ValueError: an unknown model, or options that it or `Seasons` cannot have.

    Example:
        daily = tfdvae.recipes.forecaster(horizon=28, season=7, given=8, calendar=("month",), updates=500)
        hourly = tfdvae.recipes.forecaster(horizon=96, season=24, lags=(168,), observation="gaussian_mixture")
    """
    if model not in MODELS:
        raise ValueError(f"Unknown model {model!r}: expected one of {', '.join(sorted(MODELS))}.")
    updates, learning_rate = whole("updates", updates, at_least=1), real("learning_rate", learning_rate, positive=True)
    seasons = Seasons(horizon, season, given, tuple(lags), tuple(calendar), holidays, separate).checked()
    own = OWN.get(model, {})
    made = MODELS[model](**{**FORECASTER, "given_frames": seasons.given, "seed": seed, **own, **options})
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, updates, alpha=0.02)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-4)
    made.compile(optimizer, clip_norm=5.0, scheduled_sampling=scheduled_sampling)
    return Forecaster(made, seasons, updates)


def detector(
    *,
    model: str = "rnn",
    season: int | None = None,
    seasons: int = 5,
    calendar: Sequence[str] | None = None,
    length: int = 64,
    learning_rate: float = 3e-3,
    updates: int = 800,
    batch_size: int = 64,
    seed: int = 0,
    **options: Any,
) -> Detector:
    """A small model that scores steps of series by -log p(x_t | x_<t), to be trained by `Detector.fit`.

    A frame is one step, so each has its score as soon as it comes. The default is the recurrence without latents, whose
    score is exact; "vrnn" and "srnn" have latents, and their score is a bound. The model is told what was usual at the
    same time of the days before (a median, so that one anomalous day does not become what is expected of the next) and
    the hour.

    Args:
        model: a name in `tfdvae.MODELS` that streams.
        season, seasons, calendar: inputs, see `tfdvae.anomalies.fit_views`; season=0 and calendar=() make a model
            without inputs.
        length: frames of a training window.
        learning_rate: of AdamW at the start; it falls to nearly nothing over `updates`, as a half cosine.
        updates: training steps, as nearly as epochs of 64 of them come to it.
        batch_size: windows of each.
        seed: of weights and noise.
        **options: of the model, which replace DETECTOR; "srnn" has inference="filter" by default.

    Raises:
        ValueError: an unknown model, or one that does not stream, or options that it cannot have.

    Example:
        sensor = tfdvae.recipes.detector(model="srnn", season=144, updates=1200)
        sensor.fit(series, stop=4000)
    """
    if model not in MODELS:
        raise ValueError(f"Unknown model {model!r}: expected one of {', '.join(sorted(MODELS))}.")
    numbers = {"seasons": seasons, "length": length, "updates": updates, "batch_size": batch_size}
    counts = {name: whole(name, value, at_least=1) for name, value in numbers.items()}
    made = MODELS[model](**{**DETECTOR, "seed": seed, **OWN.get(model, {}), **options})
    rate = keras.optimizers.schedules.CosineDecay(real("learning_rate", learning_rate, positive=True), updates, 0.05)
    made.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), clip_norm=5.0)
    told = None if calendar is None else tuple(calendar)
    return Detector(made, Learning(season=season, calendar=told, **counts))
