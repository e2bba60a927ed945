"""DVBF against its equations in float64, its evidence on a grid, its annealed bound, and its random matrices."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import affine, array, gaussian_head, join, mlp, run
from tests.oracles.support import assert_mean, frames, logsumexp, randomise
from tfdvae import bounds, random, schedules
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z, W, M = 3, 4, 3, 2, 2, 3, 5
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
NETWORKS = {
    "mixing_units": (3,),
    "initial_units": (4,),
    "encoder_phi_x": (4,),
    "posterior_units": (3,),
    "decoder_units": (5,),
}


def make(u_dim: int = 0, *, x_dim: int = X, spread: float = 0.5, **options: Any) -> tfdvae.DVBF:
    sizes = {**NETWORKS, "latent_dim": Z, "noise_dim": W, "num_matrices": M, "units": 3, **options}
    idle = tfdvae.DVBF.without_use(sizes)
    model = tfdvae.DVBF(**{k: v for k, v in sizes.items() if k in options or k not in idle})
    model.build_for(x_dim, u_dim)
    if spread:
        randomise(model, spread, 0)
    return model


class Found(NamedTuple):
    """w `[N, T, W]` and v `[N, V]`, their posteriors, states z `[N, T, Z]`, parameters `[N, T, P]`."""

    w: np.ndarray
    q: tuple[np.ndarray, np.ndarray]
    v: np.ndarray
    q_v: tuple[np.ndarray, np.ndarray]
    z: np.ndarray
    params: np.ndarray


def matrices(model: tfdvae.DVBF, batch: int, noise: np.ndarray | None) -> tuple[np.ndarray, tuple]:
    """All matrices of each sequence, [N, V], and q(v)."""
    cell, weight = model.cell, array(model.cell.matrices)
    if not cell.bayesian:
        return np.broadcast_to(weight.ravel(), [batch, weight.size]), ()
    loc, raw = np.split(weight, 2)
    scale = (reference.softplus(raw) if cell.scale == "softplus" else np.exp(0.5 * raw)) + cell.min_scale
    loc, scale = (np.broadcast_to(y, [batch, y.size]) for y in (loc, scale))
    return loc if noise is None else loc + scale * noise, (loc, scale)


def moved(model: tfdvae.DVBF, v: np.ndarray, z: np.ndarray, u: np.ndarray | None, w: np.ndarray) -> np.ndarray:
    """A z + B u + C w with each matrix written out as a sum."""
    cell = model.cell
    logits = affine(cell.mixing_output, mlp(cell.mixing_net, join(z, u)))
    alpha = np.exp(logits - logits.max(axis=-1, keepdims=True))
    alpha /= alpha.sum(axis=-1, keepdims=True)
    size, width = z.shape[-1], 0 if u is None else u.shape[-1]
    each = v.reshape(len(v), -1, cell.num_matrices, size).transpose(0, 2, 3, 1)  # [N, M, Z, Z + U + W]
    a = np.einsum("nm,nmij->nij", alpha, each[..., :size] + np.eye(size))
    c = np.einsum("nm,nmij->nij", alpha, each[..., size + width :])
    out = np.einsum("nij,nj->ni", a, z) + np.einsum("nij,nj->ni", c, w)
    if u is not None:
        b = np.einsum("nm,nmij->nij", alpha, each[..., size : size + width])
        out += np.einsum("nij,nj->ni", b, u)
    return out


def follow(
    model: tfdvae.DVBF, x: np.ndarray, u: np.ndarray | None, noise: dict, given: np.ndarray | None = None
) -> Found:
    """The model, equation by equation; a given w stands in for its sample."""
    cell = model.cell
    v, q_v = matrices(model, len(x), noise.get("v"))
    evidence = join(mlp(cell.x_features, array(x)), u)
    whole = evidence if cell.backward_rnn is None else run(cell.backward_rnn, evidence, backward=True)
    z, found = np.zeros([len(x), cell.latent_dim]), []
    for t in range(x.shape[1]):
        if t == 0:
            q = gaussian_head(cell.initial_posterior_head, mlp(cell.initial_posterior_net, whole[:, 0]))
        else:
            q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(evidence[:, t], z)))
        w = q[0] + q[1] * noise["w"][:, t] if given is None else given[:, t]
        if t == 0:
            z = affine(cell.initial_output, mlp(cell.initial_net, w))
        else:
            z = moved(model, v, z, None if u is None else u[:, t], w)
        found.append((w, *q, z, mlp(cell.decoder, z)))
    w, loc, scale, z, features = (np.stack(y, axis=1) for y in zip(*found, strict=True))
    params = features @ array(model.observation.head.kernel) + array(model.observation.bias)
    return Found(w, (loc, scale), v, q_v, z, params)


def drawn(model: tfdvae.DVBF, batch: int = BATCH, length: int = LENGTH) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = {latent.name: latent.noise_shape(batch, length) for latent in model.latents}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def inputs(u_dim: int) -> tuple[np.ndarray, np.ndarray | None]:
    u = frames("gaussian", BATCH, LENGTH, u_dim, seed=8) if u_dim else None
    return frames("gaussian", BATCH, LENGTH, X), u


def tensors(noise: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(y) for name, y in noise.items()}


VARIANTS = {
    "smooth": {},
    "filter": {"initial": "filter", "scale": "exp"},
    "bayesian": {"bayesian": True, "num_sequences": 5, "cell": "gru", "num_layers": 2},
}


@pytest.mark.alternating
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
def test_terms_follow_the_equations(u_dim: int, variant: str) -> None:
    model = make(u_dim, **VARIANTS[variant])
    x, u = inputs(u_dim)
    noise = drawn(model)
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, tensors(noise))
    expected = follow(model, x, u, noise)
    w = path.latents["w"]
    for got, right in zip((w.z, *w.q), (expected.w, *expected.q), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
    np.testing.assert_array_equal(w.p.loc, np.zeros_like(w.z))
    np.testing.assert_array_equal(w.p.scale, np.ones_like(w.z))
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)

    terms = model.terms(path, batch)
    kl = reference.normal_divergence(expected.q, reference.standard(expected.w)).sum(axis=-1)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-4, atol=1e-4)
    log_px = reference.observation_log_density(model.observation, expected.params, array(x))
    np.testing.assert_allclose(terms.log_px, log_px, rtol=1e-4, atol=1e-4)
    once = np.zeros(BATCH)
    if model.cell.bayesian:
        assert list(path.latents) == ["v", "w"]
        np.testing.assert_allclose(path.latents["v"].z, expected.v, **CLOSE)
        once = reference.normal_divergence(expected.q_v, reference.standard(expected.v)).sum(axis=-1) / 5
    np.testing.assert_allclose(terms.sequence_kl, once, rtol=1e-4)
    elbo = (log_px - kl).sum(axis=1) - once
    np.testing.assert_allclose(bounds.ELBO().per_sequence(terms), elbo, rtol=1e-4, atol=1e-3)


def test_masked_sequences_are_the_short_sequences() -> None:
    model = make()
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
    x, noise = frames("gaussian", 3, 5, X), drawn(model, 3, 5)
    x[~mask] = np.nan
    path = model.infer(tf.constant(x), tf.constant(mask), noise=tensors(noise))
    for b in range(3):
        expected = follow(model, x[b : b + 1, mask[b]], None, {"w": noise["w"][b : b + 1, mask[b]]})
        np.testing.assert_allclose(np.asarray(path.latents["w"].z)[b, mask[b]], expected.w[0], **CLOSE)
        np.testing.assert_allclose(np.asarray(path.x)[b, mask[b]], expected.params[0], **CLOSE)


@pytest.mark.slow
def test_encode_tells_the_noise_and_the_state() -> None:
    model = make(U)
    x, u = inputs(U)
    found = model.encode(x, u=u)
    quiet = follow(model, x, u, {"w": np.zeros([BATCH, LENGTH, W])})
    np.testing.assert_allclose(found["w"].loc, quiet.q[0], **CLOSE)
    np.testing.assert_allclose(found["w"].scale, quiet.q[1], **CLOSE)
    np.testing.assert_allclose(found["z"], quiet.z, **CLOSE)
    np.testing.assert_allclose(model.encode_states(x, u=u)["z"], quiet.z, **CLOSE)


def test_a_state_is_told_where_a_model_meets_its_own_output() -> None:
    """DVBF feeds no frame back, so the path and the state on it stay what they were."""
    model, x = make(), tf.constant(frames("gaussian", BATCH, LENGTH, X))
    noise = tensors(drawn(model))
    plain = model.infer(x, noise=noise)
    with random.replacement_scope(tf.constant(1.0), random.make_seed(0)):
        fed = model.infer(x, noise=noise)
    np.testing.assert_allclose(plain.states["z"], follow(model, x.numpy(), None, drawn(model)).z, **CLOSE)
    np.testing.assert_allclose(fed.states["z"], plain.states["z"], **CLOSE)


def test_a_new_model_moves_its_state_by_the_identity_and_by_what_is_random() -> None:
    """With neither inputs nor noise a state stays where it is; noise of the prior moves it by less than one."""
    model = make(spread=0.0, num_matrices=16)
    z = tf.constant(np.random.default_rng(2).normal(size=[4000, Z]), tf.float32)
    state = {"z": z, "first": tf.zeros([4000, 1], tf.bool)}
    np.testing.assert_allclose(model.cell.transition(state, tf.zeros([4000, W])), z, rtol=1e-6)
    w = tf.constant(np.random.default_rng(3).normal(size=[4000, W]), tf.float32)
    spread = np.std(model.cell.transition(state, w) - z)
    assert 0.05 < spread < 0.5


def test_matrices_of_inputs_and_noise_start_the_smaller_the_wider_what_they_meet() -> None:
    """A^(i) at the identity, B^(i) and C^(i) at a scale of 1 / sqrt(Z + U + W)."""
    weight = array(make(U, spread=0.0, num_matrices=400).cell.matrices)
    np.testing.assert_array_equal(weight[:Z], np.zeros_like(weight[:Z]))
    assert np.std(weight[Z:]) == pytest.approx((Z + U + W) ** -0.5, rel=0.1)


def test_gradients_reach_the_transition_through_the_reconstruction() -> None:
    """Of log p(x_T | .) alone, all the way back to w_1; in a DKF the samples of z cut the transition off."""
    model, x = make(), frames("gaussian", BATCH, LENGTH, X)
    noise = {"w": tf.constant(drawn(model)["w"])}
    with tf.GradientTape() as tape:
        params = model.infer(tf.constant(x), noise=noise).x[:, -1]
        last = tf.reduce_sum(model.frames.log_prob(params, tf.constant(x[:, -1])))
    watched = (model.cell.matrices, model.cell.mixing_output.kernel, model.cell.initial_output.kernel)
    for slope in tape.gradient(last, [v.value for v in watched]):
        assert np.abs(slope).max() > 1e-3


@pytest.mark.slow
def test_the_annealed_bound_is_that_of_the_paper() -> None:
    """E[c log p(x | z) + c log p(w) - log q(w)], c by a schedule; what is reported is the bound."""
    x = frames("gaussian", BATCH, LENGTH, X)
    model = make()
    schedule = schedules.LinearWarmup(2, 0.25, 1.0)
    model.compile(keras.optimizers.SGD(0.0), temperature=schedule, run_eagerly=True)
    history = model.fit(x, batch_size=BATCH, epochs=3, shuffle=False, verbose=0).history
    for step, c in enumerate((0.25, 0.625, 1.0)):
        noise = model.draw_noise(random.fold_in(random.make_seed(model.seed), step), BATCH, LENGTH)
        found = follow(model, x, None, {k: array(y) for k, y in noise.items()})
        log_px = reference.observation_log_density(model.observation, found.params, array(x)).sum()
        kl = reference.normal_divergence(found.q, reference.standard(found.w)).sum()
        log_q = reference.normal_log_density(found.w, *found.q).sum()
        objective = c * (log_px - kl) - (1.0 - c) * log_q
        assert history["loss"][step] == pytest.approx(-objective / x[..., 0].size, rel=1e-4)
        assert history["elbo_nats_per_frame"][step] == pytest.approx((log_px - kl) / x[..., 0].size, rel=1e-4)


@pytest.mark.parametrize("initial", ["smooth", "filter"])
@pytest.mark.slow
def test_importance_weights_average_to_the_evidence(initial: str) -> None:
    """Two frames with w in R: p(x) is an integral over the plane."""
    model = make(x_dim=2, latent_dim=2, noise_dim=1, initial=initial)
    for head in (model.cell.posterior_head, model.cell.initial_posterior_head):
        head.output_layer.bias.assign([float(head.output_layer.bias[0]), 1.0])
    x = frames("gaussian", 1, 2, 2)
    axis = np.linspace(-9.0, 9.0, 241)
    w = np.stack([y.ravel() for y in np.meshgrid(axis, axis, indexing="ij")], axis=-1)[..., None]
    everywhere = np.repeat(x.astype(np.float64), len(w), axis=0)
    found = follow(model, everywhere, None, {}, w)
    area = 2.0 * np.log(axis[1] - axis[0])
    log_prior = reference.normal_log_density(w, *reference.standard(w)).sum(axis=1) + area
    log_q = reference.normal_log_density(w, *found.q).sum(axis=1) + area
    assert logsumexp(log_prior) == pytest.approx(0.0, abs=1e-4)
    assert logsumexp(log_q) == pytest.approx(0.0, abs=1e-3)
    log_joint = log_prior + reference.observation_log_density(model.observation, found.params, everywhere).sum(axis=1)
    evidence = logsumexp(log_joint)

    terms = model.sample_terms(Batch(tf.constant(x)), random.make_seed(3), 40_000)
    variance = float(np.expm1(logsumexp(2.0 * (log_joint - evidence) - log_q)))
    assert_mean(np.exp(bounds.log_weight(terms) - evidence), 1.0, variance=variance)
    elbo = float(np.sum(np.exp(log_q) * (log_joint - log_q)))
    assert elbo < evidence - 0.01
    assert_mean(bounds.ELBO().per_sequence(terms), elbo)
    if model.causal:
        found = float(model.particle_log_prob(x, num_samples=40_000, criterion="never", seed=4)[0])
        assert found == pytest.approx(evidence, abs=5.0 * np.sqrt(variance / 40_000))


def test_random_matrices_start_narrow_around_those_of_a_point_estimate() -> None:
    for scale in ("softplus", "exp"):
        fixed, free = (make(spread=0.0, bayesian=b, scale=scale, seed=3) for b in (False, True))
        q = free.cell.posterior_v(2)
        np.testing.assert_allclose(q.loc[1], np.ravel(fixed.cell.matrices), rtol=1e-6)
        np.testing.assert_allclose(q.scale, np.full(q.scale.shape, 0.1), atol=2e-4)


def test_all_sequences_share_the_divergence_of_the_matrices() -> None:
    x, elbos = tf.constant(frames("gaussian", BATCH, LENGTH, X)), {}
    for count in (1, BATCH):
        model = make(bayesian=True, num_sequences=count)
        terms = model.terms(model.infer(x), Batch(x))
        elbos[count] = array(bounds.ELBO().per_sequence(terms))
    loc, scale = (array(y) for y in model.cell.posterior_v(1))
    kl = reference.normal_divergence((loc, scale), reference.standard(loc)).sum()
    np.testing.assert_allclose(elbos[BATCH] - elbos[1], np.full(BATCH, kl * (1.0 - 1.0 / BATCH)), rtol=1e-4)


@pytest.mark.parametrize("name", ["latent_dim", "noise_dim", "num_matrices", "num_sequences"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` of a DVBF must be at least 1, got 0"):
        tfdvae.DVBF(**{name: 0})


@pytest.mark.slow
def test_the_first_noise_is_inferred_in_one_of_two_ways() -> None:
    assert make(initial="filter").causal and not make(initial="smooth").causal
    with pytest.raises(ValueError, match="cannot be streamed.*DVBF: initial='filter'"):
        make().step({}, np.zeros([1, X], np.float32))
    with pytest.raises(ValueError, match="`initial` must be 'smooth' or 'filter', got 'both'"):
        tfdvae.DVBF(initial="both")
