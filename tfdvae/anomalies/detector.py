"""A model and what it is told of each step: scores of how unusual the steps of a series are."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdvae.anomalies.views import Follower, Views, clean_stops, fit_views
from tfdvae.arguments import whole
from tfdvae.data.batching import shuffled
from tfdvae.data.calendars import calendar_features
from tfdvae.data.files import atomic_write, named_damage, read_json, require_folder
from tfdvae.data.timeseries import TimeSeries
from tfdvae.data.unfinished import unfinished
from tfdvae.model_files import load_model
from tfdvae.models import DVAE
from tfdvae.models.streaming import CAUSAL_FORMS
from tfdvae.types import Batch

__all__ = ["Detector", "DetectorStream", "Learning", "load_detector"]

MODEL, SETTINGS = "model.keras", "detector.json"


class Learning(NamedTuple):
    """How a detector learns from the clean parts of series.

    Attributes:
        season, seasons, calendar: see `fit_views`.
        length: frames of a training window.
        updates: training steps, as nearly as epochs of 64 of them come to it.
        batch_size: windows of each.
    """

    season: int | None = None
    seasons: int = 5
    calendar: tuple[str, ...] | None = None
    length: int = 64
    updates: int = 800
    batch_size: int = 64

    def checked(self) -> "Learning":
        """The same with Python's own numbers; ValueError for a number that is none, or too small."""
        counts = {name: whole(name, getattr(self, name), at_least=1) for name in ("length", "updates", "batch_size")}
        season = None if self.season is None else whole("season", self.season, at_least=0)
        return self._replace(season=season, seasons=whole("seasons", self.seasons, at_least=1), **counts)


class Detector:
    """Scores steps of series by -log p(x_t | x_<t) of a model, in nats; high where a step is unusual.

    The score of a step is KL - log p(x_t | .) along the modes of the latents, what `step` of the model returns: minus
    what the step adds to the bound. Of a model without latents (RNN) it is exactly -log p(x_t | x_<t). Frames are in
    units of the clean part of their series (see `Views`), and so is the density. Steps of which nothing was observed
    pass, and have no score.

    `recipes.detector` makes good ones.

    Args:
        model: any causal DVAE, compiled where `fit` is to train it; with standardize=None, as frames come in units.
        learning: how it learns; by default `Learning()`.
        views: of each series that it was fitted to.

    Raises:
        ValueError: a model that does not stream, whose scores would know what comes after a step.

    Example:
        series = tfdvae.data.regular_series(tfdvae.data.read_csv("sensor.csv"), ["value"], time="time", gaps="missing")
        detector = tfdvae.recipes.detector()
        detector.fit(series, stop=2000)  # steps that are known to be clean
        scores = detector.score(series)[0]
        threshold = tfdvae.anomalies.fit_threshold(scores[1000:2000]).at(risk=1e-4)
        alarms = scores > threshold
    """

    def __init__(self, model: DVAE, learning: Learning | None = None, views: Sequence[Views] = ()):
        if not isinstance(model, DVAE):
            raise TypeError(f"Expected a DVAE to score by, got {type(model).__name__}.")
        if not model.causal:
            raise ValueError(
                f"A {type(model).__name__} as configured {model.not_causal}, so it cannot score a step when it comes. "
                f"Choose {CAUSAL_FORMS}."
            )
        self.model, self.learning, self.views = model, (learning or Learning()).checked(), tuple(views)
        self._run = tf.function(self._scores, reduce_retracing=True, autograph=False)

    def fit(
        self,
        series: TimeSeries | Sequence[TimeSeries],
        stop: int | Sequence[int] | None = None,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = 0,
        seed: int = 0,
    ) -> keras.callbacks.History:
        """Trains on random windows of the clean parts, as many of each series.

        Args:
            series: one or several, which one model learns together, each in units of its own; a list where their steps
                differ.
            stop: where the clean part ends, of all series or of each; by default with the series.
            callbacks, verbose: as in Keras' `fit`.
            seed: of the choice of windows and of their order.

        Raises:
            ValueError: a model that is not compiled, or has units of its own; as `fit_views`; a clean part that is
                shorter than a window; series whose inputs differ in number.
        """
        learning, model = self.learning, self.model
        if not model.compiled:
            raise ValueError("The model of the detector is not compiled: call model.compile(...) before `fit`.")
        if model.frames.mode is not None:
            raise ValueError(
                "Frames come in units of the clean part of their series: make the model with standardize=None, got "
                f"{model.frames.standardize!r}."
            )
        parts = singles(series)
        stops = clean_stops(parts, stop)
        options = {"season": learning.season, "seasons": learning.seasons, "calendar": learning.calendar}
        views = [fit_views(one, end, **options) for one, end in zip(parts, stops, strict=True)]
        if len({own.inputs for own in views}) > 1 or len({len(own.shift) for own in views}) > 1:
            raise ValueError(
                "All series of a detector have as many features and inputs; some have a season of a day and some do "
                "not: give season= and calendar=."
            )
        short = min(stops)
        if short < learning.length:
            raise ValueError(
                f"A training window has {learning.length} steps, and the clean part of series {stops.index(short)} has "
                f"{short}: give a longer clean part, or shorter windows (length=)."
            )
        seed = whole("seed", seed, at_least=0)
        rng = np.random.default_rng(seed)
        # An epoch goes over windows that were drawn once: enough of them, and no more than `updates` will take.
        each = -(-min(64, learning.updates) * learning.batch_size // len(parts))
        windows: list[dict[str, np.ndarray]] = []
        for one, own, end in zip(parts, views, stops, strict=True):
            frames = own.frames(one.until(end))
            starts = rng.integers(0, end - learning.length + 1, each)
            windows += [{name: y[k : k + learning.length] for name, y in frames.items()} for k in starts]
        data = {name: np.stack([window[name] for window in windows]) for name in windows[0]}
        epochs = max(1, round(learning.updates * learning.batch_size / len(windows)))
        model.check(**data)  # A Dataset would be found wrong by an assertion in the middle of an epoch.
        given = shuffled(data, learning.batch_size, seed=seed, epochs=epochs)
        history = model.fit(**given, callbacks=list(callbacks), verbose=verbose)
        self.views = tuple(views)
        return history

    def of(self, indices: Sequence[int]) -> "Detector":
        """The detector of some of its series, by their numbers."""
        return Detector(self.model, self.learning, [self.views[i] for i in indices])

    def follow(self, series: TimeSeries | Sequence[TimeSeries], stop: int | Sequence[int] | None = None) -> "Detector":
        """A detector of other series with the same model, which is not trained: units are those of their clean parts.

        Raises:
            ValueError: as `fit_views`; series of other features or inputs; or the detector was never fitted.
        """
        self._fitted()
        parts = singles(series)
        known = self.views[0]
        options = {"season": self.learning.season, "seasons": known.seasons, "calendar": known.calendar}
        stops = clean_stops(parts, stop)
        views = [fit_views(one, end, **options) for one, end in zip(parts, stops, strict=True)]
        for own in views:
            if (len(own.shift), own.inputs) != (len(known.shift), known.inputs):
                raise ValueError(
                    f"The detector knows series of {len(known.shift)} features and {known.inputs} inputs, got one of "
                    f"{len(own.shift)} and {own.inputs}; the season of a day gives inputs where a day has whole steps."
                )
        return Detector(self.model, self.learning, views)

    def score(self, series: TimeSeries | Sequence[TimeSeries]) -> list[np.ndarray]:
        """Nats of each step of each series, `[T]`; NaN where nothing was observed. Those of `stream`, at once.

        Args:
            series: those of `fit` or `follow`, which may be longer now.

        Raises:
            ValueError: another number of series, or of features.
        """
        self._fitted()
        parts = singles(series)
        if len(parts) != len(self.views):
            raise ValueError(
                f"The detector knows the units of {len(self.views)} series, got {len(parts)}: `follow` makes one of "
                "other series."
            )
        found = []
        for one, views in zip(parts, self.views, strict=True):
            frames = {name: tf.constant(values[None]) for name, values in views.frames(one).items()}
            scores = self._run(frames["x"], frames.get("u"), frames["observed"])[0].numpy()
            found.append(np.where(one.observed[0].any(axis=-1), scores, np.nan))
        return found

    def stream(self, index: int = 0) -> "DetectorStream":
        """Scores of steps as they come, in constant time and memory.

        Args:
            index: whose units hold, of the series of `fit` or `follow`.

        Raises:
            ValueError: no such series, or the detector was never fitted.
        """
        self._fitted()
        index = whole("index", index)
        if not 0 <= index < len(self.views):
            raise ValueError(f"`index` must be from 0 to {len(self.views) - 1}, got {index}.")
        return DetectorStream(self.model, self.views[index])

    def save(self, folder: str | os.PathLike) -> None:
        """Writes `model.keras` and `detector.json`, for `load_detector`; the folder is made."""
        self._fitted()
        folder = Path(folder)
        with unfinished(folder / MODEL) as temporary:
            self.model.save(temporary)
            temporary.replace(folder / MODEL)
        content = {"learning": self.learning._asdict(), "views": [own._asdict() for own in self.views]}
        with atomic_write(folder / SETTINGS) as file:
            file.write((json.dumps(content, indent=2) + "\n").encode())

    def _fitted(self) -> None:
        if not self.views:
            raise ValueError("The detector does not know what is usual yet: call `fit` first.")

    def _scores(self, x: tf.Tensor, u: tf.Tensor | None, observed: tf.Tensor) -> tf.Tensor:
        batch = Batch(x, None, u, observed)
        terms = self.model.terms(self.model.infer(*batch), batch)
        return terms.kl - terms.log_px


class DetectorStream:
    """A place in a series, which steps that come in move on; see `Detector.stream`."""

    def __init__(self, model: DVAE, views: Views):
        self._model, self._follower = model, Follower(views)
        self._state = model.initial_state(1)

    def push(self, values: Any, time: Any = None) -> float:
        """The score of the next step, in nats; NaN where nothing was observed.

        Args:
            values: `[D]`, in the units of the series; NaN where nothing was measured.
            time: datetime64, where the detector reads the calendar.

        Raises:
            ValueError: another number of values, or no time where it is needed.
        """
        frame = self._follower(values, time)
        given = {name: value[None] for name, value in frame.items()}
        out = self._model.step(self._state, **given)
        self._state = out.state
        return float(out.kl[0] - out.log_px[0]) if frame["observed"].any() else float("nan")


def load_detector(folder: str | os.PathLike) -> Detector:
    """What `Detector.save` wrote.

    Raises:
        FileNotFoundError: no such folder, or a file is missing there.
        ValueError: a damaged file.
    """
    folder = require_folder(folder)
    path, says = folder / SETTINGS, "does not say what a detector is told"
    found = read_json(path, says)
    with named_damage(path, says):
        learning = Learning(**found["learning"])
        learning = learning._replace(calendar=None if learning.calendar is None else tuple(learning.calendar))
        views = [_checked(Views(**own)) for own in found["views"]]
        if not views:
            raise ValueError("it names no series")
    return Detector(load_model(folder / MODEL), learning, views)


def _checked(views: Views) -> Views:
    """Views as a file told them, with Python's own numbers."""
    shift, scale = (np.array(y, np.float64) for y in (views.shift, views.scale))
    if shift.ndim != 1 or shift.shape != scale.shape or not (np.isfinite(shift + scale).all() and (scale > 0.0).all()):
        raise ValueError("shift and scale of a series must be as many finite numbers, and scale positive")
    season, seasons = whole("season", views.season, at_least=0), whole("seasons", views.seasons, at_least=1)
    calendar_features(np.zeros([0], "datetime64[s]"), views.calendar)
    return Views(tuple(shift.tolist()), tuple(scale.tolist()), season, seasons, tuple(views.calendar))


def singles(series: TimeSeries | Sequence[TimeSeries]) -> list[TimeSeries]:
    """Each series by itself.

    Raises:
        TypeError: neither a `TimeSeries` nor a list of them.
    """
    if not isinstance(series, TimeSeries):
        if not isinstance(series, list | tuple) or not all(isinstance(one, TimeSeries) for one in series):
            raise TypeError(
                f"Expected a TimeSeries of tfdvae.data.regular_series, or a list of them, got {type(series).__name__}."
            )
        if not series:
            raise ValueError("Expected a TimeSeries, or a list of them, got an empty list.")
        return [single for one in series for single in singles(one)]
    return [
        series._replace(
            x=series.x[i : i + 1],
            observed=series.observed[i : i + 1],
            known=None,
            context=None,
            start=series.start[i : i + 1],
            names=series.names[i : i + 1],
        )
        for i in range(len(series.x))
    ]
