"""Tables to series on a grid, and series to windows of seasons."""

from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import (
    Origin,
    Seasons,
    calendar_features,
    forecast_inputs,
    forecast_windows,
    read_csv,
    regular_series,
    rolling_origins,
    steps_of_frames,
)

HOURS = np.datetime64("2021-03-01T00", "s") + np.arange(40) * np.timedelta64(1, "h")


def table(count: int = 40, **columns) -> dict:
    t = np.arange(count, dtype=float)
    return {"time": HOURS[:count], "load": t, "heat": 100.0 + t, "wind": -t, "plan": 1000.0 + t, **columns}


def series(count: int = 40, **options):
    roles = {"past": ["wind"], "known": ["plan"], **options}
    return regular_series(table(count), ["load", "heat"], time="time", **roles)


def test_a_csv_file_has_numbers_dates_and_words(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("date,a,b,c\n2020-01-01 05:00:00,1.5,x,\n2020-01-01 06:00:00,,y,2\n")
    found = read_csv(path)
    assert found["date"].dtype == "datetime64[s]" and found["b"].tolist() == ["x", "y"]
    np.testing.assert_array_equal(found["a"], [1.5, np.nan])
    np.testing.assert_array_equal(found["c"], [np.nan, 2.0])
    for text, message in (
        ("a,b\n", "it has no row"),
        ("a,b\n1\n", "row 2 has 1 fields instead of 2"),
        ("a,a\n1,2\n", "two columns have the same name"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"a\.csv is no table.*{message}"):
            read_csv(path)
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match="is no table"):
        read_csv(path)


def test_rows_without_targets_at_the_end_are_the_future() -> None:
    t = table()
    for name in ("load", "heat", "wind"):
        t[name] = np.where(np.arange(40) < 30, t[name], np.nan)
    t["load"][3] = np.nan
    found = regular_series(t, ["load", "heat"], time="time", past=["wind"], known=["plan"])
    assert found.x[0].shape == (30, 3) and found.known[0].shape == (40, 1)
    assert found.targets == ("load", "heat") and found.features == ("load", "heat", "wind")
    assert not found.observed[0][3, 0] and found.observed[0].sum() == 89
    assert found.step == np.timedelta64(1, "h") and found.times(0, 30, 1)[0] == HOURS[30]


def test_groups_have_grids_and_contexts_of_their_own() -> None:
    t = {
        "day": [5, 1, 6, 2, 3],
        "shop": ["b", "a", "b", "a", "a"],
        "sales": [50.0, 1.0, 60.0, 2.0, 4.0],
        "size": [7.0, 3.0, 7.0, 3.0, 3.0],
    }
    found = regular_series(t, ["sales"], time="day", group="shop", context=["size"])
    assert found.names == ("b", "a") and found.start == (5.0, 1.0) and found.step == 1.0
    assert found.x[1][:, 0].tolist() == [1.0, 2.0, 4.0] and [c.tolist() for c in found.context] == [[7.0], [3.0]]


def test_gaps_are_refused_or_not_observed() -> None:
    kept = np.r_[0:10, 13:40]
    t = {name: column[kept] for name, column in table().items()}
    with pytest.raises(
        ValueError, match=r"'time' jumps from .*T09:00:00 to .*T13:00:00, 4 steps of 1:00:00; such gaps: 1\."
    ):
        regular_series(t, ["load"], time="time")
    found = regular_series(t, ["load"], time="time", known=["plan"], gaps="missing")
    assert found.observed[0][:, 0].tolist() == [i in kept for i in range(40)]
    np.testing.assert_array_equal(found.x[0][kept, 0], kept)
    assert found.known[0][10:14, 0].tolist() == [1009.0, 1009.0, 1009.0, 1013.0]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"time": HOURS[[0, 2, 1, *range(3, 40)]]}, {}, "falls from .* sort the rows by it"),
        ({"time": HOURS[[0, 1, 1, *range(3, 40)]]}, {}, "twice: sort the rows by it, and keep one row for each time"),
        (
            {"time": HOURS + np.r_[np.zeros(9), 90, np.zeros(30)].astype("m8[s]")},
            {"gaps": "missing"},
            "not 1:00:00 apart",
        ),
        ({"load": np.full(40, np.nan)}, {}, "'load' was never observed: leave out the column"),
        ({"time": HOURS.astype(str)}, {}, "Expected numbers or dates in column 'time'"),
        ({}, {"known": ["load"]}, "'load' is given two roles"),
        ({}, {"known": ["wind", "wind"]}, "'wind' is given two roles"),
        ({}, {"gaps": "fill"}, "`gaps` must be one of 'refuse', 'missing'"),
        ({}, {"step": 1.0}, "`step` must be a positive timedelta64, since the times are datetime64"),
        (
            {"plan": np.r_[1.0, np.nan, np.ones(38)]},
            {"known": ["plan"]},
            "'plan' is missing at 2021-03-01T01.*of `past`",
        ),
    ],
)
def test_a_table_that_is_no_series_is_refused(change: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regular_series(table(**change), ["load"], time="time", **options)


def test_a_constant_target_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="'load' never changes: there is nothing to forecast"):
        regular_series(table(load=np.ones(40)), ["load"], time="time")


def test_calendar_features() -> None:
    times = np.array(["2024-01-01T06", "2024-07-02T00"], "datetime64[h]")  # a Monday and a Tuesday
    found = calendar_features(times, ["hour", "weekday", "month"])
    np.testing.assert_allclose(found[0, :2], [1.0, 0.0], atol=1e-6)
    assert found[:, 2:9].argmax(axis=1).tolist() == [0, 1]
    np.testing.assert_allclose(found[:, 9:], [[0.0, 1.0], [0.0, -1.0]], atol=0.01)
    assert calendar_features(np.arange(3.0), []).shape == (3, 0)
    with pytest.raises(ValueError, match="Unknown time feature 'minute': expected some of hour, weekday, month"):
        calendar_features(times, ["minute"])
    with pytest.raises(ValueError, match="Time features need dates, and the times are float64"):
        calendar_features(np.arange(3.0), ["hour"])


def test_holidays_are_an_option(monkeypatch) -> None:
    import sys
    from types import ModuleType

    package = ModuleType("holidays")
    package.country_holidays = lambda country: {"DE": {np.datetime64("2021-10-03").item()}}[country]
    monkeypatch.setitem(sys.modules, "holidays", package)
    times = np.array(["2021-10-02T23", "2021-10-03T00", "2021-10-03T23", "2021-10-04T00"], "datetime64[h]")
    assert calendar_features(times, [], "DE")[:, 0].tolist() == [0.0, 1.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="knows no country 'Atlantis'"):
        calendar_features(times, [], "Atlantis")
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(ImportError, match="pip install holidays"):
        calendar_features(times, [], "DE")


SEASONS = Seasons(horizon=6, season=4, given=3, lags=(8,), calendar=("hour",))


def test_windows_hold_seasons_of_each_target_and_what_is_known_of_the_future() -> None:
    data = series()
    found = forecast_windows(data, SEASONS, [Origin(0, 20), Origin(0, 13)])
    x = np.stack(found.x)
    assert x.shape == (4, 5, 8)  # two origins times two targets; 4 steps of the target, and of wind
    np.testing.assert_array_equal(x[0, :, :4].ravel()[:18], np.arange(8.0, 26.0))
    np.testing.assert_array_equal(x[1, :, :4].ravel()[:18], 100.0 + np.arange(8.0, 26.0))
    np.testing.assert_array_equal(x[2, :3, 4:].ravel(), -np.arange(1.0, 13.0))
    np.testing.assert_array_equal(np.stack(found.context), [[1, 0], [0, 1]] * 2)
    seen = np.stack(found.observed)
    assert seen[:, :4].all() and seen[:, 4, :2].all() and not seen[:, 4, 2:4].any()  # behind the horizon
    u = np.stack(found.u)
    hours = calendar_features(HOURS[8:28:4], ["hour"])
    np.testing.assert_array_equal(u[0, :, :2], hours)
    known = 1000.0 + np.arange(8.0, 28.0).reshape(5, 4)
    np.testing.assert_array_equal(u[0, :, 2:6], known)
    np.testing.assert_array_equal(u[1, :, 2:6], known)
    given = np.arange(8.0, 20.0)
    lagged = (np.arange(0.0, 20.0) - given.mean()) / given.std()
    np.testing.assert_allclose(u[:2, :, 6:].reshape(2, 20), [lagged, lagged], rtol=1e-5)
    behind = forecast_windows(data, SEASONS, [Origin(0, 12)])
    np.testing.assert_array_equal(behind.u[0][:2, 6:], 0.0)  # nothing is known before the series begins


def test_joint_windows_hold_all_targets_and_come_apart_again() -> None:
    data = series()
    for separate in (True, False):
        seasons = SEASONS._replace(separate=separate)
        found = forecast_windows(data, seasons, [Origin(0, 20), Origin(0, 13)])
        frames = np.stack(found.x)[:, 3:]
        steps = steps_of_frames(np.stack([frames, frames + 0.5]), seasons, 2)
        assert steps.shape == (2, 2, 6, 2)
        for n, t in enumerate((20, 13)):
            np.testing.assert_array_equal(steps[0, n], data.x[0][t : t + 6, :2])
            np.testing.assert_array_equal(steps[1, n], data.x[0][t : t + 6, :2] + 0.5)
    assert found.context is None and found.x[0].shape == (5, 12) and found.u[0].shape == (5, 2 + 4 + 8)


def test_inputs_of_a_forecast_are_those_of_windows_and_know_nothing_of_the_future() -> None:
    data = series()
    origins = [Origin(0, 20), Origin(0, 13)]
    windows = forecast_windows(data, SEASONS, origins)
    for source in (data, data.until(20)):
        batch, future_u = forecast_inputs(source, SEASONS, origins)
        assert sorted(batch) == ["context", "observed", "u", "x"]
        np.testing.assert_array_equal(batch["x"], np.stack(windows.x)[:, :3])
        np.testing.assert_array_equal(np.concatenate([batch["u"], future_u], axis=1), np.stack(windows.u))


def test_origins_of_several_series_keep_their_order() -> None:
    t = {"day": np.tile(np.arange(9), 2), "shop": np.repeat(["a", "b"], 9), "sales": np.arange(18.0)}
    data = regular_series(t, ["sales"], time="day", group="shop")
    seasons = Seasons(horizon=2, season=2, given=2, calendar=())
    batch, future_u = forecast_inputs(data, seasons, [Origin(1, 5), Origin(0, 4), Origin(1, 4)])
    assert future_u is None and batch["x"][:, 0, 0].tolist() == [10.0, 0.0, 9.0]
    assert rolling_origins(data, 2, start=4, stride=3) == [Origin(0, 4), Origin(0, 7), Origin(1, 4), Origin(1, 7)]
    assert rolling_origins(data, 2, start=4, stop=8, stride=2) == [Origin(i, t) for i in (0, 1) for t in (4, 6)]


@pytest.mark.parametrize(
    ("seasons", "origin", "message"),
    [
        ({}, Origin(0, 11), "is given 12 steps .3 frames of 4., and there are 11"),
        ({}, Origin(0, 41), "cannot begin at step 41: the series has 40"),
        ({}, Origin(1, 20), "origins in the series 0 to 0"),
        ({}, Origin(0, 35), "goes 1 steps beyond the known covariates, which end at 2021-03-02T15.*add rows"),
        ({"lags": (4,)}, Origin(0, 20), "lag of 4 steps is not known of all 6 steps.*at least 8"),
        ({"given": 0}, Origin(0, 20), "`given` must be at least 1"),
    ],
)
def test_a_forecast_that_lacks_its_past_or_its_inputs_is_refused(seasons: dict, origin, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forecast_inputs(series(), SEASONS._replace(**seasons), [origin])


@pytest.mark.slow
def test_origins_need_room() -> None:
    with pytest.raises(ValueError, match="No series has 30 steps from step 20 on; the longest has 40"):
        rolling_origins(series(), 30, start=20)
