"""Rows at untidy times on a regular grid: unsorted, twice, or between the steps."""

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfdvae.data.tables import named_column, real_columns

__all__ = ["Snapped", "snap_to_grid"]


class Snapped(NamedTuple):
    """A table whose times rise and lie on a grid, and what was done to make it so.

    Attributes:
        table: dict of columns, for `regular_series(..., gaps="missing")`.
        unsorted: rows whose time was before that of the row above.
        moved: rows whose time was not a step of the grid.
        merged: rows that fell on a step that had one, and were averaged with it.
    """

    table: dict[str, np.ndarray]
    unsorted: int
    moved: int
    merged: int


def snap_to_grid(table: Any, values: Sequence[str], *, time: str, step: Any = None) -> Snapped:
    """Sorts rows by time, moves each to the nearest step of a grid, and averages those that meet there.

    It is the way of tables that `regular_series` refuses, such as logs across the change to winter time. The grid
    begins at the earliest time.

    Args:
        table: pandas' or polars' DataFrame, or a dict of columns; one series.
        values: columns of numbers; NaN, nothing was measured, is left out of an average.
        time: column with times, numbers or datetime64.
        step: from one step to the next, a timedelta where times are dates; by default the most frequent difference of
            sorted times.

    Raises:
        ValueError: a column that does not exist or holds no real numbers, a table without rows, times that are neither
            numbers nor dates or are missing, all times equal, or a step that is not positive or of another kind.
    """
    times = named_column(table, time)
    if not len(times) or times.dtype.kind not in "iufM":
        raise ValueError(
            f"Expected column {time!r} with numbers or dates, got {times.dtype} of shape {list(times.shape)}."
        )
    if times.dtype.kind in "iu":
        times = times.astype(np.float64)
    missing = np.isnat(times) if times.dtype.kind == "M" else ~np.isfinite(times)
    if missing.any():
        raise ValueError(f"Column {time!r} lacks the time of row {int(missing.argmax()) + 1}.")
    zero = times[:1] - times[:1]
    unsorted = int((np.diff(times) < zero).sum())
    order = np.argsort(times, kind="stable")
    times = times[order]
    if step is None:
        gaps, counts = np.unique(np.diff(times)[np.diff(times) > zero], return_counts=True)
        if not len(gaps):
            raise ValueError(f"All times in column {time!r} are equal: a series has several.")
        step = gaps[counts.argmax()]
    if isinstance(step, np.timedelta64 | datetime.timedelta) != (times.dtype.kind == "M"):
        raise ValueError(f"`step` must be a timedelta where times are dates, and else a number; got {step!r}.")
    step = np.timedelta64(step) if times.dtype.kind == "M" else step
    if not step > type(step)(0):
        raise ValueError(f"`step` must be positive, got {step!r}.")
    exact = np.asarray((times - times[0]) / step, np.float64)
    at = np.rint(exact).astype(np.int64)
    steps, place = np.unique(at, return_inverse=True)
    found = {time: times[0] + step * steps}
    for name, column in zip(values, real_columns(table, values, len(times))[order].T, strict=True):
        known = ~np.isnan(column)
        count = np.bincount(place, known, len(steps))
        total = np.bincount(place, np.where(known, column, 0.0), len(steps))
        found[name] = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    return Snapped(found, unsorted, int((np.abs(exact - at) > 1e-3).sum()), len(times) - len(steps))
