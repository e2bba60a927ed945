"""Arguments of constructors: of the kind of their defaults, numpy's numbers included, and none without use."""

import inspect
import json
import operator
import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest

import tfdvae
from configs.defaults import model_options as configs_of
from tests.gate.support import D, frames

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("vrnn", {"units": 2.5}, "`units` must be a whole number, got 2.5"),
    ("vrnn", {"num_layers": 1.5}, "`num_layers` must be a whole number, got 1.5"),
    ("vrnn", {"latent_dim": 2.5}, "`latent_dim` must be a whole number, got 2.5"),
    ("vrnn", {"latent_dim": True}, "`latent_dim` must be a whole number, got True"),
    ("vrnn", {"dropout": float("nan")}, "`dropout` must be a finite number, got nan"),
    ("vrnn", {"scale_floor": "max"}, "`scale_floor` must be 'sum', which adds `min_scale`, or 'clip'"),
    ("vrnn", {"min_scale": -1.0}, "`min_scale` must be a finite number of at least 0, got -1"),
    ("vrnn", {"phi_x": 8}, r"`phi_x` must be a sequence of whole numbers such as \(8,\), got 8"),
    ("vrnn", {"phi_x": (4, 0)}, r"`phi_x\[1\]` must be at least 1, got 0"),
    ("vrnn", {"conditional_prior": "no"}, "`conditional_prior` must be True or False, got 'no'"),
    ("vrnn", {"given_frames": 1.5}, "`given_frames` must be a whole number, got 1.5"),
    ("vrnn", {"indicator": "no"}, "`indicator` must be True or False, got 'no'"),
    ("vrnn", {"seed": 1.5}, "`seed` must be a whole number, got 1.5"),
    ("zforcing_vrnn", {"backward_weight": float("nan")}, "`backward_weight` must be a finite number, got nan"),
    ("rssm", {"overshooting": 1.5}, "`overshooting` must be a whole number, got 1.5"),
    ("vssn", {"universal_dim": 2.5}, "`universal_dim` must be a whole number, got 2.5"),
    ("sv2p", {"level": "segment"}, "`level` must be 'sequence' or 'frame', got 'segment'"),
    ("svg", {"predictor_layers": 0}, "`predictor_layers` must be at least 1, got 0"),
    ("kvae", {"units": 2.5}, "`units` must be a whole number, got 2.5"),
    ("vae", {"cell": "nonsense"}, "VAE has no use for `cell`, since it has no recurrent layers: leave it out"),
    ("vae", {"cell": "gru", "num_layers": 3}, "VAE has no use for `cell`, `num_layers`"),
    ("vae", {"units": 64}, "VAE has no use for `units`, since it has no recurrent layers: leave it out"),
    ("rnn", {"scale": "exp", "min_scale": 0.1}, "RNN has no use for `scale`, `min_scale`, since it has no latent"),
    ("rnn", {"family": "categorical"}, "RNN has no use for `family`, since it has no latent variables: leave it out"),
    ("rnn", {"posterior_flow": 1}, "RNN has no use for `posterior_flow`, since it has no latent variables: leave"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_arguments_of_another_kind(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.MODELS[name](**options)


IDLE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("vrnn", {"flow": "autoregressive"}, {"posterior_flow": 2}),
    ("vrnn", {"conditional_prior": False, "prior_units": (4,)}, {"conditional_prior": True}),
    ("lvrnn", {"conditional_prior": False, "prior_units": (4,)}, {"conditional_prior": True}),
    ("svg", {"learned_prior": False, "prior_units": (4,)}, {"learned_prior": True}),
    ("dkf", {"inference": "mf_l", "combiner_units": (4,)}, {"inference": "st_l"}),
    ("dkf", {"inference": "local", "units": 4}, {"inference": "mf_lr"}),
    ("dkf", {"inference": "frame", "cell": "gru"}, {"inference": "st_r"}),
    ("dkf", {"inference": "tridiagonal", "num_layers": 2}, {"inference": "st_lr"}),
    ("dkf", {"transition": "linear", "transition_units": (4,)}, {"transition": "gated"}),
    ("dsae", {"inference": "factorized", "posterior_cell": "rnn"}, {"inference": "full"}),
    ("dvbf", {"num_sequences": 4}, {"bayesian": True}),
    ("dvbf", {"initial": "filter", "units": 4}, {"initial": "smooth"}),
    ("gpvae", {"units": 4}, {"inference": "recurrent"}),
    ("gpvae", {"cell": "gru"}, {"inference": "recurrent"}),
    ("gpvae", {"window": 5, "inference": "recurrent"}, {"inference": "convolution"}),
    ("draw", {"attention": False, "read_size": 3}, {"attention": True}),
    ("draw", {"attention": False, "write_size": 3}, {"attention": True}),
    ("switching_lds", {"inference": "filter", "rounds": 2}, {"inference": "smooth"}),
    ("zforcing_vrnn", {"backward_weight": 0.5}, {"reconstruct_backward": "gaussian"}),
]


@pytest.mark.parametrize(("name", "options", "change"), IDLE)
def test_arguments_that_others_leave_without_use(name: str, options: dict[str, Any], change: dict[str, Any]) -> None:
    made = tfdvae.MODELS[name]
    (other,) = change
    (wrong,) = made.without_use(options).keys() & options.keys() - {other}
    expected = f"has no use for `{wrong}`, which is read where `{other}` is .*, and it is .*: leave it out"
    with pytest.raises(ValueError, match=expected):
        made(2, **options)
    made(2, **{**options, **change})
    made(2, **{key: value for key, value in options.items() if key != wrong})
    # Files of models that were written before hold them.
    assert made.from_config({**options, "latent_dim": 2}).get_config()[wrong] == made(2).get_config()[wrong]


def test_each_argument_without_use_is_refused_for_its_own_reason() -> None:
    with pytest.raises(ValueError) as found:
        tfdvae.DKF(2, inference="mf_l", combiner_units=(4,), transition="linear", transition_units=(4,))
    assert str(found.value) == (
        "DKF has no use for `transition_units`, which is read where `transition` is 'gated', and it is 'linear'; nor "
        "for `combiner_units`, which is read where `inference` is 'st_r' or 'st_l' or 'st_lr', and it is 'mf_l': leave "
        "them out."
    )


@pytest.mark.parametrize("name", tfdvae.MODELS)
def test_what_others_decide_about_are_arguments_and_defaults_are_never_refused(name: str) -> None:
    made = tfdvae.MODELS[name]
    known = configs_of(name)
    made(**known)
    for one in (*made.__mro__, *getattr(made, "cell_class", made).__mro__):
        for argument, (other, _) in vars(one).get("used_with", {}).items():
            assert {argument, other} - made.without_use().keys() <= known.keys()


OF_CELLS = [row for row in REFUSED if row[0] != "kvae" and not row[1].keys() & {"given_frames", "indicator", "seed"}]


@pytest.mark.parametrize(("name", "options", "message"), OF_CELLS)
def test_a_cell_that_is_made_directly_checks_them_too(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.MODELS[name].cell_class(**options)


PARTS: list[tuple[str, dict[str, Any], str]] = [
    ("gaussian_mixture", {"num_components": 2.5}, "`num_components` must be a whole number, got 2.5"),
    ("pen", {"num_components": True}, "`num_components` must be a whole number, got True"),
    ("pen", {"max_correlation": "a"}, "`max_correlation` must be a finite number, got 'a'"),
    ("gamma", {"min_mean": "a"}, "`min_mean` must be a finite number, got 'a'"),
    ("bernoulli", {"projection": "no"}, "`projection` must be True or False, got 'no'"),
    ("gaussian", {"min_scale": True}, "`min_scale` must be a finite number, got True"),
]


@pytest.mark.parametrize(("name", "options", "message"), PARTS)
def test_so_do_observations_and_families(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.observations.OBSERVATIONS[name](**options)
    if name == "gaussian":
        with pytest.raises(ValueError, match=message):
            tfdvae.families.FAMILIES[name](2, **options)
    assert type(tfdvae.observations.Pen(num_components=np.int64(3)).get_config()["num_components"]) is int


def test_cells_take_what_models_take() -> None:
    cell = tfdvae.VRNNCell(np.int64(2), units=np.int32(4), phi_x=np.array([4, 3]), conditional_prior=np.bool_(True))
    assert (cell.latent_dim, cell.units, cell.phi_x, cell.conditional_prior) == (2, 4, (4, 3), True)
    assert type(cell.get_config()["units"]) is int
    assert list(inspect.signature(tfdvae.VRNNCell).parameters)[0] == "latent_dim"
    for wrong in (
        lambda: tfdvae.VRNNCell(2, latent_dim=2),
        lambda: tfdvae.VRNNCell(2, 3),
    ):
        with pytest.raises(TypeError):
            wrong()


NETWORKS: dict[str, dict[str, tuple[str, ...]]] = {
    "rssm": {
        "phi_x": ("x_features",),
        "transition_units": ("transition_net",),
        "prior_units": ("prior_net",),
        "posterior_units": ("posterior_net",),
        "decoder_units": ("decoder",),
    },
    "dssm": {
        "transition_units": ("transition.gate", "transition.nonlinear"),
        "decoder_units": ("decoder",),
        "encoder_phi_x": ("x_features",),
        "posterior_units": ("posterior_net",),
    },
    "dvbf": {
        "mixing_units": ("mixing_net",),
        "initial_units": ("initial_net",),
        "encoder_phi_x": ("x_features",),
        "posterior_units": ("posterior_net", "initial_posterior_net"),
        "decoder_units": ("decoder",),
    },
    "fhvae": {
        "posterior_units": ("z2_posterior_net", "z1_posterior_net"),
        "decoder_units": ("decoder",),
    },
    "lvrnn": {
        "phi_x": ("x_features",),
        "phi_z": ("z_features",),
        "prior_units": ("prior_net",),
        "posterior_units": ("posterior_net",),
        "decoder_units": ("decoder",),
    },
    "svg": {
        "embedding_units": ("predictor_input", "posterior_input", "prior_input"),
        "predictor_units": ("predictor_output",),
        "prior_units": ("prior_net",),
        "posterior_units": ("posterior_net",),
    },
    "sv2p": {
        "phi_x": ("x_features",),
        "posterior_units": ("posterior_net",),
        "decoder_units": ("decoder",),
    },
    "tcn": {
        "phi_x": ("x_features",),
        "prior_units": ("prior_nets",),
        "posterior_units": ("posterior_nets",),
        "decoder_units": ("decoder",),
    },
    "transformer": {
        "phi_x": ("x_features",),
        "phi_z": ("z_features",),
        "prior_units": ("prior_net",),
        "posterior_units": ("posterior_net",),
        "decoder_units": ("decoder",),
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_widths_of_hidden_layers_are_those_of_the_networks_that_they_speak_of(name: str) -> None:
    """The equations in tests/oracles take the networks of a cell as they are."""
    widths = {option: (11 + i, 31 + i) for i, option in enumerate(NETWORKS[name])}
    cell = tfdvae.MODELS[name].cell_class(2, **widths)
    for option, networks in NETWORKS[name].items():
        for found in map(operator.attrgetter, networks):
            for network in found(cell) if isinstance(found(cell), list) else [found(cell)]:
                assert network.units == widths[option]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_dropout_of_a_cell_is_that_of_all_its_parts(name: str) -> None:
    cell = tfdvae.MODELS[name].cell_class(2, dropout=0.25)
    parts = [part for value in vars(cell).values() for part in (value if isinstance(value, list) else [value])]
    rates = {
        part.name: part.dropout for part in parts if isinstance(part, keras.layers.Layer) and hasattr(part, "dropout")
    }
    assert len(rates) >= 3 and set(rates.values()) == {0.25}, rates


@pytest.mark.parametrize("name", NETWORKS)
def test_scales_of_every_latent_are_made_as_the_cell_is_told(name: str) -> None:
    cell = tfdvae.MODELS[name].cell_class(2, scale="exp", min_scale=0.25, scale_floor="clip")
    families = [family for latent in cell.latents for family in (latent.p, latent.q)]
    found = {(family.scale_map, family.min_scale, family.scale_floor) for family in families}
    assert found == {("exp", 0.25, "clip")}
    if name == "dssm":
        assert (cell.transition.min_scale, cell.transition.scale_floor) == (0.25, "clip")


def test_a_subclass_without_a_constructor_is_checked() -> None:
    class Own(tfdvae.VRNNCell):
        pass

    with pytest.raises(ValueError, match="`units` must be a whole number, got 2.5"):
        Own(2, units=2.5)


def test_configs_leave_out_what_a_model_has_no_use_for() -> None:
    for model, unused in (("vae", {"units", "cell", "num_layers"}), ("rnn", {"scale", "min_scale", "scale_floor"})):
        made = tfdvae.MODELS[model]()
        assert not unused & made.get_config().keys()
        # Files of models that were written before hold them.
        assert tfdvae.MODELS[model].from_config({**made.get_config(), **dict.fromkeys(unused, 3)}).get_config() == (
            made.get_config()
        )


TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("vrnn", {"latent_dim": np.int64(2), "units": np.int32(4), "phi_x": np.array([4, 3]), "seed": np.int64(1)}),
    ("vrnn", {"latent_dim": 2, "dropout": np.float32(0.5), "conditional_prior": np.bool_(True), "units": 4}),
    ("kvae", {"latent_dim": np.int64(2), "num_mixtures": np.int64(2), "units": np.int64(3), "seed": np.int32(1)}),
    ("vae", {"latent_dim": 2, "cell": "lstm", "num_layers": 1, "encoder_units": [np.int64(4)]}),
]


@pytest.mark.parametrize(("name", "options"), TAKEN)
def test_numbers_of_numpy_are_as_good(name: str, options: dict[str, Any], tmp_path: Any) -> None:
    model = tfdvae.MODELS[name](**options)
    expected = model(frames())
    model.save(tmp_path / "model.keras")
    assert np.array_equal(keras.saving.load_model(tmp_path / "model.keras")(frames()), expected)


def test_numbers_of_numpy_within_what_was_given_are_pythons() -> None:
    given = {"a": [np.int64(2), {"b": np.float64(0.5)}], "c": (np.bool_(True),)}
    assert json.dumps(tfdvae.arguments.plain(given)) == '{"a": [2, {"b": 0.5}], "c": [true]}'


def test_numbers_that_a_model_is_built_for() -> None:
    model = tfdvae.VAE(2, encoder_units=(), decoder_units=())
    for size in (0, 2.5, (3, None)):
        with pytest.raises(ValueError, match="`frame_shape` must be"):
            model.build_for(size)
    model.build_for(np.int64(D))
    assert model.frame_shape == (D,)


def test_another_backend_is_named() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", "import tfdvae"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode != 0
    assert "tfdvae runs on Keras' TensorFlow backend, and Keras is set to 'jax': set KERAS_BACKEND=tensorflow" in (
        found.stderr
    )


@pytest.mark.parametrize("model", ["rvae_noncausal", "rnn", "gpvae"])
def test_an_activation_that_does_not_exist_is_refused_where_no_layer_would_use_it(model: str) -> None:
    with pytest.raises(ValueError, match="none such"):
        tfdvae.MODELS[model](activation="none such")
