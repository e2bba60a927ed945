"""Networks that see straight lines through what was not observed, of models that may know what comes after a gap."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import parity, running
from tests import cases
from tfdvae.data import impute_linear
from tfdvae.layers.filling import between_neighbours
from tfdvae.testing import missing

TAKE_IT = {
    *("dkf-st_r", "rvae", "rvae_noncausal-u", "dsae-full-u", "dssm-u", "fhvae-u", "fvae-u", "latent_lds-u"),
    *("switching_lds-u", "gpvae", "draw", "vssn-u"),
}
"""Of `cases.PRIMARY`."""
SEVERAL = ["dkf-mf_lr-u", "dkf-tridiagonal-u", "rvae_noncausal-u", "gpvae"]


def make(name: str) -> tfdvae.DVAE:
    return cases.make(name, fill="line", indicator=True)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.slow
def test_it_is_the_line_between_neighbours_of_numpy(jit: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 9, 3)).astype(np.float32)
    observed = rng.random(x.shape) < rng.uniform(0.0, 0.8, size=(40, 1, 3))
    holed, blank = np.where(observed, x, np.nan), np.float32([5.0, -1.0, 0.25])
    found = tf.function(between_neighbours, jit_compile=jit)(holed, observed, np.broadcast_to(blank, x.shape).copy())
    np.testing.assert_allclose(found, impute_linear(np.where(observed, x, 0.0), observed, blank), atol=1e-5)
    np.testing.assert_array_equal(found.numpy()[observed], x[observed])


def test_networks_see_it_in_standardised_units_beside_the_indicator() -> None:
    model = tfdvae.DKF(2, inference="mf_lr", units=4, fill="line", indicator=True, standardize="feature")
    x = np.float32([[[1.0], [np.nan], [np.nan], [4.0], [np.nan]], [[np.nan]] * 5])
    observed = np.isfinite(x)
    model.adapt(x, observed=observed)
    line = np.float32([[1.0, 2.0, 3.0, 4.0, 4.0], [2.5] * 5])[..., None]
    seen = model.frames.see(tf.constant(x), tf.constant(observed))
    np.testing.assert_allclose(seen, np.concatenate([(line - 2.5) / 1.5, observed], axis=-1), atol=1e-6)


@pytest.mark.parametrize("name", cases.PRIMARY)
def test_only_models_that_may_know_the_future_take_it(name: str) -> None:
    if name in TAKE_IT:
        assert make(name).fill == "line"
        return
    model = cases.make(name)
    reason = "up to their own" if model.causal else "explains frames by those before them"
    with pytest.raises(ValueError, match=f"fill='line' shows the networks of .* {reason}.*: choose fill='last'"):
        make(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL)
def test_what_was_not_observed_and_padding_leave_no_trace(name: str) -> None:
    missing.check_junk(make(name))
    missing.check_missing_and_masked(make(name))
    missing.check_all_observed(make(name))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tf_saved_model", "litert"])
def test_files_give_the_numbers_of_keras(form: str, tmp_path: Path) -> None:
    model = make("dkf-mf_lr-u")
    model.partly_observed = True
    path = tmp_path / ("model.tflite" if form == "litert" else "model")
    model.export(path, format=form)
    found = parity.compare(model, running.load(path))
    assert found
    for one in found:
        assert one.relative <= 1e-5, one


@pytest.mark.slow
def test_it_trains_and_comes_back(tmp_path: Path) -> None:
    model, data = make("dkf-mf_lr-u"), cases.training_data("dkf-mf_lr-u", length=5)
    observed = np.random.default_rng(1).random(data["x"].shape) < 0.6
    given = {**data, "x": np.where(observed, data["x"], np.nan).astype(np.float32), "observed": observed}
    model.compile(keras.optimizers.Adam(1e-2), hide=0.3)
    logs = model.fit(given, batch_size=16, epochs=2, verbose=0).history
    assert np.isfinite(logs["loss"]).all() and logs["skipped_batches"] == [0.0, 0.0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.fill == "line"
    found, expected = (one.impute(**given, num_samples=2, seed=0).mean for one in (again, model))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "hears"), [(tfdvae.SRNN, {}, True), (tfdvae.DKF, {"inference": "mf_lr"}, False)]
)
def test_whether_p_hears_frames_is_known_of_models_with_inputs_and_a_context(
    kind: type, options: dict, hears: bool
) -> None:
    model = kind(2, units=3, **options)
    model.build_for(4, u_dim=2, context_dim=3)
    assert model.hears_frames is hears
