"""`model.export`: a SavedModel that needs nothing but TensorFlow, complete or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import parity
from tests import cases
from tfdvae import serving

WITHOUT = """
import sys

class Others:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("keras", "tf_keras", "tensorflow_probability", "tfdvae"):
            return None
        return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Others(finder) for finder in sys.meta_path]
import json
import numpy as np
import tensorflow as tf

folder, arrays, out = sys.argv[1:]
loaded = tf.saved_model.load(folder)
given = np.load(arrays)
described = json.load(open(folder + "/signatures.json"))["signatures"]
found = {}
for name, signature in described.items():
    inputs = {field["name"]: tf.constant(given[f"{name}/{field['name']}"]) for field in signature["inputs"]}
    outputs = loaded.signatures[name](**inputs)
    found |= {f"{name}/{field['name']}": outputs[field["name"]].numpy() for field in signature["outputs"]}
np.savez(out, **found)
assert not {"keras", "tf_keras", "tensorflow_probability", "tfdvae"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    return cases.make("vrnn")


@pytest.fixture(scope="module")
def exported(model: tfdvae.DVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "vrnn"
    model.export(path)
    return path


@pytest.fixture(scope="module")
def signatures(exported: Path):
    loaded = tf.saved_model.load(str(exported))
    # The loaded object must outlive its signatures.
    yield loaded.signatures
    del loaded


@pytest.mark.slow
def test_it_runs_without_keras_tfp_and_this_package(model: tfdvae.DVAE, exported: Path, tmp_path: Path) -> None:
    declared = serving.declare(model)
    given = {name: parity.examples(model, one, declared) for name, one in declared.items()}
    np.savez(tmp_path / "in.npz", **{f"{n}/{k}": v for n, arrays in given.items() for k, v in arrays.items()})
    command = [sys.executable, "-c", WITHOUT, str(exported), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "out.npz")
    for name, signature in declared.items():
        for key, value in parity.call(signature, given[name]).items():
            scale = float(np.max(np.abs(value)))
            np.testing.assert_allclose(found[f"{name}/{key}"], value, rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
def test_the_folder_holds_the_description(exported: Path, signatures) -> None:
    content = json.loads((exported / "signatures.json").read_text())
    assert content["model"] == "VRNN" and content["features"] == cases.X_DIM and content["inputs"] == 0
    assert {*content["signatures"], "serving_default"} == set(signatures)


@pytest.mark.slow
def test_who_names_no_signature_gets_what_the_model_returns(model: tfdvae.DVAE, signatures) -> None:
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, cases.X_DIM)), tf.float32)
    found = signatures["serving_default"](x=x, mask=tf.ones([2, 5], tf.bool))
    np.testing.assert_allclose(found["mean"], model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_what_stands_in_frames_that_do_not_exist_has_no_influence(model: tfdvae.DVAE, signatures) -> None:
    declared = serving.declare(model)
    given = parity.examples(model, declared["score"], declared)
    spoilt = {**given, "x": np.where(given["mask"][..., None], given["x"], np.nan).astype("float32")}
    one, other = (signatures["score"](**{k: tf.constant(v) for k, v in g.items()}) for g in (given, spoilt))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.slow
def test_a_seed_is_all_that_is_random(exported: Path, signatures) -> None:
    def draw(signatures, seed: int) -> np.ndarray:
        numbers = {"batch_size": tf.constant(2), "length": tf.constant(4), "seed": tf.constant(seed, tf.int64)}
        return signatures["generate"](**numbers)["x"].numpy()

    again = tf.saved_model.load(str(exported))
    np.testing.assert_array_equal(draw(signatures, 5), draw(again.signatures, 5))
    assert np.abs(draw(signatures, 5) - draw(signatures, 6)).max() > 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_frame_that_is_no_number_is_refused(model: tfdvae.DVAE, signatures, bad: float) -> None:
    declared = serving.declare(model)
    given = parity.examples(model, declared["step"], declared)
    given["x"] = np.where(np.arange(cases.X_DIM) == 2, bad, given["x"]).astype("float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` holds NaN or infinity"):
        signatures["step"](**{k: tf.constant(v) for k, v in given.items()})


def test_a_sequence_without_a_frame_is_refused(signatures) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs a frame that exists"):
        signatures["encode"](x=tf.zeros([2, 3, cases.X_DIM]), mask=tf.constant([[True] * 3, [False] * 3]))


@pytest.mark.parametrize("name", ["batch_size", "length"])
def test_a_count_below_one_is_refused(signatures, name: str) -> None:
    numbers = {"batch_size": tf.constant(2), "length": tf.constant(2), "seed": tf.constant(0, tf.int64)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{name}` must be at least 1"):
        signatures["generate"](**{**numbers, name: tf.constant(0)})


def test_frames_of_another_size_are_refused(signatures) -> None:
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        signatures["encode"](x=tf.zeros([2, 3, cases.X_DIM + 1]), mask=tf.ones([2, 3], tf.bool))


@pytest.mark.slow
def test_some_signatures_can_be_chosen(model: tfdvae.DVAE, tmp_path: Path) -> None:
    model.export(tmp_path / "some", signatures=["step", "reset"])
    assert set(tf.saved_model.load(str(tmp_path / "some")).signatures) == {"reset", "step"}


def test_a_model_that_was_never_built(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`export` needs a model with weights"):
        tfdvae.VRNN(2).export(tmp_path / "unbuilt")
    assert list(tmp_path.iterdir()) == []


def test_a_signature_that_the_model_cannot_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SRNN as configured has the signatures .*asked for step"):
        cases.make("srnn-smooth-u").export(tmp_path / "srnn", signatures=["encode", "step"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"format": "onnx"}, {"input_signature": [tf.TensorSpec([1, 2, 3])]}])
def test_what_keras_offers_and_this_does_not(model: tfdvae.DVAE, tmp_path: Path, options: dict) -> None:
    with pytest.raises(ValueError, match="`format` must be one of tf_saved_model, litert"):
        model.export(tmp_path / "other", **options)


@pytest.mark.parametrize("form", ["tf_saved_model", "litert"])
def test_what_exists_stays_as_it_is(model: tfdvae.DVAE, tmp_path: Path, form: str) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="mine exists"):
        model.export(tmp_path / "mine", format=form)
    assert (tmp_path / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("form", ["tf_saved_model", "litert"])
@pytest.mark.slow
def test_a_path_below_a_file(model: tfdvae.DVAE, tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        model.export(tmp_path / "file" / "model", format=form)


@pytest.mark.parametrize("error", [tf.errors.ResourceExhaustedError(None, None, "No space left"), OSError("No space")])
@pytest.mark.slow
def test_a_crash_leaves_nothing(
    model: tfdvae.DVAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def save(module: tf.Module, path: str, signatures: dict) -> None:
        (Path(path) / "saved_model.pb").write_text("half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(OSError, match="No space"):
        model.export(tmp_path / "model", signatures=["reset"])
    assert list(tmp_path.iterdir()) == []
