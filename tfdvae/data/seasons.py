"""Time series as sequences of seasons: a frame is a day of hours, or a week of days; a window is a past and a future.

A forecast of four days is then four frames instead of 96, so a model is fed its own output three times, and the units
of a window (standardize="sequence") are those of each hour of the day.

Axes: N windows, T frames of a window, S steps in a frame, J targets, P past covariates, U known covariates.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfdvae.arguments import whole
from tfdvae.data.calendars import calendar_features
from tfdvae.data.sequences import Sequences, from_arrays
from tfdvae.data.timeseries import TimeSeries

__all__ = ["Origin", "Seasons", "forecast_inputs", "forecast_windows", "rolling_origins", "steps_of_frames"]


class Origin(NamedTuple):
    """Where a forecast begins: the number of the series, and of the first step that is not known."""

    series: int
    step: int


class Seasons(NamedTuple):
    """How windows are cut from series, and what their inputs are.

    Attributes:
        horizon: steps to forecast.
        season: S, steps in a frame; 24 for the days of hours, 1 for frames of one step.
        given: frames before each forecast.
        lags: inputs of each step: the targets so many steps before it, in units of the given frames. Each is at least
            the horizon, in whole frames, since it must be known.
        calendar: features of the time at which each frame begins, see `tfdvae.data.CALENDAR`.
        holidays: country whose holidays are one more of them, or None.
        separate: each target is a sequence by itself, told apart by its context, for one model of all of them;
            otherwise all targets stand in one frame.
    """

    horizon: int = 24
    season: int = 24
    given: int = 14
    lags: tuple[int, ...] = ()
    calendar: tuple[str, ...] = ("hour", "weekday")
    holidays: str | None = None
    separate: bool = True

    @property
    def ahead(self) -> int:
        """Frames that hold the horizon."""
        return -(-self.horizon // self.season)

    def checked(self) -> "Seasons":
        """The same with Python's own numbers.

        Raises:
            ValueError: a number below 1, or a lag that is not known of the whole horizon.
        """
        numbers = {name: whole(name, getattr(self, name), at_least=1) for name in ("horizon", "season", "given")}
        found = self._replace(**numbers, lags=tuple(whole("lags", lag) for lag in self.lags))
        least = found.ahead * found.season
        if any(lag < least for lag in found.lags):
            raise ValueError(
                f"A lag of {min(found.lags)} steps is not known of all {found.horizon} steps to forecast: `lags` must "
                f"be at least {least}, the horizon in frames of {found.season}."
            )
        return found._replace(calendar=tuple(found.calendar))


def rolling_origins(
    series: TimeSeries, horizon: int, *, start: int, stop: int | None = None, stride: int = 1
) -> list[Origin]:
    """Origins every `stride` steps whose whole horizon was seen: forecasts that can be scored.

    Args:
        series: what to forecast.
        horizon: steps from each origin on that must exist.
        start: first origin of each series.
        stop: the horizon ends before this step; by default with the series.
        stride: steps from origin to origin.

    Raises:
        ValueError: a number out of range, or no series is long enough.
    """
    start, stride = whole("start", start, at_least=1), whole("stride", stride, at_least=1)
    horizon = whole("horizon", horizon, at_least=1)
    ends = [len(x) if stop is None else min(stop, len(x)) for x in series.x]
    found = [Origin(i, t) for i, end in enumerate(ends) for t in range(start, end - horizon + 1, stride)]
    if not found:
        raise ValueError(
            f"No series has {horizon} steps from step {start} on{'' if stop is None else f' and before step {stop}'}; "
            f"the longest has {max(series.lengths)}."
        )
    return found


def forecast_windows(series: TimeSeries, seasons: Seasons, origins: Sequence[Origin]) -> Sequences:
    """Windows of the given frames and the frames of the horizon, for `fit` and bounds.

    Where targets are separate each origin has one window per target, in their order. A frame holds the S values of a
    target one after the other, then of the next one (or of the first past covariate).

    Raises:
        ValueError: as `forecast_inputs`.
    """
    found = _cut(series, seasons.checked(), origins, ahead=True)
    return from_arrays(found["x"], u=found.get("u"), observed=found["observed"], context=found.get("context"))


def forecast_inputs(
    series: TimeSeries, seasons: Seasons, origins: Sequence[Origin]
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What `DVAE.forecast` takes: the given frames of windows as a batch, and `future_u` `[N, T, .]` or None.

    Nothing is read of the targets and past covariates from the origins on.

    Raises:
        ValueError: fewer than the given frames before an origin, an origin behind the end of its series, or a horizon
            that goes beyond the known covariates.
    """
    seasons = seasons.checked()
    found = _cut(series, seasons, origins, ahead=False)
    u = found.pop("u", None)
    if u is None:
        return found, None
    return {**found, "u": u[:, : seasons.given]}, u[:, seasons.given :]


def steps_of_frames(frames: np.ndarray, seasons: Seasons, num_targets: int) -> np.ndarray:
    """Frames of forecasts `[..., N, T, D]` as steps of the horizon, `[..., N', horizon, J]`; past covariates go.

    Where targets are separate the N windows are N' origins times J targets.
    """
    lead, (size, count, _) = frames.shape[:-3], frames.shape[-3:]
    steps = frames.reshape(*lead, size, count, -1, seasons.season)
    steps = steps[..., :1, :] if seasons.separate else steps[..., :num_targets, :]
    # [.., N, T, J, S] to [.., N, T S, J]
    steps = np.moveaxis(steps, -2, -1).reshape(*lead, size, count * seasons.season, -1)
    if seasons.separate:
        steps = steps.reshape(*lead, -1, num_targets, count * seasons.season)
        steps = np.moveaxis(steps, -2, -1)
    return steps[..., : seasons.horizon, :]


def _cut(series: TimeSeries, seasons: Seasons, origins: Sequence[Origin], ahead: bool) -> dict[str, np.ndarray]:
    """Frames, inputs and context of windows; frames of the horizon where `ahead`, inputs always."""
    parts: list[dict[str, np.ndarray]] = []
    order = []
    for i in range(len(series.x)):
        mine = [n for n, origin in enumerate(origins) if origin.series == i]
        if mine:
            order += mine
            parts.append(_cut_one(series, i, seasons, np.array([origins[n].step for n in mine]), ahead))
    if len(order) < len(origins) or not order:
        raise ValueError(f"Expected origins in the series 0 to {len(series.x) - 1}, got {list(origins)[:3]}.")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    back = np.argsort(order)
    each = series.num_targets if seasons.separate else 1
    rows = (back[:, None] * each + np.arange(each)).ravel()
    return {name: values[rows] for name, values in joined.items()}


def _cut_one(series: TimeSeries, i: int, seasons: Seasons, steps: np.ndarray, ahead: bool) -> dict[str, np.ndarray]:
    """Windows of one series, those of one origin behind each other."""
    size, given, future = len(steps), seasons.given * seasons.season, seasons.ahead * seasons.season
    where = f" of {series.names[i]!r}" if series.names[i] else ""
    if steps.min() < given:
        raise ValueError(
            f"A forecast from step {steps.min()}{where} is given {given} steps ({seasons.given} frames of "
            f"{seasons.season}), and there are {steps.min()}: begin later, or give fewer frames."
        )
    if steps.max() > len(series.x[i]):
        raise ValueError(f"A forecast cannot begin at step {steps.max()}: the series{where} has {len(series.x[i])}.")
    window = steps[:, None] + np.arange(-given, future)
    shown = window if ahead else window[:, :given]
    x, seen = _at(series.x[i], shown), _at(series.observed[i], shown)
    if ahead:
        late = np.arange(given + future) >= given + seasons.horizon
        seen = seen & ~late[:, None]
    x, seen = _frames(np.where(seen, x, np.float32(0.0)), seasons), _frames(seen, seasons)
    columns = _columns(series, seasons)
    found = {"x": _parts(x, columns), "observed": _parts(seen, columns)}
    inputs = [np.repeat(y[:, None], len(columns), axis=1) for y in _common_inputs(series, i, seasons, window, steps)]
    inputs += [_lagged(series, i, seasons, window, lag) for lag in seasons.lags]
    if inputs:
        found["u"] = np.concatenate(inputs, axis=-1).reshape(size * len(columns), seasons.given + seasons.ahead, -1)
    context = [] if series.context is None else [np.tile(series.context[i], [size * len(columns), 1])]
    if len(columns) > 1:
        context.append(np.tile(np.eye(len(columns), dtype=np.float32), [size, 1]))
    if context:
        found["context"] = np.concatenate(context, axis=-1)
    return found


def _columns(series: TimeSeries, seasons: Seasons) -> list[list[int]]:
    """The features in the frames of each window of an origin."""
    past = list(range(series.num_targets, len(series.features)))
    if seasons.separate:
        return [[target, *past] for target in range(series.num_targets)]
    return [list(range(len(series.features)))]


def _at(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Values `[.., D]` at steps that may lie outside, where they are 0."""
    inside = (steps >= 0) & (steps < len(values))
    return np.where(inside[..., None], values[np.clip(steps, 0, len(values) - 1)], np.zeros([], values.dtype))


def _frames(values: np.ndarray, seasons: Seasons) -> np.ndarray:
    """`[N, T S, D]` to `[N, T, D, S]`."""
    return np.moveaxis(values.reshape(len(values), -1, seasons.season, values.shape[-1]), -1, -2)


def _parts(frames: np.ndarray, columns: list[list[int]]) -> np.ndarray:
    """`[N, T, D, S]` to the frames of each window, `[N windows, T, D' S]`."""
    parts = np.stack([frames[:, :, own] for own in columns], axis=1)
    return parts.reshape(len(frames) * len(columns), frames.shape[1], -1)


def _common_inputs(
    series: TimeSeries, i: int, seasons: Seasons, window: np.ndarray, steps: np.ndarray
) -> list[np.ndarray]:
    """Inputs that all windows of an origin share, each `[N, T, .]`: the calendar, and known covariates."""
    found = []
    if seasons.calendar or seasons.holidays:
        starts = window[:, :: seasons.season]
        first = int(starts.min())
        table = calendar_features(
            series.times(i, first, int(starts.max()) - first + 1), seasons.calendar, seasons.holidays
        )
        found.append(table[starts - first])
    if series.known is not None:
        known, needed = series.known[i], int(steps.max()) + seasons.horizon
        if needed > len(known):
            last = series.times(i, len(known) - 1, 1)[0]
            raise ValueError(
                f"The horizon of {seasons.horizon} steps goes {needed - len(known)} steps beyond the known covariates, "
                f"which end at {last}: add rows with their values, and no targets, to the table."
            )
        # Behind the horizon, but in its last frame, the last values are repeated.
        values = known[np.minimum(window, len(known) - 1)]
        found.append(values.reshape(len(steps), -1, seasons.season * known.shape[1]))
    return found


def _lagged(series: TimeSeries, i: int, seasons: Seasons, window: np.ndarray, lag: int) -> np.ndarray:
    """Targets `lag` steps before each step, in units of the given frames; 0 where they were not observed."""
    x, seen = series.x[i][:, : series.num_targets], series.observed[i][:, : series.num_targets]
    given = window[:, : seasons.given * seasons.season]
    values, known = _at(x, given).astype(np.float64), _at(seen, given)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / count
    scale = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
    before, there = _at(x, window - lag), _at(seen, window - lag)
    usable = there & (scale > 1e-6 * np.abs(mean))
    scaled = np.where(usable, (before - mean) / np.where(scale > 0.0, scale, 1.0), 0.0).astype(np.float32)
    frames = _frames(scaled, seasons)
    columns = [[j] for j in range(series.num_targets)] if seasons.separate else [list(range(series.num_targets))]
    parts = np.stack([frames[:, :, own] for own in columns], axis=1)
    return parts.reshape(*parts.shape[:3], -1)
