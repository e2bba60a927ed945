"""standardize="sequence": the units of a sequence come from its given frames, which are not scored."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import bounds, random
from tfdvae.testing import assert_close, drawn, missing, streaming
from tfdvae.types import Batch

GIVEN = 3
LENGTH = 7
SCALE = np.array([1.0, 300.0, 1e-2], np.float32)[:, None, None]
SHIFT = np.array([0.0, -5000.0, 7.0], np.float32)[:, None, None]
LEVELS = np.array([1.0, 20.0, 1e-1, 5.0], np.float32)
USUAL = 1e-4
"""A usual scale that counts for nothing beside that of the sequences."""


def make(name: str, **options: Any) -> tfdvae.DVAE:
    model = cases.make(name, standardize="sequence", given_frames=GIVEN, **options)
    model.frames.scale.assign(np.full(cases.X_DIM, USUAL))
    return model


def sequences(name: str) -> Batch:
    batch = cases.frames(name, length=LENGTH)
    return batch._replace(x=batch.x * LEVELS + 2.0)


def moved(batch: Batch) -> Batch:
    """Each sequence in units of its own."""
    return batch._replace(x=batch.x * SCALE + SHIFT)


@pytest.mark.parametrize("name", cases.part(1, cases.PRIMARY))
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_a_sequence_in_other_units_is_the_same_sequence(name: str) -> None:
    """Latents stay; frames move with the units, and nats by their Jacobian in the frames that are scored."""
    model, batch = make(name), sequences(name)
    other = moved(batch)
    noise = model.draw_noise(random.make_seed(2), cases.BATCH, LENGTH)
    paths = [model.infer(*b, noise) for b in (batch, other)]
    assert_close(drawn(paths[1]), drawn(paths[0]), 3e-3)
    terms = [model.terms(path, b) for path, b in zip(paths, (batch, other), strict=True)]
    jacobian = cases.X_DIM * np.log(SCALE[:, :, 0]) * (np.arange(LENGTH) >= GIVEN)
    assert_close(terms[1].log_px, terms[0].log_px - jacobian.astype("float32"), 3e-3)
    np.testing.assert_array_equal(terms[0].log_px[:, :GIVEN], 0.0)
    assert (np.abs(terms[0].log_px[:, GIVEN:]) > 0.0).all()
    assert_close((model(cases.given(other)) - SHIFT) / SCALE, model(cases.given(batch)), 3e-3)
    options = {"horizon": 2, "num_samples": 2, "seed": 4, "future_u": None if batch.u is None else batch.u[:, :2]}
    ahead = [model.forecast(*b, **options).samples for b in (batch, other)]
    assert_close((ahead[1] - SHIFT) / SCALE, ahead[0], 3e-3)
    assert float(np.std(ahead[0])) > 0.1


@pytest.mark.parametrize("name", ["vrnn-u", "kvae", "srnn-filter-u", "dkf-st_l-u"])
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_frames_come_one_by_one_in_the_same_units(name: str) -> None:
    model, batch = make(name), moved(sequences(name))
    path = model.infer(*batch)
    terms = model.terms(path, batch)
    state = model.initial_state(cases.BATCH, given=batch.x[:, :GIVEN], context=batch.context)
    streaming.check_mixtures(model, batch, state)
    for t in range(LENGTH):
        out = model.step(state, batch.x[:, t], None if batch.u is None else batch.u[:, t])
        state = out.state
        assert_close(out.log_px, terms.log_px[:, t], 1e-3)
        assert_close(out.x, path.x[:, t], 1e-3)
    u = None if batch.u is None else batch.u[:, :2]
    whole = model.generate(2, prefix=cases.given(batch), u=u, sample=False)
    for t in range(2):
        frame, state = model.generate_step(state, None if u is None else u[:, t])
        assert_close(frame.x, whole.x[:, t], 1e-3)


@pytest.mark.slow
def test_particles_do_not_weigh_what_was_given() -> None:
    model, batch = make("rnn"), moved(sequences("rnn"))
    exact = model.log_prob(*batch, num_samples=1)
    assert_close(model.particle_log_prob(*batch, num_samples=2, seed=0), exact, 1e-4)
    terms = model.sample_terms(batch, random.make_seed(1))
    assert_close(bounds.log_weight(terms), exact, 1e-4)


@pytest.mark.parametrize("name", ["vrnn", "rvae_noncausal"])
@pytest.mark.slow
def test_units_are_of_given_frames_that_exist_and_were_observed(name: str) -> None:
    model, batch = make(name), moved(sequences(name))
    rng = np.random.default_rng(5)
    mask = np.ones((cases.BATCH, LENGTH), bool)
    mask[:, 1] = False
    observed = rng.random(batch.x.shape) < 0.6
    observed[1, :4, 2] = False
    known = observed & np.isin(np.arange(LENGTH), (0, 2, 3))[None, :, None]
    x = np.where(mask[..., None] & observed, batch.x, 1e30).astype("float32")
    found = model.frames.units(tf.constant(x), tf.constant(mask), tf.constant(observed))
    for b, d in np.ndindex(cases.BATCH, cases.X_DIM):
        values = x[b, known[b, :, d], d].astype("float64")
        shift = values.mean() if values.size else 0.0
        scale = np.sqrt((((values - shift) ** 2).sum() + USUAL**2) / max(values.size, 1))
        np.testing.assert_allclose([found.shift[b, d], found.scale[b, d]], [shift, scale], rtol=1e-3)
    clean = model.log_prob(np.where(observed, x, 0.0), mask, None, observed, num_samples=2, seed=1)
    assert_close(model.log_prob(x, mask, None, observed, num_samples=2, seed=1), clean, 1e-6)
    missing.check_junk(model)


@pytest.mark.slow
def test_imputed_frames_are_in_the_units_of_what_was_observed() -> None:
    """What a Markov chain fills in at given frames does not move the units."""
    model, batch = make("vrnn"), sequences("vrnn")
    observed = np.ones(batch.x.shape, bool)
    observed[:, 1] = observed[:, 4] = False
    options = {"num_samples": 2, "num_sweeps": 3, "seed": 1}
    found = model.impute(batch.x, observed=observed, **options).samples
    other = model.impute(moved(batch).x, observed=observed, **options).samples
    assert_close((other - SHIFT) / SCALE, found, 3e-3)


@pytest.mark.slow
def test_usual_units_are_adapted_and_stand_in_where_nothing_is_given() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(100.0, 50.0, (400, 1, 2))
    x = level + rng.normal(size=(400, 9, 2)) * [1.0, 4.0]
    model = tfdvae.VRNN(2, units=4, standardize="sequence", given_frames=4)
    model.adapt(x)
    own = x - x[:, :4].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(model.frames.shift, x.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(model.frames.scale, np.sqrt((own**2).mean(axis=(0, 1))), rtol=1e-3)
    start = model.frames.params(tf.zeros([1, model.features_dim]))
    assert start.shape[-1] == model.frames.params_dim == model.observation.params_dim + 4
    new = model.generate(3, 500, seed=1).x
    np.testing.assert_allclose(np.mean(new, axis=(0, 1)), model.frames.shift, atol=2.0)
    units = model.frames.units(tf.constant(x[:1], tf.float32))
    np.testing.assert_allclose(units.shift[0], x[0, :4].mean(axis=0), rtol=1e-4)


def test_positive_frames_are_scaled_and_not_shifted() -> None:
    x = np.random.default_rng(0).exponential([2.0, 700.0], (40, 5, 2)).astype("float32")
    model = tfdvae.VRNN(2, units=4, observation="gamma", standardize="sequence", given_frames=2)
    model.adapt(x)
    units = model.frames.units(tf.constant(x))
    np.testing.assert_array_equal(units.shift, 0.0)
    expected = (x[:, :2].sum(axis=1) + x.mean(axis=(0, 1))) / 3.0
    np.testing.assert_allclose(units.scale, expected, rtol=1e-4)


def test_nats_are_of_the_frames_after_the_given_ones_by_numerical_integration() -> None:
    model = tfdvae.RNN(units=3, phi_x=(2,), standardize="sequence", given_frames=2)
    model.build_for(1)
    cases.jitter(model.trainable_variables, 3)
    grid = np.linspace(-400.0, 600.0, 20001)
    x = np.stack([np.full_like(grid, 90.0), np.full_like(grid, 110.0), grid], axis=1)[..., None]
    density = np.exp(model.log_prob(x, num_samples=1).numpy())
    assert np.trapezoid(density, grid) == pytest.approx(1.0, rel=2e-3)


@pytest.mark.slow
def test_it_trains_and_comes_back(tmp_path: Path) -> None:
    batch = moved(sequences("vrnn"))
    model = tfdvae.VRNN(**cases.SIZES["vrnn"], standardize="sequence", given_frames=GIVEN)
    model.adapt(batch.x)
    model.compile(keras.optimizers.Adam(0.02))
    losses = model.fit(batch.x, batch_size=3, epochs=30, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.1
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.standardize, again.given_frames) == ("sequence", GIVEN)
    assert_close(again(batch.x), model(batch.x), 1e-6)


@pytest.mark.slow
def test_given_frames_alone_are_seen_and_not_scored() -> None:
    """Without units of their own: log p(x) is that of the later frames, given the first ones as inputs."""
    model, batch = cases.make("rnn", given_frames=2), cases.frames("rnn")
    plain = cases.make("rnn")
    for a, b in zip(model.variables, plain.variables, strict=True):
        a.assign(b)
    frames = plain.terms(plain.infer(*batch), batch).log_px
    assert_close(model.log_prob(*batch, num_samples=1), tf.reduce_sum(frames[:, 2:], axis=1), 1e-5)
    state = model.initial_state(cases.BATCH)
    assert set(state["given"]) == {"clock"}


@pytest.mark.slow
def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 with standardize='sequence'.*got 0"):
        tfdvae.VRNN(2, standardize="sequence")
    with pytest.raises(ValueError, match="`given_frames` must not be negative.*got -1"):
        tfdvae.VRNN(2, given_frames=-1)
    with pytest.raises(ValueError, match="Bernoulli explains values that have no unit"):
        tfdvae.VRNN(2, observation="bernoulli", standardize="sequence", given_frames=2)
    with pytest.raises(ValueError, match="`given` tells the units of sequences.*standardize='sequence'"):
        cases.make("vrnn").initial_state(2, given=np.ones((2, 3, cases.X_DIM)))
    with pytest.raises(ValueError, match="Expected `given` for 2 sequences, got 3"):
        make("vrnn").initial_state(2, given=np.ones((3, 3, cases.X_DIM)))
