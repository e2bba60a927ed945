"""Copies that Keras' users make of models, and pictures of them."""

import copy
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tfdvae
from tests.gate.support import B, D, frames, vae
from tfdvae.testing import assert_equal


def trained() -> tfdvae.DVAE:
    model = vae(seed=3, observation="gaussian_mixture")
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True, beta=0.5, metrics=["mae"])
    model.fit(frames(), batch_size=B, verbose=0)
    return model


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.slow
def test_a_copy_goes_on_training_as_the_model_does(copied: Any) -> None:
    model = trained()
    other = copied(model)
    assert other is not model and other.beta == 0.5 and other.metrics_names == model.metrics_names
    for one in (model, other):
        one.fit(frames(1), batch_size=B, verbose=0)
    assert_equal(other.get_weights(), model.get_weights())
    assert not copied(vae()).built


@pytest.mark.slow
def test_a_clone_begins_where_the_model_began() -> None:
    """With weights of its own that follow from the same seed, whatever became of the model."""
    model, new = trained(), vae(seed=3, observation="gaussian_mixture")
    new.build_for(D)
    clone = keras.models.clone_model(model)
    for other in (clone, keras.models.model_from_json(model.to_json())):
        assert_equal(other.get_weights(), new.get_weights())
    assert any(not np.array_equal(a, b) for a, b in zip(model.get_weights(), new.get_weights(), strict=True))
    inputs = keras.Input([None, D])
    outer = keras.Model(inputs, vae()(inputs))
    assert keras.models.clone_model(outer)(frames()).shape == frames().shape


def test_plots_show_a_model_as_one_box_with_its_shapes(tmp_path: Path) -> None:
    inputs = keras.Input([None, D])
    outer = keras.Model(inputs, keras.layers.Dense(2)(vae()(inputs)))
    if importlib.util.find_spec("pydot") is None:
        with pytest.raises(ImportError, match="pydot"):
            keras.utils.plot_model(outer, tmp_path / "model.png")
        return
    text = keras.utils.model_to_dot(outer, show_shapes=True).to_string()
    box = next(line for line in text.splitlines() if "(VAE)" in line)
    assert box.count(f"(None, None, {D})") == 2
    alone = vae()
    alone.build_for(D)
    assert "(VAE)" in keras.utils.model_to_dot(alone).to_string()


@pytest.mark.slow
def test_the_seed_of_keras_changes_nothing() -> None:
    found = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        model = vae(seed=3, dropout=0.3)
        model.compile("adam", run_eagerly=True)
        model.fit(frames(), batch_size=2, shuffle=False, verbose=0)
        found.append(model.get_weights())
    assert_equal(*found)
