"""Forecasting from a CSV file, from training to the table, on days that are made up here."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import load, program, smoke
from tfdvae.data import load_timeseries, pad, read_timeseries, split_steps
from tfdvae.forecasting import Origin, auto_ets, rolling_origins
from trainers import building, forecast, loading, settings, train
from trainers.forecast_methods import BESIDE, Task

STEPS = {"train_steps": 240, "valid_steps": 72, "test_steps": 72}
WINDOWS = {"horizon": 30, "season": 12, "given": 4, "shift": 3, "lags": (36,), "calendar": ("hour",)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two-hourly days of two sensors whose levels wander."""
    rng = np.random.default_rng(0)
    time = np.datetime64("2021-01-01", "s") + np.arange(396) * np.timedelta64(2, "h")
    day = np.sin(2 * np.pi * np.arange(396) / 12)
    level = np.cumsum(0.05 * rng.normal(size=(396, 2)), axis=0)
    x = [20.0, 500.0] + [2.0, 40.0] * (day[:, None] + level + 0.1 * rng.normal(size=(396, 2)))
    path = tmp_path_factory.mktemp("data") / "sensors.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["date", "site", "a", "b", "open"])
        writer.writerows(
            [t, "north", *(f"{y:.4f}" for y in row), i % 7] for i, (t, row) in enumerate(zip(time, x, strict=True))
        )
    return path


@pytest.fixture(scope="module")
def config(path: Path):
    return smoke(
        "timeseries", "srnn", path,
        data={**STEPS, **WINDOWS, "known": ("open",), "max_sequences": 24},
        model={"given_frames": 4}, training={"epochs": 1},
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "sensors"
    train.run(config, workdir)
    return workdir


@pytest.mark.slow
def test_the_usual_units_are_those_of_windows_not_of_all_frames_in_a_row(config, finished: Path) -> None:
    own, windows = building.build_model(config), loading.load_splits(config.data).train
    own.adapt(**pad(windows))
    np.testing.assert_allclose(building.load_model(finished).frames.scale, own.frames.scale, rtol=1e-6)


def test_splits_hold_the_horizons_of_their_own_time(path: Path) -> None:
    splits = load_timeseries(path, **STEPS, **WINDOWS, known=["open"])
    series = read_timeseries(path, known=["open"])
    assert series.targets == ("a", "b") and series.names == ("",)
    assert split_steps(series, **STEPS) == (240, 312, 384)
    assert split_steps(series) == (237, 316, 396)
    counts = [2 * len(range(48, 240 - 29, 3)), 2 * len(range(240, 312 - 29, 12)), 2 * len(range(312, 384 - 29, 12))]
    assert [split.num_sequences for split in splits] == counts
    for split, step in zip(splits, (48, 240, 312), strict=True):
        np.testing.assert_array_equal(split.x[1][4:].ravel()[:30], series.x[0][step : step + 30, 1])
        np.testing.assert_array_equal(split.x[0][:4].ravel(), series.x[0][step - 48 : step, 0])
        assert split.x[0].shape == (7, 12) and split.u[0].shape == (7, 2 + 12 + 12) and split.covariates == 2
    with pytest.raises(ValueError, match="396 steps: 390 for training, 5 for validation and 72 for the test are more"):
        split_steps(series, 390, 5, 72)
    with pytest.raises(ValueError, match="No series has 30 steps from step 48 on and before step 60"):
        load_timeseries(path, **{**STEPS, "train_steps": 60}, **WINDOWS)


@pytest.mark.slow
def test_a_run_is_scored_beside_what_needs_no_model(finished: Path, path: Path, capsys: pytest.CaptureFixture) -> None:
    scores = forecast.run(finished, num_samples=20, horizons=[1, 30])
    text = capsys.readouterr().out
    assert list(scores) == ["last value", "seasonal naive", "last 7 seasons", "srnn"]
    assert f"srnn on {path}, split test: 4 forecasts of 2 targets" in text
    lines = [line.split() for line in text.splitlines()]
    assert [line[-7:-5] for line in lines if line and line[0] == "srnn" and line[1] in ("1", "30")] == [
        [str(h), f"{scores['srnn'].up_to(h)['mae']:.4f}"] for h in (1, 30)
    ]
    series = read_timeseries(path)
    x, scale = series.x[0].astype(np.float64)[:, :2], series.x[0][:240, :2].std(axis=0)
    errors = [
        np.abs(x[t : t + 30] - x[np.arange(t, t + 30) - 12 * np.repeat([1, 2, 3], 12)[:30]])
        for t in range(312, 355, 12)
    ]
    assert scores["seasonal naive"].up_to(30)["mae"] == pytest.approx((np.array(errors) / scale).mean(), rel=1e-5)
    saved = json.loads((finished / "forecast_test.json").read_text())
    assert (saved["model"], saved["origins"], saved["targets"]) == ("srnn", 4, ["a", "b"])
    assert saved["scores"]["srnn"]["crps"] == scores["srnn"].crps.tolist() and len(scores["srnn"].crps) == 30
    assert saved["scores"]["last value"]["coverage"] == [None] * 30
    assert (finished / "forecast_test.md").read_text().splitlines()[2].startswith("| last value | 1 |")
    assert (finished / "forecast_test.png").read_bytes().startswith(b"\x89PNG")
    held = forecast.run(finished, "valid", num_samples=20, stride=24)
    assert held["srnn"].count.tolist() == [4] * 30 and (finished / "forecast_valid.json").is_file()
    with pytest.raises(ValueError, match="from 1 to 30, which the model was trained for, got .31."):
        forecast.run(finished, horizons=[31])
    with pytest.raises(ValueError, match="Unknown split 'train': expected one of valid, test"):
        forecast.run(finished, "train")


@pytest.mark.slow
def test_other_methods_stand_beside_it(finished: Path, path: Path) -> None:
    pytest.importorskip("statsforecast", reason="needs the extra forecasting")
    scores = forecast.run(finished, num_samples=20, horizons=[30], stride=24, beside=["AutoETS"])
    assert list(scores) == ["last value", "seasonal naive", "last 7 seasons", "AutoETS", "srnn"]
    series = read_timeseries(path)
    own = auto_ets(12, 48, 20)(series, rolling_origins(series, 30, start=312, stop=384, stride=24), 30)
    x = np.stack([series.x[0][t : t + 30] for t in (312, 336)])[..., :2]
    errors = np.abs(np.median(own[..., :2], axis=0) - x) / series.x[0][:240, :2].std(axis=0)
    np.testing.assert_allclose(scores["AutoETS"].mae, errors.mean(axis=(0, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match="Unknown method 'ETS': expected some of AutoETS, AutoARIMA, DeepAR, feed-fo"):
        forecast.run(finished, beside=["ETS"])


@pytest.mark.slow
def test_networks_of_another_package_stand_beside_it(finished: Path, path: Path) -> None:
    pytest.importorskip("gluonts", reason="needs the extra gluonts")
    series = read_timeseries(path)
    x = series.x[0].copy()
    x[240:] = 0.0
    task = Task(season=12, given=48, stop=240, num_samples=20, seed=1, epochs=1)
    for name in ("DeepAR", "feed-forward"):
        found = BESIDE[name](task)(series, [Origin(0, 240), Origin(0, 228)], 30)
        assert found.shape == (20, 2, 30, 3) and np.isfinite(found).all() and (found.std(axis=0) > 0.0).all()
        # Neither training nor a forecast reads what comes from there on.
        changed = BESIDE[name](task)(series._replace(x=(x,)), [Origin(0, 240), Origin(0, 228)], 30)
        np.testing.assert_allclose(changed, found, rtol=1e-5, atol=1e-5)
        # Each target in its own units: about 20 and about 500.
        assert np.abs(found[..., 0].mean() - 20.0) < 15.0 and np.abs(found[..., 1].mean() - 500.0) < 300.0


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_run_on_other_data_and_bad_flags_are_refused(tmp_path: Path) -> None:
    settings.claim(tmp_path, load("icu", "srnn", "smoke"))
    with pytest.raises(ValueError, match="Expected a run on the data set 'timeseries', .* holds one on 'icu'"):
        forecast.run(tmp_path)
    result = program("forecast", "--workdir", tmp_path, "--horizons", "a")
    assert result.returncode == 1 and "--horizons must be whole numbers such as 24,96, got a" in result.stderr
