"""Clients compare frames with what the description of an export says of the training data; no server is needed."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from export import client, client_types
from export.client_known import TrainingData, frames
from export.edge.known import Known
from tests.trainers.helpers import ROOT
from tfdvae.serving import fields

NOWHERE = "http://127.0.0.1:9"
STATISTICS = {"mean": [0.0], "deviation": [0.7], "low": [-1.5], "high": [1.5]}


def field(name: str, axes: list[str], dtype: str = "float32") -> dict:
    return {"name": name, "dtype": dtype, "shape": [-1 if n != "features" else 2 for n in axes], "axes": axes}


@pytest.fixture
def description(tmp_path: Path) -> Path:
    inputs = [field("x", ["batch", "time", "features"]), field("mask", ["batch", "time"], "bool")]
    content = {
        "format": "tfdvae.signatures",
        "version": 2,
        "model": "VRNN",
        "features": 2,
        "frame_shape": [2],
        "data": {"features": ["flow", "pressure"], "frame_period": 0.5, "sampling_rate": 8000.0},
        "statistics": STATISTICS,
        "signatures": {"score": {"inputs": inputs, "outputs": [field("log_prob", ["batch"])]}},
    }
    path = tmp_path / "signatures.json"
    path.write_text(json.dumps(content))
    return path


def test_frames_on_another_scale_are_said_once_and_in_the_name_of_the_caller(description: Path) -> None:
    x, mask = np.zeros((2, 3, 2), np.float32), np.ones((2, 3), bool)
    x[0, 2, 1], mask[0, 2] = 1e4, False
    with client.RestClient(NOWHERE, "vrnn", retries=0, description=description) as one:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(client.UnavailableError):
                one.predict("score", {"x": x, "mask": mask})
        with pytest.warns(UserWarning, match="pressure is 10000, and was between -1.5 and 1.5 in training") as found:
            for _ in range(2):
                with pytest.raises(client.UnavailableError):
                    one.predict("score", {"x": x, "mask": ~mask})
        assert len(found) == 1 and found[0].filename == __file__


def test_a_client_knows_the_data_that_a_model_was_trained_on(description: Path) -> None:
    with client.RestClient(NOWHERE, "vrnn", description=description) as one:
        assert one.known == Known(("flow", "pressure"), frame_period=0.5, sampling_rate=8000.0)
        with pytest.raises(ValueError, match="pressure, flow, and those of the model flow, pressure, in another order"):
            one.known.check(["pressure", "flow"])
    with client.RestClient(NOWHERE, "vrnn") as one:
        assert one.known == Known()


def test_frames_that_are_no_data_are_left_out() -> None:
    x = np.zeros((2, 3, 4), np.float32)
    assert [known for _, known in frames({"x": x[:, 0], "u": x})] == [None]
    assert [known for _, known in frames({"x": x, "mask": np.ones((2, 3), bool)})] == [None]
    observed = np.random.default_rng(0).uniform(size=x.shape) < 0.5
    mask = np.array([[True, False, True], [True, True, False]])
    ((_, known),) = frames({"x": x, "mask": mask, "observed": observed})
    np.testing.assert_array_equal(known, observed & mask[:, :, None])
    ((_, known),) = frames({"given": x, "given_length": np.array([1, 3])})
    np.testing.assert_array_equal(known, np.broadcast_to([[[1], [0], [0]], [[1], [1], [1]]], x.shape))
    length = np.array([1, 3])
    for given in ({}, {"mask": np.ones((2, 3), bool)}):
        ((_, known),) = frames({"x": x, "length": length, **given})
        np.testing.assert_array_equal(known, np.broadcast_to([[[1], [0], [0]], [[1], [1], [1]]], x.shape))
    ((_, known),) = frames({"x": x, "length": length, "mask": mask, "observed": observed})
    np.testing.assert_array_equal(known, observed & mask[:, :, None] & (np.arange(3) < length[:, None])[..., None])
    assert not list(frames({"x": x, "length": np.array([3])}))
    assert not list(frames({"x": x, "length": length, "mask": np.ones((2, 2), bool)}))


def test_descriptions_that_are_damaged_name_the_file(description: Path) -> None:
    content = json.loads(description.read_text())
    description.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="signatures.json holds no description of signatures"):
        client.RestClient(NOWHERE, "vrnn", description=description)
    description.write_text(json.dumps(content | {"version": 1}))
    with pytest.raises(ValueError, match="signatures.json was written as tfdvae.signatures version 1, this client"):
        client.RestClient(NOWHERE, "vrnn", description=description)
    for signatures in (None, [], {"score": {}}):
        description.write_text(json.dumps(content | {"signatures": signatures}))
        with pytest.raises(ValueError, match="signatures.json cannot be read as the description of an export"):
            client.RestClient(NOWHERE, "vrnn", description=description)
    for change in ({"data": {"features": ["one"]}}, {"statistics": {"low": [0.0]}}, {"features": None}):
        description.write_text(json.dumps(content | change))
        with pytest.raises(ValueError, match="signatures.json cannot be read as the description of an export"):
            TrainingData(description)


def test_what_is_read_here_is_what_exports_write() -> None:
    assert (client_types.FORMAT, client_types.VERSION) == (fields.FORMAT, fields.VERSION)


@pytest.mark.parametrize("program", ["client", "load"])
def test_rest_needs_numpy_alone(description: Path, tmp_path: Path, program: str) -> None:
    """Whoever asks a server waits for no import of TensorFlow, and need not have it."""
    np.savez(tmp_path / "in.npz", x=np.zeros([1, 3, 2], np.float32), mask=np.ones([1, 3], bool))
    given = ["--rest", NOWHERE, "--model", "vrnn", "--signature", "score", "--inputs", str(tmp_path / "in.npz")]
    if program == "client":
        given += ["--out", str(tmp_path / "out.npz"), "--description", str(description), "--timeout", "0.5"]
    absent = "import sys\nfor name in ('tensorflow', 'keras', 'tfdvae'):\n    sys.modules[name] = None\n"
    code = f"{absent}from export import {program}\nsys.exit({program}.run({given!r}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert found.returncode == 1 and f"{NOWHERE} cannot be reached" in found.stderr, found.stderr


def test_the_program_compares_before_it_calls(description: Path, capsys) -> None:
    known = ["--rest", NOWHERE, "--model", "vrnn", "--description", str(description)]
    for wrong, message in (
        (["--columns", "pressure", "flow"], "those of the model flow, pressure, in another order"),
        (["--frame_period", "1"], "The period of the frames is 1 s, and 0.5 s in training"),
        (["--sampling_rate", "44100"], "The sampling rate of the frames is 44100, and 8000 in training"),
    ):
        assert client.run([*known, *wrong]) == 1
        assert message in capsys.readouterr().err
        assert client.run([*known[:4], *wrong]) == 1
        assert "are compared with is in --description" in capsys.readouterr().err


@pytest.mark.slow
def test_the_program_says_where_there_is_nothing_to_compare_with(description: Path, capsys) -> None:
    description.write_text(json.dumps(json.loads(description.read_text()) | {"data": {}}))
    known = ["--rest", NOWHERE, "--model", "vrnn", "--description", str(description)]
    for option in (["--columns", "flow", "pressure"], ["--frame_period", "1"], ["--sampling_rate", "44100"]):
        assert client.run([*known, *option]) == 1
        assert f"signatures.json has nothing that {option[0]} is compared with: leave it out" in capsys.readouterr().err
