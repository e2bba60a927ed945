"""Training on posteriors that gradient steps have moved: its terms, its gradient, and what it is refused for."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.gate.support import compiled, frames, vae
from tests.oracles.linear import PAIRED, linear_vae
from tests.oracles.test_refine import evidence, still
from tfdvae import bounds, random
from tfdvae.types import Batch

SEED = random.make_seed(3)
STEPS = 2
EVERYDAY = "vrnn"
OTHERS = ("vae-u", "storn", "srnn-smooth-u")
"""With latents drawn at once, ahead of the loop, and given later frames."""


def objective(model: tfdvae.DVAE, batch: Batch, bound: bounds.Bound | None = None) -> tf.Tensor:
    return (bound or bounds.ELBO()).estimate(model, batch, SEED, bounds.Weighing()).objective


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_steps_close_the_gap_where_the_exact_posterior_is_within_reach() -> None:
    model, x = still(linear_vae(PAIRED)), np.random.default_rng(3).normal(size=(3, 4, 2)).astype("float32")
    exact, found = evidence(x, PAIRED), {}
    for steps in (0, 2, 30):
        model.compile(semi_amortized=steps)
        found[steps] = exact - np.asarray(objective(model, Batch(tf.constant(x)), bounds.ELBO(16)))
    assert (found[0] > found[2] + 0.5).all() and (found[2] > found[30]).all()
    # What is left are the steps' own length and noise, which do not fall.
    assert (found[30] < 0.1 * found[0]).all()


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("name", [EVERYDAY, *(pytest.param(name, marks=pytest.mark.exhaustive) for name in OTHERS)])
@pytest.mark.slow
def test_models_of_every_kind_are_trained_so(name: str) -> None:
    """The bound that is trained is above that of the networks, which is what `evaluate` tells; what does not exist says
    nothing."""
    data = cases.training_data(name, length=4)
    logs = {}
    for steps in (0, STEPS):
        model = cases.make(name, dropout=0.0)
        model.compile(keras.optimizers.SGD(0.0), semi_amortized=steps, run_eagerly=True)
        logs[steps] = model.fit(data, batch_size=8, verbose=0).history, model.evaluate(data, verbose=0)
    assert logs[STEPS][0]["elbo_nats_per_frame"][0] > logs[0][0]["elbo_nats_per_frame"][0]
    assert logs[STEPS][1] == logs[0][1]
    batch = cases.frames(name)
    mask = tf.sequence_mask([3, 5, 2][: batch.x.shape[0]], batch.x.shape[1])
    found = [objective(model, batch._replace(x=tf.where(mask[..., None], batch.x, y), mask=mask)) for y in (0.0, 1e3)]
    np.testing.assert_array_equal(*found)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("bound", [bounds.ELBO(), bounds.IWAE(2)], ids=["elbo", "iwae"])
@pytest.mark.slow
def test_the_gradient_passes_through_the_steps(bound: bounds.Bound) -> None:
    """It is that of what comes out, by differences; with the moves held fixed it would be another."""
    model, batch = cases.make("vrnn", dropout=0.0), cases.frames("vrnn")
    model.compile(semi_amortized=STEPS)
    variables = model.trainable_variables

    def value() -> tf.Tensor:
        return tf.reduce_sum(objective(model, batch, bound))

    with tf.GradientTape() as tape:
        target = value()
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(target, variables)]
    with pytest.MonkeyPatch.context() as patch:
        plain = tf.GradientTape.gradient
        patch.setattr(
            tf.GradientTape, "gradient", lambda *a, **k: tf.nest.map_structure(tf.stop_gradient, plain(*a, **k))
        )
        with tf.GradientTape() as tape:
            target = value()
        fixed = [tf.convert_to_tensor(g) for g in plain(tape, target, variables)]
    rng, size = np.random.default_rng(0), 1e-3
    errors = {"through": [], "fixed": []}
    for _ in range(3):
        way = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables]
        ends = []
        for sign in (1.0, -2.0):
            for v, w in zip(variables, way, strict=True):
                v.assign_add(sign * size * w)
            ends.append(value())
        for v, w in zip(variables, way, strict=True):
            v.assign_add(size * w)
        expected = float(ends[0] - ends[1]) / (2.0 * size)
        for what, found in (("through", gradients), ("fixed", fixed)):
            errors[what].append(sum(float(tf.reduce_sum(g * w)) for g, w in zip(found, way, strict=True)) - expected)
    assert np.abs(errors["through"]).max() < 0.2 * np.abs(errors["fixed"]).max(), errors


@pytest.mark.slow
def test_a_graph_makes_the_updates_of_eager_training() -> None:
    name, modes = "vae-u", ("eager", "graph")
    found, data = {}, cases.training_data(name, length=4)
    for mode in modes:
        model = cases.make(name)
        model.compile(keras.optimizers.SGD(0.05), semi_amortized=STEPS, run_eagerly=mode == "eager", jit_compile=False)
        history = model.fit(data, batch_size=8, shuffle=False, verbose=0).history
        found[mode] = [*model.get_weights(), *history["loss"]]
    for mode in modes[1:]:
        for one, other in zip(found[mode], found["eager"], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_it_is_saved_with_the_model() -> None:
    model = compiled(vae(), semi_amortized=3)
    assert model.get_compile_config()["semi_amortized"] == 3
    again = vae()
    again.compile_from_config(model.get_compile_config())
    assert again.semi_amortized == 3 and vae().semi_amortized == 0


CATEGORICAL = {"family": {"class_name": "categorical", "config": {"classes": 2}}}
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (lambda: tfdvae.RNN(units=3), {}, "of which RNN as configured has none"),
    (lambda: tfdvae.VRNN(4, units=3, **CATEGORICAL), {}, "of which VRNN as configured has none"),
    (lambda: vae(posterior_flow=1), {}, "parameters wherever they are moved, which .* of 'z' has not"),
    (vae, {"bound": "fivo"}, "FIVO as configured takes them apart"),
    (vae, {"bound": bounds.IWAE(4, chunk=2)}, "IWAE as configured takes them apart"),
    (
        lambda: vae(frame_encoder=keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()])),
        {},
        "another state at each step of `semi_amortized`",
    ),
]


@pytest.mark.parametrize(("make", "options", "told"), REFUSED, ids=[told for *_, told in REFUSED])
def test_what_cannot_be_trained_so_is_refused(make: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make().compile(semi_amortized=2, **options)


@pytest.mark.parametrize("name", ["gpvae", "switching_lds-u"])
def test_posteriors_that_bring_their_own_divergence(name: str) -> None:
    model = cases.make(name)
    with pytest.raises(ValueError, match="has a KL of 'z' that knows them as a whole"):
        model.compile(semi_amortized=2)


@pytest.mark.slow
def test_evaluation_needs_no_steps() -> None:
    x = frames()
    found = [compiled(vae(), semi_amortized=steps).evaluate(x, verbose=0) for steps in (0, 3)]
    assert found[0] == found[1]
