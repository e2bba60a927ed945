"""DSSM against its equations in float64, and forecasts by the physics of another sequence."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import array, gaussian_head, join, mlp, run
from tests.oracles.reference import gated_transition
from tests.oracles.support import frames, randomise
from tfdvae import bounds
from tfdvae.types import Batch

X, U, Z, V = 3, 2, 2, 4
LATENT = {"state": "z", "noise": "w"}
"""Of a frame, by what is inferred."""
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def make(u_dim: int = 0, context_dim: int = 0, **options: Any) -> tfdvae.DSSM:
    widths = {"transition_units": (3,), "decoder_units": (5,), "encoder_phi_x": (4,), "posterior_units": (3,)}
    model = tfdvae.DSSM(Z, global_dim=V, **{**widths, "units": 3, **options})
    model.build_for(X, u_dim, context_dim)
    randomise(model, 0.5, 0)
    return model


class Followed(NamedTuple):
    v: np.ndarray
    q_v: tuple
    path: reference.Path


def follow(
    model: Any, x: np.ndarray, u: np.ndarray | None, noise: dict[str, np.ndarray], v: np.ndarray | None = None
) -> Followed:
    """The model, equation by equation; a given v stands in for its sample."""
    cell = model.cell
    evidence = join(mlp(cell.x_features, array(x)), u)
    ends = run(cell.v_forward_rnn, evidence)[:, -1], run(cell.v_backward_rnn, evidence, backward=True)[:, 0]
    q_v = gaussian_head(cell.v_posterior_head, join(*ends))
    v = q_v[0] + q_v[1] * noise["v"] if v is None else v
    name = LATENT[cell.inference]
    before, found = np.zeros([len(x), Z]), []
    for t in range(x.shape[1]):
        q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(evidence[:, t], v, before)))
        moved = gated_transition(cell.transition, join(before, v, None if u is None else u[:, t]))
        p = reference.standard(q[0]) if t == 0 else moved
        if cell.inference == "noise":
            if t == 0:
                q = gaussian_head(cell.initial_posterior_head, mlp(cell.initial_posterior_net, join(ends[1], v)))
            w = q[0] + q[1] * noise[name][:, t]
            before = p[0] + p[1] * w
            found.append((w, q, reference.standard(w), mlp(cell.decoder, before)))
            continue
        z = q[0] + q[1] * noise[name][:, t]
        found.append((z, q, p, mlp(cell.decoder, z)))
        before = z
    return Followed(v, q_v, reference.collect(found, model.observation))


def onward(model: Any, z: np.ndarray, v: np.ndarray, u: np.ndarray | None, horizon: int) -> np.ndarray:
    """Means of the frames that follow a state along the means of the transition, [N, horizon, D]."""
    found = []
    for t in range(horizon):
        z = gated_transition(model.cell.transition, join(z, v, None if u is None else u[:, t]))[0]
        found.append(mlp(model.cell.decoder, z) @ array(model.observation.head.kernel) + array(model.observation.bias))
    return np.stack(found, axis=1)[..., :X]


def drawn(batch: int, length: int, scale: float = 1.0, frame: str = "z") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = {frame: [batch, length, Z], "v": [batch, V]}
    return {k: (scale * rng.normal(size=shape)).astype(np.float32) for k, shape in shapes.items()}


def inputs(u_dim: int, length: int = 4) -> np.ndarray | None:
    return frames("gaussian", 3, length, u_dim, seed=8) if u_dim else None


@pytest.mark.alternating
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "num_layers": 2, "scale": "exp"},
        {"inference": "noise"},
        {"inference": "noise", "scale": "exp"},
    ],
    ids=["lstm", "gru", "noise", "exp-noise"],
)
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
def test_terms_follow_the_equations(u_dim: int, options: dict) -> None:
    model = make(u_dim, **options)
    x, u, noise = frames("gaussian", 3, 4, X), inputs(u_dim), drawn(3, 4, frame=LATENT[model.cell.inference])
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, {k: tf.constant(y) for k, y in noise.items()})
    expected = follow(model, x, u, noise)
    assert list(path.latents) == ["v", LATENT[model.cell.inference]]
    v, z = path.latents.values()
    np.testing.assert_allclose(v.z, expected.v, **CLOSE)
    for got, right in zip((*v.q, *z.q, *z.p), (*expected.q_v, *expected.path.q, *expected.path.p), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
    np.testing.assert_allclose(path.x, expected.path.params, **CLOSE)
    np.testing.assert_array_equal(v.p.loc, np.zeros([3, V]))
    np.testing.assert_array_equal(v.p.scale, np.ones([3, V]))

    terms = model.terms(path, batch)
    kl_v = reference.normal_divergence(expected.q_v, reference.standard(expected.v)).sum(axis=-1)
    np.testing.assert_allclose(terms.sequence_kl, kl_v, rtol=1e-4)
    log_px = reference.observation_log_density(model.observation, expected.path.params, array(x)).sum(axis=1)
    kl_z = reference.normal_divergence(expected.path.q, expected.path.p).sum(axis=(1, 2))
    np.testing.assert_allclose(bounds.ELBO().per_sequence(terms), log_px - kl_z - kl_v, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("inference", ["state", "noise"])
def test_masked_sequences_are_the_short_sequences(inference: str) -> None:
    model = make(inference=inference)
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
    name = LATENT[inference]
    x, noise = frames("gaussian", 3, 5, X), drawn(3, 5, frame=name)
    x[~mask] = np.nan
    path = model.infer(tf.constant(x), tf.constant(mask), noise={k: tf.constant(y) for k, y in noise.items()})
    for b in range(3):
        own = {name: noise[name][b : b + 1, mask[b]], "v": noise["v"][b : b + 1]}
        expected = follow(model, x[b : b + 1, mask[b]], None, own)
        np.testing.assert_allclose(path.latents["v"].z[b], expected.v[0], **CLOSE)
        np.testing.assert_allclose(np.asarray(path.latents[name].z)[b, mask[b]], expected.path.z[0], **CLOSE)
        np.testing.assert_allclose(np.asarray(path.x)[b, mask[b]], expected.path.params[0], **CLOSE)


def quiet(model: tfdvae.DSSM) -> None:
    """Posteriors and transitions of so little noise that their draws are their means."""
    heads = [model.cell.posterior_head, model.cell.v_posterior_head]
    for head in heads + ([model.cell.initial_posterior_head] if model.cell.inference == "noise" else []):
        size = head.family.latent_dim
        kernel, bias = head.output_layer.kernel, head.output_layer.bias
        kernel.assign(np.where(np.arange(2 * size) < size, np.asarray(kernel), 0.0))
        bias.assign(np.where(np.arange(2 * size) < size, np.asarray(bias), -30.0))
    variance = model.cell.transition.variance
    variance.kernel.assign(tf.zeros_like(variance.kernel))
    variance.bias.assign(tf.fill(variance.bias.shape, -30.0))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
@pytest.mark.slow
def test_a_swap_goes_on_from_the_own_state_by_the_physics_of_the_other(u_dim: int) -> None:
    model = make(u_dim)
    quiet(model)
    x, other, u, ahead = frames("gaussian", 3, 4, X), frames("gaussian", 3, 5, X, seed=4), inputs(u_dim), inputs(u_dim)
    u_other = frames("gaussian", 3, 5, U, seed=9) if u_dim else None
    options = {"horizon": 4, "future_u": ahead, "num_samples": 2, "seed": 1}
    swapped = model.swap(x, other, u=u, u_other=u_other, **options)
    zero, zeros = drawn(3, 4, 0.0), drawn(3, 5, 0.0)
    own, foreign = follow(model, x, u, zero), follow(model, other, u_other, zeros)
    small = {"rtol": 1e-3, "atol": 2e-3}
    expected = onward(model, own.path.z[:, -1], foreign.v, ahead, 4)
    np.testing.assert_allclose(swapped.mean, expected, **small)
    assert swapped.samples.shape == (2, 3, 4, X)

    forecast = model.forecast(x, u=u, **options)
    own_way = onward(model, own.path.z[:, -1], own.v, ahead, 4)
    np.testing.assert_allclose(forecast.mean, own_way, **small)
    np.testing.assert_allclose(model.swap(x, x, u=u, u_other=u, **options).mean, own_way, **small)
    assert np.abs(expected - own_way).max() > 0.05

    known = model.forecast(x, u=u, latents={"v": foreign.v}, **options)
    under = follow(model, x, u, zero, foreign.v)
    conditioned = onward(model, under.path.z[:, -1], foreign.v, ahead, 4)
    np.testing.assert_allclose(known.mean, conditioned, **small)
    assert np.abs(conditioned - expected).max() > 0.01
    prefix = {"x": x} if u is None else {"x": x, "u": u}
    continued = model.generate(4, prefix=prefix, u=ahead, latents={"v": foreign.v}, sample=False)
    np.testing.assert_allclose(model.frames.mean(continued.params), conditioned, **small)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_swap_goes_on_from_the_state_that_inferred_noise_leads_to() -> None:
    model = make(inference="noise")
    quiet(model)
    x, other = frames("gaussian", 3, 4, X), frames("gaussian", 3, 5, X, seed=4)
    options = {"horizon": 4, "num_samples": 2, "seed": 1}
    z = array(model.encode(x)["z"])[:, -1]
    for second in (x, other):
        expected = onward(model, z, array(model.encode(second)["v"].loc), None, 4)
        np.testing.assert_allclose(model.swap(x, second, **options).mean, expected, rtol=1e-3, atol=2e-3)
    own_way = model.forecast(x, **options).mean
    np.testing.assert_allclose(own_way, model.swap(x, x, **options).mean, rtol=1e-3, atol=2e-3)
    assert np.abs(own_way - expected).max() > 0.02


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_swap_sees_the_frames_of_both_that_exist() -> None:
    """Whether masks are arguments or stand beside the frames."""
    model = make()
    quiet(model)
    x, other = frames("gaussian", 2, 5, X), frames("gaussian", 2, 6, X, seed=4)
    mask, mask_other = np.array([[0, 1, 1, 1, 0], [1, 0, 1, 0, 1]], bool), np.zeros([2, 6], bool)
    mask_other[0, :2] = mask_other[1, 3:5] = True
    short, short_other = x[mask].reshape(2, 3, X), other[mask_other].reshape(2, 2, X)
    x[~mask], other[~mask_other] = np.nan, np.nan
    options = {"horizon": 3, "num_samples": 1, "seed": 1}
    expected = model.swap(short, short_other, **options).mean
    masked = model.swap(x, other, mask=mask, mask_other=mask_other, **options).mean
    np.testing.assert_allclose(masked, expected, rtol=1e-3, atol=2e-3)
    beside = model.swap({"x": x, "mask": mask}, {"x": other, "mask": mask_other}, **options).mean
    np.testing.assert_array_equal(beside, masked)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_swap_goes_on_in_the_context_of_the_own_sequence() -> None:
    """That of the other has a part in its v alone."""
    model = make(context_dim=2)
    quiet(model)
    x, other = frames("gaussian", 2, 4, X), frames("gaussian", 2, 4, X, seed=4)
    own, foreign = frames("gaussian", 2, 1, 2, seed=6)[:, 0], frames("gaussian", 2, 1, 2, seed=7)[:, 0]
    options = {"horizon": 3, "num_samples": 1, "seed": 1}
    past, beside = {"x": x, "context": own}, {"x": other, "context": foreign}
    v = model.encode(beside)["v"].loc
    path = model.infer(tf.constant(x), context=tf.constant(own))
    z, expected = array(path.latents["z"].z[:, -1]), []
    for _ in range(3):
        z = gated_transition(model.cell.transition, join(z, array(v), own))[0]
        features = join(mlp(model.cell.decoder, z), own)
        expected.append(features @ array(model.observation.head.kernel) + array(model.observation.bias))
    found = model.swap(past, beside, **options).mean
    np.testing.assert_allclose(found, np.stack(expected, axis=1)[..., :X], rtol=1e-3, atol=2e-3)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("latent", ["v", "z"])
@pytest.mark.slow
def test_a_swap_draws_v_of_the_other_and_its_own_z_from_their_posteriors(latent: str) -> None:
    """Where one of the two is all that varies, means of frames vary with it. No v has a part in q(z_t | .) here."""
    model = make()
    quiet(model)
    kernel = model.cell.posterior_net.hidden[0].kernel
    of_v = np.arange(kernel.shape[0]) - model.cell.evidence_dim
    kernel.assign(np.where(((of_v >= 0) & (of_v < V))[:, None], 0.0, array(kernel)))
    head = {"v": model.cell.v_posterior_head, "z": model.cell.posterior_head}[latent]
    bias, size = head.output_layer.bias, head.family.latent_dim
    bias.assign(np.where(np.arange(2 * size) < size, np.asarray(bias), 1.0))
    x, other = frames("gaussian", 2, 4, X), frames("gaussian", 2, 5, X, seed=4)
    first, second = (model.swap(x, other, horizon=2, num_samples=1, seed=seed).mean for seed in (1, 2))
    assert np.abs(first - second).max() > 0.02


@pytest.mark.slow
def test_a_swap_is_drawn_by_its_seed_and_wants_as_many_sequences_of_both() -> None:
    model, x = make(), frames("gaussian", 2, 4, X)
    first, again, other = (model.swap(x, x, horizon=2, num_samples=2, seed=seed).samples for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(first[0], first[1])
    with pytest.raises(ValueError, match="same number of sequences, got `x` for 2, `x_other` for 1"):
        model.swap(x, x[:1], horizon=2)
    for wrong in ({"horizon": 0}, {"horizon": 2, "num_samples": 0}):
        with pytest.raises(ValueError, match=f"`{[*wrong][-1]}` must be at least 1, got 0"):
            model.swap(x, x, **wrong)
    with pytest.raises(ValueError, match="same number of sequences, got `x` for 2, `v` for 1"):
        model.forecast(x, horizon=2, latents={"v": np.zeros([1, V])})
    with pytest.raises(ValueError, match="`latents` may give .*'v': '\\[batch, 4\\]'.*; got 'w'"):
        model.forecast(x, horizon=2, latents={"w": np.zeros([2, V])})


@pytest.mark.parametrize("inference", ["state", "noise"])
def test_inferred_noise_lets_frames_teach_the_transition(inference: str) -> None:
    """Through the state before; where the state is inferred, no later frame is moved by the transition."""
    model, x = make(inference=inference), tf.constant(frames("gaussian", 2, 3, X))
    with tf.GradientTape() as tape:
        noise = {k: tf.constant(y) for k, y in drawn(2, 3, frame=LATENT[inference]).items()}
        terms = model.terms(model.infer(x, noise=noise), Batch(x))
        log_px = tf.reduce_sum(terms.log_px)
    found = tape.gradient(log_px, model.cell.transition.linear.kernel)
    assert (found is not None and np.abs(found).max() > 1e-3) == (inference == "noise")


@pytest.mark.parametrize("inference", ["state", "noise"])
def test_where_noise_is_inferred_the_transition_starts_near_rest(inference: str) -> None:
    model = tfdvae.DSSM(Z, global_dim=V, transition_units=(3,), units=3, inference=inference)
    model.build_for(X)
    z = tf.random.stateless_normal([50, Z], [0, 1])
    state = {"z": z, "v": tf.random.stateless_normal([50, V], [0, 2]), "first": tf.zeros([50, 1], tf.bool)}
    moved = model.cell.prior(state)
    far = np.linalg.norm(np.asarray(moved.loc) - np.asarray(z)) / np.linalg.norm(z)
    assert (far < 0.4 and np.median(moved.scale) < 0.4) == (inference == "noise")


def test_what_is_inferred_is_checked() -> None:
    with pytest.raises(ValueError, match="`inference` must be 'state' or 'noise', got 'z'"):
        tfdvae.DSSM(inference="z")


def test_encode_tells_the_noise_and_the_state() -> None:
    model, x = make(inference="noise"), frames("gaussian", 2, 4, X)
    found = model.encode(x)
    assert list(found) == ["v", "w", "z"]
    still = follow(model, x, None, drawn(2, 4, 0.0, "w"))
    np.testing.assert_allclose(found["w"].loc, still.path.q[0], **CLOSE)
    np.testing.assert_allclose(found["z"][:, 0], found["w"].loc[:, 0], **CLOSE)
    features = mlp(model.cell.decoder, array(found["z"]))
    params = features @ array(model.observation.head.kernel) + array(model.observation.bias)
    np.testing.assert_allclose(params, still.path.params, **CLOSE)


@pytest.mark.parametrize("name", ["latent_dim", "global_dim"])
def test_sizes_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` of a DSSM must be at least 1, got 0"):
        tfdvae.DSSM(**{name: 0})
