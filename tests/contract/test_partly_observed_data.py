"""Training on data most of which was never measured, and filling in the rest of it."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import random
from tfdvae.testing import assert_close

SAMPLES = 3
OPTIONS = {"fill": "last", "indicator": True}


SOME, OTHERS = (cases.some(number, cases.PRIMARY) for number in range(2))


@pytest.fixture(scope="module", params=cases.PRIMARY)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def partly(name: str) -> dict[str, np.ndarray]:
    """Training data of which one feature was never measured, in one sequence nothing, and of one feature of another
    sequence the same value every time; NaN elsewhere."""
    data = cases.training_data(name, length=5)
    observed = np.random.default_rng(6).random(data["x"].shape) < 0.3
    observed[..., -1] = False
    observed[3] = False
    observed &= data["mask"][..., None]
    return {**data, "x": np.where(observed, data["x"], np.nan).astype("float32"), "observed": observed}


@SOME
@pytest.mark.slow
@pytest.mark.usefixtures("mostly_eager")
def test_training_takes_what_was_hardly_measured_and_is_remembered(name: str, tmp_path: Path) -> None:
    data = partly(name)
    model = cases.make(name, **OPTIONS)
    model.adapt(data["x"], data["mask"], data.get("u"), data["observed"])
    assert model.partly_observed
    model.compile(keras.optimizers.Adam(1e-2), run_eagerly=tf.config.functions_run_eagerly())
    logs = model.fit(data, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all() and logs["skipped_batches"] == [0.0, 0.0]
    imputed = model.impute(**data, num_samples=SAMPLES, num_sweeps=1, seed=0)
    assert np.isfinite(imputed.samples).all()
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    assert restored.partly_observed
    assert_close(restored.impute(**data, num_samples=SAMPLES, num_sweeps=1, seed=0).mean, imputed.mean, 1e-5)


@pytest.mark.slow
def test_training_on_complete_frames_leaves_the_chain() -> None:
    model = cases.make("vae")
    model.compile()
    model.fit(cases.training_data("vae"), epochs=1, verbose=0)
    model.impute(**partly("vae"), num_samples=1, num_sweeps=1)
    assert not model.partly_observed


@OTHERS
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_a_model_partly_observed_imputes_from_the_posterior_that_it_has_learned(name: str) -> None:
    model, data = cases.make(name, **OPTIONS), partly(name)
    model.partly_observed = True
    found = model.impute(**data, num_samples=SAMPLES, num_sweeps=1, seed=4)
    again = model.impute(**data, num_samples=SAMPLES, num_sweeps=5, seed=4)
    np.testing.assert_array_equal(found.samples, again.samples)
    exists, observed = data["mask"][..., None], data["observed"]
    np.testing.assert_array_equal(found.mean.numpy()[observed], data["x"][observed])
    if name.startswith(("kvae", "gpvae")):
        # z_t of frames of which nothing was observed comes from what the prior says of it given the others, see
        # tests/oracles.
        return
    tiled = {k: np.tile(np.nan_to_num(y), [SAMPLES, *[1] * (y.ndim - 1)]) for k, y in data.items()}
    size, length = tiled["x"].shape[:2]
    noise = model.draw_noise(random.fold_in(random.make_seed(4), "latent"), size, length)
    # Noise goes by the place of a frame among those that exist; here these come first anyway.
    means = model.frames.mean(model.infer(*model.tensors(tiled), noise).x)
    expected = np.reshape(means, [SAMPLES, *data["x"].shape]).mean(axis=0)
    missing = exists & ~observed
    assert_close(found.mean.numpy()[missing], expected[missing], 1e-5)


@pytest.mark.usefixtures("mostly_eager")
def test_what_was_not_measured_moves_nothing(name: str) -> None:
    model, data = cases.make(name, **OPTIONS), partly(name)
    model.partly_observed = True
    other = {**data, "x": np.where(data["observed"], data["x"], np.float32(1e6))}
    options = {"num_samples": 2, "num_sweeps": 2, "seed": 1}
    np.testing.assert_array_equal(model.impute(**data, **options).samples, model.impute(**other, **options).samples)


def test_a_feature_that_was_never_measured_and_one_of_a_single_value_have_a_unit() -> None:
    data = partly("vrnn")
    observed = data["observed"].copy()
    observed[..., 0] = False
    observed[0, 0, 0] = True
    model = tfdvae.VRNN(2, standardize="feature", units=4, **OPTIONS)
    model.adapt(np.where(observed, np.float32(7.0), np.nan), data["mask"], observed=observed)
    np.testing.assert_allclose(model.frames.scale, 1.0)
    np.testing.assert_allclose(model.frames.shift, np.where(observed.any((0, 1)), 7.0, 0.0))


@pytest.mark.parametrize("fill", ["zero", "last"])
@pytest.mark.parametrize("name", ["vrnn", "srnn-filter-u", "storn", "kvae-u"])
@pytest.mark.slow
def test_a_stream_and_scheduled_sampling_fill_in_as_whole_sequences_do(name: str, fill: str) -> None:
    model, batch = cases.make(name, fill=fill, indicator=True), cases.frames(name)
    observed = tf.constant(np.random.default_rng(0).random(batch.x.shape) < 0.5)
    expected = model.infer(batch.x, None, batch.u, observed).x
    if not name.startswith("kvae"):
        with random.replacement_scope(tf.constant(0.0), random.make_seed(0)):
            assert_close(model.infer(batch.x, None, batch.u, observed).x, expected, 1e-5)
    state, steps = model.initial_state(cases.BATCH), []
    for t in range(cases.LENGTH):
        u_t = None if batch.u is None else batch.u[:, t]
        out = model.step(state, batch.x[:, t], u_t, observed=observed[:, t])
        state = out.state
        steps.append(out.x)
    assert_close(np.stack(steps, axis=1), expected, 3e-5)
