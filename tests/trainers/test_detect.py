"""Anomalies from CSV files, from training to the table, in series that are made up here."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tfdvae.anomalies import AlarmRule, fit_views, load_detector
from tfdvae.metrics import nab_score
from trainers import detect

SMALL = {"units": 6, "updates": 6, "length": 16, "batch_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two-hourly days of three sensors, with a spike each; the file of one is out of order."""
    folder = tmp_path_factory.mktemp("sensors")
    rng = np.random.default_rng(0)
    time = np.datetime64("2024-03-01", "s") + np.arange(640) * np.timedelta64(2, "h")
    labels = {}
    for i, name in enumerate(("a", "b", "c")):
        x = 10.0 * i + np.sin(2 * np.pi * np.arange(640) / 12) + 0.1 * rng.normal(size=640)
        x[550] += 20.0
        rows = [[f"{t}".replace("T", " "), f"{y:.5f}"] for t, y in zip(time, x, strict=True)]
        if name == "c":
            rows[7], rows[8] = rows[8], rows[7]
        labels[f"made/{name}.csv"] = [[str(time[545]), str(time[560])]]
        (folder / "made").mkdir(exist_ok=True)
        with (folder / "made" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["timestamp", "value"], *rows])
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


@pytest.fixture(scope="module")
def items(folder: Path) -> list[detect.Labelled]:
    return detect.read_series(folder, folder / "labels.json", snap=True, clean_part=0.75)


def test_series_are_read_with_their_clean_part_and_labels(items: list, folder: Path, capsys) -> None:
    assert [item.name for item in items] == ["a", "b", "c"]
    assert [(item.stop, item.windows) for item in items] == 3 * [(480, [(545, 560)])]
    np.testing.assert_array_equal(items[2].series.x[0][[0, 550]] > 25.0, [[False], [True]])
    assert detect.read_series(folder, folder / "labels.json", snap=True, clean_part=0.9)[0].stop == 545
    assert "c: 1 rows were unsorted, 0 between" in capsys.readouterr().out
    (alone,) = detect.read_series(folder / "made" / "a.csv", time="timestamp")
    assert alone.windows is None and alone.stop == 256


@pytest.mark.parametrize("package", ["matplotlib", "sklearn.ensemble", "stumpy"])
def test_packages_are_asked_for_before_anything_is_trained(
    package: str, items: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(detect, "load_detector", lambda folder: pytest.fail("it began to work"))
    monkeypatch.setattr(detect.recipes, "detector", lambda **options: pytest.fail("it began to work"))
    with pytest.raises(ImportError, match=f"needs {package.partition('.')[0]}: pip install"):
        detect.run(items, tmp_path, **SMALL)


def test_what_no_score_can_mend_is_said_before_anything_is_trained(
    items: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect.recipes, "detector", lambda **options: pytest.fail("it began to work"))
    methods = {"model": detect.METHODS["model"]}
    with pytest.raises(ValueError, match="b, rnn: clean steps 180 to 300 are too few for a threshold.*--learn_part"):
        detect.run([items[0], items[1]._replace(stop=300)], tmp_path, methods=methods, **SMALL)
    with pytest.raises(ValueError, match="no series in the half 'report' of 1"):
        detect.run(items[:1], tmp_path, methods=methods, half="report", **SMALL)


def test_what_cannot_be_read_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"c\.csv: Column 'timestamp' falls from .* \(--snap puts"):
        detect.read_series(folder, folder / "labels.json")
    with pytest.raises(ValueError, match="has no column 'date', but timestamp, value"):
        detect.read_series(folder, time="date")
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        detect.read_series(folder, clean_part=1.5)
    with pytest.raises(FileNotFoundError, match="no CSV file"):
        detect.read_series(tmp_path)
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.csv").touch()
    with pytest.raises(ValueError, match=r"one.a\.csv and .*two.a\.csv have the same name"):
        detect.read_series(tmp_path)
    labels = tmp_path / "labels.json"
    labels.write_text("{}")
    with pytest.raises(ValueError, match="no entry made/a.csv, nor a.csv"):
        detect.read_series(folder, labels, snap=True)
    for first, message in (("2024-03-01 00:00", "has no clean part"), ("2025-03-01", r"a\.csv: The label .* outside")):
        labels.write_text(json.dumps({"a.csv": [[first, "2025-03-02"]], "b.csv": [], "c.csv": []}))
        with pytest.raises(ValueError, match=message):
            detect.read_series(folder, labels, snap=True)


@pytest.mark.slow
def test_a_run_is_scored_beside_what_needs_no_model(items: list, tmp_path: Path, capsys) -> None:
    methods = {name: detect.METHODS[name] for name in ("model", "rolling z-score", "Isolation Forest")}
    table = detect.run(items, tmp_path, methods=methods, half="choose", **SMALL)
    assert list(table) == ["rnn", "rolling z-score", "Isolation Forest"]
    saved = json.loads((tmp_path / "detect_choose.json").read_text())
    assert saved["series"] == ["a", "c"] and saved["clean"] == [480, 480] and saved["scores"] == table
    lines = (tmp_path / "detect_choose.md").read_text().splitlines()
    assert lines[0].startswith("| method | point precision |") and lines[2].startswith("| rnn | ")
    assert "\n".join(lines) in capsys.readouterr().out
    # The table is made of what the detector in the folder says, and so are the files.
    detector, rule = load_detector(tmp_path / "detector"), detect.METHODS["model"]
    assert len(detector.views) == 3 and detector.views[0].season == 12
    # It has learned the first 60% of the clean part alone, and thresholds come from the rest.
    assert detector.views[2] == fit_views(items[2].series, 288)
    scores = detector.score([item.series for item in items])[2]
    found = AlarmRule(rule.risk, smoothing=rule.smoothing, hold=round(12 * rule.hold))(scores, 288, 480)
    assert saved["nab"]["rnn"][1] == pytest.approx(nab_score([found.alarms], [[(545, 560)]], start=480))
    assert found.flags[550]
    with (tmp_path / "scores" / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[550]["rnn alarm"] == "1" and float(rows[550]["nats"]) == pytest.approx(scores[550], rel=1e-4)
    assert [row["rnn alarm"] == "1" for row in rows] == found.alarms.tolist()
    assert (tmp_path / "scores" / "c.png").read_bytes().startswith(b"\x89PNG")
    # The other half is of the same detector.
    before = (tmp_path / "detector" / "model.keras").read_bytes()
    detect.run(items, tmp_path, methods={"model": rule}, half="report", **SMALL)
    assert json.loads((tmp_path / "detect_report.json").read_text())["series"] == ["b"]
    assert (tmp_path / "detector" / "model.keras").read_bytes() == before
    # Without labels there are alarms, and no scores.
    bare = [item._replace(windows=None) for item in items]
    assert detect.run(bare, tmp_path, methods={"model": rule}, **SMALL) == {}
    assert (tmp_path / "detect_all.md").read_text().startswith("| alarms | rnn |")
    # A series without an anomaly counts in the sum, and has no score by itself.
    quiet = [items[0], items[1]._replace(windows=[]), items[2]]
    found = detect.run(quiet, tmp_path, methods={"model": rule}, **SMALL)
    saved = json.loads((tmp_path / "detect_all.json").read_text())
    assert saved["nab"]["rnn"][1] is None and "| b |  |" in (tmp_path / "detect_all.md").read_text()
    assert found["rnn"]["NAB standard"] == pytest.approx(np.mean([saved["nab"]["rnn"][i] for i in (0, 2)]))
    with pytest.raises(ValueError, match="no series in the half 'report' of 1"):
        detect.run(items[:1], tmp_path / "one", methods={"model": rule}, half="report", **SMALL)
    others = (
        ({"units": 7}, "units 6, and 7"),
        ({"seed": 1}, "seed 0, and 1"),
        ({"model": "vrnn"}, "model RNN, and VRNN"),
    )
    for other, message in others:
        with pytest.raises(ValueError, match=f"was made with {message} is asked for"):
            detect.run(items, tmp_path, methods={"model": rule}, **{**SMALL, **other})
    with pytest.raises(ValueError, match="was fitted to other series, --clean_part or --learn_part"):
        detect.run(items[:2], tmp_path, methods={"model": rule}, **SMALL)
