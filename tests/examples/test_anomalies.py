"""The example runs at toy size."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "examples" / "anomalies.py"


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    spec = importlib.util.spec_from_file_location("example", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    recalls = example.main(["--toy", "--picture", str(tmp_path / "a.png")])
    text = capsys.readouterr().out
    assert list(recalls) == ["detector", "rolling z-score"] and recalls["detector"] > 0.0
    assert "0 rows between the steps of the grid, 1 at the time of another row" in text
    pairs = [line.split(": ", 1)[1] for line in text.splitlines() if "nats (all at once" in line]
    assert len(pairs) == 5
    for pair in pairs:
        streamed, at_once = (float(part.strip(" )")) for part in pair.split(" nats (all at once: "))
        assert streamed == pytest.approx(at_once, abs=2e-3)
    assert (tmp_path / "a.png").stat().st_size > 0
