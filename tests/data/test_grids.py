"""Rows at untidy times end up on a grid, and it is said how."""

import datetime

import numpy as np
import pytest

from tfdvae.data import regular_series, snap_to_grid

START = np.datetime64("2024-01-01T00:00", "s")
MINUTE = np.timedelta64(60, "s")


def test_unsorted_duplicate_and_misplaced_rows_find_their_step() -> None:
    minutes = np.array([0, 5, 15, 10, 20, 20, 31, 35])
    table = {"time": START + MINUTE * minutes, "value": [0.0, 1.0, 3.0, 2.0, 4.0, 6.0, 7.0, np.nan], "name": ["a"] * 8}
    found = snap_to_grid(table, ["value"], time="time")
    assert (found.unsorted, found.moved, found.merged) == (1, 1, 1) and list(found.table) == ["time", "value"]
    np.testing.assert_array_equal((found.table["time"] - START) / MINUTE, [0, 5, 10, 15, 20, 30, 35])
    np.testing.assert_array_equal(found.table["value"], [0.0, 1.0, 2.0, 3.0, 5.0, 7.0, np.nan])
    series = regular_series(found.table, ["value"], time="time", gaps="missing")
    np.testing.assert_array_equal(series.observed[0][:, 0], [True] * 5 + [False, True])


def test_what_is_tidy_stays() -> None:
    table = {"time": np.arange(5), "value": np.arange(5.0)}
    found = snap_to_grid(table, ["value"], time="time")
    assert found[1:] == (0, 0, 0)
    np.testing.assert_array_equal(found.table["value"], table["value"])
    np.testing.assert_array_equal(snap_to_grid(table, ["value"], time="time", step=2.0).table["time"], [0.0, 2.0, 4.0])
    table = {"time": START + MINUTE * np.arange(5), "value": np.arange(5.0)}
    found = snap_to_grid(table, ["value"], time="time", step=datetime.timedelta(minutes=1))
    np.testing.assert_array_equal(found.table["time"], table["time"])


@pytest.mark.slow
def test_times_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="with numbers or dates, got <U1"):
        snap_to_grid({"time": np.array(["a", "b"]), "value": [1.0, 2.0]}, ["value"], time="time")
    with pytest.raises(ValueError, match="lacks the time of row 2"):
        snap_to_grid({"time": np.array([1.0, np.nan]), "value": [1.0, 2.0]}, ["value"], time="time")
    with pytest.raises(ValueError, match="All times in column 'time' are equal"):
        snap_to_grid({"time": np.zeros(3), "value": np.zeros(3)}, ["value"], time="time")
    table = {"time": START + MINUTE * np.arange(3), "value": np.zeros(3)}
    with pytest.raises(ValueError, match="The table has no column 'other', its columns are time, value"):
        snap_to_grid(table, ["other"], time="time")
    with pytest.raises(ValueError, match="`step` must be a timedelta where times are dates"):
        snap_to_grid(table, ["value"], time="time", step=60.0)
    with pytest.raises(ValueError, match="`step` must be positive"):
        snap_to_grid({"time": np.arange(3), "value": np.zeros(3)}, ["value"], time="time", step=0.0)
