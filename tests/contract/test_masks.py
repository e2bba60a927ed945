"""Frames that do not exist reach neither values nor gradients, wherever they stand and whatever they hold."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.contract.checks import assert_close, evaluate
from tfdvae import random
from tfdvae.types import Batch

PADDED = 7
LAYOUTS = {
    "right": [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2]],
    "left": [[2, 3, 4, 5, 6], [5, 6], [4, 5, 6]],
    "gaps": [[0, 2, 3, 5, 6], [1, 6], [0, 3, 4]],
    "one frame": [[0, 1, 2, 3, 4, 5, 6], [3], [6]],
}


@pytest.fixture(params=LAYOUTS)
def places(request: pytest.FixtureRequest) -> list[list[int]]:
    return LAYOUTS[request.param]


def spread(places: list[list[int]], series: list[np.ndarray], fill: float) -> np.ndarray:
    """Puts the frames of each sequence where they belong, and `fill` elsewhere."""
    out = np.full((len(places), PADDED, series[0].shape[-1]), fill, np.float32)
    for b, (where, values) in enumerate(zip(places, series, strict=True)):
        out[b, where] = values
    return out


def sequences(name: str, model: tfdvae.DVAE, places: list[list[int]]) -> list[tuple[Batch, Any]]:
    """Each sequence alone, with its noise."""
    return [
        (cases.frames(name, 1, len(w), 10 + b), cases.noise(model, 1, len(w), 20 + b)) for b, w in enumerate(places)
    ]


def padded(name: str, model: tfdvae.DVAE, places: list[list[int]]) -> tuple[Batch, Any]:
    """All of them in one batch, NaN where no frame exists."""
    alone = sequences(name, model, places)
    x = spread(places, [b.x[0] for b, _ in alone], np.nan)
    u = spread(places, [b.u[0] for b, _ in alone], np.nan) if model.u_dim else None

    def joined(*noises: tf.Tensor) -> tf.Tensor:
        if noises[0].shape.rank == 2:
            return tf.concat(noises, axis=0)
        return tf.constant(spread(places, [n[0] for n in noises], 0.7))

    noise = tf.nest.map_structure(joined, *(n for _, n in alone))
    mask = spread(places, [np.ones((len(w), 1)) for w in places], 0.0)[..., 0] > 0
    tensors = (None if y is None else tf.constant(y) for y in (x, mask, u))
    return Batch(*tensors), noise


def test_values_and_gradients_are_those_of_the_sequences_without_masked_frames(
    model: tfdvae.DVAE, name: str, places: list[list[int]]
) -> None:
    batch, noise = padded(name, model, places)
    found = evaluate(model, batch, noise)
    alone = [evaluate(model, *one) for one in sequences(name, model, places)]
    for b, (where, one) in enumerate(zip(places, alone, strict=True)):
        missing = np.setdiff1d(np.arange(PADDED), where)
        values = tf.nest.flatten((found.z, found.q, found.p, found.x, found.of_inputs))
        for y, expected in zip(values, tf.nest.flatten((one.z, one.q, one.p, one.x, one.of_inputs)), strict=True):
            assert_close(y.numpy()[b, where], expected[0], 3e-5)
            np.testing.assert_array_equal(y.numpy()[b, missing], 0.0)
    assert_close(found.objective, tf.add_n([one.objective for one in alone]), 3e-5)
    summed = [tf.add_n(list(g)) for g in zip(*(one.of_variables for one in alone), strict=True)]
    assert_close(found.of_variables, summed, 3e-5)


def test_the_terms_of_training_stay_finite_and_are_zero_at_masked_frames(
    model: tfdvae.DVAE, name: str, places: list[list[int]]
) -> None:
    batch, _ = padded(name, model, places)
    with tf.GradientTape() as tape:
        terms = model.sample_terms(batch, random.make_seed(0), num_samples=2)
        objective = tf.reduce_sum(terms.log_px + terms.log_ratio - terms.penalty) - tf.reduce_sum(terms.kl)
    for gradient in tape.gradient(objective, model.trainable_variables):
        assert np.isfinite(gradient).all()
    lengths = np.repeat([len(w) for w in places], 2)
    np.testing.assert_array_equal(terms.weight.numpy().sum(axis=1), lengths)
    for y in (terms.log_px, terms.log_ratio, terms.kl, terms.penalty):
        assert np.isfinite(y).all()
        np.testing.assert_array_equal(y.numpy()[terms.weight.numpy() == 0.0], 0.0)


def test_call_and_encode_take_masks(model: tfdvae.DVAE, name: str) -> None:
    places = LAYOUTS["gaps"]
    batch, _ = padded(name, model, places)
    called, encoded = model(cases.given(batch)).numpy(), model.encode(*batch)
    one, _ = sequences(name, model, places)[2]
    assert_close(called[2, places[2]], model(cases.given(one))[0], 3e-5)
    assert_close([y.numpy()[2, places[2]] for y in encoded], [y[0] for y in model.encode(*one)], 3e-5)
    for y in (called, *encoded):
        np.testing.assert_array_equal(np.asarray(y)[~batch.mask.numpy()], 0.0)
