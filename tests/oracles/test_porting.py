"""Models made of PyTorch's arrays against the survey's equations in PyTorch's conventions."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import torch_reference
from tests.oracles.torch_reference import MODELS, NAMES, State
from tfdvae import porting

BATCH, LENGTH, X = 3, 4, 10


def data(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, and noise for z and v."""
    rng = np.random.default_rng(4)
    x = rng.gamma(1.0, size=(BATCH, LENGTH, X))
    noise, v_noise = rng.normal(size=(BATCH, LENGTH, torch_reference.Z)), rng.normal(size=(BATCH, torch_reference.V))
    return tuple(y.astype(np.float32) for y in (x, noise, v_noise))


def published(name: str) -> tuple[State, torch_reference.Path]:
    """A made state, and what its model makes of the data."""
    state, given = State(), (y.astype(np.float64) for y in data(name))
    return state, MODELS[name](state, *given)


def assert_follows(model: tfdvae.DVAE, name: str, expected: torch_reference.Path) -> None:
    x, noise, v_noise = data(name)
    path = model.infer(tf.constant(x), noise={"z": tf.constant(noise), "v": tf.constant(v_noise)})
    latent = path.latents["z"]
    pairs = [(latent.z, expected.z), *zip(latent.q, expected.q, strict=True), *zip(latent.p, expected.p, strict=True)]
    if expected.v is not None:
        pairs.append((path.latents["v"].z, expected.v))
    # Float32 against float64 over four frames of tiny networks.
    for found, right in (*pairs, (path.x, expected.output)):
        np.testing.assert_allclose(found, right, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_follows_the_equations_of_its_pytorch_twin(name: str) -> None:
    state, expected = published(name)
    model = porting.from_dvae_state_dict(name, state, names=NAMES[name])
    assert_follows(model, name, expected)
    # A gamma with the mean exp(output), which is what the survey calls a variance: (13.1), Itakura and Saito.
    mean, x = np.exp(expected.output), data(name)[0]
    log_px = (-np.log(mean) - x / mean).sum(axis=-1)
    np.testing.assert_allclose(model.observation.log_prob(expected.output, x), log_px, rtol=1e-4)


def test_arrays_travel_in_a_file_without_pickles(tmp_path: Path) -> None:
    state, expected = published("vrnn")
    np.savez(tmp_path / "vrnn.npz", **state)
    with np.load(tmp_path / "vrnn.npz", allow_pickle=False) as arrays:
        model = porting.from_dvae_state_dict("vrnn", arrays, names=NAMES["vrnn"], observation="identity_gaussian")
    assert_follows(model, "vrnn", expected)
    assert type(model.observation) is tfdvae.observations.IdentityGaussian


def test_parts_by_their_own_names_need_no_mapping() -> None:
    state, expected = published("srnn")
    renamed = {}
    for key, array in state.items():
        part, old = next((part, old) for part, old in NAMES["srnn"].items() if key.startswith(f"{old}."))
        renamed[key.replace(old, part, 1)] = array
    assert_follows(porting.from_dvae_state_dict("srnn", renamed), "srnn", expected)


@pytest.mark.slow
def test_inputs_in_another_order() -> None:
    """[h, z] where the survey writes [z, h]: without a word for it the model is another one."""
    state, expected = published("srnn")
    z, key = torch_reference.Z, "net_zh.0.weight"
    moved = {**state, key: np.concatenate([state[key][:, z:], state[key][:, :z]], axis=1)}
    model = porting.from_dvae_state_dict("srnn", moved, names=NAMES["srnn"], orders={"prior": ("h", "z")})
    assert_follows(model, "srnn", expected)
    with pytest.raises(AssertionError):
        assert_follows(porting.from_dvae_state_dict("srnn", moved, names=NAMES["srnn"]), "srnn", expected)
    v = torch_reference.V
    state, expected = published("dsae")
    moved = {
        key: np.concatenate([array[:, -v:], array[:, :-v]], axis=1) if key.startswith("rnn_z.weight_ih") else array
        for key, array in state.items()
    }
    model = porting.from_dvae_state_dict("dsae", moved, names=NAMES["dsae"], orders={"z_rnn": ("v", "x")})
    assert_follows(model, "dsae", expected)


def test_layers_are_counted_by_numbers() -> None:
    """Ten layers and more: "net.10" comes behind "net.9"."""
    state, z = State(), np.random.default_rng(0).normal(size=(2, 1, torch_reference.Z))
    x = np.ones((2, 1, X))
    state.gaussian("inf", state.layers("net_x", x, 7), torch_reference.Z)
    output = state.linear("gen", state.layers("net_z", z, *[4] * 11, step=1), X)
    model = porting.from_dvae_state_dict("vae", state, names=NAMES["vae"])
    found = model.frames.params(model.cell.observe({"z": tf.constant(z, tf.float32)}))
    np.testing.assert_allclose(found, output, rtol=1e-5, atol=1e-5)


def test_one_error_lists_all_that_is_wrong() -> None:
    state, _ = published("vrnn")
    arrays = {key: array for key, array in state.items() if key != "rnn.bias_hh_l0"}
    arrays |= {"dense_x.0.weight": np.zeros((2, 2), np.float32), "prior_mean.bias": np.full(3, np.nan, np.float32)}
    arrays["gen.bias"] = np.zeros(X, np.int64)
    with pytest.raises(ValueError, match="not the weights of 'vrnn'") as told:
        porting.from_dvae_state_dict("vrnn", arrays, names=NAMES["vrnn"])
    for part in (
        "missing: rnn.bias_hh_l0;",
        "left over: dense_x.0.weight;",
        "prior_mean.bias holds NaN",
        "gen.bias holds int64",
        "'output': 'gen'",
    ):
        assert part in str(told.value), part


def test_wrong_shapes_are_listed_with_those_that_fit() -> None:
    state, _ = published("dkf")
    arrays = {**state, "lin.weight": state["lin.weight"][:, :2], "back.weight_ih_l0": state["back.weight_ih_l0"][:, :5]}
    arrays["inf_logvar.bias"] = arrays["inf_logvar.bias"][:1]
    with pytest.raises(ValueError) as told:
        porting.from_dvae_state_dict("dkf", arrays, names=NAMES["dkf"])
    for part in (
        "lin.weight has shape [3, 2] in place of [3, 3]",
        "back.weight_ih_l0 has shape [20, 5] in place of [20, 6]",
        "inf_logvar.bias has shape [1] in place of [3]",
    ):
        assert part in str(told.value), part
    with pytest.raises(ValueError, match=r"gen.weight has shape \[10, 6\] in place of \[20, 6\]"):
        porting.from_dvae_state_dict("dkf", state, names=NAMES["dkf"], observation="gaussian")
    with pytest.raises(ValueError, match=r"nonlin.2.weight has shape .* in place of"):
        porting.from_dvae_state_dict(
            "dkf", {**state, "nonlin.2.weight": state["nonlin.2.weight"].T}, names=NAMES["dkf"]
        )
    with pytest.raises(ValueError, match="gate.0, gate.2 are 2 layers in place of 3|are 3 layers in place of 2"):
        more = {"nonlin.4.weight": np.zeros((3, 3), np.float32), "nonlin.4.bias": np.zeros(3, np.float32)}
        porting.from_dvae_state_dict("dkf", {**state, **more}, names=NAMES["dkf"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "dkf",
            {"transition": "linear"},
            "'dkf' has weights of 'transition_gate', for which .* has no place: leave out",
        ),
        ("dkf", {"inference": "mf_l"}, "'dkf' has weights of 'backward_rnn', for which"),
        ("dkf", {"inference": "st_lr"}, "'dkf' has no weights for .*forward_rnn.* of the model that was asked for"),
    ],
)
def test_options_that_make_other_parts_are_refused(name: str, options: dict, message: str) -> None:
    state, _ = published(name)
    with pytest.raises(ValueError, match=message):
        porting.from_dvae_state_dict(name, state, names=NAMES[name], **options)


def test_unknown_names_are_refused_before_anything_is_built() -> None:
    with pytest.raises(ValueError, match=r"models are vae, dkf, .*, dsae; got 'kvae'"):
        porting.from_dvae_state_dict("kvae", {})
    with pytest.raises(ValueError, match=r"parts of 'vae', which are encoder, .*output; got 'rnn'"):
        porting.from_dvae_state_dict("vae", {}, names={"rnn": "lstm"})
    with pytest.raises(ValueError, match=r"'prior': \('z', 'h'\).*got 'prior': \('h',\)"):
        porting.from_dvae_state_dict("srnn", {}, orders={"prior": ("h",)})
    with pytest.raises(ValueError, match=r"missing: net_x.weight, or layers below net_x, "):
        porting.from_dvae_state_dict("vae", {}, names={"encoder": "net_x"})


@pytest.mark.parametrize("name", MODELS)
def test_parts_are_explained(name: str) -> None:
    told = porting.parts(name)
    assert set(NAMES[name]) <= set(told) and all(" on [" in text for text in told.values())
