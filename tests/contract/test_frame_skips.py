"""frame_skips: what the decoder takes of given frames goes through all verbs, files, masks and streams."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.testing import assert_close, assert_equal, differs, paths, streaming

GIVEN, PICTURE = 2, (5, 6, 1)
CONV = {"class_name": "conv", "config": {"filters": (3, 2)}}
SIZES = {"units": 3, "frame_encoder": CONV, "frame_decoder": CONV, "given_frames": GIVEN, "frame_skips": True}
SVG = {**SIZES, "embedding_units": (4,), "predictor_units": (5,)}


def make(**options: Any) -> tfdvae.SVG:
    keras.utils.set_random_seed(0)
    model = tfdvae.SVG(2, **{**SVG, **options})
    model.build_for(PICTURE)
    cases.jitter(model.trainable_variables, 4)
    return model


@pytest.fixture(scope="module")
def model() -> tfdvae.SVG:
    return make()


def pictures(batch: int = 3, length: int = 5, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, length, *PICTURE)).astype("float32")


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_ways_and_steps_are_the_sequence(model: tfdvae.SVG) -> None:
    paths.check_ways(model)
    streaming.check_steps(model)
    streaming.check_generated_steps(model)
    streaming.check_mixtures(model)


@pytest.mark.parametrize("given", [1, 2, 4])
@pytest.mark.usefixtures("eagerly")
def test_a_forecast_goes_on_from_where_a_stream_has_come(model: tfdvae.SVG, given: int) -> None:
    """After fewer frames than are given to training the model's own ones follow them, as in any stream."""
    x = pictures(length=given)
    state = model.initial_state(3)
    for t in range(given):
        state = model.step(state, x[:, t]).state
    whole = model.generate(3, prefix=x, sample=False).x
    for t in range(3):
        frame, state = model.generate_step(state)
        assert_close(frame.x, whole[:, t], 3e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_forecasts_read_the_last_given_frame_and_no_later_one() -> None:
    """The picture of a frame reaches the decoder by the skips alone where nothing else of the model sees it."""
    blind = make()
    for rnn in (blind.cell.predictor_input, blind.cell.posterior_input, blind.cell.prior_input):
        kernel = rnn.hidden[0].kernel
        kernel.assign(tf.zeros_like(kernel))
    x, options = pictures(length=4), {"horizon": 2, "num_samples": 2, "seed": 3}
    found = blind.forecast(x, **options).samples
    for t in range(4):
        other = x.copy()
        other[:, t] += 1.0
        assert differs(blind.forecast(other, **options).samples, found) == (t == GIVEN - 1)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_verbs_have_frames_to_show_without_any_that_were_given(model: tfdvae.SVG) -> None:
    """The decoder begins with zeros, and takes the first frames that were drawn where frames would be given."""
    state, drawn = model.initial_state(2), model.generate(4, 2, sample=False).x
    np.testing.assert_array_equal(state["given"]["pictures"], 0.0)
    for t in range(4):
        np.testing.assert_array_equal(state["given"]["clock"], t)
        frame, after = model.generate_step(state)
        assert_close(frame.x, drawn[:, t], 3e-5)
        assert differs(after["given"]["pictures"], state["given"]["pictures"]) == (t < GIVEN)
        state = after
    x, observed = pictures(), np.random.default_rng(2).random((3, 5, *PICTURE)) < 0.7
    observed[0, 0] = False
    for chain in (True, False):
        model.partly_observed = not chain
        found = model.impute(np.where(observed, x, np.nan), observed=observed, num_samples=2, num_sweeps=2, seed=0)
        np.testing.assert_array_equal(found.mean.numpy()[observed], x[observed])
        assert np.isfinite(found.samples).all()
    model.partly_observed = False
    for mode in ("teacher_forced", "generation"):
        assert np.isfinite(model.reconstruct(x, mode=mode, sample=True, seed=1)).all()


@pytest.mark.slow
def test_it_trains_with_masks_and_comes_back(tmp_path: Path) -> None:
    model = tfdvae.SVG(2, **SVG)
    data = {"x": pictures(8), "mask": np.arange(5)[None] < np.random.default_rng(0).integers(3, 6, 8)[:, None]}
    data["mask"][0, 0] = False
    model.compile(keras.optimizers.Adam(0.02), jit_compile=False)
    losses = model.fit(data, batch_size=8, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.01
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.frame_skips and again.get_config() == model.get_config()
    assert_equal(again(data), model(data))
    assert again.evaluate(data, verbose=0) == model.evaluate(data, verbose=0)


@pytest.mark.exhaustive
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"micro_batch": 3}, {"hide": 0.3}, {"bound": "fivo"}])
def test_it_trains_in_other_ways(options: dict[str, Any]) -> None:
    model = make()
    model.compile(keras.optimizers.Adam(0.01), **options)
    history = model.fit(pictures(6), batch_size=6, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["skipped_batches"] == [0.0] * 3


@pytest.mark.exhaustive
def test_mixed_precision_has_the_numbers_of_single_precision(model: tfdvae.SVG) -> None:
    half = make(dtype="mixed_bfloat16")
    half.set_weights(model.get_weights())
    assert half.initial_state(1)["given"]["pictures"].dtype == tf.bfloat16
    assert_close(half.reconstruct(pictures()), model.reconstruct(pictures()), 0.1)
    assert np.isfinite(half.forecast(pictures(), horizon=2, num_samples=2).samples).all()


@pytest.mark.slow
def test_what_it_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="`given_frames` must be at least 1, got 0"):
        tfdvae.SVG(2, **{**SVG, "given_frames": 0})
    for name, spec in (("frame_encoder", (4,)), ("frame_decoder", None), ("frame_decoder", keras.layers.Dense(3))):
        with pytest.raises(ValueError, match=f"frame_encoder='conv' to those of.*got `{name}`"):
            tfdvae.SVG(2, **{**SVG, name: spec})
    for refuse in (tfdvae.KVAE, tfdvae.GPVAE, tfdvae.DSAE, tfdvae.FHVAE, tfdvae.VRAE, tfdvae.NonCausalRVAE):
        with pytest.raises(ValueError, match=f"{refuse.__name__} decodes latents.*without `frame_skips`"):
            refuse(**SIZES if refuse is not tfdvae.GPVAE else {**SIZES, "units": 4})
    with pytest.raises(ValueError, match="`given` tells the units of sequences.*by `step`"):
        make().initial_state(1, given=pictures(1, 2))
