"""Values that cannot be are refused by name, wherever a model meets them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.gate.support import B, D, T, compiled, dataset, frames, rolls, vae
from tfdvae.observations.values import BINARY, COUNTS, contained

WRONG = {
    "bernoulli": 255.0 * rolls(),
    "autoregressive_bernoulli": rolls() - 1.0,
    "gamma": -np.ones([B, T, D], np.float32),
}
RIGHT = {"bernoulli": rolls(), "autoregressive_bernoulli": rolls(), "gamma": np.ones([B, T, D], np.float32)}
EAGER: dict[str, Callable[[tfdvae.DVAE, Any], Any]] = {
    "call": lambda model, x: model(x),
    "encode": lambda model, x: model.encode(x),
    "log_prob": lambda model, x: model.log_prob(x, num_samples=1),
    "particle_log_prob": lambda model, x: model.particle_log_prob(x, num_samples=2),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "forecast": lambda model, x: model.forecast(x, horizon=1, num_samples=1),
    "generate": lambda model, x: model.generate(1, prefix=x),
    "impute": lambda model, x: model.impute(x, observed=np.ones([B, T], bool)),
    "adapt": lambda model, x: model.adapt(x),
    "fit": lambda model, x: model.fit(x, verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
    "train_on_batch": lambda model, x: model.train_on_batch(x),
    "fit on a generator": lambda model, x: model.fit(iter([x]), verbose=0),
    "validation data": lambda model, x: model.fit(RIGHT[model.observation.name], validation_data=x, verbose=0),
}


def explaining(observation: str) -> tfdvae.DVAE:
    model = compiled(vae(observation=observation))
    model.observation.name = observation
    model.build_for(D)
    return model


@pytest.mark.parametrize("verb", EAGER)
def test_every_verb_refuses_what_the_observation_cannot_explain(verb: str) -> None:
    with pytest.raises(ValueError, match="Bernoulli expects every feature to be 0 or 1, got values between"):
        EAGER[verb](explaining("bernoulli"), WRONG["bernoulli"])


@pytest.mark.parametrize("observation", WRONG)
@pytest.mark.slow
def test_so_do_datasets_and_graphs(observation: str) -> None:
    model = explaining(observation)
    for verb in (model.fit, model.evaluate, model.predict):
        verb(dataset(RIGHT[observation]), verbose=0)
        with pytest.raises(tf.errors.InvalidArgumentError, match="`x` holds values that cannot be: .* expects"):
            verb(dataset(WRONG[observation]), verbose=0)
    score = tf.function(lambda x: model.encode(x))
    score(tf.constant(RIGHT[observation]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` holds values that cannot be"):
        score(tf.constant(WRONG[observation]))


@pytest.mark.slow
def test_so_do_exported_signatures(tmp_path: Any) -> None:
    model = explaining("bernoulli")
    model.export(tmp_path / "model", signatures=["encode"])
    encode = tf.saved_model.load(str(tmp_path / "model")).signatures["encode"]
    given = {"mask": tf.ones([B, T], tf.bool)}
    encode(x=tf.constant(RIGHT["bernoulli"]), **given)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Bernoulli expects every feature to be 0 or 1"):
        encode(x=tf.constant(WRONG["bernoulli"]), **given)


@pytest.mark.slow
def test_what_does_not_exist_or_was_not_observed_may_be_anything() -> None:
    model = explaining("bernoulli")
    x, mask = rolls(), np.arange(T) < np.array([[5], [3], [2]])
    observed = rolls()[::-1] > 0.0
    given = {"x": np.where(mask[..., None] & observed, x, 7.0), "mask": mask, "observed": observed}
    model.log_prob(given, num_samples=1)
    model.evaluate(dataset(given), verbose=0)


UNUSABLE = {
    "complex numbers": (
        frames().astype("complex64"),
        "real numbers, got complex64, whose imaginary part would be lost",
    ),
    "text": (np.full([B, T, D], "1"), "arrays of numbers, got `x`"),
    "nothing": (None, r"frames of shape \[batch, time, features\].*got None"),
    "nothing in a dict": ({"x": None}, r"frames of shape \[batch, time, features\].*got None"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_types_that_are_no_real_numbers(what: str) -> None:
    data, message = UNUSABLE[what]
    model = compiled(vae())
    for verb in (model.encode, model.predict, model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            verb(data)


def test_a_dataset_is_checked_as_arrays_are() -> None:
    model = compiled(vae())
    with pytest.raises(ValueError, match="imaginary part would be lost"):
        model.fit(dataset(frames().astype("complex64")), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` holds NaN or infinity"):
        model.fit(dataset(np.full([B, T, D], 1e300)), verbose=0)
    for value in (0.5, np.nan):
        with pytest.raises(tf.errors.InvalidArgumentError, match="a mask of booleans"):
            model.fit(dataset({"x": frames(), "mask": np.full([B, T], value)}), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`observed` of booleans"):
        model.fit(dataset({"x": frames(), "observed": np.full([B, T, D], 0.3)}), verbose=0)
    shapeless = tf.data.Dataset.from_generator(lambda: iter([frames()]), output_types=tf.float32)
    with pytest.raises(ValueError, match="`output_signature`"):
        model.fit(shapeless, verbose=0)


@pytest.mark.slow
def test_generators_and_pydatasets_are_checked_as_they_come() -> None:
    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> np.ndarray:
            return frames() if index < 2 else np.full([B, T, D], np.nan, np.float32)

    for source in (Batches(workers=1), (Batches(workers=1)[i] for i in range(3))):
        with pytest.raises(tf.errors.OpError, match="`x` holds NaN or infinity at sequence 0, frame 0"):
            compiled(vae()).fit(source, verbose=0, shuffle=False)


def test_seeds_and_counts_are_whole_numbers() -> None:
    model = compiled(vae())
    with pytest.raises(ValueError, match="`seed` must be a whole number, got 1.5"):
        model.reconstruct(frames(), seed=1.5)
    for options, message in (
        ({"num_samples": 0}, "`num_samples` must be at least 1, got 0"),
        ({"num_samples": -1}, "`num_samples` must be at least 1, got -1"),
        ({"chunk": -1}, "`chunk` must be at least 1, got -1"),
        ({"num_samples": 2.0}, "`num_samples` must be a whole number, got 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.log_prob(frames(), **options)
    assert np.array_equal(model.log_prob(frames(), seed=np.int64(3)), model.log_prob(frames(), seed=3))


@pytest.mark.parametrize("kind", [np.asarray, tf.constant], ids=["arrays", "tensors"])
def test_zero_and_one_alone_are_asked_for_in_a_shorter_way_that_says_the_same(kind: Any) -> None:
    right = [0, 1, -0.0, 5e-7, 1 - 5e-7, 1 + 5e-7, -5e-7]
    wrong = [2e-6, 1 + 2e-6, -2e-6, 0.5, 2, -1, 255, 3e38, np.nan]
    given = np.array([*right, *wrong])
    x = kind(np.stack([given, np.zeros_like(given)], axis=1).astype(np.float32))
    found, expected = (np.asarray(contained(row, x))[:, 0] for row in ([BINARY], [BINARY, COUNTS]))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found, [True] * len(right) + [False] * len(wrong))
