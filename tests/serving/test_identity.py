"""What is known of a model and of its data: kept with the weights, told by exports, in both formats."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdvae
from export import program, saved_model
from tests import cases
from tfdvae import data, serving
from tfdvae.data import DataDescription, description

FLOW = DataDescription(("a", "b", "c", "d"), ("l/s",), frame_period=0.5, sampling_rate=16000, origin="a test bench")


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, size=(3, 6, 4)).astype("float32")


@pytest.fixture(scope="module")
def model(x: np.ndarray) -> tfdvae.DVAE:
    """Adapted to sequences that know what they are; the last frames of one do not exist."""
    sequences = data.from_arrays([x[0], x[1], x[2, :4]])._replace(description=FLOW)
    found = cases.make("vae")
    found.adapt(sequences)
    return found


def test_a_model_keeps_what_its_sequences_say(model: tfdvae.DVAE, x: np.ndarray, tmp_path: Path) -> None:
    seen = np.concatenate([x[0], x[1], x[2, :4]])
    assert model.data == FLOW._replace(sampling_rate=16000.0) and model.trained == ""
    measures = {"mean": np.mean, "deviation": np.std, "low": np.min, "high": np.max}
    for name, expected in measures.items():
        np.testing.assert_allclose(getattr(model.statistics, name), expected(seen, axis=0), rtol=1e-5)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.data == model.data and loaded.identity() == model.identity()
    assert loaded.identity()["weights_sha256"] != _moved(loaded).identity()["weights_sha256"]


def _moved(model: tfdvae.DVAE) -> tfdvae.DVAE:
    weight = model.trainable_variables[0]
    weight.assign(np.nextafter(np.asarray(weight), np.inf))
    return model


@pytest.mark.slow
def test_fit_notes_the_day_and_the_data(x: np.ndarray, tmp_path: Path) -> None:
    model = cases.make("vae")
    model.compile("adam", run_eagerly=True)
    model.fit(data.from_arrays(x)._replace(description=FLOW), verbose=0)
    assert len(model.trained) == 10 and model.data.features == FLOW.features
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").trained == model.trained


def test_cuts_and_splits_keep_the_description(x: np.ndarray) -> None:
    part = data.from_arrays(x)
    splits = data.Splits(part, part, part).described(features=("a", "b", "c", "d"), frame_period=2)
    assert splits.test.take([1]).description.frame_period == 2.0
    assert data.windows(splits.train, 2).by_length().description is splits.train.description
    with pytest.raises(ValueError, match="`features` must name all 4 of them, got 1: a"):
        splits.described(features=("a",))


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        ({"features": ("a", "b", "c")}, ValueError, "name all 4 of them, got 3: a, b, c"),
        ({"features": ("a", "b", "c", "a")}, ValueError, "the same name twice: a, b, c, a"),
        ({"features": "abcd"}, TypeError, "must be names"),
        ({"units": ("m", "s")}, ValueError, "one for each of the 4; got 2"),
        ({"inputs": ("torque",)}, ValueError, "name all 0 of them"),
        ({"frame_period": 0.0}, ValueError, "`frame_period` must be finite and positive, got 0.0"),
        ({"sampling_rate": np.nan}, ValueError, "`sampling_rate` must be finite"),
        ({"scale": (1.0, -1.0, 1.0, 1.0)}, ValueError, "`scale` must be finite and positive, got -1.0"),
        ({"frame_period": True}, TypeError, "`frame_period` must be a number, got True"),
        ({"origin": None}, TypeError, "`origin` must be text"),
    ],
)
def test_what_cannot_describe_the_data(model: tfdvae.DVAE, known: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        model.data = DataDescription(**known)
    assert model.data.features == FLOW.features
    with pytest.raises(TypeError, match="tfdvae.DataDescription or None, got str"):
        model.data = "a b c d"


def test_a_description_is_checked_again_when_sizes_are_known() -> None:
    model = tfdvae.VAE(2)
    model.data = DataDescription(("one", "two"))
    model.build_for(3)
    with pytest.raises(ValueError, match="name all 3 of them, got 2: one, two"):
        model.identity()


@pytest.mark.slow
def test_exports_say_who_they_are(model: tfdvae.DVAE, tmp_path: Path) -> None:
    serving.export_saved_model(model, tmp_path / "1", ["encode"])
    serving.export_litert(model, tmp_path / "m.tflite", ["encode"])
    with zipfile.ZipFile(tmp_path / "m.tflite") as attached:
        found = {name: attached.read(name).decode() for name in ("signatures.json", "README.md")}
    for text, card in (
        ((tmp_path / "1" / "signatures.json").read_text(), (tmp_path / "1" / "README.md").read_text()),
        (found["signatures.json"], found["README.md"]),
    ):
        content = json.loads(text)
        assert content.items() >= model.identity().items()
        assert content["data"]["features"] == ["a", "b", "c", "d"] and content["data"]["frame_period"] == 0.5
        assert content["observation"] == "gaussian" and content["versions"]["tfdvae"] == tfdvae.__version__
        for fact in ("# VAE", "| 0 | a | l/s |", "0.5 s", "16000 Hz", "a test bench", content["weights_sha256"]):
            assert fact in card, fact
        assert "| Trained | not recorded |" in card and "`encode`" in card
        tables = [line.replace("\\|", "") for line in card.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in tables} == {3, 4, 8}, tables


def test_options_stand_in_for_what_the_model_does_not_know(model: tfdvae.DVAE) -> None:
    given = saved_model.parser().parse_args(
        "--model m --out o --feature_names p q r s --units kPa --frame_period 2 --origin plant".split()
    )
    before = model.data
    try:
        program.take_data_options(model, given)
        expected = before._replace(features=tuple("pqrs"), units=("kPa",), frame_period=2.0, origin="plant")
        assert model.data == expected
        with pytest.raises(ValueError, match="name all 4 of them, got 1: p"):
            program.take_data_options(
                model, saved_model.parser().parse_args("--model m --out o --feature_names p".split())
            )
    finally:
        model.data = before


def test_data_sets_know_what_they_are() -> None:
    options = {"num_train": 1, "num_valid": 1, "num_test": 1, "length": 3, "verbose": 0}
    description = data.load_pendulum(resolution=4, interval=0.2, **options).train.description
    assert description.inputs == ("torque [N m]",) and description.frame_period == 0.2
    assert data.pianoroll.KEY_NAMES[0] == "A0" and data.pianoroll.KEY_NAMES[39] == "C4"


@pytest.mark.slow
def test_statistics_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, known = rng.normal(1e3, 1.0, size=(50, 3)).astype("float32"), rng.uniform(size=(50, 3)) < 0.5
    known[:, 2] = False
    x[~known] = np.nan
    monkeypatch.setattr(description, "PART", 12)
    for shared in (False, True):
        found = description.observed_statistics(x, known, shared)
        columns = [x[known]] if shared else [x[known[:, i], i] for i in range(2)]
        for i, column in enumerate(columns):
            column = column.astype("float64")
            expected = (column.mean(), column.std(), column.min(), column.max())
            np.testing.assert_allclose([values[i] for values in found], expected, rtol=1e-12)
    assert [values[2] for values in description.observed_statistics(x, known, False)] == [0.0] * 4
