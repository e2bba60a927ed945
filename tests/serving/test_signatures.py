"""Signatures compute what the model's own verbs compute, and say what they take and return."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfdvae
from export import parity
from tests import cases
from tfdvae import bounds, random, serving
from tfdvae.serving import Field, Signature, Target
from tfdvae.types import Batch

SEED, COUNT = 2**40 + 17, 3


SOME = cases.some(0, cases.PRIMARY)
"""Of signatures that are verbs of every model in the same words."""


@pytest.fixture(scope="module", params=cases.PRIMARY)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> tfdvae.DVAE:
    return cases.make(name)


@pytest.fixture(scope="module")
def declared(model: tfdvae.DVAE) -> dict[str, Signature]:
    return serving.declare(model)


@pytest.fixture(scope="module")
def graphs(
    name: str, declared: dict[str, Signature], request: pytest.FixtureRequest
) -> dict[str, tf.types.experimental.ConcreteFunction]:
    """What declarations are traced to: what streams, and the others of models that run as graphs."""
    every = cases.runs_as_graphs(name, request.config.getoption("--exhaustive"))
    return {one: signature.trace() for one, signature in declared.items() if every or one in ("step", "generate_step")}


def called(model: tfdvae.DVAE, declared: dict[str, Signature], name: str) -> tuple[dict, dict]:
    """Inputs, with the seed and counts of this file, and what the signature makes of them."""
    given = parity.examples(model, declared[name], declared)
    own = {"seed": np.int64(SEED), **dict.fromkeys(("num_samples", "num_sweeps"), np.int32(COUNT))}
    given = {key: own.get(key, value) for key, value in given.items()}
    return given, {key: value.numpy() for key, value in parity.call(declared[name], given).items()}


def check(found: np.ndarray, expected: tf.Tensor) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * float(np.max(np.abs(expected), initial=1e-9)))


def frame_noise(model: tfdvae.DVAE, given: dict) -> dict:
    return {latent.name: tf.constant(given[f"noise_{latent.name}"]) for latent in model.frame_latents}


def sequences(given: dict) -> dict:
    return {key: given[key] for key in ("x", "mask", "u") if key in given}


def test_a_model_has_what_it_can_do(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    expected = {"reconstruct", "score", "generate", "forecast", "impute"}
    expected |= {"encode"} if model.has_latents else set()
    expected |= {"reset", "generate_step"} if model.stepwise else set()
    expected |= {"step"} if model.causal else set()
    assert set(declared) == expected
    assert set(serving.declare(model, serving.LITERT)) == expected - {"generate", "forecast", "impute"}


@pytest.mark.usefixtures("mostly_eager")
def test_encode(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    if not model.has_latents:
        assert "encode" not in declared
        return
    given, found = called(model, declared, "encode")
    expected, families = {}, {latent.name: latent.q for latent in model.latents}
    for name, q in model.encode(**sequences(given)).items():
        if name in model.states:
            expected[name] = q
        else:
            expected |= {f"{name}_mean": families[name].mean(q), f"{name}_scale": families[name].scale(q)}
    assert len(expected) == 2 * len(model.latents) + len(model.states)
    assert set(found) == set(expected)
    for name, value in expected.items():
        # Zero parameters are no zero mean where a family has logarithms of probabilities.
        check(found[name], value if len(value.shape) < 3 else tf.where(given["mask"][..., None], value, 0.0))


@SOME
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_reconstruct(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    given, found = called(model, declared, "reconstruct")
    check(found["mean"], model.reconstruct(**sequences(given)))
    params = model.infer(*(None if y is None else tf.constant(y) for y in map(given.get, ("x", "mask", "u")))).x
    stddev = model.frames.distribution(params).stddev()
    check(found["stddev"], tf.where(given["mask"][..., None], stddev, 0.0))


@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_score(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    given, found = called(model, declared, "score")
    count = COUNT if model.has_latents else 1
    options = {"num_samples": count, "chunk": count, "seed": SEED}
    check(found["log_prob"], model.log_prob(**sequences(given), **options))
    check(found["log_prob_frames"].sum(axis=1), found["log_prob"])
    batch = model.check(**sequences(given))
    terms = model.sample_terms(batch, random.fold_in(random.make_seed(SEED), 0), count)
    check(found["elbo"], bounds.ELBO(count).per_sequence(terms))
    check(found["elbo_frames"].sum(axis=1) - found.get("kl_sequence", 0.0), found["elbo"])
    for name in ("elbo_frames", "log_prob_frames"):
        assert not found[name][~given["mask"]].any()
        assert found[name][given["mask"]].all()


@pytest.mark.slow
def test_the_score_of_a_frame_is_the_log_mean_weight_up_to_it(model: tfdvae.DVAE) -> None:
    target = serving.LITERT._replace(num_samples=COUNT)
    declared = serving.declare(model, target)
    given = parity.examples(model, declared["score"], declared)
    found = parity.call(declared["score"], given)
    count = COUNT if model.has_latents else 1
    x, u = (None if y is None else tf.repeat(y, count, axis=0) for y in (given["x"], given.get("u")))
    noise = {latent.name: tf.constant(given[f"noise_{latent.name}"]) for latent in model.latents}
    batch = Batch(x, u=u)
    terms = model.terms(model.infer(*batch, noise or None), batch)
    steps = np.asarray(terms.log_px + terms.log_ratio, np.float64)
    weights = np.cumsum(steps, axis=1) + np.asarray(terms.sequence_log_ratio)[:, None]
    upto = np.logaddexp.reduce(weights, axis=0) - np.log(len(weights))
    check(found["log_prob_frames"][0], np.diff(upto, prepend=0.0))


@pytest.mark.usefixtures("mostly_eager")
def test_generate(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    given, found = called(model, declared, "generate")
    if model.u_dim:
        drawn = model.generate(given["u"].shape[1], u=given["u"], seed=SEED)
    else:
        drawn = model.generate(int(given["length"]), int(given["batch_size"]), seed=SEED)
    check(found["x"], drawn.x)
    assert set(found) == {"x", *drawn.latents}
    for name, value in drawn.latents.items():
        check(found[name], value)


@SOME
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_forecast(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    given, found = called(model, declared, "forecast")
    future = given.get("future_u")
    horizon = int(given["horizon"]) if future is None else future.shape[1]
    options = {"future_u": future, "num_samples": COUNT, "seed": SEED}
    expected = model.forecast(horizon=horizon, **sequences(given), **options)
    check(found["samples"], expected.samples)
    check(found["mean"], expected.mean)


@SOME
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_impute(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    given, found = called(model, declared, "impute")
    options = {"observed": given["observed"], "num_samples": COUNT, "num_sweeps": COUNT, "seed": SEED}
    expected = model.impute(**sequences(given), **options)
    check(found["samples"], expected.samples)
    check(found["mean"], expected.mean)


def test_one_frame_drawn(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    if not model.stepwise:
        assert "generate_step" not in declared
        return
    given, found = called(model, declared, "generate_step")
    layout = serving.signatures.Declarations(model, Target()).layout
    arguments = {key: tf.constant(given[key]) for key in ("u", "uniform") if key in given}
    drawn, state = model.generate_step(layout.nest(given), noise=frame_noise(model, given), **arguments)
    check(found["x"], drawn.x)
    check(found["x_mean"], model.frames.mean(drawn.params))
    for name, value in layout.flat(state).items():
        check(found[name], value)
    assert any(not np.array_equal(found[name], given[name]) for name in layout.flat(state))


def test_one_frame_streamed(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    if not model.causal:
        assert "step" not in declared
        return
    given, found = called(model, declared, "step")
    layout = serving.signatures.Declarations(model, Target()).layout
    out = model.step(layout.nest(given), given["x"], given.get("u"), noise=frame_noise(model, given))
    check(found["log_px"], out.log_px)
    check(found["score"], out.log_px - out.kl)
    for name, path in out.latents.items():
        check(found[name], path.z)
        check(found[f"{name}_mean"], path.q.loc)
        check(found[f"{name}_scale"], path.q.scale)
    for name, value in layout.flat(out.state).items():
        check(found[name], value)
    ahead = model.generate_step(out.state, given.get("next_u"))[0]
    check(found["next_mean"], model.frames.mean(ahead.params))
    check(found["next_stddev"], model.frames.distribution(ahead.params).stddev())


def test_the_state_before_the_first_frame(model: tfdvae.DVAE, declared: dict[str, Signature]) -> None:
    if not model.stepwise:
        assert "reset" not in declared
        return
    given, found = called(model, declared, "reset")
    size = int(given["batch_size"]) if "batch_size" in given else parity.BATCH
    latents = {}
    for latent in model.sequence_latents:
        # A latent of the data set is drawn from its posterior, one of a sequence from its prior.
        if latent.level == "dataset":
            family, parameters = latent.q, latent.posterior(size)
        else:
            family, parameters = latent.p, latent.p.standard(tf.zeros([size, 1]))
        latents[latent.name] = family.sample(parameters, tf.constant(given[f"noise_{latent.name}"]))
    for name, value in (
        serving.signatures.Declarations(model, Target()).layout.flat(model.initial_state(size, latents)).items()
    ):
        check(found[name], value)


@pytest.mark.slow
def test_the_description_is_what_the_graph_takes_and_returns(declared: dict[str, Signature], graphs: dict) -> None:
    content = json.loads(serving.describe(declared, model="some"))
    assert (content["format"], content["version"], content["model"]) == ("tfdvae.signatures", 2, "some")
    assert set(content["signatures"]) == set(declared)
    for described in content["signatures"].values():
        assert described["description"].endswith(".")
        for fields in (described["inputs"], described["outputs"]):
            assert [field["name"] for field in fields] == list(dict.fromkeys(f["name"] for f in fields))
            for field in fields:
                assert len(field["axes"]) == len(field["shape"])
                assert field["unit"] and field["description"].endswith(".")
    for name, graph in graphs.items():
        described, takes = content["signatures"][name], graph.structured_input_signature[1]
        for fields, specs in ((described["inputs"], takes), (described["outputs"], graph.structured_outputs)):
            assert {field["name"] for field in fields} == set(specs)
            for field in fields:
                spec = specs[field["name"]]
                assert field["dtype"] == spec.dtype.name
                assert field["shape"] == [-1 if n is None else n for n in spec.shape]


@pytest.mark.parametrize("verb", ["step", "generate_step"])
def test_a_streamed_frame_needs_no_loop(graphs: dict, verb: str) -> None:
    if verb in graphs:
        graph = graphs[verb].graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        assert not [node.op for node in nodes if "While" in node.op]


@pytest.mark.parametrize(
    "returned",
    [
        lambda x: {"y": tfp.distributions.Normal(x, 1.0)},
        lambda x: {"z": x},
        lambda x: {"y": tf.cast(x, tf.float64)},
        lambda x: {"y": x[:, None]},
    ],
)
def test_what_is_not_as_declared_is_not_traced(returned) -> None:
    x, y = (Field(name, ("batch", 2), tf.float32, "1", "Numbers.") for name in "xy")
    signature = Signature("bad", "Something else.", (x,), (y,), lambda given: returned(given["x"]))
    with pytest.raises(TypeError, match="'bad' declares"):
        signature.trace()


@pytest.mark.slow
def test_a_model_that_was_never_built_has_none() -> None:
    with pytest.raises(ValueError, match="needs a model with weights"):
        serving.declare(tfdvae.VRNN(2))
