"""What a forecast tells of its paths, and how it is drawn."""

import io
import sys
from types import ModuleType

import numpy as np
import pytest

import tfdvae
from tfdvae.plots import plot_forecast

PATHS = np.random.default_rng(0).normal(size=(40, 2, 3, 2)).astype(np.float32)
FORECAST = tfdvae.Forecast(PATHS, PATHS.mean(axis=0))


@pytest.mark.slow
def test_quantiles_and_intervals_of_what_a_model_forecasts() -> None:
    model = tfdvae.VRNN(2, units=4, phi_x=(4,), phi_z=(4,), observation="gaussian")
    x = np.random.default_rng(1).normal(size=(3, 5, 2)).astype(np.float32)
    model.build_for(2)
    found = model.forecast(x, horizon=4, num_samples=9, seed=0)
    assert isinstance(found, tfdvae.Forecast)
    samples = found.samples.numpy()
    np.testing.assert_array_equal(found.quantile(0.5), np.sort(samples, axis=0)[4])
    np.testing.assert_array_equal(found.quantile([0.0, 1.0]), [samples.min(axis=0), samples.max(axis=0)])
    lower, upper = found.interval(0.5)
    np.testing.assert_array_equal([lower, upper], np.sort(samples, axis=0)[[2, 6]])
    assert lower.shape == (3, 4, 2)


@pytest.mark.parametrize("level", [-0.1, 1.5, [0.5, 2.0], [], [[0.5]], float("nan")])
def test_a_level_that_is_no_probability_is_refused(level) -> None:
    with pytest.raises(ValueError, match="a number from 0 to 1"):
        FORECAST.quantile(level)


@pytest.mark.parametrize("level", [0.0, 1.0, 90, [0.9], True])
def test_an_interval_needs_one_probability(level) -> None:
    with pytest.raises(ValueError, match="a number between 0 and 1, such as 0.9"):
        FORECAST.interval(level)


def test_a_table_has_a_row_for_each_value(monkeypatch) -> None:
    pandas = ModuleType("pandas")
    pandas.DataFrame = dict
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    days = np.datetime64("2020-01-01") + np.arange(3)
    table = FORECAST.to_pandas(levels=(0.1, 0.5), times=days, names=["a", "b"], features=["load", "heat"])
    assert list(table) == ["sequence", "time", "feature", "mean", "q0.1", "q0.5"]
    assert {len(column) for column in table.values()} == {12}
    for row, (sequence, step, feature) in enumerate(np.ndindex(2, 3, 2)):
        assert (table["sequence"][row], table["feature"][row]) == ("ab"[sequence], ["load", "heat"][feature])
        assert table["time"][row] == days[step]
        assert table["mean"][row] == FORECAST.mean[sequence, step, feature]
        assert table["q0.1"][row] == FORECAST.quantile(0.1)[sequence, step, feature]
    own = np.stack([days, days + 7])
    assert FORECAST.to_pandas(times=own)["time"][6] == own[1, 0] and FORECAST.to_pandas()["time"][2] == 2
    for options, message in (
        ({"names": ["a"]}, "one for each sequence, 2; got 1"),
        ({"features": ["a"] * 3}, "one for each feature, 2; got 3"),
        ({"times": days[:2]}, r"\[3\] or \[2, 3\], got \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            FORECAST.to_pandas(**options)
    with pytest.raises(ValueError, match="frames that are vectors"):
        tfdvae.Forecast(PATHS[..., None], FORECAST.mean[..., None]).to_pandas()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        FORECAST.to_pandas()


def test_a_fan_shows_the_past_the_bands_and_what_came() -> None:
    pytest.importorskip("matplotlib")
    past, future = PATHS[0, :, :, :], PATHS[1]
    figure = plot_forecast(FORECAST, past, future, sequence=1, features=["load", "heat"], levels=(0.9, 0.5, 0.2))
    assert [axes.get_ylabel() for axes in figure.axes] == ["load", "heat"]
    before, median, came = figure.axes[1].lines
    np.testing.assert_allclose(before.get_ydata(), past[1, :, 1])
    np.testing.assert_allclose(came.get_ydata(), future[1, :, 1])
    np.testing.assert_array_equal(median.get_ydata(), FORECAST.quantile(0.5)[1, :, 1])
    assert (before.get_xdata().tolist(), median.get_xdata().tolist()) == ([-2, -1, 0], [1, 2, 3])
    widest = figure.axes[1].collections[0].get_paths()[0].vertices
    assert widest[:, 1].max() == pytest.approx(FORECAST.interval(0.9).upper[1, :, 1].max(), rel=1e-5)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["past", "90%", "50%", "20%", "median", "what came"]
    days = np.datetime64("2020-01-01") + np.arange(3)
    alone = plot_forecast(FORECAST, times=days)
    assert len(alone.axes[0].lines) == 1
    buffer = io.BytesIO()
    alone.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence": 2}, "from 0 to 1, got 2"),
        ({"past": np.zeros((1, 4, 2))}, r"a past \[2, T, 2\]"),
        ({"future": np.zeros((2, 4, 2))}, r"the shape of the forecast, \[2, 3, 2\]"),
        ({"features": ["a"]}, "name 2 features"),
        ({"past": np.zeros((2, 4, 2)), "times": np.arange(3)}, r"past and future, \[7\], got \[3\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict, message: str) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=message):
        plot_forecast(FORECAST, **options)
