"""The part of the benchmark that times models where they are put to use."""

import pytest
from absl import flags
from absl.testing import flagsaver

from trainers import _benchmark_deploy, benchmark
from trainers.sizes import SIZES, build_model

SUMMARY = {"median": 20e-6, "p99": 95e-6, "count": 400}
ROW = {"size": "motion", "model": "vrnn", "way": "LiteRT float32", "bytes": 399_360, "note": ""}


@pytest.fixture(autouse=True)
def parsed_flags():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["benchmark"])


@pytest.mark.slow
def test_every_way_is_timed_here_and_what_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    native = pytest.importorskip("export.native")
    pytest.importorskip("ai_edge_litert")

    def refuse(path) -> None:
        raise FileNotFoundError("There is no compiler.")

    monkeypatch.setattr(native, "Program", refuse)
    rows = {row["way"]: row for row in _benchmark_deploy.measure_here("vrnn", "tiny", 0.0, ["float32"])}
    assert list(rows) == ["Keras", "SavedModel Python", "SavedModel C++", "LiteRT float32"]
    refused = rows.pop("SavedModel C++")
    assert (refused["step"], refused["reconstruct"], refused["note"]) == (None, None, "There is no compiler.")
    for way, row in rows.items():
        assert row["bytes"] > 10_000, way
        assert (row["step"]["count"], row["reconstruct"]["count"]) == (60, 9)
        assert 0.0 < row["step"]["median"] < row["reconstruct"]["median"], way
        assert row["step"]["median"] <= row["step"]["p99"]
    assert rows["LiteRT float32"]["step"]["median"] < rows["Keras"]["step"]["median"]


def test_models_that_cannot_stream_have_no_step(tmp_path) -> None:
    model = build_model("srnn", SIZES["tiny"])
    x = _benchmark_deploy.frames(SIZES["tiny"]._replace(batch_size=1, length=4))
    assert set(_benchmark_deploy._keras(model, x, tmp_path / "model.keras").calls) == {"reconstruct"}


def test_slow_steps_are_faults() -> None:
    fast, slow = {**ROW, "step": SUMMARY}, {**ROW, "step": {**SUMMARY, "median": 101e-6}}
    assert benchmark.check_deployment([fast, {**slow, "way": "Keras"}, {**slow, "model": "dkf"}]) == []
    assert benchmark.check_deployment([slow]) == ["a step of vrnn at motion size takes 101 us, allowed are 100"]
    assert benchmark.check_deployment([{**ROW, "size": "speech", "step": {**SUMMARY, "median": 0.9e-3}}]) != []


def test_the_table_and_the_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def measured(model, size, seconds, precisions):
        assert (seconds, precisions) == (1.0, ["float32", "int8_full"])
        own = {"way": ROW["way"], "bytes": ROW["bytes"], "note": ""}
        step = {**SUMMARY, "median": 250e-6}
        absent = {"way": "SavedModel C++", "bytes": 0, "note": "no compiler", "step": None, "reconstruct": None}
        return [{**own, "step": step, "reconstruct": {**SUMMARY, "median": 1.5e-3}}, absent]

    monkeypatch.setattr(benchmark, "measure_deployment", measured)
    out = tmp_path / "deploy.md"
    chosen = {"sizes": "motion", "models": "vrnn", "seconds": "1", "precisions": "float32,int8_full", "out": str(out)}
    with flagsaver.as_parsed(deploy="true", **chosen), pytest.raises(SystemExit, match="250 us, allowed are 100"):
        benchmark.main(["benchmark"])
    lines = [
        [c.strip() for c in line.strip("|").split("|")] for line in out.read_text().splitlines() if line[:1] == "|"
    ]
    assert lines[2] == ["vrnn", "LiteRT float32", "390", "250", "95", "1,500", "95", "400 + 400"]
    assert lines[3] == ["vrnn", "SavedModel C++", *["-"] * 6]
    assert "vrnn, SavedModel C++: no compiler" in out.read_text() and "Not as it should be" in out.read_text()


def test_unknown_precisions_are_told() -> None:
    with pytest.raises(ValueError, match="Unknown precision int4: choose from float32"):
        benchmark.run_deployment(["tiny"], ["vrnn"], 0.0, ["int4"])


@pytest.mark.exhaustive
def test_every_precision_end_to_end(tmp_path, capsys) -> None:
    pytest.importorskip("ai_edge_litert")
    with flagsaver.as_parsed(deploy="true", sizes="tiny", models="rnn,vae", seconds="0.1", out=str(tmp_path / "d.md")):
        benchmark.main(["benchmark"])
    text = (tmp_path / "d.md").read_text()
    for precision in benchmark.PRECISIONS:
        assert text.count(f"LiteRT {precision} ") == 2
