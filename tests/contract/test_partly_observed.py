"""Frames of which a part was measured: what was not observed reaches neither values nor gradients, in any verb."""

import functools
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.layers.filling import last_observed
from tfdvae.testing import assert_close, assert_equal, differs, drawn, missing, streaming
from tfdvae.testing.missing import partly

KINDS = tuple(missing.FILLS)
PAIRS = pytest.mark.parametrize(("name", "kind"), cases.pairs(cases.PRIMARY, KINDS), indirect=["name"], scope="module")
"""Every model with one way to fill in what was not observed; with --exhaustive with each of them."""

SECOND = {p.values[0] for p in cases.part(1, cases.PRIMARY) if not p.marks}
TRAINED = [
    p if p.marks or p.values[0] in SECOND else pytest.param(*p.values, marks=cases.by_turns(p.values[0]))
    for p in cases.pairs(cases.PRIMARY, KINDS)
]
"""Those models that tests/contract/test_partly_observed_data.py does not train every time."""


@pytest.fixture(scope="module", params=cases.params(cases.PRIMARY))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def make(name: str) -> Callable[[str], tfdvae.DVAE]:
    """The case's model with a way to fill in; tests leave its weights as they are."""
    return functools.cache(lambda kind: cases.make(name, **missing.FILLS[kind]))


@PAIRS
@pytest.mark.slow
def test_values_and_gradients_do_not_hang_on_what_stands_at_unobserved_places(make: Callable, kind: str) -> None:
    missing.check_junk(make(kind))


def test_the_likelihood_counts_what_was_observed_and_nothing_else(make: Callable) -> None:
    model, batch = make("zero"), partly(make("zero"), np.nan)
    path = model.infer(*batch)
    loc, scale = model.observation.loc_and_scale(path.x)
    x, observed = batch.x.numpy(), batch.observed.numpy()
    density = -0.5 * np.square((x - loc) / scale) - np.log(scale) - 0.5 * np.log(2 * np.pi)
    expected = np.where(observed, density, 0.0).sum(axis=-1).astype("float32")
    terms = model.terms(path, batch)
    assert_close(terms.log_px, expected, 1e-5)
    np.testing.assert_array_equal(terms.log_px.numpy()[1, 2], 0.0)
    np.testing.assert_array_equal(terms.weight, 1.0)


@PAIRS
def test_all_observed_is_no_indicator(make: Callable, kind: str) -> None:
    missing.check_all_observed(make(kind))


def test_the_networks_see_what_they_are_told(make: Callable) -> None:
    batch, other = (partly(make("zero"), np.nan, seed) for seed in (3, 8))
    filled = tf.where(batch.observed, batch.x, 0.0)
    seen = [make(kind).pack(batch)[0].seen for kind in KINDS]
    if make("zero").frames.presence:
        there = tf.cast(tf.reduce_any(batch.observed, axis=-1), tf.float32)
        assert all(np.array_equal(y[..., -1], there) for y in seen)
        seen = [y[..., :-1] for y in seen]
    zero, last, indicator = seen
    assert_close(zero, filled)
    assert_close(last, last_observed(batch.x, batch.observed, tf.zeros_like(batch.x[:, 0])))
    assert_close(indicator, tf.concat([filled, tf.cast(batch.observed, tf.float32)], axis=-1))
    # An indicator of its own, with the same filled frames, makes another posterior.
    again = batch._replace(x=filled, observed=batch.observed | other.observed)
    if make("indicator").has_latents:
        found, changed = (drawn(make("indicator").infer(*b)) for b in (batch._replace(x=filled), again))
        own = [latent.name for latent in make("indicator").latents if latent.level != "dataset"]
        assert all(differs(found[k][1][0], changed[k][1][0]) for k in own)


def test_the_last_value_that_was_seen() -> None:
    x = tf.constant([[[1.0, 10.0], [2.0, np.nan], [np.nan, np.nan], [4.0, 40.0]]])
    observed = tf.constant([[[False, True], [True, False], [False, False], [True, True]]])
    expected = [[[-1.0, 10.0], [2.0, 10.0], [2.0, 10.0], [4.0, 40.0]]]
    assert_close(last_observed(x, observed, tf.constant([[-1.0, -2.0]])), np.float32(expected))


@PAIRS
def test_drawn_frames_mix_with_those_that_were_observed_in_part(make: Callable, kind: str) -> None:
    streaming.check_mixtures(make(kind), partly(make(kind), 0.0))


@PAIRS
def test_padding_and_missing_values_go_together(make: Callable, kind: str) -> None:
    missing.check_missing_and_masked(make(kind))


@pytest.mark.parametrize(("name", "kind"), TRAINED, indirect=["name"], scope="module")
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_it_trains_evaluates_and_comes_back(name: str, kind: str) -> None:
    model, data = cases.make(name, **missing.FILLS[kind]), cases.training_data(name, length=5)
    data["observed"] = np.random.default_rng(0).random(data["x"].shape) < 0.6
    data["x"] = np.where(data["observed"], data["x"], np.nan)
    model.compile(keras.optimizers.Adam(0.02), run_eagerly=tf.config.functions_run_eagerly())
    history = model.fit(data, epochs=3, batch_size=16, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["loss"][-1] < history["loss"][0]
    assert model.partly_observed
    observed = {**data, "x": np.where(data["observed"], data["x"], 7.0)}
    first, again = (model.evaluate(d, verbose=0, return_dict=True) for d in (data, observed))
    assert first == again
    scores = [model.log_prob(d, num_samples=2, seed=1) for d in (data, observed)]
    assert_equal(*scores)
    assert np.isfinite(model.predict(data, verbose=0)).all()


@pytest.mark.slow
def test_a_dataset_may_hold_it() -> None:
    model = cases.make("vrnn")
    batch = partly(model, np.nan)
    model.compile(run_eagerly=True)
    dataset = tf.data.Dataset.from_tensors(cases.given(batch))
    assert model.evaluate(dataset, verbose=0) == model.evaluate(cases.given(batch), verbose=0)
    seen = tf.constant(True, shape=batch.observed.shape)
    bad = tf.data.Dataset.from_tensors(cases.given(batch._replace(observed=seen)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` holds NaN or infinity in frames that exist"):
        model.evaluate(bad, verbose=0)


@pytest.mark.slow
def test_nan_means_missing_where_the_user_says_so() -> None:
    model, said = cases.make("vrnn"), cases.make("vrnn", missing="nan")
    batch = partly(model, np.nan)
    for one in (model, said):
        one.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    silent = {"x": batch.x.numpy()}
    with pytest.raises(ValueError, match="or make the model with missing='nan'"):
        model.fit(silent, verbose=0)
    for data in (silent, tf.data.Dataset.from_tensors(silent)):
        assert said.evaluate(data, verbose=0) == model.evaluate(cases.given(batch), verbose=0)
    assert_equal(said.log_prob(silent, num_samples=2, seed=1), model.log_prob(*batch, num_samples=2, seed=1))
    partly_said = {"x": tf.where(batch.observed, batch.x, 0.0), "observed": batch.observed}
    assert said.evaluate(cases.each(np.asarray, partly_said), verbose=0) == said.evaluate(silent, verbose=0)
    steps = [
        one.step(one.initial_state(3), batch.x[:, 0], observed=o)
        for one, o in ((said, None), (model, batch.observed[:, 0]))
    ]
    assert_equal(steps[0].log_px, steps[1].log_px)
    for one, data in ((model, cases.given(batch)), (said, silent)):
        one.fit(data, verbose=0)
    assert_equal(said.get_weights(), model.get_weights())
    with pytest.raises(ValueError, match="`x` holds NaN or infinity"):
        said.fit(np.where(np.isnan(silent["x"]), np.inf, silent["x"]), verbose=0)
    with pytest.raises(ValueError, match="`missing` must be None or 'nan', got 'zero'"):
        cases.make("vrnn", missing="zero")


@pytest.mark.slow
def test_what_cannot_be_observed_is_refused() -> None:
    model, x = cases.make("vrnn"), cases.frames("vrnn").x.numpy()
    with pytest.raises(ValueError, match="holds NaN or infinity at sequence 1, frame 2 .* say by `observed`"):
        model.encode(np.where(np.arange(15).reshape(3, 5, 1) == 7, np.nan, x))
    with pytest.raises(ValueError, match="Expected `observed` of booleans"):
        model.encode(x, observed=np.full(x.shape, 0.5))
    with pytest.raises(
        ValueError, match=r"Expected `observed` of shape \[3, 5, 4\], .*, or \[3, 5\], .* got \[3, 5, 2\]"
    ):
        model.encode(x, observed=np.ones((3, 5, 2), bool))
    with pytest.raises(ValueError, match="`fill` must be one of 'zero', 'last', 'line', got 'mean'"):
        cases.make("vrnn", fill="mean")
