"""The benchmark program, on sizes that say nothing about speed."""

import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from tests.memory import needs_linux, resident
from tfdvae import MODELS
from trainers import _benchmark_measure, benchmark
from trainers._benchmark_report import Memory
from trainers.sizes import SIZES, build_model, frames


@pytest.fixture(autouse=True)
def parsed_flags():
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["benchmark"])


def cells(text: str) -> list[dict[str, str]]:
    """The rows of the first table in a Markdown text, by column."""
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]


@pytest.mark.slow
def test_times_end_to_end(tmp_path, capsys):
    out = tmp_path / "table.md"
    with flagsaver.as_parsed(sizes="tiny", models="vrnn", seconds="0.1", out=str(out)):
        benchmark.main(["benchmark"])
    text = out.read_text()
    assert text.strip() in capsys.readouterr().out
    assert benchmark.machine() in text and "python -m trainers.benchmark" in text
    (row,) = cells(text)
    assert (row["model"], row["compiler"], row["cost"], row["MAC/frame"]) == ("vrnn", "graph", "1.00", "2,407")
    for column in ("train fr/s", "eval fr/s", "generate fr/s", "stream fr/s", "matmul GMAC/s", "peak MiB", "step ms"):
        assert float(row[column].replace(",", "")) > 0, column
    share = 2407 * float(row["train fr/s"].replace(",", "")) / float(row["matmul GMAC/s"]) / 1e9
    assert share / 3.0 < float(row["share"].rstrip("%")) / 100.0 < 3.0 * share


@pytest.mark.slow
def test_every_model_of_the_survey_builds_at_its_sizes():
    parameters = {
        size: {name: build_model(name, SIZES[size]).count_params() for name in SIZES[size].options}
        for size in ("speech", "motion")
    }
    # Kernels and biases of appendices B.3 and C.3.
    assert parameters["speech"]["vrnn"] == _vrnn_parameters(513, 16, 128, 256, (32, 64))
    assert parameters["motion"]["vrnn"] == _vrnn_parameters(96, 10, 64, 64, (16, 32))
    assert set(parameters["speech"]) == set(parameters["motion"]) == set(MODELS)


def _vrnn_parameters(d, z, h, phi_x, phi_z):
    dense = [(d, phi_x), (z, phi_z[0]), (phi_z[0], phi_z[1]), (phi_x + h, 2 * z), (h, 2 * z), (phi_z[1] + h, d)]
    return sum((i + 1) * o for i, o in dense) + (phi_x + phi_z[1] + h + 1) * 4 * h


@pytest.mark.slow
def test_models_that_cannot_stream_are_not_timed_streaming():
    x = frames(SIZES["tiny"])
    options = {"srnn": {"inference": "filter"}}
    assert _benchmark_measure.streaming_call(build_model("srnn", SIZES["tiny"]), x, jit=False) is None
    causal = build_model("srnn", SIZES["tiny"]._replace(options=options))
    assert _benchmark_measure.streaming_call(causal, x, jit=False)() < 0.0


@pytest.mark.slow
def test_calls_train_and_evaluate():
    size = SIZES["tiny"]
    model = build_model("vrnn", size)
    data = _benchmark_measure.batches(frames(size))
    before = model.get_weights()[0].copy()
    evaluate = _benchmark_measure.evaluation_call(model, data)
    assert evaluate() == pytest.approx(evaluate(), rel=0.5)
    assert (model.get_weights()[0] == before).all()
    assert _benchmark_measure.train_call(model, data)() > 0.0
    assert (model.get_weights()[0] != before).any()
    assert int(model.optimizer.iterations) == 1


def test_failures_in_the_process_are_told(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RuntimeError, match="vrnn.*code 3:\nout of memory"):
        _benchmark_measure.measure("vrnn", "tiny", 0.0, jit=False)


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="Unknown model hmm: choose from rnn"):
        benchmark.run_times(["tiny"], ["hmm"], 0.0)
    with pytest.raises(ValueError, match="Unknown size huge"):
        benchmark.run_times(["huge"], ["vrnn"], 0.0)
    with pytest.raises(ValueError, match="three different lengths"):
        benchmark.run_memory("vrnn", "tiny", 2, [10, 10, 20])


def memory(*peaks):
    rows = [
        {"length": 250 * 2**i, "peak_mib": p, "total_mib": p + 500.0, "train": 0.1 * 2**i} for i, p in enumerate(peaks)
    ]
    return Memory.of("vrnn", "speech", 16, rows)


def test_memory_linear_in_time_passes():
    line = memory(150.0, 250.0, 450.0, 850.0)
    assert (line.slope, line.intercept) == pytest.approx((0.4, 50.0))
    assert benchmark.check_memory(line) == []


def test_memory_quadratic_in_time_or_too_large_fails():
    assert "not linear" in benchmark.check_memory(memory(10.0, 40.0, 160.0, 640.0))[0]
    assert "T = 2000 takes 4500 MiB" in benchmark.check_memory(memory(500.0, 1000.0, 2000.0, 4000.0))[0]


def test_memory_in_windows_may_grow_by_that_of_frames():
    data = 16 * 750 * 513 * 4 / 2**20
    peaks = {250: 100.0, 1000: 170.0}
    rows = [{"length": t, "peak_mib": p, "total_mib": p + 500.0, "train": 1.0} for t, p in peaks.items()]
    windows = Memory.of("vrnn", "speech", 16, rows, truncate=50)
    assert windows.data == pytest.approx(data) and benchmark.check_memory(windows) == []
    rows[1]["peak_mib"] = 100.0 + 3.0 * data + 65.0
    assert "memory grows by" in benchmark.check_memory(windows)[0]


@pytest.mark.slow
def test_memory_in_windows_is_measured():
    found = _benchmark_measure.measure_peak("vrnn", "tiny", 2, 24, False, truncate=8)
    assert found["total_mib"] >= found["peak_mib"] >= 0.0 and found["train"] > 0.0


def test_memory_mode_exits_by_its_verdict(monkeypatch, tmp_path):
    def measured(model, size, batch_size, length, jit, truncate):
        return {"peak_mib": length**2 / 1e3, "total_mib": 500.0 + length**2 / 1e3, "train": 1.0}

    monkeypatch.setattr(benchmark, "measure_memory", measured)
    out = tmp_path / "memory.md"
    with flagsaver.as_parsed(memory="true", sizes="tiny", lengths="10,20,40", out=str(out)):
        with pytest.raises(SystemExit, match="not linear"):
            benchmark.main(["benchmark"])
    assert [r["T"] for r in cells(out.read_text())] == ["10", "20", "40"]
    assert "Not as it should be" in out.read_text()


@needs_linux
@pytest.mark.slow
def test_peak_memory_sees_an_allocation():
    before = _benchmark_measure.peak_mib()
    # What tests before this one have given back since the peak does not count.
    block = bytearray(256 * 2**20 + max(int(before * 2**20) - resident(), 0))
    block[:: 2**12] = b"x" * len(block[:: 2**12])
    assert _benchmark_measure.peak_mib() - before > 128.0
