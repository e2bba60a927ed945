"""A model comes back as it was from its config, a `.keras` file, and its weights; training goes on from there."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import tfdvae
from tests import cases
from tests.contract.checks import assert_equal
from tfdvae.types import Batch


def test_a_config_is_json_and_makes_the_same_model(model: tfdvae.DVAE, name: str, batch: Batch) -> None:
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    assert json.loads(json.dumps(again.get_config())) == config
    assert not again.built
    again.build_for(model.x_dim, model.u_dim)
    again.set_weights(model.get_weights())
    assert_equal(again.infer(*batch), model.infer(*batch))


@pytest.mark.parametrize("name", cases.WITH_CELL, indirect=True, scope="module")
def test_a_cell_comes_back_from_its_config(model: tfdvae.DVAE, name: str) -> None:
    config = keras.saving.serialize_keras_object(model.cell)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
    assert type(again) is type(model.cell)
    assert json.dumps(again.get_config(), sort_keys=True) == json.dumps(model.cell.get_config(), sort_keys=True)


def test_a_saved_model_gives_the_same_numbers_and_trains_on_as_if_never_stopped(name: str, tmp_path: Path) -> None:
    data = cases.training_data(name)
    options = {"beta": 0.5, "free_bits": 0.05, "clip_norm": 1.5, "kl_per_dimension": True, "run_eagerly": True}
    model = cases.make(name)
    model.compile(keras.optimizers.Adam(0.01), **options)
    model.fit(data, batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")

    assert type(again) is type(model)
    assert_equal(again.get_weights(), model.get_weights())
    assert_equal(again(data), model(data))
    assert {k: getattr(again, k) for k in options} == options
    assert type(again.bound) is type(model.bound)
    assert len(again.optimizer.variables) == len(model.optimizer.variables)
    assert_equal([v.numpy() for v in again.optimizer.variables], [v.numpy() for v in model.optimizer.variables])
    assert int(again.optimizer.iterations) == 2
    for resumed in (model, again):
        resumed.fit(data, batch_size=8, shuffle=False, verbose=0)
    assert_equal(again.get_weights(), model.get_weights())


def test_weights_of_the_same_model_load_and_those_of_another_do_not(tmp_path: Path) -> None:
    model, other = cases.make("vrnn"), cases.make("storn")
    model.save_weights(tmp_path / "vrnn.weights.h5")
    fresh = cases.make("vrnn", randomise=False)
    fresh.load_weights(tmp_path / "vrnn.weights.h5")
    assert_equal(fresh.get_weights(), model.get_weights())
    before = other.get_weights()
    with pytest.raises(ValueError, match="(?i)storn|layer"):
        other.load_weights(tmp_path / "vrnn.weights.h5")
    assert len(before) == len(other.get_weights())


def test_a_schedule_of_beta_survives(tmp_path: Path) -> None:
    model = cases.make("vae")
    model.compile("adam", beta=keras.optimizers.schedules.PolynomialDecay(0.0, 10, 1.0), bound=tfdvae.bounds.IWAE(3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.optimizer.iterations.assign(5)
    assert float(again.current_beta()) == pytest.approx(0.5)
    assert again.bound.num_samples == 3


def test_an_unbuilt_model_saves_its_config(tmp_path: Path) -> None:
    tfdvae.VRNN(latent_dim=2, units=5).save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not again.built and again.cell.units == 5
    assert np.isfinite(again(cases.frames("vrnn").x)).all()
