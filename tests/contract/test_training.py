"""Every model trains: in a graph, under XLA, in mixed precision, with masks and inputs, the same way twice."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.testing import assert_close, assert_equal, differs, evaluate

COMPILED = cases.params(cases.PRIMARY, always=["vrnn"])
"""Every model; without --exhaustive one, since three compilations take long. Half of them fit in a graph anyway."""
SOME, OTHERS = (cases.some(number) for number in range(2))
LOGS = {
    "loss",
    "elbo_nats_per_frame",
    "log_likelihood_nats_per_frame",
    "kl_nats_per_frame",
    "active_units",
    "skipped_batches",
}


def logs_of(model: tfdvae.DVAE) -> set[str]:
    """What a model reports: the KL of each latent as well, where there are several."""
    names = [latent.name for latent in model.latents]
    return LOGS | ({f"kl_{name}_nats_per_frame" for name in names} if len(names) > 1 else set())


SHORT = 5
"""Frames of sequences where nothing hangs on how well a model learns: eager loops cost by the frame."""
BATCH = 8


def trained(
    name: str, *, seed: int = 0, epochs: int = 1, length: int = 8, steps: int = 2, **options
) -> tuple[tfdvae.DVAE, dict[str, list[float]]]:
    """A model after a fit on the smooth sequences, and its history."""
    model = cases.make(name, seed=seed, randomise=False)
    model.compile(**options)
    data = cases.training_data(name, steps * BATCH, length)
    history = model.fit(data, epochs=epochs, batch_size=BATCH, verbose=0)
    return model, history.history


@OTHERS
@pytest.mark.slow
def test_a_short_fit_lowers_the_loss(name: str) -> None:
    model, history = trained(name, epochs=20, optimizer=keras.optimizers.Adam(0.02))
    assert set(history) == logs_of(model) | {"kl_weight"}
    assert all(np.isfinite(values).all() for values in history.values())
    assert np.mean(history["loss"][-3:]) < history["loss"][0] - 0.3
    if not model.infer(*cases.frames(name)).penalties:
        np.testing.assert_allclose(history["loss"], -np.array(history["elbo_nats_per_frame"]), rtol=1e-5)
    assert set(history["skipped_batches"]) == {0.0}
    assert (np.array(history["kl_nats_per_frame"]) > 0).all() or not model.has_latents


@pytest.mark.parametrize("primary", COMPILED)
@pytest.mark.slow
def test_training_in_a_graph_and_under_xla_is_eager_training(primary: str) -> None:
    """Two steps, of which the second starts from what the first made.

    Compiling takes most of this test.
    """
    found, data = {}, cases.training_data(primary, length=SHORT)
    for mode in ("eager", "graph", "xla"):
        model = cases.make(primary)
        model.compile(keras.optimizers.SGD(0.05), run_eagerly=mode == "eager", jit_compile=mode == "xla")
        history = model.fit(data, batch_size=BATCH, shuffle=False, verbose=0, validation_data=data).history
        found[mode] = {"history": history, "weights": model.get_weights()}
    assert int(model.optimizer.iterations) == 2
    logs = logs_of(model)
    assert set(found["eager"]["history"]) == logs | {"kl_weight"} | {f"val_{log}" for log in logs}
    assert_close(found["graph"], found["eager"], 1e-4)
    assert_close(found["xla"], found["eager"], 1e-4)


@SOME
@pytest.mark.slow
def test_two_fits_from_one_seed_give_the_same_bits(name: str) -> None:
    options = {"length": SHORT, "run_eagerly": True, "steps": 1}
    (first, again, other) = (
        # Adam is a third of an eager step, and draws nothing.
        trained(name, seed=seed, optimizer=keras.optimizers.SGD(0.05), **options)[0].get_weights()
        for seed in (0, 0, 1)
    )
    assert_equal(first, again)
    assert any(differs(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_two_fits_from_one_seed_give_the_same_bits_in_a_graph() -> None:
    (first, again) = (trained("vrnn", epochs=2)[0].get_weights() for _ in range(2))
    assert_equal(first, again)


@SOME
@pytest.mark.slow
def test_evaluate_is_deterministic_and_plain(name: str) -> None:
    model, data = cases.make(name), cases.training_data(name, length=SHORT)
    model.compile(run_eagerly=True, beta=0.1, free_bits=0.5)
    first, again = (model.evaluate(data, batch_size=8, verbose=0, return_dict=True) for _ in range(2))
    assert first == again
    assert set(first) == logs_of(model)
    elbo = first["log_likelihood_nats_per_frame"] - first["kl_nats_per_frame"]
    assert first["elbo_nats_per_frame"] == pytest.approx(elbo, rel=1e-5)
    assert first["loss"] == pytest.approx(-elbo, rel=1e-5)


@SOME
@pytest.mark.slow
def test_predict_is_the_call(model: tfdvae.DVAE, name: str) -> None:
    data = {k: v[:3] for k, v in cases.training_data(name).items()}
    model.compile(run_eagerly=True)
    predicted = model.predict(data, batch_size=2, verbose=0)
    assert predicted.shape == data["x"].shape
    assert np.isfinite(predicted).all()
    assert_close(predicted, model(data).numpy())


@OTHERS
@pytest.mark.slow
def test_a_batch_whose_loss_is_not_finite_changes_nothing_and_is_counted(name: str) -> None:
    model = cases.make(name)
    model.compile(run_eagerly=True)
    before = model.get_weights()
    data = cases.given(cases.frames(name))
    with pytest.warns(UserWarning, match="All 1 batches of epoch 0 were skipped"):
        history = model.fit({**data, "x": data["x"] * 1e30}, verbose=0).history
    assert history["skipped_batches"] == [1.0]
    assert np.isnan(history["loss"]).all()
    assert_equal(model.get_weights(), before)
    assert int(model.optimizer.iterations) == 0


@pytest.fixture
def mixed_precision() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@OTHERS
@pytest.mark.usefixtures("mixed_precision")
@pytest.mark.slow
def test_mixed_precision_keeps_weights_and_distributions_in_float32(name: str) -> None:
    model = cases.make(name)
    assert model.compute_dtype == model.observation.compute_dtype == "bfloat16"
    assert not cases.has_cell(name) or model.cell.compute_dtype == "bfloat16"
    batch, noise = cases.frames(name), cases.noise(model)
    found = tf.function(evaluate, autograph=False)(model, batch, noise)
    assert {y.dtype for y in tf.nest.flatten(found)} == {tf.float32}
    assert all(np.isfinite(y).all() for y in tf.nest.flatten(found))
    keras.config.set_dtype_policy("float32")
    full = cases.make(name)
    full.set_weights(model.get_weights())
    assert_close(found.objective, evaluate(full, batch, noise).objective, 0.05)


@pytest.mark.usefixtures("mixed_precision")
@pytest.mark.parametrize("primary", cases.part(0, cases.PRIMARY))
@pytest.mark.slow
def test_a_fit_in_mixed_precision_is_finite(primary: str) -> None:
    model, history = trained(primary, length=SHORT, run_eagerly=True, steps=1)
    assert np.isfinite(history["loss"]).all()
    assert history["skipped_batches"] == [0.0]
    assert {w.dtype for w in model.get_weights()} == {np.dtype("float32")}
    assert model.predict(cases.training_data(primary, length=SHORT), verbose=0).dtype == np.float32
