"""A stream over a .tflite file in C++, by LiteRT's own library, without headers, Python and TensorFlow."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tfdvae
from export import native
from export.edge.known import Known
from tests import cases
from tests.export.compiler import needs_compiler
from tests.export.edge.conftest import with_data

pytest.importorskip("ai_edge_litert")
pytestmark = needs_compiler


def run(path: Path, length: int, text: str) -> subprocess.CompletedProcess:
    program = native.build(native.EDGE_EXAMPLE, edge=True)
    return subprocess.run([str(program), str(path), str(length)], input=text, capture_output=True, text=True)


@pytest.mark.slow
def test_it_says_what_the_model_says_and_draws(vrnn: tuple[tfdvae.DVAE, Path]) -> None:
    model, path = vrnn
    x = np.random.default_rng(0).normal(size=(8, cases.X_DIM)).astype("float32")
    result = run(path, 3, "".join(" ".join(map(repr, row.tolist())) + "\n" for row in x))
    assert result.returncode == 0, result.stderr
    lines, state, expected = result.stdout.splitlines(), model.initial_state(1), []
    for frame in x:
        out = model.step(state, frame[None])
        state = out.state
        expected.append(float(out.log_px[0] - out.kl[0]))
    np.testing.assert_allclose([float(line) for line in lines[:8]], expected, rtol=1e-4, atol=1e-5)
    drawn = np.array([line.split() for line in lines[8:]], float)
    assert drawn.shape == (3, cases.X_DIM) and np.isfinite(drawn).all() and len(np.unique(drawn, axis=0)) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [("1 2 3\n", "'step' takes 4 numbers as 'x', got 3"), ("1 2 3 1e39\n", "got 3"), ("0 0 0 3e38\n", "not finite")],
)
def test_frames_that_it_cannot_take(vrnn: tuple[tfdvae.DVAE, Path], text: str, message: str) -> None:
    result = run(vrnn[1], 0, text)
    assert result.returncode == 1 and message in result.stderr, result.stderr


def test_frames_are_compared_with_what_the_file_knows(vrnn: tuple[tfdvae.DVAE, Path], tmp_path: Path) -> None:
    names, usual = ["flow", 'a "b"', "Δp", "d"], {"mean": [0.0], "deviation": [0.7], "low": [-1.5], "high": [1.5]}
    known = with_data(vrnn[1], tmp_path / "m.tflite", {"features": [n.replace(" ", "_") for n in names]}, usual)
    header = 'flow a_"b" Δp d\n'
    result = run(known, 0, header + "0 0 1.2 0\n0 0 500 0\n0 0 900 0\n")
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 3, result.stderr
    # LiteRT says on standard error what accelerators it found.
    (warning,) = (line for line in result.stderr.splitlines() if "in training" in line)
    assert "WARNING: Δp is 500, and was between -1.5 and 1.5 in training: are frames for VRNN in the units" in warning
    result = run(known, 0, header.replace("Δp d", "d Δp") + "0 0 1.2 0\n")
    assert result.returncode == 1 and result.stdout == ""
    message = 'The features are flow, a_"b", d, Δp, and those of the model flow, a_"b", Δp, d, in another order.'
    assert message in result.stderr
    still = run(known, 0, "0.1 0 0 0\n" * 120)
    assert "100 frames changed by less than a hundredth of what is usual: are frames for VRNN" in still.stderr
    assert "in training" not in run(vrnn[1], 0, header + "0 0 500 0\n").stderr


UNITS = """
#include "known.h"
int main(int argc, char** argv) {
  try {
    tfdvae::Known(argv[1]).CheckUnits(std::vector<std::string>(argv + 2, argv + argc));
  } catch (const std::runtime_error& error) {
    std::cout << error.what();
  }
}
"""


@pytest.mark.slow
def test_units_are_compared_as_in_python(tmp_path: Path) -> None:
    (tmp_path / "units.cc").write_text(UNITS)
    program = tmp_path / "units"
    command = [str(native.compiler()), "-std=c++17", f"-I{native.SOURCE_FOLDER}", str(tmp_path / "units.cc")]
    subprocess.run([*command, "-o", str(program)], check=True)
    refused = 0
    for there in ((), ("V",), ("l/s", "kPa")):
        known = Known(("flow", "pressure"), there)
        description = json.dumps({"data": known._asdict()})
        for found in (("V",), ("V", "V"), ("l/s", "kPa"), ("kPa", "l/s"), ("l/s",), ("l/s", "kPa", "V")):
            said = subprocess.run([str(program), description, *found], capture_output=True, text=True, check=True)
            try:
                known.check(units=found)
                assert said.stdout == ""
            except ValueError as error:
                assert said.stdout == str(error)
                refused += 1
    assert refused == 9


def test_files_that_are_none(vrnn: tuple[tfdvae.DVAE, Path], tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("text")
    shutil.copy(vrnn[1], tmp_path / "cut.tflite")
    with (tmp_path / "cut.tflite").open("r+b") as cut:
        cut.truncate(vrnn[1].stat().st_size - 200)
    for name in ("text.tflite", "cut.tflite", "absent.tflite"):
        result = run(tmp_path / name, 1, "")
        assert result.returncode == 1 and f"{name} is no file that tfdvae exported" in result.stderr


@pytest.mark.slow
def test_what_it_links_is_told(capsys) -> None:
    assert native.run(["--link", "--edge"]) == 0
    arguments = capsys.readouterr().out.split()
    assert f"-l:{native.EDGE_LIBRARY}" in arguments and f"-I{native.SOURCE_FOLDER}" in arguments
