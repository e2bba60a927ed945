"""A model and how series become its windows: what forecasts tables."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdvae.arguments import whole
from tfdvae.callbacks import BestWeights
from tfdvae.data.batching import shuffled
from tfdvae.data.files import atomic_write, named_damage, read_json, require_folder
from tfdvae.data.seasons import (
    Origin,
    Seasons,
    forecast_inputs,
    forecast_windows,
    rolling_origins,
    steps_of_frames,
)
from tfdvae.data.sequences import pad
from tfdvae.data.timeseries import TimeSeries
from tfdvae.data.unfinished import unfinished
from tfdvae.forecasting.baselines import Method
from tfdvae.forecasts import Forecast
from tfdvae.model_files import load_model
from tfdvae.models import DVAE

__all__ = ["Forecaster", "load_forecaster"]

MODEL, SEASONS = "model.keras", "seasons.json"


class Forecaster(NamedTuple):
    """A model over seasons, and how series become its windows. `tfdvae.recipes.forecaster` makes good ones.

    Attributes:
        model: any DVAE, compiled where `fit` is to train it. With standardize="sequence" its `given_frames` must be
            `seasons.given`.
        seasons: how windows are cut.
        updates: how many updates `fit` makes where it is not told how many epochs.

    Example:
        series = tfdvae.data.regular_series(tfdvae.data.read_csv("load.csv"), ["load"], time="hour")
        forecaster = tfdvae.recipes.forecaster(horizon=48, season=24)
        forecaster.fit(series, valid_from=8000)
        tomorrow = forecaster.forecast(series)
        print(tomorrow.quantile([0.1, 0.5, 0.9]), tomorrow.interval(0.9))
    """

    model: DVAE
    seasons: Seasons
    updates: int = 1000

    def fit(
        self,
        series: TimeSeries,
        *,
        valid_from: int | None = None,
        stop: int | None = None,
        hop: int = 1,
        epochs: int | None = None,
        batch_size: int = 128,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = 0,
        seed: int = 0,
    ) -> keras.callbacks.History:
        """Trains on all windows before a step, and keeps the weights of the epoch that is best after it.

        Args:
            series: with the past of all that is to be learnt.
            valid_from: forecasts from here on are validation, one per season; None trains on everything, and keeps the
                last weights.
            stop: nothing from this step on is used; by default the end of each series.
            hop: steps from training window to training window.
            epochs: by default as many as make `updates`.
            batch_size: windows per update.
            callbacks, verbose: as in Keras' `fit`.
            seed: of the order of the windows.

        Raises:
            ValueError: no series that is long enough, or what `forecast_windows` refuses.
            TypeError: no `TimeSeries`.
        """
        _require_series(series)
        hop, batch_size = (whole(n, v, at_least=1) for n, v in (("hop", hop), ("batch_size", batch_size)))
        first, span = self._past(), self.seasons.horizon
        origins = rolling_origins(series, span, start=first, stop=valid_from or stop, stride=hop)
        train = _arrays(series, self.seasons, origins)
        options: dict[str, Any] = {"callbacks": list(callbacks)}
        if valid_from is not None:
            start = max(first, whole("valid_from", valid_from, at_least=1))
            held = rolling_origins(series, span, start=start, stop=stop, stride=self.seasons.season)
            options["validation_data"] = _arrays(series, self.seasons, held)
            options["callbacks"].append(BestWeights("val_loss", "min"))
        if epochs is None:
            epochs = max(1, round(self.updates * batch_size / len(train["x"])))
        self.model.adapt(**train)
        given = shuffled(train, batch_size, seed=seed, epochs=epochs)
        return self.model.fit(**given, validation_batch_size=batch_size, verbose=verbose, **options)

    def forecast(
        self,
        series: TimeSeries,
        origins: Sequence[Origin] | None = None,
        *,
        num_samples: int = 100,
        seed: int = 0,
        batch_size: int = 128,
    ) -> Forecast:
        """Paths of the targets over the horizon, `[K, N, horizon, J]`, in the units of the series.

        Args:
            series: the past, and known covariates of the horizon.
            origins: where forecasts begin; by default behind the end of each series.
            num_samples: K.
            seed: of the draws; the same origins in other batches are drawn differently.
            batch_size: windows at a time.

        Raises:
            ValueError: as `forecast_inputs`.
            TypeError: no `TimeSeries`.
        """
        batch_size = whole("batch_size", batch_size, at_least=1)
        _require_series(series)
        if origins is None:
            origins = [Origin(i, len(x)) for i, x in enumerate(series.x)]
        batch, future_u = forecast_inputs(series, self.seasons, origins)
        parts = []
        for k, first in enumerate(range(0, len(batch["x"]), batch_size)):
            rows = slice(first, first + batch_size)
            given = {name: values[rows] for name, values in batch.items()}
            ahead = None if future_u is None else future_u[rows]
            options = {"horizon": self.seasons.ahead, "num_samples": num_samples, "seed": seed + k}
            parts.append(self.model.forecast(**given, future_u=ahead, **options))
        samples = np.concatenate([part.samples.numpy() for part in parts], axis=1)
        mean = np.concatenate([part.mean.numpy() for part in parts])
        return Forecast(*(steps_of_frames(y, self.seasons, series.num_targets) for y in (samples, mean)))

    def method(self, num_samples: int = 100, seed: int = 0) -> Method:
        """For `backtest`.

        The method raises ValueError where it is asked for another horizon than the model has.
        """

        def run(series: TimeSeries, origins: Sequence[Origin], horizon: int) -> np.ndarray:
            if horizon > self.seasons.horizon:
                raise ValueError(f"The forecaster has a horizon of {self.seasons.horizon} steps, asked for {horizon}.")
            return self.forecast(series, origins, num_samples=num_samples, seed=seed).samples[:, :, :horizon]

        return run

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `model.keras` and `seasons.json`, for `load_forecaster`; the folder is made."""
        folder = Path(folder)
        with unfinished(folder / MODEL) as temporary:
            self.model.save(temporary)
            temporary.replace(folder / MODEL)
        with atomic_write(folder / SEASONS) as file:
            file.write((json.dumps({**self.seasons._asdict(), "updates": self.updates}, indent=2) + "\n").encode())

    def _past(self) -> int:
        """Steps before the first origin; checks that the model knows what is given."""
        seasons, frames = self.seasons.checked(), self.model.frames
        if frames.mode == "sequence" and frames.given_frames != seasons.given:
            raise ValueError(
                f"The model takes units from {frames.given_frames} frames, and windows give {seasons.given}: make both "
                "the same (given_frames= of the model, given= of Seasons)."
            )
        return seasons.given * seasons.season


def load_forecaster(folder: str | os.PathLike) -> Forecaster:
    """What `Forecaster.save` wrote.

    Raises:
        FileNotFoundError: no such folder, or a file is missing there.
        ValueError: a damaged file.
    """
    folder = require_folder(folder)
    path = folder / SEASONS
    found = read_json(path, "does not say how windows are cut")
    with named_damage(path, "does not say how windows are cut"):
        updates = whole("updates", found.pop("updates"), at_least=1)
        lists = {name: tuple(found.pop(name)) for name in ("lags", "calendar")}
        seasons = Seasons(**found, **lists).checked()
    return Forecaster(load_model(folder / MODEL), seasons, updates)


def _require_series(series: Any) -> None:
    if not isinstance(series, TimeSeries):
        raise TypeError(f"Expected a TimeSeries of tfdvae.data.regular_series, got {type(series).__name__}.")


def _arrays(series: TimeSeries, seasons: Seasons, origins: Sequence[Origin]) -> dict[str, np.ndarray]:
    """Windows as arrays for `fit`; all are of one length, so there is no mask."""
    found = pad(forecast_windows(series, seasons, origins))
    return {name: values for name, values in found.items() if name != "mask"}
