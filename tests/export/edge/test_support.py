"""Frames that p(x_t | .) cannot explain are refused without TensorFlow too: files say which values have a density."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

import tfdvae
from export.edge import anomaly
from export.edge.model import Field, numbers, outside, read_fields
from export.edge.stream import Stream
from tests.gate.support import D, vae
from tests.observations.conftest import CASES
from tfdvae.observations import OBSERVATIONS
from tfdvae.observations.values import contained
from tfdvae.serving.fields import Target
from tfdvae.serving.signatures import declare

PROBES = np.array(
    [-np.float32(3e38), -1.0, -1e-5, -1e-7, 0.0, 1e-7, 1e-5, 0.5, 1 - 1e-7, 1.0, 1 + 1e-5, 2.0, 255.0, 3e38]
)


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_description_says_what_the_observation_says(name: str) -> None:
    case = CASES[name]
    for options in [{}] + [{"x_scale": "log"}] * (name == "gaussian"):
        model = vae(observation={"class_name": name, "config": case.arguments}, **options)
        model.build_for(case.x_dim)
        described = declare(model, Target(batch=1, masked=False, seeded=False))["step"].description()["inputs"]
        field = read_fields(described)["x"]
        x = np.float32([[v] * case.x_dim for v in PROBES])
        supported = np.broadcast_to(model.frames.supported(x), x.shape)
        if case.groups:  # An interval cannot say of a group that it has a single 1; its words do.
            supported = contained([model.observation.values], x)
            assert "one-hot" in field.values["text"]
        assert (field.values is None) == bool(supported.all())
        if field.values is not None:
            np.testing.assert_array_equal(outside(x, field.values), ~supported)
            with pytest.raises(ValueError, match="x holds .*, which cannot be: .* expects "):
                numbers("x", x[1:2], field)


def test_pictures_are_refused_like_vectors() -> None:
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), observation="bernoulli")
    model.build_for((2, 3, 1))
    described = declare(model, Target(batch=1, masked=False, seeded=False))["step"].description()["inputs"]
    field = read_fields(described)["x"]
    numbers("x", np.ones((1, 2, 3, 1)), field)
    with pytest.raises(ValueError, match="x holds 7, which cannot be: Bernoulli expects every feature to be 0 or 1"):
        numbers("x", np.full((1, 2, 3, 1), 7.0), field)


def test_first_frames_that_units_come_from_are_limited_too() -> None:
    model = vae(x_scale="log", standardize="sequence", given_frames=2)
    model.build_for(D)
    described = declare(model, Target(batch=1, masked=False, seeded=False))["reset"].description()["inputs"]
    field = read_fields(described)["given"]
    numbers("given", np.zeros((1, 2, D)), field, sizes={})
    with pytest.raises(ValueError, match="given holds -1, which cannot be: .* x_scale='log' frames that are not neg"):
        numbers("given", -np.ones((1, 2, D)), field, sizes={})


def test_zeros_stand_for_what_was_not_observed_where_zero_cannot_be() -> None:
    values = {"low": [1.0], "high": [float("inf")], "whole": [False], "rounding": 0.0, "text": "from 1 on"}
    field, known = Field((3,), "float32", values=values), np.array([True, False, True])
    np.testing.assert_array_equal(numbers("x", [1.0, np.nan, 2.0], field, known=known), [1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="x holds 0.5, which cannot be: from 1 on"):
        numbers("x", [1.0, np.nan, 0.5], field, known=known)


@pytest.fixture(scope="module")
def bernoulli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of partly observed binary frames."""
    pytest.importorskip("ai_edge_litert")
    model = vae(observation="bernoulli", missing="nan")
    model.build_for(D)
    path = tmp_path_factory.mktemp("support") / "m.tflite"
    model.export(path, format="litert", signatures=["encode", "reset", "step"])
    return path


@pytest.mark.slow
def test_a_stream_refuses_them_and_stays_where_it_was(bernoulli: Path) -> None:
    stream, whole = Stream(bernoulli), np.array([1.0, 0.0, 1.0, 1.0])
    stream.push(whole)
    before = stream.state()
    for bad in (255.0, -1.0, 0.5):
        with pytest.raises(ValueError, match=f"The frame holds {bad:g}, which cannot be: Bernoulli expects every"):
            stream.push([1.0, bad, 0.0, 0.0])
        with pytest.raises(ValueError, match=f"'x' holds {bad:g}, which cannot be"):
            stream.run("encode", x=[[whole, [bad] * D]], observed=np.ones([1, 2, D], bool))
    for name, value in stream.state().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_was_not_observed_may_be_anything(bernoulli: Path) -> None:
    stream, observed = Stream(bernoulli), np.array([True, False, True, True])
    expected = stream.push([1.0, 0.0, 1.0, 1.0], observed=observed).score
    stream.reset()
    assert stream.push([1.0, 255.0, 1.0, 1.0], observed=observed).score == expected
    found = stream.run("encode", x=[[[1.0, np.nan, 1.0, 1.0]]], observed=observed[None, None])
    assert np.isfinite(found["z_mean"]).all()


@pytest.mark.slow
def test_missing_lines_and_values_are_unobserved_where_the_model_knows_that(
    bernoulli: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    stream, x = Stream(bernoulli), [np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])]
    text = "t,a,b,c,d\n0,1,0,1,1\n3,0,0,1,0\n4,,0,1,0\n5,1,0,1,1\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert anomaly.run(["--model", str(bernoulli), "--time", "t", "--period", "1"]) == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    expected = [stream.push(x[0]).score]
    for _ in range(2):
        stream.push(np.zeros(4), observed=np.zeros(4, bool))
    expected.append(stream.push(x[1]).score)
    stream.push(x[1], observed=[False, True, True, True])
    expected.append(stream.push(x[0]).score)
    assert "Line 3: 2 frames are missing before 3." in captured.err and rows[2]["score"] == ""
    np.testing.assert_allclose([float(rows[i]["score"]) for i in (0, 1, 3)], expected, atol=2e-4)
