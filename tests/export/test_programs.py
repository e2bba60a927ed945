"""The programs of `export`, as the command line calls them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import litert, running, saved_model, verify
from tests import cases
from tfdvae import serving
from tfdvae.types import Batch


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def keras_file(model: tfdvae.DVAE, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "model.keras"
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def served(keras_file: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "vrnn"
    sizes = ["--warmup_lengths", "2", "--warmup_batch_sizes", "1"]
    assert saved_model.run(["--model", keras_file, "--out", str(out), *sizes]) == 0
    return out


@pytest.mark.slow
def test_a_version_for_the_server(served: Path) -> None:
    assert sorted(path.name for path in served.iterdir()) == ["1", "deploy"]
    assert {"saved_model.pb", "signatures.json", "variables"} <= {path.name for path in (served / "1").iterdir()}
    for file, base_path in (("models.config", "/models/vrnn"), ("models.host.config", served.resolve())):
        config = (served / "deploy" / file).read_text()
        assert 'name: "vrnn"' in config and f'base_path: "{base_path}"' in config


def test_labels_that_make_no_sense_are_told_before_the_work(keras_file: str, tmp_path: Path, capsys) -> None:
    arguments = ["--model", keras_file, "--out", str(tmp_path / "out")]
    for options, message in ((["--label", "sta ble"], "as stable=1"), (["--label", "stable=7"], "has no version 7")):
        assert saved_model.run([*arguments, *options]) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_warmup_requests_of_several_sizes_replay(model: tfdvae.DVAE, tmp_path: Path) -> None:
    logs = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    path, remarks = saved_model.write_version(model, tmp_path / "vrnn", lengths=(1, 5), batch_sizes=(1, 4))
    assert remarks == []
    loaded = tf.saved_model.load(str(path))
    records = tf.data.TFRecordDataset(str(path / "assets.extra" / "tf_serving_warmup_requests"))
    requests = [logs.PredictionLog.FromString(one.numpy()).predict_log.request for one in records]
    shapes: dict[str, list] = {}
    for one in requests:
        assert one.model_spec.name == "vrnn"
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in one.inputs.items()}
        outputs = loaded.signatures[one.model_spec.signature_name](**inputs)
        assert all(np.isfinite(value).all() for value in outputs.values())
        shapes.setdefault(one.model_spec.signature_name, []).append(tuple(inputs["x"].shape) if "x" in inputs else ())
    assert list(shapes) == list(serving.declare(model))
    sizes = [(1, 1, cases.X_DIM), (1, 5, cases.X_DIM), (4, 1, cases.X_DIM), (4, 5, cases.X_DIM)]
    assert all(shapes[name] == sizes for name in ("encode", "reconstruct", "score", "forecast", "impute"))
    assert shapes["step"] == [(1, cases.X_DIM), (4, cases.X_DIM)] and len(shapes["generate"]) == 1


def test_warmup_requests_that_no_server_replays(model: tfdvae.DVAE, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_serving")
    (tmp_path / "1").mkdir()
    declared = serving.declare(model)
    for lengths, message in (((0,), "from 1"), (tuple(range(1, 200)), "1000 requests at most")):
        with pytest.raises(ValueError, match=message):
            saved_model.write_warmup(model, declared, tmp_path / "1", "vrnn", lengths)


@pytest.mark.slow
def test_verify_prints_a_table(keras_file: str, served: Path, capsys) -> None:
    assert verify.run([str(served / "1"), "--model", keras_file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Run by TensorFlow 2.")
    assert {line.split("  ")[0] for line in lines[2:-1]} == {*serving.SIGNATURES, "step x T", "mixtures"}
    assert "within 1e-05" in lines[-1]


@pytest.mark.slow
def test_verify_tells_when_numbers_differ(model: tfdvae.DVAE, served: Path, tmp_path: Path, capsys) -> None:
    other = cases.make("vrnn", seed=1)
    cases.jitter(other.trainable_variables, 1, 0.01)
    other.save(tmp_path / "other.keras")
    assert verify.run([str(served / "1"), "--model", str(tmp_path / "other.keras")]) == 1
    assert "beyond the tolerance" in capsys.readouterr().out


@pytest.mark.parametrize("program", [saved_model, litert])
def test_a_model_that_is_none(program, tmp_path: Path, capsys) -> None:
    for name, message in (("absent.keras", "There is no saved model"), ("text.keras", "cannot be loaded as a model")):
        (tmp_path / "text.keras").write_text("text")
        assert program.run(["--model", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_artefact_that_is_none(keras_file: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tflite").write_text("text")
    for name, message in (
        ("absent", "There is no exported model"),
        ("empty", "holds no SavedModel"),
        ("text.tflite", "cannot be read as a model that was exported to LiteRT"),
    ):
        assert verify.run([str(tmp_path / name), "--model", keras_file]) == 1
        assert message in capsys.readouterr().err


def test_a_truncated_saved_model(model: tfdvae.DVAE, tmp_path: Path) -> None:
    model.export(tmp_path / "model", signatures=["reset"])
    file = tmp_path / "model" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(ValueError, match="may be damaged"):
        running.load(tmp_path / "model")


def test_an_artefact_of_another_version(model: tfdvae.DVAE, tmp_path: Path) -> None:
    model.export(tmp_path / "model", signatures=["reset"])
    file = tmp_path / "model" / "signatures.json"
    text = file.read_text()
    for other, message in (
        (text.replace('"version": 2', '"version": 99'), "version 99, this package reads tfdvae.signatures version 2"),
        ("[]", "holds no description"),
        (text[:-9], "holds no description"),
    ):
        file.write_text(other)
        with pytest.raises(ValueError, match=message):
            running.load(tmp_path / "model")


def test_a_truncated_litert_file(model: tfdvae.DVAE, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    model.export(tmp_path / "m.tflite", format="litert", signatures=["reset"])
    content = (tmp_path / "m.tflite").read_bytes()
    for kept in (content[:-100], content[: len(content) // 2], b""):
        (tmp_path / "short.tflite").write_bytes(kept)
        with pytest.raises(ValueError, match="short.tflite cannot be read"):
            running.load(tmp_path / "short.tflite")


@pytest.fixture(scope="module")
def larger() -> tfdvae.DVAE:
    """With matrices large enough for the converter to store them as integers."""
    pytest.importorskip("ai_edge_litert")
    tf.keras.utils.set_random_seed(0)
    model = tfdvae.VRNN(8, units=64)
    model.build_for(cases.X_DIM)
    return model


SOME = ["reconstruct", "reset", "step"]
FLOATS = ("float32", "float16", "int8_dynamic")
"""Precisions with activations of floats; test_quantisation.py has the others."""


@pytest.mark.slow
def test_smaller_weights_are_worth_their_error(larger: tfdvae.DVAE, tmp_path: Path) -> None:
    larger.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 20, cases.X_DIM)).astype("float32")
    np.savez(tmp_path / "held_out.npz", x=x)
    arguments = [
        "--model",
        str(tmp_path / "model.keras"),
        "--out",
        str(tmp_path / "m"),
        "--precision",
        *FLOATS,
    ]
    assert litert.run([*arguments, "--data", str(tmp_path / "held_out.npz"), "--signatures", *SOME]) == 0
    paths = [tmp_path / f"m_{precision}.tflite" for precision in FLOATS]
    sizes = [path.stat().st_size for path in paths]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]
    errors = [max(one.relative for one in litert.accuracy(larger, path, Batch(x))) for path in paths]
    assert errors[0] < 1e-5 < errors[1] < errors[2] < 0.05


def test_all_files_are_refused_where_one_is_there(model: tfdvae.DVAE, tmp_path: Path, capsys) -> None:
    """Before any of them is made, which takes minutes."""
    model.save(tmp_path / "model.keras")
    (tmp_path / "m_float16.tflite").write_bytes(b"mine")
    given = ["--model", str(tmp_path / "model.keras"), "--out", str(tmp_path / "m")]
    assert litert.run([*given, "--precision", "float32", "float16"]) == 1
    assert "m_float16.tflite exists" in capsys.readouterr().err
    assert not (tmp_path / "m_float32.tflite").exists() and (tmp_path / "m_float16.tflite").read_bytes() == b"mine"


@pytest.mark.slow
def test_a_file_that_is_too_inaccurate_is_not_written(larger: tfdvae.DVAE, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too inaccurate:\n.*int8_dynamic.*(\n.*)*reconstruct"):
        litert.write(larger, tmp_path / "m.tflite", "int8_dynamic", tolerance=1e-7, signatures=SOME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [({"y": np.zeros([1, 2, 4])}, "no array 'x'"), ({"x": np.zeros([1, 2, 5])}, "frames of 4 features")],
)
def test_held_out_data_that_does_not_fit(model: tfdvae.DVAE, tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        litert.read_held_out(tmp_path / "data.npz", model)
