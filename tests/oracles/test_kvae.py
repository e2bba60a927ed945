"""KVAE: the evidence of a with z integrated out, its graph, and what is missing."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tests.oracles.kalman_reference import Dense, System
from tests.oracles.support import assert_mean, randomise
from tfdvae import bounds, random
from tfdvae.models.kvae import KVAE
from tfdvae.testing import assert_close
from tfdvae.types import Batch

X_DIM, U_DIM, LENGTH, BATCH = 3, 2, 6, 2
SCALES = {"transition_scale": 0.5, "emission_scale": 0.4, "initial_scale": 1.5}


def make(u_dim: int = U_DIM, spread: float = 0.4, **options: Any) -> KVAE:
    """A built model whose weights are all random."""
    sizes = {"encoding_dim": 2, "num_mixtures": 3, "units": 5, "encoder_units": (6,), "decoder_units": (7,)}
    model = KVAE(4, **{**sizes, **SCALES, **options})
    model.build_for(X_DIM, u_dim)
    randomise(model, spread, 3)
    return model


def frames(u_dim: int = U_DIM, batch: int = BATCH, length: int = LENGTH) -> Batch:
    rng = np.random.default_rng(7)
    x = tf.constant(rng.normal(size=(batch, length, X_DIM)), tf.float32)
    return Batch(x, None, tf.constant(rng.normal(size=(batch, length, u_dim)), tf.float32) if u_dim else None)


def noise(*shape: int, seed: int = 2) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def system(model: KVAE, alpha: np.ndarray, u: np.ndarray | None) -> System:
    """The linear system of one sequence: alpha_t mixes C_t, and the A_t and B_t that lead to z_{t+1}."""
    mixed = [
        np.einsum("tk,kmn->tmn", alpha, m.numpy().astype(float)) for m in (model.bank.transitions, model.bank.emissions)
    ]
    drift = np.zeros([len(alpha), model.latent_dim])
    if u is not None:
        controls = np.einsum("tk,kmn->tmn", alpha, model.bank.controls.numpy().astype(float))
        drift[1:] = np.einsum("tmn,tn->tm", controls[:-1], u[1:])
    return System(*mixed, drift, **{k: getattr(model, k) for k in SCALES})


def systems(model: KVAE, a: tf.Tensor, u: tf.Tensor | None) -> list[System]:
    alpha = model.mixing(a).numpy()
    return [system(model, alpha[b], None if u is None else u[b].numpy()) for b in range(len(alpha))]


@pytest.mark.parametrize("u_dim", [0, U_DIM])
@pytest.mark.slow
def test_the_bound_on_a_is_the_paper_s_bound_on_any_smoothed_z(u_dim: int) -> None:
    """(6.16)-(6.18): log p(x | a) + log p(a, z) - log p(z | a) - log q(a | x), for z drawn from the smoother."""
    model, batch = make(u_dim), frames(u_dim)
    path = model.infer(*batch, {"a": noise(BATCH, LENGTH, 2)})
    terms = model.terms(path, batch)
    found = bounds.log_weight(terms).numpy()
    drawn, q = path.latents["a"].z, path.latents["a"].q
    linear = model._mix(model.mixing(drawn), batch.u)
    log_q = -0.5 * np.square((drawn - q.loc) / q.scale) - np.log(q.scale) - 0.5 * np.log(2.0 * np.pi)
    rest = np.sum(terms.log_px, axis=1) - np.sum(log_q, axis=(1, 2))
    for draw in range(3):
        shapes = (BATCH, LENGTH, 4), (BATCH, LENGTH, 2)
        z = model.kalman.sample(linear, drawn, None, *(noise(*s, seed=10 * draw + i) for i, s in enumerate(shapes)))
        for b, one in enumerate(systems(model, drawn, batch.u)):
            dense, a = Dense.of(one), drawn[b].numpy().astype(np.float64)
            mean, covariance = dense.given(a, np.ones(LENGTH, bool))
            own = z[b].numpy().astype(np.float64).ravel()
            solved = np.linalg.solve(covariance, own - mean)
            log_z = -0.5 * (own - mean) @ solved - 0.5 * np.linalg.slogdet(2.0 * np.pi * covariance)[1]
            paper = dense.joint(own, a) - log_z
            assert paper == pytest.approx(dense.evidence(a), rel=1e-8)
            assert found[b] == pytest.approx(rest[b] + paper, rel=2e-5)


def test_the_divergence_is_its_expectation_over_a() -> None:
    """Averaged over q, the closed-form KL of the dimensions is E_q[log q(a | x) - log p(a)]."""
    model, batch = make(), frames(batch=1)
    terms = model.sample_terms(batch, random.make_seed(3), 4000)
    assert_mean(tf.reduce_sum(terms.kl, axis=1) + tf.reduce_sum(terms.log_ratio, axis=1), 0.0)


def test_new_frames_have_the_law_of_the_system() -> None:
    """With one mixture a is linear in its noise: its mean and covariance are those of C_t z_t and its noise."""
    model, batch = make(num_mixtures=1), frames(batch=1)
    unit = np.concatenate([np.zeros([1, LENGTH * 2]), np.eye(LENGTH * 2)]).reshape(-1, LENGTH, 2)
    rows = len(unit)
    u = tf.repeat(batch.u, rows, axis=0)
    drawn = {"a": tf.constant(unit, tf.float32)}
    a = model.prior_path(u, drawn, tf.constant(rows), tf.constant(LENGTH)).numpy()
    dense = Dense.of(system(model, np.ones([LENGTH, 1]), batch.u[0].numpy()))
    a = a.reshape(rows, -1).astype(np.float64)
    columns = a[1:] - a[0]
    np.testing.assert_allclose(a[0], dense.mean[dense.states :], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        columns.T @ columns, dense.covariance[dense.states :, dense.states :], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("mixing_cell", ["lstm", "gru"])
@pytest.mark.slow
def test_steps_generation_and_continuation_are_one_recursion(mixing_cell: str) -> None:
    model, batch, drawn = make(mixing_cell=mixing_cell), frames(), noise(BATCH, LENGTH, 2)
    path = model.infer(*batch, {"a": drawn})
    terms, a = model.terms(path, batch), path.latents["a"]
    state = model.initial_state(BATCH)
    for t in range(LENGTH):
        out = model.step(state, batch.x[:, t], batch.u[:, t], noise=drawn[:, t])
        found, whole = out.latents["a"], tf.nest.map_structure(lambda y, t=t: y[:, t], [a.z, a.q, a.p, path.x])
        assert_close([found.z, found.q, found.p, out.x], whole, 3e-5)
        assert_close([out.kl, out.log_px], [terms.kl[:, t], terms.log_px[:, t]], 3e-5)
        state = out.state
    again = model.infer(*batch, {"a": drawn}).latents["a"]
    epsilon = {"a": (again.z - again.p.loc) / again.p.scale}
    assert_close(model.prior_path(batch.u, epsilon, tf.constant(BATCH), tf.constant(LENGTH)), a.z, 1e-4)
    later = {"a": epsilon["a"][:, 3:]}
    future = model.continue_path(a.z[:, :3], None, batch.u[:, :3], batch.u[:, 3:], later, tf.constant(3))
    assert_close(future, a.z[:, 3:], 1e-4)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_sequences_of_different_lengths_are_continued_as_each_alone() -> None:
    model, batch = make(), frames()
    mask = np.array([[1, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0]], bool)
    x = np.where(mask[..., None], batch.x, np.nan)
    given = {"x": x, "mask": mask, "u": batch.u.numpy()}
    future = noise(BATCH, 4, U_DIM)
    together = model.generate(4, prefix=given, u=future, sample=False)
    for b in range(BATCH):
        alone = {"x": x[b : b + 1, mask[b]], "u": batch.u.numpy()[b : b + 1, mask[b]]}
        assert_close(model.generate(4, prefix=alone, u=future[b : b + 1], sample=False).x[0], together.x[b], 3e-5)


def reaches(function: Any, source: tf.Tensor) -> np.ndarray:
    """Which frames of the source `[1, T, .]` (columns) reach which frames of the result (rows): by the Jacobian, and
    by NaN, which finds what a stopped gradient would hide."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(source)
        result = function(source)
    found = tape.jacobian(
        result, source, unconnected_gradients=tf.UnconnectedGradients.ZERO, experimental_use_pfor=False
    )
    slopes = np.any(found.numpy() != 0.0, axis=(0, 2, 3, 5))
    for s in range(LENGTH):
        spoiled = source.numpy().copy()
        spoiled[:, s] = np.nan
        hit = np.isnan(function(tf.constant(spoiled))).any(axis=(0, 2))
        np.testing.assert_array_equal(hit, slopes[:, s])
    return slopes


@pytest.mark.slow
def test_the_graph_is_the_paper_s() -> None:
    """The mean of p(a_{t,i} | .) hangs on all earlier a, on a_{t,j} of j < i, and on u from the second frame on; its
    scale on earlier a through the weights alone: from alpha_2, on a_1."""
    model, batch = make(), frames(batch=1)
    a = noise(1, LENGTH, 2)
    lower, diagonal = np.tril(np.ones([LENGTH, LENGTH], bool)), np.eye(LENGTH, dtype=bool)
    before, inputs = np.tril(lower, -1), lower & (np.arange(LENGTH) > 0)
    for part in range(2):
        np.testing.assert_array_equal(reaches(lambda x, p=part: model.posterior(x)[p], batch.x), diagonal)
        np.testing.assert_array_equal(reaches(lambda y, p=part: model.prior(y, batch.u)[p][..., :1], a), before)
    np.testing.assert_array_equal(reaches(model.decode, a), diagonal)
    np.testing.assert_array_equal(reaches(lambda y: model.prior(y, batch.u).loc[..., 1:], a), lower)
    np.testing.assert_array_equal(reaches(lambda y: model.prior(y, batch.u).scale[..., 1:], a), before)
    np.testing.assert_array_equal(reaches(lambda u: model.prior(a, u).loc, batch.u), inputs)
    assert not reaches(lambda u: model.prior(a, u).scale, batch.u).any()


def walk(model: KVAE, a: np.ndarray, u: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """alpha `[T, K]` of one sequence with missing frames: the network sees C_t times the predicted z_t there."""
    before, state = model.mixing.initial(1)
    alphas: list[np.ndarray] = []
    for t in range(LENGTH):
        alpha, state = model.mixing.step(before, state)
        alphas.append(alpha[0].numpy())
        dense = Dense.of(system(model, np.stack(alphas), u[: t + 1]))
        predicted = dense.marginals(a[: t + 1], seen[: t + 1] & (np.arange(t + 1) < t))[0][t]
        emission = np.einsum("k,kan->an", alphas[-1], model.bank.emissions)
        before = tf.constant([a[t] if seen[t] else emission @ predicted], tf.float32)
    return np.stack(alphas)


@pytest.mark.slow
def test_filter_and_smoother_take_missing_frames_as_missing() -> None:
    model, batch = make(), frames()
    observed = np.array([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1]], bool)
    x = np.where(observed[..., None], batch.x, np.nan)
    filtered, smoothed = (verb(x, None, batch.u, observed) for verb in (model.filter, model.smooth))
    a = model.encode(*batch)["a"].loc.numpy().astype(np.float64)
    for b in range(BATCH):
        alpha = walk(model, a[b], batch.u[b].numpy(), observed[b])
        np.testing.assert_allclose(smoothed.weights[b], alpha, rtol=1e-4, atol=1e-5)
        one = system(model, alpha, batch.u[b].numpy())
        mean, covariance = Dense.of(one).marginals(a[b], observed[b])
        np.testing.assert_allclose(smoothed.mean[b], mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(smoothed.covariance[b], covariance, rtol=1e-3, atol=1e-4)
        encoding = np.einsum("taz,tz->ta", one.emission, mean)
        np.testing.assert_allclose(smoothed.encoding[b], encoding, rtol=1e-3, atol=1e-4)
        for t in range(LENGTH):
            mean, covariance = Dense.of(one).marginals(a[b], observed[b] & (np.arange(LENGTH) <= t))
            np.testing.assert_allclose(filtered.mean[b, t], mean[t], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(filtered.covariance[b, t], covariance[t], rtol=1e-3, atol=1e-4)
    assert_close(smoothed.x, model.frames.mean(model.frames.params(model.decode(smoothed.encoding))), 1e-5)


@pytest.mark.slow
def test_a_stream_with_missing_frames_is_the_filter() -> None:
    model, batch = make(), frames()
    observed = [True, False, True, False, False, True]
    filtered = model.filter(batch.x, None, batch.u, observed=np.tile(observed, [BATCH, 1]))
    state = model.initial_state(BATCH)
    for t, seen in enumerate(observed):
        u = batch.u[:, t]
        state = model.step(state, batch.x[:, t], u).state if seen else model.skip(state, u)
        transition = model.bank.transition(filtered.weights[:, t])
        assert_close(state["mean"], tf.linalg.matvec(transition, filtered.mean[:, t]), 1e-4)
        moved = transition @ filtered.covariance[:, t] @ tf.linalg.matrix_transpose(transition)
        assert_close(state["covariance"], moved + model.transition_scale**2 * tf.eye(4), 1e-4)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_masked_frames_are_skipped_and_padding_tells_nothing() -> None:
    model, batch = make(), frames()
    mask = np.array([[1, 0, 1, 1, 0, 0], [0, 1, 0, 1, 1, 1]], bool)
    observed = np.array([[1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 0, 1]], bool)
    x = np.where((mask & observed)[..., None], batch.x, np.nan)
    for options in ({"observed": observed}, {}):
        there = observed if options else np.ones_like(mask)
        data = (
            np.where((mask & there)[..., None], batch.x, np.nan) if options else np.where(mask[..., None], batch.x, x)
        )
        found = model.smooth(data, mask, batch.u, **options)
        for b in range(BATCH):
            where = mask[b]
            alone = model.smooth(
                data[b : b + 1, where],
                None,
                batch.u.numpy()[b : b + 1, where],
                **{k: v[b : b + 1, where] for k, v in options.items()},
            )
            assert_close([y.numpy()[b, where] for y in found], [y[0] for y in alone], 1e-4)
            assert all(not np.any(y.numpy()[b, ~where]) for y in found)
    with pytest.raises(ValueError, match=r"`observed` of shape \[2, 6, 3\], .* or \[2, 6\], .*; got \[2, 6, 2\]"):
        model.smooth(batch.x, None, batch.u, observed=np.ones([BATCH, LENGTH, 2], bool))


@pytest.mark.slow
def test_a_frame_observed_in_part_is_encoded_as_it_is_seen() -> None:
    """Missing to the filter are frames of which nothing was observed; elsewhere zeros stand in, and NaN is not read."""
    model, batch = make(), frames()
    observed = np.random.default_rng(3).random([BATCH, LENGTH, X_DIM]) < 0.6
    observed[:, 1], observed[:, 4] = False, True
    known = observed.any(axis=-1)
    filled = np.where(observed, batch.x, 0.0).astype(np.float32)
    for verb in (model.filter, model.smooth):
        found = verb(np.where(observed, batch.x, np.nan), None, batch.u, observed)
        assert_close(found, verb(filled, None, batch.u, known))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_imputed_frames_have_the_law_that_the_smoother_gives() -> None:
    """One mixture and a linear decoder: the mean of what is missing is known."""
    model, batch = make(num_mixtures=1, decoder_units=(), observation="identity_gaussian"), frames(batch=1)
    head = model.posterior_head.output_layer
    head.bias.assign(np.r_[head.bias.numpy()[:2], -20.0, -20.0])
    head.kernel.assign(head.kernel * [1.0, 1.0, 0.0, 0.0])
    observed = np.array([[1, 0, 0, 1, 1, 0]], bool)
    x = np.where(observed[..., None], batch.x, np.nan)
    a = model.encode(*batch)["a"].loc[0].numpy().astype(np.float64)
    one = system(model, np.ones([LENGTH, 1]), batch.u[0].numpy())
    mean, covariance = Dense.of(one).marginals(a, observed[0])
    weights = model.observation.head.kernel.numpy().astype(np.float64)
    emission = one.emission @ mean[..., None]
    expected = emission[..., 0] @ weights + model.observation.bias.numpy()
    inner = np.einsum("taz,tzy,tby->tab", one.emission, covariance, one.emission) + model.emission_scale**2 * np.eye(2)
    spread = np.einsum("ad,tab,be->tde", weights, inner, weights) + np.eye(X_DIM)
    for sweeps in (1, 3):
        found = model.impute(x, None, batch.u, observed, num_samples=3000, num_sweeps=sweeps, seed=1)
        drawn = found.samples.numpy()[:, 0, ~observed[0]].astype(np.float64)
        assert_mean(drawn, expected[~observed[0]])
        centred = drawn - expected[~observed[0]]
        assert_mean(np.einsum("ktd,kte->ktde", centred, centred), spread[~observed[0]])
        # Frames apart are drawn together: they share z.
        together = Dense.of(one).given(a, observed[0])[1].reshape(LENGTH, 4, LENGTH, 4)[1, :, 2]
        across = weights.T @ one.emission[1] @ together @ one.emission[2].T @ weights
        assert_mean(np.einsum("kd,ke->kde", centred[:, 0], centred[:, 1]), across)
        np.testing.assert_array_equal(found.mean.numpy()[observed], batch.x.numpy()[observed])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_frames_observed_in_part_count_from_the_second_sweep() -> None:
    model, batch = make(), frames()
    observed = np.ones([BATCH, LENGTH, X_DIM], bool)
    observed[:, 2, 0] = False
    x = batch.x.numpy().copy()
    other = x.copy()
    other[:, 2, 1] += 3.0
    for sweeps, matters in ((1, False), (2, True)):
        options = {"u": batch.u, "observed": observed, "num_samples": 4, "num_sweeps": sweeps, "seed": 1}
        found, moved = (np.asarray(model.impute(y, **options).samples)[:, :, 2, 0] for y in (x, other))
        assert bool(np.abs(found - moved).max() > 1e-3) is matters


@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter:UserWarning")
@pytest.mark.slow
def test_litert_gives_the_same_numbers_with_builtin_operations_alone() -> None:
    """Inference, and smoothing with missing frames: neither needs an inverse or a factorisation."""
    model, batch = make(), frames()
    observed = tf.constant(np.array([[1, 0, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1]], bool))
    specs = [tf.TensorSpec(y.shape, y.dtype) for y in (batch.x, batch.u, observed)]

    @tf.function(input_signature=specs, autograph=False)
    def run(x: tf.Tensor, u: tf.Tensor, observed: tf.Tensor) -> dict[str, tf.Tensor]:
        each = tf.repeat(observed[..., None], X_DIM, axis=-1)
        estimate, path = model._estimate(Batch(x, None, u, each), True), model.infer(x, None, u)
        prior = path.latents["a"].p.scale
        return {"mean": estimate.mean, "covariance": estimate.covariance, "prior": prior, "x": path.x}

    # LiteRT has no variables inside of a loop.
    frozen = convert_variables_to_constants_v2(run.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        given = {batch.x.shape[2]: batch.x, U_DIM: batch.u, LENGTH: observed}[details["shape"][-1]]
        interpreter.set_tensor(details["index"], given.numpy())
    interpreter.invoke()
    found = [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]
    for value in run(batch.x, batch.u, observed).values():
        (same,) = (y for y in found if y.shape == value.shape)
        np.testing.assert_allclose(same, value, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_distributions_and_beliefs_are_float32_under_mixed_precision() -> None:
    model, batch = make(dtype="mixed_bfloat16"), frames()
    assert model.encoder.compute_dtype == model.mixing.compute_dtype == model.decoder.compute_dtype == "bfloat16"
    path, full = model.infer(*batch), make()
    a = path.latents["a"]
    estimate = model.smooth(*batch)
    assert {y.dtype for y in tf.nest.flatten((a.z, a.q, a.p, path.x, estimate))} == {tf.float32}
    assert_close(model.prior(a.z, batch.u), full.prior(a.z, batch.u), 0.05)


@pytest.mark.slow
def test_every_argument_survives_and_is_checked() -> None:
    options = {
        "latent_dim": 5,
        "encoding_dim": 3,
        "num_mixtures": 2,
        "units": 7,
        "mixing_cell": "gru",
        "encoder_units": (8,),
        "decoder_units": (9,),
        "activation": "relu",
        "dropout": 0.1,
        "scale": "exp",
        "min_scale": 1e-3,
        "frame_encoder": {"class_name": "conv", "config": {"filters": [3]}},
        "frame_decoder": {"class_name": "conv", "config": {"filters": [4], "kernel_size": 2}},
        "standardize": "global",
        "x_scale": "linear",
        "fill": "last",
        "indicator": True,
        "posterior_flow": 2,
        "flow": "autoregressive",
        "seed": 4,
        **SCALES,
    }
    model = KVAE(**options, name="mine")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert type(again) is KVAE
    assert {k: getattr(again, k) for k in options} == options
    assert again.name == "mine" and again.get_config() == model.get_config()
    for name, value, message in (
        ("encoding_dim", 0, "`encoding_dim` must be at least 1, got 0"),
        ("latent_dim", 0, "`latent_dim` must be at least 1, got 0"),
        ("dropout", 1.0, r"`dropout` must be in \[0, 1\), got 1.0"),
        ("emission_scale", 0.0, "`emission_scale` must be positive, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            KVAE(**{name: value})
