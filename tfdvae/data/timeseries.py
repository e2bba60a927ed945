"""Time series on a regular grid, from tables: what forecasts are made of.

Axes: T steps, D features (targets first, then past covariates), U known covariates, C static covariates.
"""

import csv
import datetime
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdvae.data.files import named_damage, require_file
from tfdvae.data.tables import from_table, grouped_times

__all__ = ["TimeSeries", "read_csv", "regular_series"]

GAPS = ("refuse", "missing")


class TimeSeries(NamedTuple):
    """Series whose steps lie equally far apart; make them by `regular_series`, which checks them.

    Attributes:
        x: per series float32 `[T_i, D]`, 0 where nothing was observed.
        observed: per series bool `[T_i, D]`.
        known: per series what is known of the future as well, float32 `[T_i + F_i, U]`, or None. The last F_i rows are
            those of steps of which no feature was observed yet.
        context: per series static covariates, float32 `[C]`, or None.
        start: time of each first step.
        step: time from step to step, a timedelta64 where times are dates.
        features: names of the D features.
        num_targets: how many of the first features are forecast; the others are past covariates.
        names: of the series, "" where there is one and no group.
    """

    x: tuple[np.ndarray, ...]
    observed: tuple[np.ndarray, ...]
    known: tuple[np.ndarray, ...] | None
    context: tuple[np.ndarray, ...] | None
    start: tuple[Any, ...]
    step: Any
    features: tuple[str, ...]
    num_targets: int
    names: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the features that are forecast."""
        return self.features[: self.num_targets]

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each series, T_i."""
        return np.array([len(x) for x in self.x])

    def times(self, index: int, first: int, count: int) -> np.ndarray:
        """Times of `count` steps of the series `index` from step `first` on; the grid goes on in both directions."""
        return self.start[index] + self.step * np.arange(first, first + count)

    def until(self, stop: int) -> "TimeSeries":
        """The series without what was observed from step `stop` on; known covariates stay."""
        return self._replace(x=tuple(x[:stop] for x in self.x), observed=tuple(y[:stop] for y in self.observed))


def read_csv(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The columns of a CSV file with names in its first row, for `regular_series` and `from_table`.

    A column is of numbers (float64; empty fields are NaN), of dates in ISO 8601 without time zones (datetime64), or
    otherwise of strings.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without rows, a row with another number of fields, or no text in UTF-8.
    """
    path = require_file(path)
    with named_damage(path, "is no table: expected a CSV file with names in its first row"):
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
        rows = [row for row in rows if row]
        if len(rows) < 2:
            raise ValueError("it has no row under the names")
        for number, row in enumerate(rows, 1):
            if len(row) != len(rows[0]):
                raise ValueError(f"row {number} has {len(row)} fields instead of {len(rows[0])}")
        if len(set(rows[0])) != len(rows[0]):
            raise ValueError("two columns have the same name")
    return {name: _column(fields) for name, fields in zip(rows[0], zip(*rows[1:], strict=True), strict=True)}


def _column(fields: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(field) if field.strip() else np.nan for field in fields])
    except ValueError:
        pass
    try:
        dates = np.array(fields, "datetime64[s]")
    except ValueError:
        return np.array(fields)
    return np.array(fields) if np.isnat(dates).any() else dates


def regular_series(
    table: Any,
    targets: Sequence[str],
    *,
    time: str,
    past: Sequence[str] = (),
    known: Sequence[str] = (),
    context: Sequence[str] = (),
    group: str | None = None,
    step: Any = None,
    gaps: str = "refuse",
) -> TimeSeries:
    """The series of a table, one for each value of its column `group`, on a regular grid of times.

    An empty or NaN field of a target or past covariate means that nothing was measured. Rows at the end of a series
    where no such field is filled stand for the future: they bring the known covariates that a forecast needs.

    Args:
        table: pandas' or polars' DataFrame, or a dict of columns such as `read_csv` returns.
        targets: columns to forecast.
        time: column with times, numbers or dates without time zones, which rise from row to row of a series.
        past: columns that are known up to now, and help.
        known: columns that are known of the future as well: holidays, prices, plans.
        context: columns of what does not change within a series.
        group: column that tells series apart; None for one series.
        step: from one time to the next, a number or timedelta64; by default the most frequent difference.
        gaps: "refuse" raises for times that are left out; "missing" takes their steps as not observed, and known
            covariates as they were before.

    Raises:
        ValueError: what `from_table` refuses, duplicate and unsorted times among it; times that do not lie on a grid;
            gaps, unless they may be; a feature that was never observed in a series; a column with two roles.

    Example:
        series = regular_series(read_csv("load.csv"), ["load"], time="hour", known=["holiday"])
    """
    if gaps not in GAPS:
        raise ValueError(f"`gaps` must be one of {', '.join(map(repr, GAPS))}, got {gaps!r}.")
    roles = [*targets, *past, *known, *context, time, *([] if group is None else [group])]
    twice = next((name for name in roles if roles.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"Column {twice!r} is given two roles: a column is a target, past, known, or context.")
    # Known covariates are read as values, so that a missing one can be named.
    found = from_table(table, [*targets, *past, *known], time=time, group=group, context=context, missing="nan")
    times = [_comparable(time, own) for own in grouped_times(table, time, group)]
    step = _step(time, times) if step is None else step
    names = found.names or ("",)
    features = (*targets, *past)
    xs, seen, inputs = [], [], []
    for i, name in enumerate(names):
        where = "" if group is None else f" of {group} {name}"
        at = _positions(time, times[i], step, where, gaps)
        count = int(at[-1]) + 1
        values, seen_here = found.x[i][:, : len(features)], found.observed[i][:, : len(features)]
        lacking = np.argwhere(~found.observed[i][:, len(features) :])
        if len(lacking):
            row, j = lacking[0]
            raise ValueError(
                f"{known[j]!r} is missing at {times[i][row]}{where}: a known covariate is known of each step; make it "
                "one of `past`, or fill it in."
            )
        measured = np.flatnonzero(seen_here.any(axis=1))
        never = ~seen_here.any(axis=0)
        if never.any():
            what = features[never.argmax()]
            raise ValueError(f"{what!r} was never observed{where}: leave out the column, or these rows.")
        stop = int(at[measured[-1]]) + 1
        x, observed = np.zeros([count, len(features)], np.float32), np.zeros([count, len(features)], bool)
        x[at], observed[at] = values, seen_here
        xs.append(x[:stop])
        seen.append(observed[:stop])
        inputs.append(found.x[i][:, len(features) :][np.searchsorted(at, np.arange(count), side="right") - 1])
        for j, target in enumerate(targets):
            told = x[:stop, j][observed[:stop, j]]
            if (told == told[0]).all():
                warnings.warn(f"{target!r}{where} never changes: there is nothing to forecast.", stacklevel=2)
    start = tuple(own[0] for own in times)
    known_rows = tuple(inputs) if known else None
    return TimeSeries(
        tuple(xs), tuple(seen), known_rows, found.context, start, step, features, len(targets), tuple(names)
    )


def _comparable(name: str, times: np.ndarray) -> np.ndarray:
    """Times as float64 or datetime64."""
    if times.dtype == object:
        if any(getattr(value, "tzinfo", None) is not None for value in times):
            raise ValueError(f"Column {name!r} holds dates with time zones: convert them to one zone, and drop it.")
        times = np.array(times.tolist(), "datetime64[us]" if hasattr(times[0], "isoformat") else np.float64)
    return times if times.dtype.kind == "M" else times.astype(np.float64)


def _step(name: str, times: Sequence[np.ndarray]) -> Any:
    differences = [np.diff(own) for own in times if len(own) > 1]
    if not differences:
        raise ValueError(f"Column {name!r} has one time per series: give `step`, the time from one to the next.")
    found, counts = np.unique(np.concatenate(differences), return_counts=True)
    return found[counts.argmax()]


def _positions(name: str, times: np.ndarray, step: Any, where: str, gaps: str) -> np.ndarray:
    """The step of each time, int64, the first one 0."""
    dates = times.dtype.kind == "M"
    if dates != isinstance(step, np.timedelta64 | datetime.timedelta) or not step > type(step)(0):
        wanted = "a positive timedelta64" if dates else "a positive number"
        raise ValueError(f"`step` must be {wanted}, since the times are {times.dtype}, got {step!r}.")
    exact = np.asarray((times - times[0]) / step, np.float64)
    at = np.rint(exact).astype(np.int64)
    jumps = np.diff(at)
    off = np.abs(exact - at) > 1e-3
    if off.any() or (jumps < 1).any():
        i = int(off.argmax()) if off.any() else int((jumps < 1).argmax()) + 1
        raise ValueError(
            f"Times in column {name!r}{where} are not {_told(step)} apart, or a multiple of it: {times[i - 1]} is "
            f"followed by {times[i]}. Number months and other periods of changing length, and put irregular "
            "measurements on a grid first, see `tfdvae.data.events_to_grid`."
        )
    if gaps == "refuse" and (jumps > 1).any():
        i = int((jumps > 1).argmax())
        raise ValueError(
            f"Column {name!r}{where} jumps from {times[i]} to {times[i + 1]}, {jumps[i]} steps of {_told(step)}; "
            f"such gaps: {int((jumps > 1).sum())}. gaps='missing' takes what is left out as not observed."
        )
    return at


def _told(step: Any) -> str:
    """The step for people: dates may be told in nanoseconds."""
    return str(step.astype("timedelta64[us]").item()) if isinstance(step, np.timedelta64) else str(step)
