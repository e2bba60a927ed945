"""The examples that forecast, fill gaps and classify, at toy size."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples"


def example(name: str) -> Callable[[list[str]], dict[str, float]]:
    return runpy.run_path(str(FOLDER / name))["main"]


@pytest.mark.slow
def test_forecasts_of_a_load(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    picture = tmp_path / "fan.png"
    crps = example("forecast_load.py")(["--toy", "--picture", str(picture)])
    assert list(crps) == ["srnn", "last value", "seasonal naive", "last 7 seasons"]
    assert all(0.0 < score < 20.0 for score in crps.values())
    # Even ten updates know the time of day.
    assert crps["srnn"] < crps["last value"]
    assert "The 90% interval of the last two days holds" in capsys.readouterr().out
    assert picture.stat().st_size > 0


@pytest.mark.slow
def test_gaps_in_a_log(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    picture = tmp_path / "gaps.png"
    errors = example("fill_gaps.py")(["--toy", "--picture", str(picture)])
    assert list(errors) == ["dkf", "last value", "straight line"] and all(0.0 < e < 2.0 for e in errors.values())
    assert errors["straight line"] < errors["last value"]
    lines = capsys.readouterr().out.splitlines()
    assert len({line.rpartition(" of ")[2] for line in lines}) == 1
    assert picture.stat().st_size > 0


@pytest.mark.slow
def test_latents_as_features(capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra `sklearn`")
    accuracies = example("latent_features.py")(["--toy"])
    assert list(accuracies) == ["latents", "raw moments"]
    assert all(np.isclose(30.0 * part, round(30.0 * part)) for part in accuracies.values())
    assert "from 24 labels" in capsys.readouterr().out
