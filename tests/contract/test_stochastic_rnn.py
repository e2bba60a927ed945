"""A cell as one layer of somebody else's Keras model."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.layers import StochasticRNN
from tfdvae.testing import assert_close, assert_equal, differs
from tfdvae.types import Batch

WITHOUT_A_LATENT_SEQUENCE = {"rnn", "vrae"}
WITH_OTHER_LATENTS = {"dsae", "dssm", "dvbf", "fhvae", "fvae", "switching_lds", "tcn", "vssn"}
UNDRIVEN = [
    name
    for name in cases.SUITE
    if not cases.CASES[name].u_dim
    and cases.has_cell(name)
    and cases.CASES[name].model not in WITHOUT_A_LATENT_SEQUENCE | WITH_OTHER_LATENTS
]
"""The layer takes one input, so no driven case, and returns one latent sequence, so no model without."""


@pytest.fixture(
    scope="module",
    params=cases.params(UNDRIVEN),
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
"""What only p(x_t | .) reads is not part of the layer's function, and gets no gradient."""


@pytest.fixture(scope="module")
def model(name: str) -> tfdvae.DVAE:
    return cases.make(name)


def functional(name: str, masking: bool = True, beta: float = 1.0) -> keras.Model:
    """A Functional model with the cell of a case in the middle."""
    cell = cases.make(name).cell
    inputs = keras.Input([None, cases.X_DIM])
    x = keras.layers.Masking(mask_value=-9.0)(inputs) if masking else inputs
    z = StochasticRNN(cell, beta=beta, name="latent")(x)
    return keras.Model(inputs, keras.layers.Dense(cases.X_DIM)(z))


def padded(name: str, value: float = -9.0) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(cases.LENGTH)[None] < [[5], [2], [3]]
    return np.where(mask[..., None], cases.frames(name).x, np.float32(value)), mask


@pytest.mark.slow
def test_the_layer_gives_the_latents_and_the_divergence_of_the_model(name: str, model: tfdvae.DVAE) -> None:
    layer = StochasticRNN(model.cell, beta=0.5)
    x, mask = padded(name)
    for given in (None, tf.constant(mask)):
        z = layer(tf.constant(x), mask=given)
        path = model.infer(tf.constant(x), given)
        (latent,) = path.latents.values()
        assert_close(z, latent.z)
        kl = tf.reduce_sum(model.terms(path, Batch(tf.constant(x), given)).kl)
        frames = mask.size if given is None else mask.sum()
        assert len(layer.losses) == 1
        assert float(layer.losses[0]) == pytest.approx(0.5 * float(kl) / frames, rel=1e-5)


@pytest.mark.slow
def test_a_functional_model_with_it_trains_respects_masks_and_comes_back(name: str, tmp_path: Path) -> None:
    model = functional(name)
    x, mask = padded(name)
    layer = model.get_layer("latent")
    assert layer.compute_output_shape((None, None, 4)) == (None, None, layer.cell.latent_dim)
    assert model.output_shape == (None, None, cases.X_DIM)
    model.compile(keras.optimizers.Adam(0.02), "mse", run_eagerly=name != "vrnn")
    learning = [v for v in layer.trainable_variables if re.search("posterior_head|/prior|transition", v.path)]
    before = [v.numpy() for v in learning]
    losses = model.fit(x, cases.frames(name).x, epochs=6, verbose=0, sample_weight=mask).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert before and all(differs(v, old) for v, old in zip(learning, before, strict=True))

    predicted = model.predict(x, verbose=0)
    alone = model.predict(x[1:2, :2], verbose=0)
    assert_close(predicted[1:2, :2], alone)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_equal(again.predict(x, verbose=0), predicted)
    assert type(again.get_layer("latent").cell) is type(layer.cell)


@pytest.mark.slow
def test_the_divergence_joins_the_loss_of_training() -> None:
    losses = {}
    x, _ = padded("vrnn", 0.0)
    for beta in (0.0, 1.0, 2.0):
        model = functional("vrnn", masking=False, beta=beta)
        keras.utils.set_random_seed(1)
        model.layers[-1].set_weights([np.zeros((2, 4)), np.zeros(4)])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        losses[beta] = model.evaluate(x, x, verbose=0)
    assert losses[0.0] == pytest.approx(float(np.mean(x**2)), rel=1e-5)
    model = cases.make("vrnn")
    kl = float(tf.reduce_sum(model.terms(model.infer(tf.constant(x)), Batch(tf.constant(x))).kl)) / x[..., 0].size
    assert losses[1.0] - losses[0.0] == pytest.approx(kl, rel=1e-4)
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * kl, rel=1e-4)


@pytest.mark.slow
def test_latents_are_drawn_in_training_and_are_means_otherwise(model: tfdvae.DVAE, name: str) -> None:
    layer, x = StochasticRNN(model.cell, seed=3), cases.frames(name).x
    drawn = [layer(x, training=True).numpy() for _ in range(2)]
    assert not np.allclose(*drawn)
    assert_equal(layer(x), layer(x))
    assert_equal(StochasticRNN(model.cell, seed=3)(x, training=True), drawn[0])


def test_only_a_cell_will_do() -> None:
    with pytest.raises(TypeError, match="`cell` must be a StochasticCell such as .*, got LSTMCell"):
        StochasticRNN(keras.layers.LSTMCell(3))
