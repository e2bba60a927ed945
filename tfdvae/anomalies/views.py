"""What a detector is told of each step: its value in units of the clean part, the time of day, and what was usual at it
in the seasons before."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.calendars import CALENDAR, calendar_features
from tfdvae.data.timeseries import TimeSeries
from tfdvae.moments import observed_moments

__all__ = ["Follower", "Views", "clean_stops", "fit_views"]


class Views(NamedTuple):
    """How frames x_t and inputs u_t of a series are made of its values. Make them by `fit_views`.

    Attributes:
        shift, scale: units of each feature, from the clean part: frames are (value - shift) / scale.
        season: steps in a season, such as a day; 0 for none.
        seasons: over how many seasons before a step the median is taken.
        calendar: features of its time, see `tfdvae.data.CALENDAR`.
    """

    shift: tuple[float, ...]
    scale: tuple[float, ...]
    season: int = 0
    seasons: int = 5
    calendar: tuple[str, ...] = ()

    @property
    def inputs(self) -> int:
        """U, how many inputs a step has."""
        calendar = calendar_features(np.zeros([1], "datetime64[s]"), self.calendar).shape[1]
        return calendar + 2 * len(self.shift) * (self.season > 0)

    def frames(self, series: TimeSeries) -> dict[str, np.ndarray]:
        """x, observed `[T, D]` and, where there are inputs, u `[T, U]` of one series, as a model takes them.

        Nothing of a step itself, or of later ones, goes into its inputs: they are those of `Follower`, step by step.

        Raises:
            ValueError: a series of other features, or without dates where there is a calendar.
        """
        values = np.where(series.observed[0], series.x[0], np.nan).astype(np.float64)
        if values.shape[1] != len(self.shift):
            raise ValueError(f"Expected a series of {len(self.shift)} features, got {values.shape[1]}.")
        x = (values - np.array(self.shift)) / np.array(self.scale)
        parts = [calendar_features(series.times(0, 0, len(x)), self.calendar)] if self.calendar else []
        if self.season:
            past = self.before()
            usual = []
            # A season at a time, whose steps know nothing of each other.
            for first in range(0, len(x), self.season):
                now = x[first : first + self.season]
                usual.append(_usual(past[: len(now)]))
                past[: len(now)] = _moved(past[: len(now)], now)
            parts.append(np.concatenate(usual))
        return _as_frames(x, parts)

    def before(self) -> np.ndarray:
        """The last seasons before the first step, of which nothing is known: NaN `[season, seasons, D]`."""
        return np.full([self.season, self.seasons, len(self.shift)], np.nan)


class Follower:
    """Makes the frame and the inputs of each step as it comes, in constant memory.

    The inputs are the calendar of its time, the median of the same step in the last seasons, so that one anomalous
    season does not become what is expected of the next, and whether there is one, 0 or 1.
    """

    def __init__(self, views: Views):
        self._views = views
        self._shift, self._scale = np.array(views.shift), np.array(views.scale)
        self._past = views.before()
        self._step = 0

    def __call__(self, values: Any, time: Any = None) -> dict[str, np.ndarray]:
        """x, observed `[D]` and, where there are inputs, u `[U]`.

        Args:
            values: `[D]`, NaN where nothing was measured.
            time: datetime64, where there is a calendar.
        """
        views, values = self._views, np.asarray(values, np.float64)
        if values.shape != self._shift.shape:
            raise ValueError(f"Expected a step of {len(self._shift)} values, got shape {list(values.shape)}.")
        if views.calendar and time is None:
            raise ValueError(f"The inputs {', '.join(views.calendar)} need the time of each step.")
        x = (values - self._shift) / self._scale
        parts = [calendar_features(np.array([time]), views.calendar)[0]] if views.calendar else []
        if views.season:
            place = self._step % views.season
            parts.append(_usual(self._past[place]))
            self._past[place] = _moved(self._past[place], x)
            self._step += 1
        return _as_frames(x, parts)


def _as_frames(x: np.ndarray, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What a model takes, of values in units `[..., D]`, NaN where nothing was measured."""
    observed = ~np.isnan(x)
    found = {"x": np.where(observed, x, 0.0).astype(np.float32), "observed": observed}
    return found | ({"u": np.concatenate(inputs, axis=-1).astype(np.float32)} if inputs else {})


def _usual(past: np.ndarray) -> np.ndarray:
    """Medians over the last seasons, and whether there was one: `[..., 2 D]` of `[..., seasons, D]`."""
    known = ~np.isnan(past).all(axis=-2)
    median = np.nanmedian(np.where(known[..., None, :], past, 0.0), axis=-2)
    return np.concatenate([median, known], axis=-1)


def _moved(past: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The seasons one season later: the oldest one goes; where nothing was observed all stay."""
    later = np.concatenate([past[..., 1:, :], x[..., None, :]], axis=-2)
    return np.where(np.isnan(x)[..., None, :], past, later)


def fit_views(
    series: TimeSeries,
    stop: int,
    *,
    season: int | None = None,
    seasons: int = 5,
    calendar: Sequence[str] | None = None,
) -> Views:
    """The views of one series, with the units of its clean part.

    Args:
        series: one.
        stop: where its clean part ends.
        season: steps in a season; by default a day, where times are dates and a day has at least 4 steps and a whole
            number of them; 0 for none.
        seasons: of the median.
        calendar: by default the hour of the day where the season is a day.

    Raises:
        ValueError: no clean part, a feature that was never observed in it or never changes, or a bad number.
    """
    seasons = whole("seasons", seasons, at_least=1)
    day = _steps_of_a_day(series.step)
    if season is None:
        season = day if day >= 4 else 0
    season = whole("season", season, at_least=0)
    if calendar is None:
        calendar = ("hour",) if season and season == day else ()
    unknown = [name for name in calendar if name not in CALENDAR]
    if unknown:
        raise ValueError(f"Unknown time feature {unknown[0]!r}: expected some of {', '.join(CALENDAR)}.")
    x, observed = series.x[0][:stop], series.observed[0][:stop]
    _check_clean(series, x, observed)
    shift, scale = observed_moments(x, observed)
    return Views(tuple(shift.tolist()), tuple(scale.tolist()), season, seasons, tuple(calendar))


def clean_stops(series: Sequence[TimeSeries], stop: int | Sequence[int] | None) -> list[int]:
    """Where the clean part of each single series ends.

    Raises:
        ValueError: it is empty, goes beyond the series, or there are not as many stops as series.
    """
    lengths = [len(one.x[0]) for one in series]
    given = list(stop) if isinstance(stop, list | tuple | np.ndarray) and np.ndim(stop) else [stop] * len(lengths)
    if len(given) != len(lengths):
        raise ValueError(f"Expected one `stop`, or one for each of {len(lengths)} series, got {len(given)}.")
    stops = [length if own is None else whole("stop", own) for length, own in zip(lengths, given, strict=True)]
    for one, length, own in zip(series, lengths, stops, strict=True):
        if not 1 <= own <= length:
            of = f" of {one.names[0]!r}" if one.names[0] else ""
            raise ValueError(
                f"The clean part must have from 1 to {length} steps, as many as the series{of} has, got {own}: a "
                "detector learns what is usual from steps that are known to be so."
            )
    return stops


def _check_clean(series: TimeSeries, x: np.ndarray, observed: np.ndarray) -> None:
    of = f" of {series.names[0]!r}" if series.names[0] else ""
    for j, name in enumerate(series.features):
        seen = x[observed[:, j], j]
        if not len(seen):
            raise ValueError(
                f"{name!r} was never observed in the clean part{of}: make that longer, or leave out the column."
            )
        if (seen == seen[0]).all():
            raise ValueError(
                f"{name!r} is constant in the clean part{of} ({seen[0]:g}), which tells nothing of what is usual: give "
                "a clean part in which it changes, or leave out the column."
            )


def _steps_of_a_day(step: Any) -> int:
    if not isinstance(step, np.timedelta64):
        return 0
    steps = np.timedelta64(1, "D") / step
    return round(steps) if abs(steps - round(steps)) < 1e-6 else 0
