"""VSSN against float64 equations, its evidence on a grid, its printed objective, and what all sequences share."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import array, gaussian_head, join, mlp, run
from tests.oracles.support import assert_mean, frames, logsumexp, randomise
from tfdvae import bounds, random
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z, W, V = 3, 4, 3, 2, 2, 3, 4
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
NETWORKS = {
    "phi_u": (3,),
    "noise_units": (4,),
    "prior_units": (3,),
    "smoother_units": (2,),
    "posterior_units": (4,),
    "decoder_units": (3,),
}


class Found(NamedTuple):
    """Samples and distributions of w `[N, T, W]`, z `[N, T, Z]` and v `[N, V]`; parameters `[N, T, P]`."""

    w: np.ndarray
    q_w: tuple[np.ndarray, np.ndarray]
    z: np.ndarray
    q: tuple[np.ndarray, np.ndarray]
    p: tuple[np.ndarray, np.ndarray]
    v: np.ndarray
    q_v: tuple[np.ndarray, np.ndarray]
    params: np.ndarray


def make(u_dim: int = 0, *, x_dim: int = X, seed: int = 0, **options: Any) -> tfdvae.VSSN:
    sizes = {"latent_dim": Z, "noise_dim": W, "universal_dim": V, "units": 3}
    model = tfdvae.VSSN(**NETWORKS, **{**sizes, **options})
    model.build_for(x_dim, u_dim)
    randomise(model, 0.5, seed)
    return model


def draw(model: tfdvae.VSSN, batch: int = BATCH, length: int = LENGTH) -> dict[str, np.ndarray]:
    rng, cell = np.random.default_rng(5), model.cell
    shapes = {
        "w": [batch, length, cell.noise_dim],
        "z": [batch, length, cell.latent_dim],
        "v": [batch, cell.universal_dim],
    }
    noise = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    return {name: values.astype(np.float32) for name, values in noise.items()}


def follow(model: tfdvae.VSSN, x: np.ndarray, u: np.ndarray | None, noise: dict, given: dict | None = None) -> Found:
    """The model, equation by equation; `given` values of w, v and z stand in for samples."""
    cell, given = model.cell, given or {}
    loc, raw = np.split(array(cell.universal_posterior), 2)
    scale = (reference.softplus(raw) if cell.scale == "softplus" else np.exp(0.5 * raw)) + cell.min_scale
    v = given["v"] if "v" in given else loc + scale * noise["v"]
    features = mlp(cell.u_features, x if u is None else u)
    evidence = mlp(cell.noise_net, join(x, None if u is None else features))
    past, future = run(cell.noise_forward_rnn, evidence), run(cell.noise_backward_rnn, evidence, backward=True)
    q_w = gaussian_head(cell.noise_posterior_head, join(past, future))
    w = given["w"] if "w" in given else q_w[0] + q_w[1] * noise["w"]

    v_at_t = np.repeat(v[:, None], x.shape[1], axis=1)
    shifted = np.concatenate([np.zeros_like(features[:, :1]), features[:, :-1]], axis=1)
    d = run(cell.rnn, join(w, v_at_t, shifted) if u is None else join(w, features, v_at_t))
    a = run(cell.backward_rnn, mlp(cell.smoother, join(d, x)), backward=True)
    before, found = np.zeros([len(x), cell.latent_dim]), []
    for t in range(x.shape[1]):
        p = gaussian_head(cell.prior_head, mlp(cell.prior_net, join(before, d[:, t])))  # (2)
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(a[:, t], before)))  # (4)
        before = given["z"][:, t] if "z" in given else q[0] + q[1] * noise["z"][:, t]
        found.append((before, *q, *p, mlp(cell.decoder, join(before, d[:, t]))))
    z, q_loc, q_scale, p_loc, p_scale, features = (np.stack(y, axis=1) for y in zip(*found, strict=True))
    params = features @ array(model.observation.head.kernel) + array(model.observation.bias)
    q_v = np.broadcast_to(loc, v.shape), np.broadcast_to(scale, v.shape)
    return Found(w, q_w, z, (q_loc, q_scale), (p_loc, p_scale), v, q_v, params)


def standard(loc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(loc), np.ones_like(loc)


def divergences(found: Found) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL of w and of z per frame [N, T], and of v [N]."""
    kl = reference.normal_divergence
    return (
        kl(found.q_w, standard(found.w)).sum(axis=-1),
        kl(found.q, found.p).sum(axis=-1),
        kl(found.q_v, standard(found.v)).sum(axis=-1),
    )


def inputs(driven: bool) -> tuple[np.ndarray, np.ndarray | None]:
    u = np.random.default_rng(6).normal(size=[BATCH, LENGTH, U]).astype(np.float32) if driven else None
    return frames("gaussian", BATCH, LENGTH, X), u


@pytest.mark.alternating
@pytest.mark.parametrize("options", [{}, {"cell": "lstm", "num_layers": 2, "scale": "exp"}], ids=["gru", "lstm2"])
@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
def test_terms_follow_the_equations(options: dict[str, Any], driven: bool) -> None:
    model = make(U if driven else 0, num_sequences=5, **options)
    assert model.cell.cell == options.get("cell", "gru")
    x, u = inputs(driven)
    noise = draw(model)
    given = {name: tf.constant(values) for name, values in noise.items()}
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, given)
    expected = follow(model, x.astype(np.float64), u, noise)
    assert list(path.latents) == ["v", "w", "z"]
    parts = {
        "v": (expected.v, *expected.q_v, *standard(expected.v)),
        "w": (expected.w, *expected.q_w, *standard(expected.w)),
        "z": (expected.z, *expected.q, *expected.p),
    }
    for name, right in parts.items():
        latent = path.latents[name]
        for got, one in zip((latent.z, *latent.q, *latent.p), right, strict=True):
            np.testing.assert_allclose(got, one, **CLOSE)
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)

    terms = model.terms(path, batch)
    kl_w, kl_z, kl_v = divergences(expected)
    for name, right in (("w", kl_w), ("z", kl_z), ("v", kl_v / 5)):
        np.testing.assert_allclose(tf.reduce_sum(terms.latents[name].kl, -1), right, rtol=1e-4, atol=1e-4)
    log_px = reference.observation_log_density(model.observation, expected.params, x)
    np.testing.assert_allclose(terms.log_px, log_px, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.kl, kl_w + kl_z, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.sequence_kl, kl_v / 5, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_printed_objective_is_training_with_beta_one_half() -> None:
    """Half of A, reconstruction less KL(beta), plus half of B, reconstruction less KL(z)."""
    model = make(num_sequences=BATCH)
    x, _ = inputs(False)
    model.compile(keras.optimizers.SGD(0.0), beta=0.5, run_eagerly=True)
    history = model.fit(x, batch_size=BATCH, shuffle=False, verbose=0).history
    noise = model.draw_noise(random.fold_in(random.make_seed(model.seed), 0), BATCH, LENGTH)
    found = follow(model, x.astype(np.float64), None, {k: array(v) for k, v in noise.items()})
    reconstruction = reference.observation_log_density(model.observation, found.params, x).sum()
    kl_w, kl_z, kl_v = divergences(found)
    kl_beta = kl_w.sum() + kl_v.sum() / BATCH
    a, b = reconstruction - kl_beta, reconstruction - kl_z.sum()
    count = BATCH * LENGTH
    assert history["loss"][0] == pytest.approx(-(0.5 * a + 0.5 * b) / count, rel=1e-4)
    elbo = (reconstruction - kl_beta - kl_z.sum()) / count
    assert history["elbo_nats_per_frame"][0] == pytest.approx(elbo, rel=1e-4)
    assert -history["loss"][0] > elbo + 0.1


@pytest.mark.slow
def test_all_sequences_share_the_divergence_of_the_universal_parameters() -> None:
    x, _ = inputs(False)
    elbos = {}
    for count in (1, BATCH):
        model = make(num_sequences=count)
        path = model.infer(tf.constant(x))
        elbos[count] = array(bounds.ELBO().per_sequence(model.terms(path, Batch(tf.constant(x)))))
    means = {"w": np.zeros([BATCH, LENGTH, W]), "z": np.zeros([BATCH, LENGTH, Z]), "v": np.zeros([BATCH, V])}
    found = follow(model, x.astype(np.float64), None, means)
    kl_w, kl_z, kl_v = divergences(found)
    rest = reference.observation_log_density(model.observation, found.params, x) - kl_w - kl_z
    np.testing.assert_allclose(elbos[1], rest.sum(axis=1) - kl_v, rtol=1e-4)
    np.testing.assert_allclose(elbos[BATCH].sum(), rest.sum() - kl_v[0], rtol=1e-4)


@pytest.mark.slow
def test_the_universal_posterior_knows_no_data_and_is_drawn_for_each_sequence() -> None:
    model = make()
    x, _ = inputs(False)
    posteriors = [model.encode(y)["v"] for y in (x, 3.0 * x)]
    for y in zip(*posteriors, strict=True):
        np.testing.assert_array_equal(*y)
        assert np.ptp(y[0], axis=0).max() == 0.0
    v = model.infer(tf.constant(x), noise=model.draw_noise(random.make_seed(0), BATCH, LENGTH)).latents["v"].z
    assert np.ptp(v, axis=0).min() > 1e-3


@pytest.mark.slow
def test_importance_weights_average_to_the_evidence() -> None:
    """One frame with w, v and z in R: p(x) is an integral over three dimensions."""
    model = make(x_dim=2, latent_dim=1, noise_dim=1, universal_dim=1)
    heads = (model.cell.posterior_head, model.cell.noise_posterior_head)
    for variable in (model.cell.universal_posterior, *(head.output_layer.bias for head in heads)):
        variable.assign([float(variable[0]), 1.3])
    x = frames("gaussian", 1, 1, 2)
    axis = np.linspace(-12.0, 12.0, 65)
    w, v, z = (y.reshape(-1, 1, 1) for y in np.meshgrid(axis, axis, axis, indexing="ij"))
    given = {"w": w, "v": v[:, 0], "z": z}
    everywhere = np.repeat(x.astype(np.float64), len(z), axis=0)
    found = follow(model, everywhere, None, {}, given)
    area = 3.0 * np.log(axis[1] - axis[0])
    density = reference.normal_log_density
    log_prior = (density(w, *standard(w)) + density(z, *found.p))[:, 0] + density(v[:, 0], *standard(v[:, 0])) + area
    log_q = (density(w, *found.q_w) + density(z, *found.q))[:, 0] + density(v[:, 0], *found.q_v) + area
    log_joint = log_prior + reference.observation_log_density(model.observation, found.params, everywhere)[:, 0]
    assert logsumexp(log_prior) == pytest.approx(0.0, abs=1e-4)
    assert logsumexp(log_q) == pytest.approx(0.0, abs=1e-4)
    evidence = logsumexp(log_joint)

    terms = model.sample_terms(Batch(tf.constant(x)), random.make_seed(3), 40_000)
    variance = float(np.expm1(logsumexp(2.0 * (log_joint - evidence) - log_q)))
    assert_mean(np.exp(bounds.log_weight(terms) - evidence), 1.0, variance=variance)
    elbo = float(np.sum(np.exp(log_q) * (log_joint - log_q)))
    assert elbo < evidence - 0.01
    assert_mean(bounds.ELBO().per_sequence(terms), elbo)


@pytest.mark.slow
def test_new_sequences_are_drawn_with_the_learned_universal_parameters() -> None:
    model = make()
    v = np.array([2.0, -1.0, 0.5, 3.0], np.float32)
    model.cell.universal_posterior.assign(np.concatenate([v, np.full(V, -30.0, np.float32)]))
    told = {"v": np.tile(v, [BATCH, 1])}
    for sample in (False, True):
        learned = model.generate(LENGTH, BATCH, sample=sample, seed=1)
        given = model.generate(LENGTH, BATCH, latents=told, sample=sample, seed=1)
        prior = model.generate(LENGTH, BATCH, latents={"v": np.zeros([BATCH, V])}, sample=sample, seed=1)
        np.testing.assert_allclose(learned.x, given.x, rtol=1e-2, atol=1e-2)
        assert np.abs(learned.x - prior.x).max() > 0.1
    np.testing.assert_allclose(model.initial_state(1)["v"], v[None])
    np.testing.assert_array_equal(model.initial_state(BATCH, {"v": 2.0 * told["v"]})["v"], 2.0 * told["v"])


@pytest.mark.parametrize("name", ["latent_dim", "noise_dim", "universal_dim", "num_sequences"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` of a VSSN must be at least 1, got 0"):
        tfdvae.VSSN(**{name: 0})
