"""Exponential smoothing and ARIMA as methods of a backtest: quantiles of what the package itself says."""

import sys

import numpy as np
import pytest

from tfdvae.forecasting import Origin, auto_arima, auto_ets, backtest, baselines, regular_series

models = pytest.importorskip("statsforecast.models", reason="needs the extra forecasting")

METHODS = {"AutoETS": auto_ets, "AutoARIMA": auto_arima}


def days(count: int = 96) -> dict[str, np.ndarray]:
    """Two series of four steps per season, one whose level wanders."""
    rng = np.random.default_rng(0)
    time = np.arange(float(count))
    season = np.sin(2 * np.pi * time / 4)
    return {
        "time": time,
        "a": 10.0 + 3.0 * season + 0.2 * rng.normal(size=count),
        "b": -5.0 + season + 0.1 * rng.normal(size=count).cumsum(),
    }


SERIES = regular_series(days(), ["a", "b"], time="time")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.slow
def test_samples_are_quantiles_of_the_packages_own_forecast(name: str) -> None:
    found = METHODS[name](season=4, given=60, num_samples=10)(SERIES, [Origin(0, 80), Origin(0, 72)], 6)
    assert found.shape == (10, 2, 6, 2) and found.dtype == np.float32
    assert (np.diff(found, axis=0) > 0.0).all()
    own = getattr(models, name)(season_length=4)
    for n, step in enumerate((80, 72)):
        told = own.forecast(y=np.float64(SERIES.x[0][step - 60 : step, 0]), h=6, level=[90.0, 50.0])
        np.testing.assert_allclose(found[0, n, :, 0], told["lo-90.0"], rtol=1e-4)
        np.testing.assert_allclose(found[-1, n, :, 0], told["hi-90.0"], rtol=1e-4)
        np.testing.assert_allclose(found[2, n, :, 0], told["lo-50.0"], rtol=1e-4)
        np.testing.assert_allclose(found[:, n, :, 0].mean(axis=0), told["mean"], rtol=1e-4)


def test_an_odd_number_of_samples_has_the_mean_in_its_middle() -> None:
    three, one = (auto_ets(4, num_samples=count)(SERIES, [Origin(0, 80)], 3) for count in (3, 1))
    np.testing.assert_array_equal(three[1], one[0])
    assert (three[0] < one[0]).all() and (three[2] > one[0]).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.slow
def test_nothing_from_the_origin_on_is_read_and_no_more_than_is_given(name: str) -> None:
    method = METHODS[name](season=4, given=40, num_samples=4)
    found = method(SERIES, [Origin(0, 80)], 4)
    np.testing.assert_array_equal(found, method(SERIES.until(80), [Origin(0, 80)], 4))
    x = SERIES.x[0].copy()
    x[:40] = 1e6
    np.testing.assert_array_equal(found, method(SERIES._replace(x=(x,)), [Origin(0, 80)], 4))


def test_gaps_are_filled_along_lines_and_what_was_not_observed_yet_is_left_out() -> None:
    holed, filled = days(), days()
    holed["a"][[30, 31, 79]] = np.nan
    filled["a"][[30, 31]] = np.interp([30, 31], [29, 32], filled["a"][[29, 32]])
    filled["a"][79] = filled["a"][78]
    late = {**days(), "a": np.where(np.arange(96) < 50, np.nan, days()["a"])}
    method = auto_ets(4, num_samples=2)
    a, b = (method(regular_series(t, ["a"], time="time"), [Origin(0, 80)], 3) for t in (holed, filled))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    short = regular_series({name: y[50:] for name, y in late.items()}, ["a"], time="time")
    a, b = method(regular_series(late, ["a"], time="time"), [Origin(0, 80)], 3), method(short, [Origin(0, 30)], 3)
    np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="'a' has 5 steps before step 55, .* AutoETS needs 10: begin later"):
        method(regular_series(late, ["a"], time="time"), [Origin(0, 55)], 3)


@pytest.mark.slow
def test_a_season_is_forecast_better_than_by_the_last_one() -> None:
    origins = [Origin(0, step) for step in range(60, 90, 3)]
    scores = backtest({"AutoETS": auto_ets(4), **baselines(4)}, SERIES, origins, 4, season=4)
    errors = {name: score.up_to(4)["crps"] for name, score in scores.items()}
    assert errors["AutoETS"] < 0.8 * min(value for name, value in errors.items() if name != "AutoETS")


def test_bad_numbers_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="`given` must be at least 1, got 0"):
        auto_ets(4, given=0)
    with pytest.raises(ValueError, match="`horizon` must be at least 1"):
        auto_ets(4)(SERIES, [Origin(0, 80)], 0)
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    with pytest.raises(ImportError, match=r'AutoARIMA needs statsforecast: pip install "tfdvae\[forecasting\]"'):
        auto_arima(4)
