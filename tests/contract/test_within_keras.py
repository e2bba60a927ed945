"""A model as one layer of somebody else's Keras model: it keeps its KL, and comes back from files."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.gate.support import B, D, T, compiled, frames, vae, vrnn
from tfdvae.testing import assert_close, differs

pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
"""What only the scale of p(x_t | .) reads is not part of the mean, and gets no gradient."""

ONE_PER_KIND = ["vae", "vrnn", "dsae-full", "kvae", "zforcing_vrnn", "rnn"]
"""No time, latents of frames, of sequences, a decoder of whole sequences, auxiliary losses, no latents."""


def functional(model: tfdvae.DVAE) -> keras.Model:
    inputs = keras.Input([None, D])
    return keras.Model(inputs, model(keras.layers.Dense(D)(inputs)))


@pytest.mark.parametrize("name", ONE_PER_KIND)
def test_the_losses_are_the_divergence_of_the_path_that_was_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = cases.make(name, dropout=0.0)
    x = cases.frames(name).x
    mask = np.arange(x.shape[1]) < np.arange(x.shape[1], x.shape[1] - x.shape[0], -1)[:, None]
    data = {"x": tf.constant(x), "mask": tf.constant(mask)}
    taken: list[Any] = []
    infer = type(model).infer

    def watched(self: tfdvae.DVAE, *args: Any, **options: Any) -> Any:
        taken.append(infer(self, *args, **options))
        return taken[-1]

    monkeypatch.setattr(type(model), "infer", watched)
    mean = model(data, training=True)
    terms = model.terms(taken[-1], model.tensors(data))
    assert_close(mean[mask], model.frames.mean(taken[-1].x)[mask])
    expected = tf.reduce_sum(terms.kl + terms.penalty) + tf.reduce_sum(terms.sequence_kl)
    np.testing.assert_allclose(sum(model.losses), expected / mask.sum(), rtol=1e-5)
    if model.has_latents:
        assert float(expected) > 0.0 and differs(model(data, training=True), mean)
    model(data)
    assert not model.losses


def test_dropout_acts_in_training_alone() -> None:
    """Of a model without latents, whose path is the same otherwise."""
    model, x = cases.make("rnn", dropout=0.5), tf.constant(cases.frames("rnn").x)
    assert differs(model(x, training=True), model(x)) and differs(model(x, training=True), model(x, training=True))
    assert_close(model(x), model(x))


@pytest.mark.parametrize("make", [vae, vrnn])
@pytest.mark.slow
def test_a_model_around_it_trains_on_both(make: Any, tmp_path: Path) -> None:
    outer = functional(make())
    assert outer.output_shape == (None, None, D)
    outer.compile("adam", "mse", run_eagerly=make is vae)
    x = frames()
    assert np.isfinite(outer.fit(x, x, epochs=2, batch_size=B, verbose=0).history["loss"]).all()
    alone = np.mean((outer.predict(x, verbose=0) - x) ** 2)
    assert outer.evaluate(x, x, verbose=0) == pytest.approx(alone, rel=1e-4)
    outer.save(tmp_path / "outer.keras")
    again = keras.saving.load_model(tmp_path / "outer.keras")
    assert_close(again.predict(x, verbose=0), outer.predict(x, verbose=0))


@pytest.mark.slow
def test_the_divergence_has_a_gradient_there() -> None:
    """Where the loss of the model around it is constant, training lowers the KL alone."""
    outer = functional(vae(seed=1))
    outer.compile(
        keras.optimizers.Adam(0.1), lambda x, y: tf.zeros_like(y[..., 0]) * tf.reduce_sum(y), run_eagerly=True
    )
    history = outer.fit(frames(), frames(), epochs=10, batch_size=B, verbose=0).history["loss"]
    assert history[0] > 0.0 and history[-1] < 0.5 * history[0]


@pytest.mark.slow
def test_sequential_models_and_padding() -> None:
    outer = keras.Sequential([keras.layers.Dense(D), vae()])
    outer.compile("adam", "mse", run_eagerly=True)
    outer.fit(frames(), frames(), verbose=0)
    outer(frames(), training=True)
    assert len(outer.losses) == 1 and float(outer.losses[0]) > 0.0
    inner = vae()
    inputs = {"x": keras.Input([None, D], name="x"), "mask": keras.Input([None], dtype="bool", name="mask")}
    masked = keras.Model(inputs, inner(inputs))
    x, mask = frames(), np.arange(T) < np.array([[5], [3], [2]])
    found = masked({"x": np.where(mask[..., None], x, 7.0), "mask": mask})
    assert_close(found, inner.predict({"x": x, "mask": mask}, verbose=0))


@pytest.mark.slow
def test_a_call_in_training_leaves_the_models_own_loss_alone() -> None:
    logs = []
    for called in (False, True):
        model = compiled(vae(), keras.optimizers.SGD(0.0))
        model.build_for(D)
        if called:
            model(frames(), training=True)
        logs.append(model.train_on_batch(frames(), return_dict=True)["loss"])
    assert logs[0] == logs[1]
