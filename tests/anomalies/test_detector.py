"""A detector finds what was put into a series, and says the same streaming, exported and all at once."""

import csv
import io
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdvae
from export.edge import anomaly
from tfdvae.anomalies import AlarmRule, Detector, Learning, Views, fit_views, load_detector, smoothed
from tfdvae.data import TimeSeries, regular_series

CLEAN = 400
ODD = (470, 520)
"""Where the wave stands still for some steps, at a value that is usual in itself."""


def made(seed: int, count: int = 560) -> TimeSeries:
    """A wave with noise, of 12 steps."""
    rng = np.random.default_rng(seed)
    x = np.sin(2 * np.pi * np.arange(count) / 12) + 0.1 * rng.normal(size=count)
    for first in ODD:
        x[first : first + 6] = x[first]
    return regular_series({"time": np.arange(count), "value": 50.0 + 4.0 * x}, ["value"], time="time")


@pytest.fixture(scope="module")
def series() -> TimeSeries:
    return made(0)


@pytest.fixture(scope="module")
def trained(series: TimeSeries) -> Detector:
    """Without inputs, as the program for devices asks for."""
    found = tfdvae.recipes.detector(
        model="srnn",
        season=0,
        calendar=(),
        length=24,
        updates=180,
        batch_size=16,
        units=12,
        latent_dim=2,
        learning_rate=0.01,
    )
    found.fit(series, CLEAN)
    return found


def test_the_same_seed_trains_the_same_detector(series: TimeSeries) -> None:
    def scores(seed: int, of_process: int) -> np.ndarray:
        keras.utils.set_random_seed(of_process)
        found = tfdvae.recipes.detector(season=0, calendar=(), length=12, updates=6, batch_size=4, units=4)
        found.fit(series, CLEAN, seed=seed)
        return found.score(series)[0]

    first = scores(3, of_process=0)
    np.testing.assert_array_equal(scores(3, of_process=1), first)
    assert np.abs(scores(4, of_process=0) - first).max() > 1e-4


@pytest.mark.slow
def test_what_stands_still_is_found_and_little_else(trained: Detector, series: TimeSeries) -> None:
    scores = trained.score(series)[0]
    assert np.isfinite(scores).all() and scores.shape == (560,)
    alarms = np.flatnonzero(AlarmRule(risk=1e-3, smoothing=(0.5,), hold=12)(scores, 100, CLEAN).alarms)
    assert [any(first <= t < first + 9 for t in alarms) for first in ODD] == [True, True]
    assert sum(t >= CLEAN for t in alarms) <= 4


@pytest.mark.slow
def test_a_stream_says_the_same(trained: Detector, series: TimeSeries) -> None:
    scores, stream = trained.score(series)[0], trained.stream()
    np.testing.assert_allclose([stream.push(x) for x in series.x[0][:40]], scores[:40], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_comes_back_from_its_folder(trained: Detector, series: TimeSeries, tmp_path: Path) -> None:
    trained.save(tmp_path / "saved")
    found = load_detector(tmp_path / "saved")
    assert found.views == trained.views and found.learning == trained.learning
    stream, expected = found.stream(), trained.stream()
    np.testing.assert_allclose(
        [stream.push(x) for x in series.x[0][:5]], [expected.push(x) for x in series.x[0][:5]], rtol=1e-5
    )
    path = tmp_path / "saved" / "detector.json"
    content = json.loads(path.read_text())
    (view,) = content["views"]
    views = ([], [{"shift": [0]}], [{**view, "scale": [0.0]}], [{**view, "season": "x"}], [{**view, "calendar": ["x"]}])
    for broken in ({"views": content["views"]}, *({**content, "views": own} for own in views)):
        path.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=r"detector\.json does not say what a detector is told"):
            load_detector(tmp_path / "saved")
    with pytest.raises(FileNotFoundError):
        load_detector(tmp_path / "nothing")


@pytest.mark.slow
def test_the_program_for_devices_says_the_same(
    trained: Detector, series: TimeSeries, tmp_path: Path, monkeypatch, capsys
) -> None:
    pytest.importorskip("ai_edge_litert")
    trained.model.export(tmp_path / "m.tflite", format="litert", signatures=("reset", "step"))
    units = trained.views[0]
    (tmp_path / "scale.json").write_text(json.dumps({"mean": units.shift, "scale": units.scale}))
    scores = trained.score(series)[0]
    found = AlarmRule(risk=1e-3, smoothing=(0.5,))(scores, 100, CLEAN)
    threshold = found.thresholds[0]
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{x}\n" for x in series.x[0][:, 0])))
    files = ["--model", str(tmp_path / "m.tflite"), "--standardise", str(tmp_path / "scale.json")]
    assert anomaly.run([*files, "--smoothing", "0.5", f"--threshold={-threshold}"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    expected = smoothed(scores, 0.5)
    np.testing.assert_allclose([-float(row["smoothed"]) for row in rows], expected, atol=2e-3)
    clear = np.abs(expected - threshold) > 2e-3
    np.testing.assert_array_equal(np.array([row["flag"] == "1" for row in rows])[clear], found.flags[clear])
    assert found.flags.any()


@pytest.mark.slow
def test_streams_with_seasons_times_and_gaps_say_the_same(eagerly) -> None:
    rng = np.random.default_rng(0)
    time = np.datetime64("2024-01-01", "s") + np.timedelta64(6, "h") * np.arange(14)
    x = rng.normal(size=(14, 2))
    x[[3, 4]], x[7, 0] = np.nan, np.nan
    series = regular_series({"time": time, "a": x[:, 0], "b": x[:, 1]}, ["a", "b"], time="time", gaps="missing")
    made = tfdvae.recipes.detector(model="srnn", units=6, latent_dim=2)
    made.model.build({"x": (None, None, 2), "u": (None, None, 6), "observed": (None, None, 2)})
    detector = Detector(made.model, made.learning, [fit_views(series, 14)])
    scores, stream = detector.score(series)[0], detector.stream()
    pushed = [stream.push(*row) for row in zip(x, time, strict=True)]
    np.testing.assert_array_equal(np.isnan(scores), np.isin(np.arange(14), [3, 4]))
    np.testing.assert_allclose(pushed, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(detector.score(series.until(10))[0], scores[:10], rtol=1e-5)


def test_without_latents_scores_are_the_likelihood(eagerly) -> None:
    made = tfdvae.recipes.detector(model="rnn", units=6, season=0, calendar=())
    made.model.build({"x": (None, None, 1), "observed": (None, None, 1)})
    series = regular_series({"time": np.arange(20), "value": np.sin(np.arange(20.0))}, ["value"], time="time")
    detector = Detector(made.model, made.learning, [Views((0.0,), (1.0,))])
    x = series.x[0][None]
    expected = made.model.log_prob(x, observed=np.ones(x.shape, bool), num_samples=1)
    assert -detector.score(series)[0].sum() == pytest.approx(float(expected[0]), rel=1e-5)


def test_what_does_not_fit_is_said(trained: Detector, series: TimeSeries) -> None:
    fresh = tfdvae.recipes.detector(length=64)
    with pytest.raises(ValueError, match="does not know what is usual yet: call `fit` first"):
        fresh.score(series)
    with pytest.raises(ValueError, match="A training window has 64 steps, and the clean part of series 0 has 40"):
        fresh.fit(series, 40)
    with pytest.raises(ValueError, match="The clean part must have from 1 to 560 steps"):
        fresh.fit(series, 561)
    with pytest.raises(ValueError, match="The clean part must have from 1 to 560 steps.*got 0"):
        fresh.fit(series, 0)
    with pytest.raises(ValueError, match="one for each of 1 series, got 2"):
        fresh.fit(series, [100, 200])
    with pytest.raises(ValueError, match="knows the units of 1 series, got 2"):
        trained.score([series, series])
    with pytest.raises(ValueError, match="`index` must be from 0 to 0, got 1"):
        trained.stream(1)
    with pytest.raises(ValueError, match="Unknown model 'lstm'"):
        tfdvae.recipes.detector(model="lstm")
    with pytest.raises(ValueError, match="cannot score a step when it comes"):
        tfdvae.recipes.detector(model="srnn", inference="smooth")
    with pytest.raises(ValueError, match="A SRNN as configured .* cannot score a step when it comes"):
        Detector(tfdvae.SRNN(2, units=4, standardize=None))
    with pytest.raises(ValueError, match="not compiled"):
        Detector(tfdvae.SRNN(2, units=4, standardize=None, inference="filter"), Learning()).fit(series)
    with pytest.raises(ValueError, match="standardize=None, got 'auto'"):
        tfdvae.recipes.detector(standardize="auto").fit(series)


@pytest.mark.slow
def test_other_series_have_their_own_units(trained: Detector, series: TimeSeries) -> None:
    scaled = series._replace(x=tuple(100.0 * x - 7.0 for x in series.x))
    np.testing.assert_allclose(trained.follow(scaled, CLEAN).score(scaled)[0], trained.score(series)[0], atol=1e-2)
    table = {"time": np.arange(50), "a": np.sin(np.arange(50.0)), "b": np.cos(np.arange(50.0))}
    with pytest.raises(ValueError, match="series of 1 features and 0 inputs, got one of 2 and 0"):
        trained.follow(regular_series(table, ["a", "b"], time="time"))
