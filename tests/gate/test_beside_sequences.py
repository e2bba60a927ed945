"""What verbs take beside sequences: inputs, noise, latents, contexts, states and counts."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.gate.support import B, D, T, frames, rolls, vae, vrnn
from tfdvae import validation
from tfdvae.testing import assert_equal

U = cases.U_DIM
NAN = float("nan")


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.fixture(scope="module")
def plain() -> tfdvae.DVAE:
    model = vrnn()
    model.build_for(D)
    return model


@pytest.fixture(scope="module")
def driven() -> tfdvae.DVAE:
    return cases.make("vrnn-u")


STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "noise of NaN": ({"noise": {"z": NAN * ones(B, 2)}}, "`noise of z` holds NaN or infinity"),
    "noise of another shape": ({"noise": ones(B, 3)}, r"`noise of z` of shape \[batch, 2\], got \[3, 3\]"),
    "noise of an unknown latent": ({"noise": {"y": ones(B, 2)}}, "`noise` names y; the latents of frames are z"),
    "noise for others": ({"noise": ones(2, 2)}, "`noise of z` for 3 sequences, got 2 rows"),
    "inputs that there are none of": ({"u": ones(B, 2)}, "built for no inputs `u`; got some"),
}


@pytest.mark.parametrize("what", STEPS)
def test_arguments_of_one_frame(plain: tfdvae.DVAE, what: str) -> None:
    options, message = STEPS[what]
    state = plain.initial_state(B)
    for call in (lambda: plain.step(state, frames()[:, 0], **options), lambda: plain.generate_step(state, **options)):
        with pytest.raises(ValueError, match=message):
            call()


def test_observed_and_uniform_noise_of_one_frame(plain: tfdvae.DVAE) -> None:
    state = plain.initial_state(B)
    for observed, message in (
        (0.3 * ones(B), "`observed` of booleans"),
        (np.full([B], "a"), "arrays of numbers, got `observed`"),
        (ones(B, D + 1), "`observed` of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            plain.step(state, frames()[:, 0], observed=observed)
    width = plain.observation.noise_dim
    for uniform, message in (
        (7.0 * ones(B, width), "`uniform` is uniform noise from 0 to 1, got values between 7 and 7"),
        (NAN * ones(B, width), "`uniform` holds NaN"),
        (7.0, r"`uniform` of shape \[batch, 4\], got \[\]"),
    ):
        with pytest.raises(ValueError, match=message):
            plain.generate_step(state, uniform=uniform)


def test_a_state_may_come_from_arrays_and_must_be_of_real_numbers() -> None:
    model = vrnn(standardize="sequence", given_frames=2)
    model.build_for(D)
    state, x = model.initial_state(B, given=frames()[:, :2]), frames()[:, 0]
    arrays = tf.nest.map_structure(lambda y: y.numpy().astype("float64"), state)
    assert_equal(model.step(arrays, x), model.step(state, x))
    assert_equal(model.generate_step(arrays), model.generate_step(state))
    for kind, message in ((complex, "of real numbers, got complex128"), (str, "arrays of numbers, got `state")):
        wrong = tf.nest.map_structure(lambda y, kind=kind: y.astype(kind), arrays)
        for call in (lambda wrong=wrong: model.step(wrong, x), lambda wrong=wrong: model.generate_step(wrong)):
            with pytest.raises(ValueError, match=message):
                call()


def test_a_state_of_booleans_holds_no_nan() -> None:
    template = {"is_first": tf.constant([[True]])}
    state, rows = validation.check_state({"is_first": np.zeros([2, 1])}, template)
    assert rows == 2 and state["is_first"].dtype == tf.bool
    with pytest.raises(ValueError, match="is_first.* holds NaN"):
        validation.check_state({"is_first": np.full([2, 1], NAN)}, template)


def test_inputs_of_one_frame(driven: tfdvae.DVAE) -> None:
    state = driven.initial_state(B)
    for u, message in (
        (None, r"built for inputs `u` of shape \[batch, 2\] at each frame; got none"),
        (ones(B, 1), r"`u` of shape \[batch, 2\], got \[3, 1\]"),
        (ones(1, U), "`u` for 3 sequences, got 1 rows"),
        (NAN * ones(B, U), "`u` holds NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            driven.step(state, frames()[:, 0], u)
        with pytest.raises(ValueError, match=message):
            driven.generate_step(state, u)


@pytest.mark.parametrize("name", ["rnn", "vae", "vrnn", "storn", "kvae"])
def test_a_state_is_one_of_this_model_for_as_many_sequences(name: str) -> None:
    model = cases.make(name)
    x = frames()[:, 0]
    state = model.initial_state(B)
    wrong: tuple[tuple[Any, str], ...] = (
        (model.initial_state(1), r"a state for the 3 sequences of what comes with the state, got 1 rows"),
        ({}, r"Expected a state of this model, .* with the entries \[.*\]; got \[\]"),
        ({**state, "more": x}, "Expected a state of this model"),
        (tf.nest.map_structure(lambda y: y[:, :-1] if y.shape.rank > 1 else y, state), "of shape"),
        (tf.nest.map_structure(lambda y: y * NAN if y.dtype.is_floating else y, state), "spoiled before this step"),
    )
    for given, message in wrong:
        with pytest.raises(ValueError, match=message):
            model.step(given, x)
    for given, message in wrong[1:]:
        with pytest.raises(ValueError, match=message):
            model.generate_step(given)
    once_more = model.step(model.generate_step(state)[1], x) if name != "storn" else model.step(state, x)
    assert np.isfinite(once_more.log_px).all()


@pytest.mark.slow
def test_a_step_checks_the_support_of_its_frame() -> None:
    model = vae(observation="bernoulli")
    model.build_for(D)
    state, x = model.initial_state(B), rolls()[:, 0]
    assert np.isfinite(model.step(state, x).log_px).all()
    with pytest.raises(ValueError, match="Bernoulli expects every feature to be 0 or 1"):
        model.step(state, 255.0 * x)
    assert np.isfinite(model.step(state, np.where(x > 0.0, x, 7.0), observed=x > 0.0).log_px).all()
    step = tf.function(lambda x: model.step(model.initial_state(B), x).log_px)
    np.testing.assert_allclose(step(tf.constant(x)), model.step(state, x).log_px, rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="values that cannot be: Bernoulli expects"):
        step(tf.constant(255.0 * x))


@pytest.mark.slow
def test_exported_steps_refuse_nan_in_states_and_noise(tmp_path: Any, plain: tfdvae.DVAE) -> None:
    plain.export(tmp_path / "model", signatures=["step", "reset"])
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    state = signatures["reset"](batch_size=tf.constant(B))
    given = {"x": tf.constant(frames()[:, 0]), "noise_z": tf.zeros([B, 2])}
    assert np.isfinite(signatures["step"](**state, **given)["log_px"]).all()
    for name in ("noise_z", "state_h"):
        spoiled = {**state, **given}
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="NaN or infinity where False stands: noise_z, state_h"
        ):
            signatures["step"](**{**spoiled, name: NAN * spoiled[name]})


COUNTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a state for -1": ("initial_state", {"batch_size": -1}, "`batch_size` must be at least 1, got -1"),
    "a state for 1.5": ("initial_state", {"batch_size": 1.5}, "`batch_size` must be a whole number, got 1.5"),
    "-1 sequences": ("generate", {"length": 2, "batch_size": -1}, "`batch_size` must be at least 1, got -1"),
    "half a frame": ("generate", {"length": 0.5}, "`length` must be a whole number"),
    "sampling maybe": ("generate", {"length": 2, "sample": "no"}, "`sample` must be True or False, got 'no'"),
    "no horizon": ("forecast", {"x": frames(), "horizon": 1.0}, "`horizon` must be a whole number"),
    "no sample": (
        "impute",
        {"x": frames(), "observed": ones(B, T), "num_samples": "2"},
        "`num_samples` must be a whole",
    ),
    "observed in words": ("impute", {"x": frames(), "observed": "a"}, "arrays of numbers, got `observed`"),
    "a seed of its own": ("reconstruct", {"x": frames(), "seed": True}, "`seed` must be a whole number, got True"),
}


@pytest.mark.parametrize("what", COUNTS)
def test_counts_and_switches(plain: tfdvae.DVAE, what: str) -> None:
    verb, options, message = COUNTS[what]
    with pytest.raises(ValueError, match=message):
        getattr(plain, verb)(**options)


def test_inputs_of_frames_to_come(driven: tfdvae.DVAE) -> None:
    past = {"x": frames(), "u": ones(B, T, U)}
    with pytest.raises(ValueError, match="`future_u` holds NaN or infinity"):
        driven.forecast(past, horizon=2, future_u=NAN * ones(B, 2, U))
    with pytest.raises(ValueError, match="same number of sequences, got `x` for 3, `future_u` for 2"):
        driven.forecast(past, horizon=2, future_u=ones(2, 2, U))
    with pytest.raises(ValueError, match="same number of sequences, got `prefix` for 3, `u` for 1"):
        driven.generate(2, prefix=past, u=ones(1, 2, U))
    with pytest.raises(ValueError, match="`u` holds NaN or infinity"):
        driven.generate(2, u=NAN * ones(B, 2, U))


def test_latents_and_contexts() -> None:
    model = cases.make("vrae")
    with pytest.raises(ValueError, match="`s` holds NaN or infinity"):
        model.generate(2, latents={"s": NAN * ones(B, 3)})
    with pytest.raises(ValueError, match="`s` holds NaN or infinity"):
        model.forecast(ones(B, 2, cases.X_DIM), horizon=2, latents={"s": NAN * ones(B, 3)})
    told = vae()
    told.build_for(D, context_dim=2)
    for call in (lambda context: told.generate(2, context=context), lambda c: told.initial_state(B, context=c)):
        with pytest.raises(ValueError, match="`context` holds NaN or infinity"):
            call(NAN * ones(B, 2))
    with pytest.raises(ValueError, match="`context` for 2 sequences, got 3 rows"):
        told.initial_state(2, context=ones(B, 2))
