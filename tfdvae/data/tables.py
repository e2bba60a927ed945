"""Tables in which each row is one frame of one sequence: pandas' frames, and all that gives a column by its name."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfdvae.data.description import DataDescription
from tfdvae.data.sequences import Sequences, from_arrays

__all__ = ["from_table", "grouped_times", "named_column", "real_columns"]


def from_table(
    table: Any,
    values: Sequence[str],
    *,
    time: str,
    group: str | None = None,
    inputs: Sequence[str] = (),
    context: Sequence[str] = (),
    missing: str | None = None,
) -> Sequences:
    """The sequences of a table, one for each value of its column `group`, in the order in which they first appear.

    Every verb of a model takes what is returned, `fit` included, and so do `windows`, `batches` and `pad`. A frame is a
    row; times say in which order they come, and are otherwise left alone: to a model the same time passes from each
    frame to the next. Events at any times go on a grid first, see `events_to_grid`.

    Args:
        table: pandas' or polars' DataFrame, or a dict of columns; `table[name]` must be a column.
        values: names of the D columns of x.
        time: name of the column with times, numbers or dates, which rise from row to row of a sequence.
        group: name of the column that tells sequences apart; None for one sequence.
        inputs: names of the U columns of control inputs.
        context: names of the C columns of what does not change within a sequence.
        missing: "nan" lets NaN and None in `values` mean that nothing was measured; None refuses them.

    Returns:
        Sequences with the values of `group` as names, and with `observed` where `missing` is "nan". Their description
        has the names of the columns, and the period of the frames where times are dates that are equally far apart.

    Raises:
        ValueError: a column that does not exist, is named twice or holds no real numbers; no row; times of a sequence
            that do not rise, or are missing; a group that is missing; a context that changes; NaN or infinity.

    Example:
        beats = tfdvae.data.from_table(frame, ["heart_rate", "pressure"], time="hour", group="patient", missing="nan")
        model.fit(beats, epochs=20)
    """
    if missing not in (None, "nan"):
        raise ValueError(f"`missing` must be None or 'nan', got {missing!r}.")
    values, inputs, context = (_names(*row) for row in (("values", values), ("inputs", inputs), ("context", context)))
    if not values:
        raise ValueError("`values` must name at least one column.")
    times = named_column(table, time)
    count = len(times)
    if not count:
        raise ValueError("Expected a table with at least one row, got none.")
    times = _ordered(time, times)
    x, u, c = (real_columns(table, names, count) for names in (values, inputs, context))
    names, rows = _groups(group, None if group is None else named_column(table, group, count), count)
    for name, own in zip(names, rows, strict=True):
        _check_times(time, times[own], "" if group is None else f" of {group} {name}")
        changes = (c[own] != c[own[:1]]).any(axis=0)
        if changes.any():
            raise ValueError(
                f"`context` holds what does not change within a sequence; {context[changes.argmax()]!r} changes within "
                f"{group} {name}: make it one of `inputs`, or of `values`."
            )
    seen = ~np.isnan(x) if missing == "nan" else None
    found = from_arrays(
        [x[own] for own in rows],
        u=[u[own] for own in rows] if inputs else None,
        names=None if group is None else names,
        observed=None if seen is None else [seen[own] for own in rows],
        context=[c[own[0]] for own in rows] if context else None,
    )
    period = _period([times[own] for own in rows])
    description = DataDescription(tuple(values), (), tuple(inputs), tuple(context), frame_period=period)
    return found._replace(description=description)


def _period(times: Sequence[np.ndarray]) -> float | None:
    """Seconds from one date to the next, where that is the same in all sequences; None for numbers, whose unit nobody
    knows."""
    if times[0].dtype.kind == "M":
        second = np.timedelta64(10**9, "ns")
    elif times[0].dtype == object and hasattr(times[0][0], "isoformat"):
        second = datetime.timedelta(seconds=1)
    else:
        return None
    steps = np.array([step / second for one in times for step in np.diff(one)], np.float64)
    return float(steps[0]) if steps.size and np.ptp(steps) <= 1e-6 * steps[0] else None


def grouped_times(table: Any, time: str, group: str | None = None) -> list[np.ndarray]:
    """The times of each sequence that `from_table` makes of the same table, in the same order.

    Raises:
        ValueError: as `from_table` does for times and groups; it also checks that they rise.
    """
    times = _ordered(time, named_column(table, time))
    _, rows = _groups(group, None if group is None else named_column(table, group, len(times)), len(times))
    return [times[own] for own in rows]


def _names(what: str, given: Any) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ValueError(f"`{what}` must be a list of names of columns, got {given!r}.")
    return list(given)


def named_column(table: Any, name: str, count: int | None = None) -> np.ndarray:
    """One column as an array `[R]`, of that many rows."""
    known = list(table if isinstance(table, Mapping) else getattr(table, "columns", ()))
    if not known:
        raise ValueError(f"Expected a table with named columns, such as pandas' DataFrame; got {type(table).__name__}.")
    if known.count(name) != 1:
        there = "no column" if name not in known else f"{known.count(name)} columns"
        raise ValueError(f"The table has {there} {name!r}, its columns are {', '.join(map(str, known))}.")
    found = np.asarray(table[name])
    if found.ndim != 1 or count not in (None, len(found)):
        rows = "for each row" if count is None else f"for each of {count} rows"
        raise ValueError(f"Expected column {name!r} with one entry {rows}, got shape {list(found.shape)}.")
    return found


def real_columns(table: Any, names: Sequence[str], count: int) -> np.ndarray:
    """Columns side by side, float64 `[R, .]`; NaN for what is missing."""
    found = np.empty([count, len(names)])
    for i, name in enumerate(names):
        column = named_column(table, name, count)
        try:
            if column.dtype == object:
                column = np.array([np.nan if _is_missing(value) else value for value in column])
            if column.dtype.kind not in "biuf":
                raise TypeError(f"it holds {column.dtype}")
            found[:, i] = column
        except (TypeError, ValueError) as error:
            raise ValueError(f"Expected real numbers in column {name!r}: {error}.") from error
    return found


def _is_missing(value: Any) -> bool:
    """Whether a value of a column of objects stands for none: None, NaN, pandas' NA and NaT."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _ordered(name: str, times: np.ndarray) -> np.ndarray:
    """Times as numbers or dates, which can be compared."""
    if times.dtype == object:
        # Numbers beside None, or dates with their time zones, which compare among themselves.
        missing = np.array([_is_missing(value) for value in times])
        known = all(isinstance(value, float | int) or hasattr(value, "isoformat") for value in times[~missing])
    else:
        known = times.dtype.kind in "iufmM"
        missing = ~np.isfinite(times) if known else None
    if not known:
        raise ValueError(f"Expected numbers or dates in column {name!r}, got {times.dtype}: convert it first.")
    if missing.any():
        raise ValueError(f"Column {name!r} has no time in row {missing.argmax()}: drop the row, or give it one.")
    return times


def _groups(name: str | None, column: np.ndarray | None, count: int) -> tuple[list[str], list[np.ndarray]]:
    """Names of the groups in the order of their first rows, and the rows of each."""
    if column is None:
        return [""], [np.arange(count)]
    rows: dict[Any, list[int]] = {}
    for row, value in enumerate(column.tolist()):
        if _is_missing(value):
            raise ValueError(f"Column {name!r} says of row {row} to which sequence it belongs by {value!r}: drop it.")
        rows.setdefault(value, []).append(row)
    return [str(value) for value in rows], [np.array(own) for own in rows.values()]


def _check_times(name: str, times: np.ndarray, where: str) -> None:
    wrong = np.flatnonzero(times[1:] <= times[:-1])
    if wrong.size:
        before, after = times[wrong[0]], times[wrong[0] + 1]
        what = f"holds {after} twice" if before == after else f"falls from {before} to {after}"
        raise ValueError(f"Column {name!r}{where} {what}: sort the rows by it, and keep one row for each time.")
