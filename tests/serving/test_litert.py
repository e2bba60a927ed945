"""`model.export(format="litert")`: several signatures in one file, built-in operations alone."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import parity, running
from tests import cases, turns, warm
from tests.serving.outputs import check_outputs, run_compiled
from tfdvae import serving
from tfdvae.observations import OBSERVATIONS
from tfdvae.serving import Field, Signature, conversion, litert

interpreter = pytest.importorskip("ai_edge_litert.interpreter")


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def path(model: tfdvae.DVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its file, converted in a process like that of any user (see `tests/warm.py`)."""
    path = tmp_path_factory.mktemp("litert") / "vrnn.tflite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", warm.in_own_process)
        model.export(path, format="litert")
    return path


@pytest.mark.parametrize("length", [1, 2, 40])
@pytest.mark.slow
def test_sequences_of_any_length(model: tfdvae.DVAE, path: Path, length: int) -> None:
    x = parity.sequences(model, 1, length).x
    run = interpreter.Interpreter(model_path=str(path)).get_signature_runner("encode")
    found, expected = run(x=x), model.encode(x)["z"]
    np.testing.assert_allclose(found["z_mean"], expected.loc, atol=1e-5)
    np.testing.assert_allclose(found["z_scale"], expected.scale, atol=1e-5)


def test_the_file_carries_its_description(model: tfdvae.DVAE, path: Path) -> None:
    with zipfile.ZipFile(path) as attached:
        content = json.loads(attached.read("signatures.json"))
    assert content["precision"] == "float32" and content["num_samples"] == litert.LITERT.num_samples
    assert list(content["signatures"]) == list(serving.declare(model, litert.LITERT))
    found = interpreter.Interpreter(model_path=str(path)).get_signature_list()
    for name, described in content["signatures"].items():
        assert sorted(found[name]["inputs"]) == sorted(field["name"] for field in described["inputs"])
        assert sorted(found[name]["outputs"]) == sorted(field["name"] for field in described["outputs"])


@pytest.mark.slow
def test_both_runtimes_know_all_outputs_and_their_numbers(model: tfdvae.DVAE, path: Path) -> None:
    """States that start equal, at zero, are outputs of their own all the same."""
    check_outputs(path)
    declared, loaded = serving.declare(model, litert.LITERT), interpreter.Interpreter(model_path=str(path))
    for name in ("reset", "step", "generate_step"):
        given = parity.examples(model, declared[name], declared)
        compiled = run_compiled(path, name, given)
        for key, value in loaded.get_signature_runner(name)(**given).items():
            np.testing.assert_allclose(compiled[key], value.flatten(), rtol=1e-5, atol=1e-6, err_msg=f"{name} {key}")


def test_what_is_equal_stays_apart_whatever_its_type_and_length(
    model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs that are inputs, that are equal to each other, and that are equal constants."""
    x, b = Field("x", (1, "time", 2), tf.float32, "1", "Frames."), Field("b", (1, 3), tf.bool, "1", "Flags.")
    sources = {"x1": x, "x2": x, "b1": b, "b2": b, "y1": x, "y2": x, "zero1": b, "zero2": b}
    outputs = tuple(field._replace(name=name) for name, field in sources.items())

    def run(given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        y, zero = -given["x"], tf.zeros([1, 3], tf.bool)
        found = {"x": given["x"], "b": given["b"], "y": y, "zero": zero}
        return {name: found[name.rstrip("12")] for name in sources}

    same = {"same": Signature("same", "Twice each.", (x, b), outputs, run)}
    monkeypatch.setattr(litert, "declare", lambda model, target: same)
    model.export(tmp_path / "m.tflite", format="litert")
    check_outputs(tmp_path / "m.tflite")
    call = interpreter.Interpreter(model_path=str(tmp_path / "m.tflite")).get_signature_runner("same")
    for length in (1, 5):
        given = {"x": np.random.default_rng(0).uniform(size=(1, length, 2)).astype("float32")}
        given["b"] = np.array([[True, False, True]])
        found = call(**given)
        expected = {"x": given["x"], "b": given["b"], "y": -given["x"], "zero": np.zeros([1, 3], bool)}
        for name in sources:
            np.testing.assert_array_equal(found[name], expected[name.rstrip("12")])


def test_a_file_that_lost_an_output_is_not_written(model: tfdvae.DVAE, path: Path, tmp_path: Path) -> None:
    declared = serving.declare(model, litert.LITERT)

    def lose(other: str) -> None:
        def edit(content: Any) -> None:
            (step,) = (one for one in content.signatureDefs if one.signatureKey == b"step")
            of = {one.name.decode(): one for one in (*step.inputs, *step.outputs)}
            of["score"].tensorIndex = of[other].tensorIndex

        damaged = tmp_path / "damaged.tflite"
        damaged.write_bytes(conversion._edited(path.read_bytes(), edit))
        litert._check_outputs(damaged, declared)

    lose("score")
    for other, lost in (("x", "score"), ("kl", "kl|score")):
        with pytest.raises(RuntimeError, match=f"'step' lost outputs on its way to LiteRT: ({lost})"):
            lose(other)


def test_only_builtin_operations(path: Path) -> None:
    loaded = interpreter.Interpreter(model_path=str(path))
    names = {operation["op_name"] for operation in loaded._get_ops_details()}
    assert names and not any(name.startswith("Flex") or name == "CUSTOM" for name in names)


def test_an_operation_that_litert_lacks_is_named_and_nothing_is_written(
    model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = (Field(name, (2, 2), tf.float32, "1", "A matrix.") for name in "xy")
    signature = Signature("invert", "Its inverse.", (x,), (y,), lambda given: {"y": tf.linalg.inv(given["x"])})
    monkeypatch.setattr(litert, "declare", lambda model, target: {"invert": signature})
    with pytest.raises(ValueError, match="has not built in: MatrixInverse"):
        model.export(tmp_path / "model.tflite", format="litert")
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_crashes_leaves_nothing(
    model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(command: list[str], **options) -> subprocess.CompletedProcess[str]:
        Path(command[4]).write_text("half")
        return subprocess.CompletedProcess(command, -11, "", "some\nSegmentation fault")

    monkeypatch.setattr(subprocess, "run", crash)
    with pytest.raises(RuntimeError, match="code -11: Segmentation fault"):
        model.export(tmp_path / "model.tflite", format="litert", signatures=["reset"])
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_was_never_built(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a model with weights"):
        tfdvae.VRNN(2).export(tmp_path / "m.tflite", format="litert")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(model: tfdvae.DVAE, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_text("earlier")
    with pytest.raises(FileExistsError, match="m.tflite exists"):
        model.export(path, format="litert")
    assert path.read_text() == "earlier" and list(tmp_path.iterdir()) == [path]


def test_a_signature_that_the_model_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SRNN as configured has the signatures .*; asked for step"):
        cases.make("srnn-smooth-u").export(tmp_path / "m.tflite", format="litert", signatures=["step"])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(model: tfdvae.DVAE, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="m.tflite cannot be made"):
        model.export(tmp_path / "file" / "m.tflite", format="litert", signatures=["reset"])
    assert (tmp_path / "file").read_text() == "kept"


FULL = """
import resource, sys
from pathlib import Path
from tests import cases
model, path = cases.make("vrnn"), Path(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        model.export(path, format="litert", signatures=["reset", "step"])
    except OSError as error:
        print(limit, error, [left.name for left in path.parent.iterdir()])
"""


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "m.tflite"), "2000", "20000"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    said = result.stdout.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["2000", "20000"], said
    assert all("File too large" in line and "could not be written" in line and line.endswith(" []") for line in said)


def test_a_disk_that_is_full_at_the_end(model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(command: list[str], **options) -> subprocess.CompletedProcess[str]:
        Path(command[4]).write_text("half")
        return subprocess.CompletedProcess(command, conversion.UNWRITABLE, "[Errno 28] No space left on device\n", "")

    monkeypatch.setattr(subprocess, "run", fill)
    with pytest.raises(OSError, match="m.tflite could not be written: .*No space left"):
        model.export(tmp_path / "m.tflite", format="litert", signatures=["reset"])
    assert list(tmp_path.iterdir()) == []


def test_the_converter_tells_that_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(conversion, "convert", lambda *arguments: (b"model", []))
    monkeypatch.setattr(sys, "argv", ["", "frozen", str(tmp_path / "absent" / "m.tflite"), "float32", "none", "step"])
    assert conversion.main() == conversion.UNWRITABLE
    assert "No such file" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{"precision": "int4"}, {"num_samples": 0}])
def test_options_that_mean_nothing(model: tfdvae.DVAE, tmp_path: Path, options: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        model.export(tmp_path / "model.tflite", format="litert", **options)


def test_a_model_of_mixed_precision(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this one is mixed_bfloat16"):
        cases.make("vrnn", dtype="mixed_bfloat16").export(tmp_path / "m.tflite", format="litert")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_weights_of_mixed_precision_fit_a_model_of_float32(tmp_path: Path) -> None:
    mixed, model = cases.make("vrnn", dtype="mixed_bfloat16"), cases.make("vrnn", randomise=False)
    model.set_weights(mixed.get_weights())
    model.export(tmp_path / "m.tflite", format="litert", signatures=["encode"])
    x = parity.sequences(model, 1, 6).x
    found = running.load(tmp_path / "m.tflite").functions["encode"]({"x": x})["z_mean"]
    np.testing.assert_allclose(found, mixed.encode(x)["z"].loc, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", turns.params(sorted(OBSERVATIONS), always=("gaussian_mixture", "pen")))
def test_every_observation_streams(name: str, tmp_path: Path) -> None:
    tf.keras.utils.set_random_seed(3)
    model = tfdvae.VRNN(2, observation=name, units=5)
    model.build_for(3)
    cases.jitter(model.trainable_variables, 3)
    model.export(tmp_path / "m.tflite", format="litert", signatures=["reset", "step", "generate_step"])
    for one in parity.compare(model, running.load(tmp_path / "m.tflite")):
        assert one.relative <= 1e-5, one
