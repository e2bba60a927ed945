"""A model comes back as it was from its config, a `.keras` file, and its weights; training goes on from there."""

from pathlib import Path

import keras
import numpy as np
import pytest

import tfdvae
from tests import cases
from tfdvae.testing import assert_equal, saving

SOME = cases.some(0)
"""Those that do not fit in a graph in `test_training.py`, of the models that need not wait."""


@pytest.mark.slow
def test_a_config_is_json_and_makes_the_same_model(model: tfdvae.DVAE) -> None:
    saving.check_config(model)
    saving.check_arguments(model)


@pytest.mark.parametrize("name", cases.WITH_CELL, indirect=True, scope="module")
def test_a_cell_comes_back_from_its_config(model: tfdvae.DVAE, name: str) -> None:
    saving.check_cell_config(model)
    saving.check_arguments(model.cell)


@SOME
@pytest.mark.slow
def test_a_saved_model_gives_the_same_numbers_and_trains_on_as_if_never_stopped(name: str) -> None:
    saving.check_saved(lambda: cases.make(name), cases.training_data(name, count=8, length=5))


@pytest.mark.slow
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


@pytest.mark.parametrize("made", [tfdvae.VRNN, tfdvae.KVAE])
@pytest.mark.slow
def test_a_model_that_was_frozen_stays_so_and_so_does_a_part_that_is_another(
    made: type[tfdvae.DVAE], tmp_path: Path
) -> None:
    part = keras.layers.Dense(3, trainable=False)
    model = made(2, frame_encoder=part)
    again = made.from_config(model.get_config())
    assert again.trainable and not again.frames.get_config()["frame_encoder"]["config"]["trainable"]
    model.trainable = False
    model.build_for(cases.X_DIM)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not again.trainable and again.trainable_variables == []
    assert_equal(again.get_weights(), model.get_weights())
