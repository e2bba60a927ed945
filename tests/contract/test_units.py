"""Units of the data: a standardised model takes and gives the user's units, and its nats are of the data."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import observations
from tfdvae.testing import assert_close, drawn
from tfdvae.types import Batch

SCALE = np.array([1.0, 300.0, 1e-3, 20.0], np.float32)
SHIFT = np.array([0.0, 273.15, 5e-3, -1e3], np.float32)


def in_units(batch: Batch) -> Batch:
    return batch._replace(x=batch.x * SCALE + SHIFT)


def pair(name: str, **options: Any) -> tuple[tfdvae.DVAE, tfdvae.DVAE]:
    """The same networks, of data in their own units and of standardised ones."""
    plain = cases.make(name, standardize=None, **options)
    own = cases.make(name, standardize="feature", **options)
    own.frames.shift.assign(SHIFT)
    own.frames.scale.assign(SCALE)
    for a, b in zip(own.trainable_variables, plain.trainable_variables, strict=True):
        a.assign(b)
    return own, plain


@pytest.mark.parametrize("name", cases.part(0, cases.PRIMARY))
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_everything_is_in_the_units_of_the_data(name: str) -> None:
    own, plain = pair(name)
    batch = cases.frames(name)
    noise = cases.noise(own)
    raw = in_units(batch)
    found, expected = own.infer(*raw, noise), plain.infer(*batch, noise)
    assert_close([drawn(found), found.x], [drawn(expected), expected.x], 1e-3)
    terms, standard = own.terms(found, raw), plain.terms(expected, batch)
    assert_close(terms.log_px, standard.log_px - np.float32(np.log(SCALE).sum()), 1e-3)
    assert_close(terms.kl, standard.kl, 1e-3)
    assert_close(own(cases.given(raw)), plain(cases.given(batch)) * SCALE + SHIFT, 1e-3)
    options = {"u": batch.u[:, :2] if own.u_dim else None, "seed": 4}
    drawn_x, drawn_z = (m.generate(2, 3, **options).x for m in (own, plain))
    assert_close(drawn_x, drawn_z * SCALE + SHIFT, 1e-3)
    if own.causal:
        states = [m.initial_state(3) for m in (own, plain)]
        u = None if batch.u is None else batch.u[:, 0]
        a, b = (m.step(s, x[:, 0], u) for m, s, x in zip((own, plain), states, (raw.x, batch.x), strict=True))
        assert_close(a.log_px, b.log_px - np.float32(np.log(SCALE).sum()), 1e-3)
        drawn_x, drawn_z = (m.generate_step(s.state, u)[0].x for m, s in ((own, a), (plain, b)))
        assert_close(drawn_x, drawn_z * SCALE + SHIFT, 1e-3)


def test_only_what_was_observed_has_a_jacobian() -> None:
    own, plain = pair("vrnn")
    batch = cases.frames("vrnn")
    observed = np.random.default_rng(0).random(batch.x.shape) < 0.5
    raw = in_units(batch)._replace(observed=tf.constant(observed))
    batch = batch._replace(observed=tf.constant(observed))
    found, expected = own.infer(*raw), plain.infer(*batch)
    volume = np.where(observed, np.log(SCALE), 0.0).sum(axis=-1).astype("float32")
    assert_close(own.terms(found, raw).log_px, plain.terms(expected, batch).log_px - volume, 1e-3)


def test_nats_are_of_the_data_by_numerical_integration() -> None:
    """exp(log p) integrates to one over a grid in the units of the data."""
    model = tfdvae.RNN(units=3, phi_x=(2,), standardize="feature")
    model.build_for(1)
    model.adapt(np.random.default_rng(0).normal(1e5, 40.0, (50, 4, 1)))
    grid = np.linspace(1e5 - 600.0, 1e5 + 600.0, 4001)
    density = np.exp(model.log_prob(grid[:, None, None], num_samples=1).numpy())
    assert np.trapezoid(density, grid) == pytest.approx(1.0, rel=2e-3)


@pytest.mark.parametrize("mode", ["feature", "global"])
def test_statistics_are_of_what_exists_and_was_observed(mode: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 7, 3)) * [1.0, 50.0, 0.1] + [0.0, -20.0, 3.0]
    mask = np.arange(7)[None] < rng.integers(1, 8, 30)[:, None]
    observed = rng.random(x.shape) < 0.7
    observed[..., 2] &= False
    known = mask[..., None] & observed
    model = tfdvae.VRNN(2, units=4, standardize=mode)
    model.build_for(3)
    model.adapt(np.where(known, x, np.nan), mask, observed=observed)
    if mode == "feature":
        values = [x[..., d][known[..., d]] for d in range(2)]
        shift, scale = [v.mean() for v in values] + [0.0], [v.std() for v in values] + [1.0]
    else:
        shift, scale = [x[known].mean()] * 3, [x[known].std()] * 3
    np.testing.assert_allclose(model.frames.shift, shift, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.frames.scale, scale, rtol=1e-4)
    # The first prediction has the mean and the scale of the data.
    start = model.frames.distribution(tf.convert_to_tensor(model.observation.bias))
    np.testing.assert_allclose(start.mean() if mode == "feature" else shift, shift, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [("gaussian", "feature"), ("gaussian_mixture", "feature"), ("identity_gaussian", None), ("bernoulli", None)],
)
def test_what_auto_means(observation: str, expected: str | None) -> None:
    model = tfdvae.VRNN(2, units=4, observation=observation)
    assert model.standardize == "auto" and model.frames.mode == expected


@pytest.mark.slow
def test_discrete_frames_have_no_units_and_positive_ones_no_shift() -> None:
    with pytest.raises(
        ValueError, match="Bernoulli explains values that have no unit: standardize=None, got 'feature'"
    ):
        tfdvae.VRNN(2, observation="bernoulli", standardize="feature")
    with pytest.raises(
        ValueError, match="`standardize` must be one of 'auto', 'feature', 'global', 'sequence', None, got 'minmax'"
    ):
        tfdvae.VRNN(2, standardize="minmax")
    x = np.random.default_rng(0).exponential([2.0, 700.0], (40, 3, 2))
    model = tfdvae.VRNN(2, units=4, observation="gamma", standardize="feature")
    model.adapt(x)
    np.testing.assert_array_equal(model.frames.shift, 0.0)
    np.testing.assert_allclose(model.frames.scale, x.mean(axis=(0, 1)), rtol=1e-5)
    pens = np.concatenate([x, np.ones((40, 3, 1))], axis=-1)
    pen = tfdvae.VRNN(2, units=4, observation="pen", standardize="feature")
    pen.adapt(pens)
    assert pen.frames.scale.numpy()[2] == 1.0 and pen.frames.shift.numpy()[2] == 0.0
    assert set(np.unique(pen.generate(20, 2, seed=1).x[..., 2])) <= {0.0, 1.0}


@pytest.mark.slow
def test_statistics_are_stored_with_the_weights(tmp_path: Path) -> None:
    model, _ = pair("vrnn")
    raw = in_units(cases.frames("vrnn"))
    model.compile(run_eagerly=True)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.frames.scale, SCALE)
    assert_close(again(raw.x), model(raw.x), 1e-6)
    assert all(v.path.split("/")[-1] not in ("shift", "scale") for v in model.trainable_variables)


@pytest.mark.slow
def test_data_in_other_units_train_to_the_same_model() -> None:
    """A change of units changes nats by its Jacobian and nothing else."""
    data = cases.training_data("vrnn")
    losses = []
    for scale, shift in ((1.0, 0.0), (SCALE, SHIFT)):
        model = cases.make("vrnn", standardize="feature")
        x = data["x"] * scale + shift
        model.adapt(x, data["mask"])
        model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
        history = model.fit({**data, "x": x}, batch_size=8, epochs=3, shuffle=False, verbose=0).history
        losses.append(np.array(history["loss"]) - np.log(scale * np.ones(4)).sum())
    np.testing.assert_allclose(losses[1], losses[0], rtol=2e-3)


@pytest.mark.slow
def test_the_families_say_what_their_units_are() -> None:
    for name, kind in observations.OBSERVATIONS.items():
        assert set(np.atleast_1d(kind.units)) <= {"affine", "scale", "none"}, name
        assert not kind.standardized_by_default or kind.units == "affine", name
