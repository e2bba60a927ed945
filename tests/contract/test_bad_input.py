"""Input that cannot be right: one exception that says what was expected and what came, before any work is lost."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases

B, T, D, U = cases.BATCH, cases.LENGTH, cases.X_DIM, cases.U_DIM


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape or (B, T, D)).astype("float32")


def spoiled(value: float, *where: int, shape: tuple[int, ...] = (B, T, D)) -> np.ndarray:
    x = frames(*shape)
    x[where] = value
    return x


def mask(*lengths: int) -> np.ndarray:
    return np.arange(T)[None] < np.array(lengths)[:, None]


STATIC: dict[str, tuple[Any, str]] = {
    "one sequence without batch": (frames(T, D), r"frames of shape \[batch, time, features\], got shape .*x\[None\]"),
    "one number per frame": (frames(B), r"frames of shape \[batch, time, features\], got shape"),
    "pictures": (frames(B, T, D, 1), r"built for frames of 4 features, got \[4, 1\] \(shape \[3, 5, 4, 1\]\)"),
    "another number of features": (frames(B, T, D + 1), "built for frames of 4 features, got 5"),
    "no frame": (frames(B, 0, D), r"at least one sequence, one frame and one feature, got shape"),
    "no feature": (frames(B, T, 0), r"at least one sequence, one frame and one feature, got shape"),
    "a shorter mask": (
        {"x": frames(), "mask": mask(5, 5, 5)[:, :-1]},
        r"`mask` of shape \[batch, time\] = .* to fit x of shape .*5, 4\], got .*4\]",
    ),
    "a mask per feature": (
        {"x": frames(), "mask": np.ones((B, T, D), bool)},
        r"`mask` of shape \[batch, time\] = .* to fit x of shape .*, got .*5, 4\]",
    ),
    "inputs where none were": ({"x": frames(), "u": frames(B, T, U)}, "built for no inputs `u`, got 2 features"),
    "an unknown key": (
        {"x": frames(), "masks": mask(5, 5, 5)},
        r"'mask', 'u', 'observed', 'context', got the keys \['masks', 'x'\]",
    ),
    "no frames at all": ({"mask": mask(5, 5, 5)}, r"a dict with 'x' .* got the keys \['mask'\]"),
}
"""What shapes and keys tell, of arrays and of the element spec of a dataset alike; for an undriven model."""

DRIVEN: dict[str, tuple[Any, str]] = {
    "inputs missing": (frames(), "built for inputs `u` with 2 features, got none"),
    "inputs of another width": (
        {"x": frames(), "u": frames(B, T, U + 1)},
        "inputs `u` with 2 features, got 3 features",
    ),
    "shorter inputs": (
        {"x": frames(), "u": frames(B, T - 1, U)},
        r"`u` of shape \[batch, time, inputs\] = .*got .*4, 2",
    ),
    "flat inputs": ({"x": frames(), "u": frames(B, T)}, r"`u` of shape \[batch, time, inputs\] = .*got"),
}

VALUES: dict[str, tuple[Any, str, str]] = {
    "NaN in a frame": (
        spoiled(np.nan, 1, 2),
        r"`x` holds NaN or infinity at sequence 1, frame 2 \(1 such frames\).*say by `observed`",
        "`x` holds NaN or infinity in frames that exist",
    ),
    "infinity in one feature": (
        spoiled(np.inf, 2, 0, 3),
        "`x` holds NaN or infinity at sequence 2, frame 0",
        "`x` holds NaN or infinity in frames that exist",
    ),
    "NaN before the mask ends": (
        {"x": spoiled(np.nan, 0, 2), "mask": mask(3, 5, 5)},
        "`x` holds NaN or infinity at sequence 0, frame 2",
        "`x` holds NaN or infinity in frames that exist",
    ),
    "a sequence of nothing": (
        {"x": frames(), "mask": mask(5, 0, 2)},
        "Every sequence needs a frame that exists; the mask is false everywhere in sequence 1",
        "Every sequence needs a frame that exists",
    ),
}
"""What only values tell: the message for arrays, and the one for datasets, whose batches are checked as they come."""


def fit(model: tfdvae.DVAE, data: Any) -> Any:
    return model.fit(data, verbose=0)


def evaluate(model: tfdvae.DVAE, data: Any) -> Any:
    return model.evaluate(data, verbose=0)


def predict(model: tfdvae.DVAE, data: Any) -> Any:
    return model.predict(data, verbose=0)


def encode(model: tfdvae.DVAE, data: Any) -> Any:
    return model.encode(data)


def log_prob(model: tfdvae.DVAE, data: Any) -> Any:
    return model.log_prob(data, num_samples=1)


VERBS = [fit, evaluate, predict, encode, log_prob]


@pytest.fixture(params=VERBS, ids=lambda verb: verb.__name__)
def verb(request: pytest.FixtureRequest) -> Callable:
    return request.param


@pytest.fixture(params=VERBS[:3], ids=lambda verb: verb.__name__)
def keras_verb(request: pytest.FixtureRequest) -> Callable:
    return request.param


def compiled(name: str) -> tfdvae.DVAE:
    model = cases.make(name)
    model.compile(run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def plain() -> tfdvae.DVAE:
    return compiled("vrnn")


@pytest.fixture(scope="module")
def driven() -> tfdvae.DVAE:
    return compiled("dkf-st_r-u")


@pytest.fixture(autouse=True)
def nothing_is_lost(plain: tfdvae.DVAE, driven: tfdvae.DVAE) -> Iterator[None]:
    before = [w.copy() for m in (plain, driven) for w in m.get_weights()]
    yield
    after = [w for m in (plain, driven) for w in m.get_weights()]
    assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("what", STATIC)
def test_arrays_of_another_shape_or_name(plain: tfdvae.DVAE, verb: Callable, what: str) -> None:
    data, message = STATIC[what]
    with pytest.raises(ValueError, match=message):
        verb(plain, data)


@pytest.mark.parametrize("what", STATIC)
def test_datasets_of_another_shape_or_name(plain: tfdvae.DVAE, keras_verb: Callable, what: str) -> None:
    data, message = STATIC[what]
    with pytest.raises(ValueError, match=message):
        keras_verb(plain, tf.data.Dataset.from_tensors(data))


@pytest.mark.parametrize("what", DRIVEN)
def test_inputs_that_do_not_fit(driven: tfdvae.DVAE, verb: Callable, what: str) -> None:
    data, message = DRIVEN[what]
    with pytest.raises(ValueError, match=message):
        verb(driven, data)
    if verb in VERBS[:3]:
        with pytest.raises(ValueError, match=message):
            verb(driven, tf.data.Dataset.from_tensors(data))


@pytest.mark.parametrize("what", VALUES)
def test_values_that_cannot_be(plain: tfdvae.DVAE, verb: Callable, what: str) -> None:
    data, message, _ = VALUES[what]
    with pytest.raises(ValueError, match=message):
        verb(plain, data)


@pytest.mark.parametrize("what", VALUES)
def test_values_that_cannot_be_in_a_dataset(plain: tfdvae.DVAE, keras_verb: Callable, what: str) -> None:
    data, _, message = VALUES[what]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        keras_verb(plain, tf.data.Dataset.from_tensors(data))


def test_masked_values_may_be_anything(plain: tfdvae.DVAE, verb: Callable) -> None:
    weights = plain.get_weights()
    x = np.where(mask(5, 1, 3)[..., None], frames(), [np.nan, np.inf, -np.inf, 1e38]).astype("float32")
    found = verb(plain, {"x": x, "mask": mask(5, 1, 3)})
    assert all(np.isfinite(y).all() for y in tf.nest.flatten(getattr(found, "history", found)))
    plain.set_weights(weights)


@pytest.mark.parametrize("what", ["NaN in inputs", "strings", "lengths of their own", "a mask of other numbers"])
def test_arrays_that_are_not_numbers_or_not_booleans(driven: tfdvae.DVAE, what: str) -> None:
    data, message = {
        "NaN in inputs": (
            {"x": frames(), "u": spoiled(np.nan, 0, 1, shape=(B, T, U))},
            "`u` holds NaN or infinity at sequence 0, frame 1",
        ),
        "strings": ({"x": np.full((B, T, D), "a"), "u": frames(B, T, U)}, "Expected arrays of numbers"),
        "lengths of their own": (
            {"x": [[[1.0] * D] * 2, [[1.0] * D]], "u": frames(B, T, U)},
            r"Expected `u` of the lengths of the sequences in x, \[2, 1\]; got \[5, 5, 5\]",
        ),
        "a mask of other numbers": (
            {"x": frames(), "mask": np.full((B, T), 0.5), "u": frames(B, T, U)},
            "Expected a mask of booleans",
        ),
    }[what]
    with pytest.raises(ValueError, match=message):
        fit(driven, data)


def test_validation_data_is_checked_before_training(plain: tfdvae.DVAE) -> None:
    with pytest.raises(ValueError, match="built for frames of 4 features, got 5"):
        plain.fit(frames(), validation_data=frames(B, T, D + 1), verbose=0)
    with pytest.raises(ValueError, match="`x` holds NaN or infinity at sequence 1, frame 2"):
        plain.fit(frames(), validation_data=spoiled(np.nan, 1, 2), verbose=0)


def test_there_are_no_targets(plain: tfdvae.DVAE) -> None:
    for call in (plain.fit, plain.evaluate):
        with pytest.raises(ValueError, match="A DVAE models x itself: pass frames"):
            call(frames(), frames(), verbose=0)
    for call in (plain.fit, plain.evaluate):
        with pytest.raises(ValueError, match="A DVAE models x itself: pass frames"):
            call(tf.data.Dataset.from_tensors((frames(), frames())), verbose=0)


def test_fit_before_compile() -> None:
    with pytest.raises(ValueError, match="Call `compile` before `fit`"):
        tfdvae.VRNN(latent_dim=2, units=5).fit(frames(), verbose=0)


@pytest.mark.parametrize("name", sorted(tfdvae.MODELS))
def test_unknown_options_and_observations(name: str) -> None:
    model = tfdvae.MODELS[name]
    with pytest.raises(ValueError, match="latent_dims"):
        model(latent_dims=3)
    with pytest.raises(ValueError, match=r"Unknown observation 'gausian'; known are .*gaussian.*pen"):
        model(observation="gausian")
    with pytest.raises(ValueError, match="An observation is a name out of .*; got 3"):
        model(observation=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dkf", {"inference": "st_x"}, r"`inference` must be one of \['frame', 'local', .*\], got 'st_x'"),
        ("srnn", {"inference": "backward"}, "`inference` must be 'smooth' or 'filter', got 'backward'"),
        ("vrnn", {"cell": "lst"}, r"`cell` must be one of \['gru', 'lstm', 'rnn'\], got 'lst'"),
        ("storn", {"first_features": "x"}, "`first_features` must be 'zeros' or 'phi_x', got 'x'"),
        ("dkf", {"initial_prior": "x"}, "`initial_prior` must be 'standard' or 'transition', got 'x'"),
        ("vrnn", {"num_layers": 0}, "`num_layers` must be at least 1, got 0"),
        ("vrnn", {"dropout": 1.0}, r"`dropout` must be in \[0, 1\), got 1.0"),
        ("vrnn", {"scale": "square"}, "`scale` must be 'softplus' or 'exp', got 'square'"),
        ("vrnn", {"latent_dim": -1}, "`latent_dim` must not be negative, got -1"),
        ("rnn", {"latent_dim": 2}, "RNN has no latent variables: `latent_dim` must be 0, got 2"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.MODELS[name](**options)


@pytest.mark.slow
def test_frames_outside_of_the_support_of_the_observation() -> None:
    model = tfdvae.VRNN(latent_dim=2, units=5, observation="bernoulli")
    model.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="Bernoulli expects .* to be 0 or 1, got values between"):
        model.fit(frames(), verbose=0)
