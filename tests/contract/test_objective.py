"""What `compile` can be told: KL weight and its schedules, free bits, clipping, bounds, and what the logs report."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.metrics.frames import ACTIVE_NATS
from tfdvae.testing import assert_close, assert_equal, differs

NAME = "vrnn"


def make(**options: Any) -> tfdvae.DVAE:
    model = cases.make(NAME, dropout=0.0)
    model.compile(**{"optimizer": keras.optimizers.SGD(0.05), "run_eagerly": True, **options})
    return model


def fit(model: tfdvae.DVAE, **options: Any) -> dict[str, list[float]]:
    data = cases.training_data(NAME)
    return model.fit(data, batch_size=len(data["x"]), shuffle=False, verbose=0, **options).history


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.slow
def test_beta_weighs_the_divergence_in_the_loss_and_not_in_the_elbo(beta: float) -> None:
    logs = {k: v[0] for k, v in fit(make(beta=beta)).items()}
    likelihood, kl = logs["log_likelihood_nats_per_frame"], logs["kl_nats_per_frame"]
    assert kl > 0.01
    assert logs["loss"] == pytest.approx(beta * kl - likelihood, rel=1e-5)
    assert logs["elbo_nats_per_frame"] == pytest.approx(likelihood - kl, rel=1e-5)
    assert logs["kl_weight"] == pytest.approx(beta)


@pytest.mark.slow
def test_without_divergence_the_prior_does_not_move() -> None:
    for beta, moves in ((0.0, False), (1.0, True)):
        model = make(beta=beta)
        prior = [v for v in model.trainable_variables if "/prior" in v.path]
        before = [v.numpy() for v in prior]
        fit(model)
        assert len(prior) == 4
        assert [differs(v, old) for v, old in zip(prior, before, strict=True)] == [moves] * 4


@pytest.mark.slow
def test_a_schedule_moves_beta_with_the_steps_of_the_optimizer() -> None:
    model = make(beta=keras.optimizers.schedules.PolynomialDecay(0.0, 4, 1.0))
    seen = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(float(logs["kl_weight"])))
    fit(model, epochs=6, callbacks=[watch])
    np.testing.assert_allclose(seen, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0], atol=1e-6)


@pytest.mark.slow
def test_the_factor_of_the_epoch_multiplies_beta() -> None:
    model = make(beta=0.5)
    model.kl_weight.assign(0.5)
    logs = fit(model)
    assert logs["kl_weight"] == [pytest.approx(0.25)]
    expected = 0.25 * logs["kl_nats_per_frame"][0] - logs["log_likelihood_nats_per_frame"][0]
    assert logs["loss"][0] == pytest.approx(expected, rel=1e-5)


def test_the_divergence_of_each_dimension_is_reported_and_counted() -> None:
    logs = {k: v[0] for k, v in fit(make(kl_per_dimension=True)).items()}
    per_dimension = [logs[f"kl_z_{i:02d}_nats_per_frame"] for i in range(2)]
    assert "kl_z_02_nats_per_frame" not in logs
    assert sum(per_dimension) == pytest.approx(logs["kl_nats_per_frame"], rel=1e-5)
    assert logs["active_units"] == sum(kl > ACTIVE_NATS for kl in per_dimension)


@pytest.mark.slow
def test_free_bits_hold_each_dimension_at_its_floor() -> None:
    plain = {k: v[0] for k, v in fit(make(kl_per_dimension=True)).items()}
    per_dimension = np.array([plain[f"kl_z_{i:02d}_nats_per_frame"] for i in range(2)])
    floor = float(per_dimension.mean())
    assert per_dimension.min() < floor < per_dimension.max()
    logs = {k: v[0] for k, v in fit(make(free_bits=floor)).items()}
    expected = np.maximum(per_dimension, floor).sum() - logs["log_likelihood_nats_per_frame"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["kl_nats_per_frame"] == pytest.approx(plain["kl_nats_per_frame"], rel=1e-5)
    with pytest.raises(ValueError, match="`free_bits` must be a finite number that is not negative"):
        make(free_bits=-0.1)


@pytest.mark.slow
def test_gradients_are_clipped_by_their_global_norm() -> None:
    steps = {}
    for clip_norm in (None, 0.1, 1e6):
        model = make(optimizer=keras.optimizers.SGD(1.0), clip_norm=clip_norm)
        before = model.get_weights()
        fit(model)
        moved = [a - b for a, b in zip(model.get_weights(), before, strict=True)]
        steps[clip_norm] = np.concatenate([m.ravel() for m in moved])
    norm = np.linalg.norm(steps[None])
    assert norm > 0.2
    assert_close(steps[1e6], steps[None], 1e-6)
    assert_close(steps[0.1], np.float32(0.1 / norm) * steps[None], 1e-4)


@pytest.mark.parametrize("mode", ["eager", pytest.param("graph", marks=pytest.mark.exhaustive), "xla"])
@pytest.mark.slow
def test_a_fit_over_a_bad_batch_is_the_fit_without_it(mode: str) -> None:
    data = cases.given(cases.frames(NAME, 6))["x"]
    good = tf.data.Dataset.from_tensor_slices(data).batch(2)
    bad = tf.data.Dataset.from_tensors(np.full_like(data[:2], 1e30))
    model = make(optimizer="adam", run_eagerly=mode == "eager", jit_compile=mode == "xla")
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    start = [v.numpy() for v in variables]
    weights, logs = [], []
    for dataset in (good, good.take(1).concatenate(bad).concatenate(good.skip(1))):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        logs.append(model.fit(dataset, shuffle=False, verbose=0).history)
        weights.append(model.get_weights())
    assert [log["skipped_batches"] for log in logs] == [[0.0], [1.0]]
    assert any(differs(a, b.numpy()) for a, b in zip(start, variables, strict=True))
    assert_equal(*weights)
    assert logs[0]["loss"] == logs[1]["loss"]


@pytest.mark.slow
def test_a_dataset_trains_as_the_arrays_do() -> None:
    data = cases.training_data(NAME)
    weights = []
    for given in (data, tf.data.Dataset.from_tensor_slices(data).batch(8)):
        model = make()
        model.fit(given, batch_size=8 if given is data else None, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    assert_equal(*weights)


@pytest.mark.slow
def test_the_elbo_is_a_mean_over_frames_however_sequences_are_batched() -> None:
    model, data = make(), cases.training_data("rnn")
    rnn = cases.make("rnn")
    rnn.compile(run_eagerly=True)
    losses = [rnn.evaluate(data, batch_size=size, verbose=0, return_dict=True)["loss"] for size in (16, 5, 1)]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    total = rnn.log_prob(data["x"], data["mask"], num_samples=1).numpy().sum()
    assert losses[0] == pytest.approx(-total / data["mask"].sum(), rel=1e-5)
    assert model.evaluate(data, batch_size=16, verbose=0, return_dict=True)["kl_nats_per_frame"] > 0


@pytest.mark.slow
def test_other_bounds_are_named_or_given() -> None:
    model = make(bound=tfdvae.bounds.IWAE(3), optimizer=keras.optimizers.Adam(0.02))
    losses = fit(model, epochs=10)["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0] - 0.3
    assert make(bound="iwae").bound.num_samples == 5
    with pytest.raises(ValueError, match=r"Unknown bound 'elbow': expected one of \['elbo', 'fivo', 'iwae', 'nasmc'\]"):
        make(bound="elbow")
    with pytest.raises(ValueError, match="IWAE has no KL term to keep free"):
        fit(make(bound="iwae", free_bits=0.1))
