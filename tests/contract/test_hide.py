"""Hiding entries from the networks in training that are scored all the same."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import random
from tfdvae.testing import assert_close
from tfdvae.types import Batch


def test_the_part_that_is_hidden_is_the_rate() -> None:
    x, rate = tf.zeros([64, 50, 3]), 0.3
    observed = tf.random.stateless_uniform(x.shape, [1, 2]) < 0.5
    assert random.unhidden(x, None) is None and random.unhidden(x, observed) is observed
    with random.hiding_scope(0.0, random.make_seed(3)):
        assert random.unhidden(x, observed) is observed
    with random.hiding_scope(rate, random.make_seed(3)):
        every, some = random.unhidden(x, None).numpy(), random.unhidden(x, observed).numpy()
        np.testing.assert_array_equal(some, random.unhidden(x, observed))
    assert np.mean(~every) == pytest.approx(rate, abs=5 * (rate * (1 - rate) / every.size) ** 0.5)
    np.testing.assert_array_equal(some, every & observed.numpy())


@cases.some(0)
@pytest.mark.slow
def test_hidden_entries_are_scored_and_not_seen(name: str, batch: Batch, noise: dict) -> None:
    model = cases.make(name, fill="last", indicator=True)
    seed = random.make_seed(5)
    with random.hiding_scope(0.4, seed):
        kept = random.unhidden(batch.x, None)
        path = model.infer(*batch, noise=noise)
    expected = model.infer(batch.x, None, batch.u, kept, noise=noise)
    assert_close([y.z for y in path.latents.values()], [y.z for y in expected.latents.values()], 1e-5)
    assert_close(path.x, expected.x, 1e-5)
    log_px = model.terms(path, batch).log_px
    assert_close(log_px, model.frames.log_prob(path.x, batch.x), 1e-5)


@pytest.mark.slow
def test_training_with_hidden_entries_is_deterministic_and_remembered() -> None:
    def losses(hide: float, eager: bool = True) -> list[float]:
        model = cases.make("vrnn", indicator=True, dropout=0.0)
        model.compile("adam", hide=hide, run_eagerly=eager)
        history = model.fit(cases.training_data("vrnn", 8, 5), epochs=1, verbose=0, shuffle=False).history
        assert model.partly_observed == (hide > 0.0) and model.get_compile_config()["hide"] == hide
        return history["loss"]

    first = losses(0.5)
    assert losses(0.5) == first != losses(0.0)
    assert losses(0.5, eager=False) == pytest.approx(first, rel=1e-5)


@pytest.mark.slow
def test_what_cannot_be_hidden_is_refused() -> None:
    model = tfdvae.VRNN(2, units=4)
    for hide in (1.0, -0.1):
        with pytest.raises(ValueError, match=f"`hide` must be a part of what was observed, .*got {hide}"):
            model.compile(hide=hide)
    with pytest.raises(ValueError, match="`hide` hides entries of the data, and scheduled sampling"):
        model.compile(hide=0.1, scheduled_sampling=0.5)
