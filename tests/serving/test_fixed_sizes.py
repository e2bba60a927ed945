"""LiteRT for runtimes that know less: all shapes fixed, one function in a file; and NaN, which has no answer."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import litert as program
from export import parity, running
from export.edge.stream import Stream
from tests import cases
from tests.gate.support import vae
from tfdvae import serving
from tfdvae.serving import litert

interpreter = pytest.importorskip("ai_edge_litert.interpreter")

BATCH, TIME = 2, 5


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def path(model: tfdvae.DVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fixed") / "m.tflite"
    model.export(path, format="litert", signatures=["encode", "reset", "step"], batch=BATCH, time=TIME)
    return path


@pytest.mark.slow
def test_no_shape_is_left_open(path: Path) -> None:
    loaded = interpreter.Interpreter(model_path=str(path))
    for name in loaded.get_signature_list():
        runner = loaded.get_signature_runner(name)
        for details in (runner.get_input_details(), runner.get_output_details()):
            for key, one in details.items():
                assert (one["shape_signature"] >= 0).all(), (name, key)
    assert loaded.get_signature_runner("encode").get_input_details()["x"]["shape"].tolist() == [BATCH, TIME, 4]


@pytest.mark.slow
def test_fixed_sizes_have_the_numbers_of_keras(model: tfdvae.DVAE, path: Path) -> None:
    artefact = running.load(path)
    assert artefact.target == litert.LITERT._replace(batch=BATCH, time=TIME)
    found = parity.compare(model, artefact)
    assert {one.signature for one in found} == {"encode", "reset", "step", "step x T"}
    assert all(one.relative <= 1e-5 for one in found)
    held_out = parity.sequences(model, 3, TIME + 2)
    assert {one.signature for one in program.accuracy(model, path, held_out)} == {"step"}
    with pytest.raises(ValueError, match=f"at least {TIME} frames, as the file has them; got 3"):
        program.accuracy(model, path, parity.sequences(model, 1, 3))


def test_a_stream_takes_one_sequence(path: Path) -> None:
    with pytest.raises(ValueError, match="takes 2 sequences at once: export one with 1"):
        Stream(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": 0}, "`time` must be a whole number from 1, got 0"),
        ({"batch": True}, "`batch` must be a whole number from 1, got True"),
        ({"batch": 1.5}, "`batch` must be a whole number from 1, got 1.5"),
    ],
)
def test_sizes_that_cannot_be(model: tfdvae.DVAE, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.export(tmp_path / "m.tflite", format="litert", **options)
    given = vae(standardize="sequence", given_frames=3)
    given.build_for(4)
    with pytest.raises(ValueError, match="`time` must be at least the 3 given frames, got 2"):
        given.export(tmp_path / "m.tflite", format="litert", time=2)


def all_nan(outputs: dict) -> bool:
    return all(np.isnan(value).all() for value in map(np.asarray, outputs.values()) if value.dtype.kind == "f")


def test_nan_has_no_answer(path: Path) -> None:
    """Networks alone would give the smallest scales that there are."""
    loaded = interpreter.Interpreter(model_path=str(path))
    state = loaded.get_signature_runner("reset")()
    step = loaded.get_signature_runner("step")
    given = {"x": np.zeros([BATCH, 4], "float32"), "noise_z": np.zeros([BATCH, 2], "float32"), **state}
    assert not any(np.isnan(value).any() for value in step(**given).values())
    for key in given:
        for bad in (np.nan, np.inf, -np.inf):
            value = given[key].copy()
            value[-1, 0] = bad
            assert all_nan(step(**given | {key: value})), (key, bad)
    x = np.zeros([BATCH, TIME, 4], "float32")
    x[1, 2, 3] = np.nan
    assert all_nan(loaded.get_signature_runner("encode")(x=x))


def test_frames_without_a_density_have_no_answer_but_where_they_were_not_observed() -> None:
    model = vae(observation="poisson", missing="nan")
    model.build_for(4)
    declared = serving.declare(model, litert.LITERT)
    step, state = declared["step"], declared["reset"].function({})
    given = {**state, "x": tf.constant([[0.0, 3.0, -1.0, 2.5]]), "noise_z": tf.zeros([1, 2])}
    for observed, answered in (([1, 1, 0, 0], True), ([1, 1, 1, 0], False), ([1, 1, 0, 1], False)):
        found = step.function({**given, "observed": tf.constant([observed]) > 0})
        assert all_nan(found) != answered
        assert answered == bool(np.isfinite(found["score"]).all())


@pytest.mark.slow
def test_one_function_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    # Kernels of fewer than 1024 numbers stay as they are.
    model = tfdvae.VAE(2, encoder_units=(32, 32), decoder_units=(32, 32))
    model.build_for(4)
    model.save(tmp_path / "m.keras")
    arguments = ["--model", str(tmp_path / "m.keras"), "--out", str(tmp_path / "m"), "--precision", "int8_dynamic"]
    arguments += ["--split", "--time", "4", "--signatures", "encode", "step"]
    assert program.run(arguments) == 0
    printed = capsys.readouterr().out
    for name in ("encode", "step"):
        artefact = running.load(tmp_path / f"m_int8_dynamic_{name}.tflite")
        assert list(artefact.functions) == [name] and artefact.target.time == 4
        newest = litert.operators(artefact.path)["FULLY_CONNECTED"]
        needed = artefact.description["min_runtime_version"]
        assert newest > 1 and needed >= "2."
        assert f"needs TensorFlow Lite {needed} or later; operators beyond version 1: " in printed
        assert f"FULLY_CONNECTED {newest}" in printed
    assert "step         next_mean" in printed
    assert program.run(arguments) == 1
    assert "m_int8_dynamic_encode.tflite exists. Name a new path, or give --overwrite" in capsys.readouterr().err
