"""Weights of the KL by steps and by epochs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tfdvae.callbacks import KLWarmup
from tfdvae.schedules import LinearWarmup, StaircaseWarmup


def test_linear_warmup() -> None:
    schedule = LinearWarmup(10, start=0.2, end=0.7)
    values = [float(schedule(step)) for step in (0, 5, 10, 1000)]
    np.testing.assert_allclose(values, [0.2, 0.45, 0.7, 0.7], rtol=1e-6)


def test_staircase_warmup_jumps_after_equal_numbers_of_steps() -> None:
    schedule = StaircaseWarmup(12, stairs=3, start=0.0, end=0.6)
    values = [float(schedule(step)) for step in range(14)]
    np.testing.assert_allclose(values, [0.0] * 4 + [0.2] * 4 + [0.4] * 4 + [0.6] * 2, atol=1e-6)


@pytest.mark.parametrize("schedule", [LinearWarmup(7, 0.1, 0.9), StaircaseWarmup(7, 3, 0.1, 0.9)])
def test_a_schedule_runs_in_a_graph_and_survives_its_config(schedule: LinearWarmup) -> None:
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(restored) is type(schedule)
    in_graph = tf.function(restored, jit_compile=True)
    for step in range(9):
        np.testing.assert_allclose(in_graph(tf.constant(step, tf.int64)), schedule(step), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearWarmup(0),
        lambda: LinearWarmup(5, start=-0.1),
        lambda: StaircaseWarmup(5, stairs=0),
        lambda: StaircaseWarmup(5, stairs=6),
        lambda: KLWarmup(0),
        lambda: KLWarmup(5, end=-1.0),
        lambda: KLWarmup(5, stairs=6),
    ],
)
def test_a_warmup_that_cannot_be_is_refused(make) -> None:
    with pytest.raises(ValueError, match="must"):
        make()


def test_epochs_in_a_line_and_in_stairs() -> None:
    assert [KLWarmup(4, 0.2, 1.0).weight(e) for e in (0, 2, 4, 9)] == pytest.approx([0.2, 0.6, 1.0, 1.0])
    assert [KLWarmup(6, stairs=2).weight(e) for e in range(8)] == [0.0] * 3 + [0.5] * 3 + [1.0] * 2


@pytest.mark.slow
def test_the_weight_of_an_epoch_reaches_the_loss() -> None:
    """The logged weight follows the epochs, the objective uses it, and the reported ELBO does not."""
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,))
    model.compile(keras.optimizers.SGD(0.0), beta=0.5)
    logs = model.fit(x, epochs=3, batch_size=8, verbose=0, callbacks=[KLWarmup(2)]).history
    np.testing.assert_allclose(logs["kl_weight"], [0.0, 0.25, 0.5], atol=1e-6)
    likelihood, kl = (np.array(logs[f"{name}_nats_per_frame"]) for name in ("log_likelihood", "kl"))
    np.testing.assert_allclose(logs["loss"], np.array(logs["kl_weight"]) * kl - likelihood, rtol=1e-4)
    np.testing.assert_allclose(logs["elbo_nats_per_frame"], likelihood - kl, rtol=1e-4)


@pytest.mark.slow
def test_a_resumed_epoch_has_the_weight_that_it_would_have_had() -> None:
    x = np.zeros([4, 3, 2], np.float32)
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,))
    model.compile("sgd")
    logs = model.fit(x, initial_epoch=3, epochs=5, verbose=0, callbacks=[KLWarmup(10)]).history
    np.testing.assert_allclose(logs["kl_weight"], [0.3, 0.4], rtol=1e-6)
