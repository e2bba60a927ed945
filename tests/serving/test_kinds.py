"""What a model may be made of, exported: families of latents, several of them, pictures, partly observed frames, units
and context give the numbers of Keras in both formats.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from export import parity, running
from tests import cases
from tests.contract import extended
from tests.serving.outputs import check_outputs
from tfdvae import serving
from tfdvae.serving import quantisation

TOLERANCE = 1e-5
FORMATS = {"tf_saved_model": "model", "litert": "model.tflite"}
SIZES = {"units": 5, **cases.SIZES["vrnn"]}


def built(model: tfdvae.DVAE, frame_shape: tuple[int, ...] = (cases.X_DIM,), **sizes: int) -> tfdvae.DVAE:
    model.build_for(frame_shape, **sizes)
    cases.jitter(model.trainable_variables, 4)
    return model


def categorical() -> tfdvae.DVAE:
    family = {"class_name": "categorical", "config": {"classes": 2}}
    return built(tfdvae.VRNN(**{**SIZES, "latent_dim": 4}, family=family))


def coupling_with_context() -> tfdvae.DVAE:
    return built(tfdvae.VRNN(**SIZES, posterior_flow=2, flow="coupling"), u_dim=2, context_dim=3)


def autoregressive_in_units() -> tfdvae.DVAE:
    model = built(tfdvae.VRNN(**SIZES, posterior_flow=2, flow="autoregressive", standardize="feature"))
    model.adapt(np.random.default_rng(0).normal([0.0, 50.0, -3.0, 8.0], [1.0, 20.0, 0.1, 3.0], (6, 9, cases.X_DIM)))
    return model


def two_levels() -> tfdvae.DVAE:
    return built(extended.TwoLevelVRNN(**SIZES))


CONVOLUTIONS = dict.fromkeys(("frame_encoder", "frame_decoder"), {"class_name": "conv", "config": {"filters": (3, 2)}})


def pictures() -> tfdvae.DVAE:
    return built(tfdvae.VRNN(**SIZES, **CONVOLUTIONS, observation="bernoulli"), (8, 4, 2))


def pictures_that_were_given() -> tfdvae.DVAE:
    options = {**CONVOLUTIONS, "frame_skips": True, "given_frames": 2, "observation": "bernoulli"}
    return built(tfdvae.SVG(2, units=3, embedding_units=(4,), predictor_units=(5,), **options), (8, 4, 2))


def pictures_as_a_whole() -> tfdvae.DVAE:
    options = {**cases.SIZES["kvae"], **CONVOLUTIONS, "encoder_units": (), "decoder_units": ()}
    return built(tfdvae.KVAE(**{**options, "units": 5, "observation": "bernoulli"}), (8, 4, 2))


def partly_observed() -> tfdvae.DVAE:
    model = tfdvae.VRNN(**SIZES, fill="last", indicator=True)
    model.build({"x": (None, None, cases.X_DIM), "observed": (None, None, cases.X_DIM)})
    cases.jitter(model.trainable_variables, 4)
    return model


def in_units_of_its_own() -> tfdvae.DVAE:
    return built(tfdvae.VRNN(**SIZES, standardize="sequence", given_frames=2))


KINDS: dict[str, Callable[[], tfdvae.DVAE]] = {
    one.__name__: one
    for one in (
        categorical,
        coupling_with_context,
        autoregressive_in_units,
        two_levels,
        pictures,
        pictures_that_were_given,
        pictures_as_a_whole,
        partly_observed,
        in_units_of_its_own,
    )
}


EVERYDAY = {"categorical", "coupling_with_context", "two_levels", "pictures", "partly_observed"}
PAIRS = [
    pytest.param(kind, form, marks=() if form == "litert" and kind in EVERYDAY else pytest.mark.exhaustive)
    for kind in KINDS
    for form in FORMATS
]
"""A LiteRT file comes from a SavedModel of the same functions, so that the latter may wait for their turn."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "form"), PAIRS)
def test_every_signature_gives_the_numbers_of_keras(kind: str, form: str, tmp_path: Path) -> None:
    tf.keras.utils.set_random_seed(4)
    model = KINDS[kind]()
    if form == "litert":
        pytest.importorskip("ai_edge_litert")
    model.export(tmp_path / FORMATS[form], format=form)
    if form == "litert":
        check_outputs(tmp_path / FORMATS[form])
    found = parity.compare(model, running.load(tmp_path / FORMATS[form]))
    for one in found:
        assert one.relative <= TOLERANCE, one
    target = serving.LITERT if form == "litert" else serving.Target()
    expected = set(serving.declare(model, target)) | ({"step x T", "mixtures"} if model.causal else set())
    assert {one.signature for one in found} == expected


def names(signature: serving.Signature, kind: str) -> list[str]:
    return [field.name for field in getattr(signature, kind) if not field.name.startswith("state_")]


def test_latents_stand_in_signatures_by_name() -> None:
    declared = serving.declare(two_levels())
    assert names(declared["encode"], "outputs") == ["y_mean", "y_scale", "z_mean", "z_scale"]
    assert names(declared["step"], "inputs") == ["x", "noise_y", "noise_z"]
    assert {"y", "y_mean", "y_scale", "z", "z_mean", "z_scale"} <= set(names(declared["step"], "outputs"))
    assert names(declared["generate"], "outputs") == ["x", "y", "z"]
    random = {field.name: field.random for field in declared["generate_step"].inputs if field.random}
    assert random == {"noise_y": "normal", "noise_z": "normal", "uniform": "uniform"}
    assert {f.name: f.random for f in serving.declare(categorical())["step"].inputs if f.random} == {
        "noise_z": "uniform"
    }


def test_inputs_are_those_that_the_model_was_built_with() -> None:
    sequences = names(serving.declare(coupling_with_context())["encode"], "inputs")
    assert sequences == ["x", "mask", "u", "context"]
    declared = serving.declare(partly_observed())
    assert names(declared["encode"], "inputs") == ["x", "mask", "observed"]
    assert names(declared["step"], "inputs") == ["x", "observed", "noise_z"]
    assert "state_last" in {field.name for field in declared["reset"].outputs}


@pytest.mark.slow
def test_pictures_keep_their_shape() -> None:
    model = pictures()
    declared = serving.declare(model, serving.LITERT)
    shapes = {field.name: field.shape for field in (*declared["step"].inputs, *declared["step"].outputs)}
    assert shapes["x"] == shapes["next_mean"] == (1, 8, 4, 2)
    x = parity.sequences(model, 2, 6).x
    assert x.shape == (2, 6, 8, 4, 2)
    found = quantisation.check_representative(x, model)
    assert quantisation.samples(declared, ["step"], found)["step"]["x"].shape == (12, 1, 8, 4, 2)


def test_outputs_are_in_the_units_of_the_data() -> None:
    """Sequences that the model drew lie where the data does to which it was adapted."""
    model = autoregressive_in_units()
    given = {"batch_size": np.int32(50), "length": np.int32(5), "seed": np.int64(1)}
    drawn = serving.declare(model)["generate"].function({name: tf.constant(value) for name, value in given.items()})
    standardised = (np.mean(drawn["x"], axis=(0, 1)) - model.frames.shift) / model.frames.scale
    assert (np.abs(standardised) < 2.0).all() and (np.abs(np.mean(drawn["x"], axis=(0, 1))) > 2.0)[1:].all()


def test_a_stream_begins_in_the_units_of_given_frames() -> None:
    declared = serving.declare(in_units_of_its_own())
    assert names(declared["reset"], "inputs") == ["given"]
    assert names(declared["encode"], "inputs") == ["x", "mask"]
    given = np.array([[[1.0, 20.0, 3.0, 4.0], [3.0, 20.0, 3.0, 8.0]]], np.float32)
    state = declared["reset"].function({"given": tf.constant(given)})
    np.testing.assert_allclose(state["state_given_shift"], [[2.0, 20.0, 3.0, 6.0]])
    np.testing.assert_allclose(state["state_given_scale"], np.sqrt([[1.5, 0.5, 0.5, 4.5]]), rtol=1e-5)


@pytest.mark.slow
def test_what_was_not_observed_has_no_influence() -> None:
    model = partly_observed()
    declared = serving.declare(model)
    for name in ("encode", "score", "step", "impute"):
        given = parity.examples(model, declared[name], declared)
        spoilt = {**given, "x": np.where(given["observed"], given["x"], np.nan).astype("float32")}
        found, other = (parity.call(declared[name], one) for one in (given, spoilt))
        for key in found:
            np.testing.assert_array_equal(found[key], other[key])


@pytest.mark.slow
def test_ranges_of_integers_are_measured_with_context_and_what_was_observed() -> None:
    model = coupling_with_context()
    declared = serving.declare(model, serving.LITERT)
    batch = parity.sequences(model, 3, 6)
    found = quantisation.samples(declared, ["reset", "step"], quantisation.check_representative(batch, model))
    np.testing.assert_array_equal(found["reset"]["context"][:, 0], batch.context)
    np.testing.assert_array_equal(found["step"]["state_context"][:6, 0], np.tile(batch.context[0], (6, 1)))
    model = partly_observed()
    declared = serving.declare(model, serving.LITERT)
    given = {"x": np.full([2, 5, cases.X_DIM], np.nan), "observed": np.zeros([2, 5, cases.X_DIM], bool)}
    found = quantisation.samples(declared, ["step"], quantisation.check_representative(given, model))["step"]
    assert found["observed"].dtype == bool and not found["observed"].any()
    whole = quantisation.check_representative(np.ones([2, 5, cases.X_DIM]), model)
    assert whole.observed.all()
