"""What a detector is told of each step, and what of series it refuses."""

import numpy as np
import pytest

from tfdvae.anomalies import Follower, Views, fit_views, label_steps, read_labels
from tfdvae.data import regular_series


def made(count: int = 100, step: str = "6h", start: str = "2024-01-01", **columns):
    step = np.timedelta64(int(step[:-1]), step[-1])
    time = np.datetime64(start, "s") + step * np.arange(count)
    if not columns:
        columns = {"value": 5.0 + np.arange(count) % 4 + 0.1 * np.arange(count)}
    return regular_series({"time": time, **columns}, list(columns), time="time", gaps="missing")


def test_units_are_those_of_the_clean_part_and_seasons_are_days() -> None:
    series = made()
    views = fit_views(series, 40)
    x = series.x[0][:40, 0].astype(np.float64)
    assert views.shift == pytest.approx((x.mean(),)) and views.scale == pytest.approx((x.std(),))
    assert (views.season, views.calendar, views.inputs) == (4, ("hour",), 4)
    assert fit_views(made(step="7h"), 40).season == 0 and fit_views(made(step="1D"), 40).inputs == 0
    assert fit_views(series, 40, season=7).calendar == () and fit_views(series, 40, calendar=("weekday",)).inputs == 9


def test_what_is_usual_is_the_median_of_the_seasons_before() -> None:
    views = Views((10.0,), (2.0,), season=3, seasons=3)
    x = np.array([12, 14, 16, 22, np.nan, 18, 14, 18, 90, 16, 12, 16, 18, 20, 22], np.float64)
    series = made(15, value=x)
    frames = views.frames(series)
    np.testing.assert_array_equal(frames["observed"][:, 0], ~np.isnan(x))
    np.testing.assert_allclose(frames["x"][:, 0], np.where(np.isnan(x), 0.0, (x - 10.0) / 2.0))
    # 22, 14 and 16 came at the place of step 12, after 12 which has gone; 14, 18 and 12 at that of step 13.
    np.testing.assert_allclose(frames["u"][12:14], [[3.0, 1.0], [2.0, 1.0]])
    # A single outlier, 90, is not what is expected of the next season.
    np.testing.assert_allclose(frames["u"][11], [4.0, 1.0])
    np.testing.assert_array_equal(frames["u"][:3], np.zeros([3, 2]))
    changed = views.frames(made(15, value=np.where(np.arange(15) >= 8, 0.5 * x, x)))
    np.testing.assert_array_equal(changed["u"][:9], frames["u"][:9])


def test_step_by_step_is_all_at_once() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 2))
    x[rng.random((50, 2)) < 0.2] = np.nan
    series = made(50, a=x[:, 0], b=x[:, 1])
    views = fit_views(series, 30, seasons=2, calendar=("hour", "weekday"))
    expected, follower = views.frames(series), Follower(views)
    values = np.where(series.observed[0], series.x[0], np.nan)
    for t, time in enumerate(series.times(0, 0, len(values))):
        for name, value in follower(values[t], time).items():
            np.testing.assert_array_equal(value, expected[name][t])
    with pytest.raises(ValueError, match="Expected a step of 2 values"):
        follower([1.0])
    with pytest.raises(ValueError, match="inputs hour, weekday need the time"):
        follower([1.0, 2.0])


def test_what_tells_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'value' is constant in the clean part \(3\)"):
        fit_views(made(60, value=np.where(np.arange(60) < 40, 3.0, np.arange(60.0))), 40)
    with pytest.raises(ValueError, match="'b' was never observed in the clean part"):
        fit_views(made(60, a=np.arange(60.0), b=np.where(np.arange(60) < 40, np.nan, 1.0 * np.arange(60))), 40)
    with pytest.raises(ValueError, match="Unknown time feature 'minute'"):
        fit_views(made(), 40, calendar=("minute",))
    with pytest.raises(ValueError, match="Expected a series of 1 features, got 2"):
        Views((0.0,), (1.0,)).frames(made(20, a=np.arange(20.0), b=np.arange(20.0)))


def test_labels_are_steps_of_the_series(tmp_path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"a/b.csv": [["2024-01-02 00:00:00.000000", "2024-01-02 13:00:00.000000"]], "a/c.csv": []}')
    labels = read_labels(path)
    series = made()
    assert label_steps(series, labels["a/b.csv"]) == [(4, 6)] and label_steps(series, labels["a/c.csv"]) == []
    late = [(np.datetime64("2024-01-25T12:00"), np.datetime64("2024-01-26T12:00"))]
    assert label_steps(series, late) == [(98, 99)]
    for first, last in (("2023-05-01", "2023-05-02"), ("2025-01-01", "2025-01-02")):
        with pytest.raises(ValueError, match="lies outside of the series, which lasts from 2024-01-01"):
            label_steps(series, [(np.datetime64(first), np.datetime64(last))])
    with pytest.raises(ValueError, match="holds no step"):
        label_steps(series, [(np.datetime64("2024-01-02T01"), np.datetime64("2024-01-02T02"))])
    for text in ('{"a.csv": [["2024-01-02", "2024-01-01"]]}', '{"a.csv": [["x", "y"]]}', '{"a.csv": [1]}', "[]"):
        path.write_text(text)
        with pytest.raises(ValueError, match="is no file of labels"):
            read_labels(path)
