"""The latent LDS against one dense Gaussian in float64, and against the exact likelihood of a linear system."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles.kalman_reference import log_density
from tests.oracles.linear import System, set_observation, set_weights, softplus_inverse
from tests.oracles.networks import affine, array, mlp, softplus
from tests.oracles.support import randomise
from tfdvae.layers import information
from tfdvae.layers.information import Potential
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z = 3, 5, 4, 2, 3
EXISTS = np.arange(LENGTH) < np.array([[5], [3], [1]])


def frames(batch: int, length: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=[batch, length, width]).astype(np.float32)


def make(u_dim: int = 0, **options: Any) -> tfdvae.LatentLDS:
    model = tfdvae.LatentLDS(Z, encoder_units=(4,), decoder_units=(5,), **options)
    model.build_for(X, u_dim)
    randomise(model, 0.4, 0)
    return model


class Dense(NamedTuple):
    """Of one sequence of T frames: means and covariances of all z, `[T Z]`, under the prior and under q; log Z; and the
    potentials, `[T, Z]` each."""

    prior: tuple[np.ndarray, np.ndarray]
    posterior: tuple[np.ndarray, np.ndarray]
    log_normaliser: float
    vector: np.ndarray
    precision: np.ndarray


def dense(model: tfdvae.LatentLDS, x: np.ndarray, u: np.ndarray | None, known: np.ndarray) -> Dense:
    """All of a sequence `[T, X]` as one Gaussian; where `known` is false, psi_t = 1."""
    cell, length = model.cell, len(x)
    raw = affine(cell.potentials, mlp(cell.encoder, x))
    vector, precision = raw[:, :Z] * known[:, None], softplus(raw[:, Z:]) * known[:, None]
    positive = softplus if cell.scale == "softplus" else lambda y: np.exp(0.5 * y)
    scale, first = (positive(array(y)) + cell.min_scale for y in (cell.raw_scale, cell.raw_initial_scale))
    drift = np.zeros([length, Z]) if u is None else u @ array(cell.drift)
    # z = (I - S)^-1 (drift + noise), with S that moves each z_t to the next.
    moves = np.kron(np.eye(length, k=-1), array(cell.transition))
    spread = np.linalg.inv(np.eye(length * Z) - moves)
    noise = np.concatenate([first, np.tile(scale, length - 1)])
    start = drift.copy()
    start[0] += array(cell.initial_loc)
    mean, covariance = spread @ start.ravel(), spread @ np.diag(noise**2) @ spread.T
    own = np.linalg.inv(covariance)
    after = np.linalg.inv(own + np.diag(precision.ravel()))
    found = after @ (own @ mean + vector.ravel())
    log_normaliser = 0.5 * (
        found @ np.linalg.solve(after, found)
        - mean @ own @ mean
        + np.linalg.slogdet(after)[1]
        - np.linalg.slogdet(covariance)[1]
    )
    return Dense((mean, covariance), (found, after), log_normaliser, vector, precision)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(("u_dim", "scale"), [(0, "softplus"), (U, "exp")])
@pytest.mark.slow
def test_posterior_and_bound_are_those_of_the_dense_gaussian(parallel: bool, u_dim: int, scale: str) -> None:
    model = make(u_dim, parallel=parallel, scale=scale)
    x, u = frames(BATCH, LENGTH, X), frames(BATCH, LENGTH, u_dim, 1) if u_dim else None
    observed = np.ones([BATCH, LENGTH, X], bool)
    observed[0, 1] = observed[0, 4] = observed[1, 0] = False
    observed[2, 0, 1] = False  # Of a frame that was observed in part, the networks see the rest as zero.
    batch = Batch(*(None if y is None else tf.constant(y) for y in (x, EXISTS, u, observed)))
    noise = model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)
    path = model.infer(*batch, noise=noise)
    terms = model.terms(path, batch).latents["z"]
    smoothed = model.smooth(*batch)
    seen = np.where(observed, x, 0.0).astype(np.float64)
    for b, length in enumerate(EXISTS.sum(axis=1)):
        rows = slice(0, length)
        known = observed[b, rows].any(axis=-1)
        expected = dense(model, seen[b, rows], None if u is None else u[b, rows], known)
        z = path.latents["z"].z.numpy()[b, rows].astype(np.float64)
        for found, (mean, covariance) in ((terms.log_p, expected.prior), (terms.log_q, expected.posterior)):
            np.testing.assert_allclose(found[b].numpy().sum(), log_density(z.ravel(), mean, covariance), rtol=2e-4)
        mean, covariance = expected.posterior
        blocks = covariance.reshape(length, Z, length, Z)
        np.testing.assert_allclose(smoothed.mean[b, rows], mean.reshape(length, Z), rtol=2e-4, atol=2e-4)
        for t in range(length):
            np.testing.assert_allclose(smoothed.covariance[b, t], blocks[t, :, t], rtol=1e-3, atol=2e-4)
        # log q - log p is sum_t log psi_t - log Z, at any z.
        potential = np.sum(expected.vector * z - 0.5 * expected.precision * z**2)
        ratio = (terms.log_q - terms.log_p)[b].numpy().sum()
        np.testing.assert_allclose(ratio, potential - expected.log_normaliser, rtol=2e-4, atol=2e-4)
        assert not np.any(smoothed.mean[b, length:])


def test_the_divergence_has_the_expectation_of_the_closed_form() -> None:
    """KL(q || p) = E_q log psi - log Z; per frame it is a Gaussian's, given the z before it."""
    model, x, count = make(), frames(1, LENGTH, X), 4000
    many = tf.tile(tf.constant(x), [count, 1, 1])
    noise = model.draw_noise(tf.constant([3, 4]), count, LENGTH)
    kl = tf.reduce_sum(model.terms(model.infer(many, noise=noise), Batch(many)).kl, axis=1).numpy()
    found = dense(model, x[0].astype(np.float64), None, np.ones(LENGTH, bool))
    (mean, covariance), second = found.posterior, found.precision.ravel()
    potential = found.vector.ravel() @ mean - 0.5 * second @ (mean**2 + np.diag(covariance))
    assert abs(kl.mean() - (potential - found.log_normaliser)) < 5 * kl.std() / count**0.5 + 1e-3


EMISSION = np.array([[0.6, 0.5], [-0.5, 0.6], [0.2, -0.3], [0.3, 0.2]])
LINEAR = System(
    np.array([[0.7, -0.5], [0.4, 0.8]]),
    np.array([0.6, 0.4]),
    EMISSION,
    np.array([0.5, -1.0, 0.0, 0.2]),
    np.full(4, 0.7),
)


def linear_lds(system: System, **options: Any) -> tfdvae.LatentLDS:
    """The system, with the potentials of its frames: h = C' R^-1 (x - offset), J = C' R^-1 C, which is diagonal."""
    model = tfdvae.LatentLDS(system.latent_dim, encoder_units=(), decoder_units=(), min_scale=1e-6, **options)
    model.build_for(system.x_dim)
    set_observation(model.observation, system)
    weighted = system.emission.T / system.scale**2
    precision = weighted @ system.emission
    np.testing.assert_allclose(precision, np.diag(np.diag(precision)), atol=1e-12)
    kernel = np.concatenate([weighted.T, np.zeros_like(weighted.T)], axis=1)
    bias = np.concatenate([-weighted @ system.offset, softplus_inverse(np.diag(precision))])
    set_weights(model.cell.potentials, kernel, bias)
    model.cell.transition.assign(system.transition)
    model.cell.raw_scale.assign(softplus_inverse(system.noise - 1e-6))
    return model


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.slow
def test_with_the_right_potentials_the_bound_is_the_likelihood(parallel: bool) -> None:
    model, length = linear_lds(LINEAR, parallel=parallel), 8
    x = frames(4, length, LINEAR.x_dim, 3) * 1.5
    exact = LINEAR.distribution(length).log_prob(x.astype(np.float64))
    np.testing.assert_allclose(model.log_prob(x, num_samples=1, seed=1), exact, rtol=1e-5)
    missing = np.zeros([4, length], bool)
    missing[0, 2:5] = missing[1, ::2] = missing[2, :] = True
    missing[2, 7] = False
    exact = LINEAR.distribution(length).log_prob(x.astype(np.float64), mask=missing)
    observed = ~missing
    junk = np.where(observed[..., None], x, np.nan)
    np.testing.assert_allclose(model.log_prob(junk, observed=observed, num_samples=1, seed=2), exact, rtol=1e-5)


def test_a_filter_is_the_prior_times_the_potential() -> None:
    model = make(inference="filter")
    x = frames(BATCH, LENGTH, X)
    path = model.infer(tf.constant(x), noise=model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)).latents["z"]
    raw = affine(model.cell.potentials, mlp(model.cell.encoder, x.astype(np.float64)))
    precision = softplus(raw[..., Z:]) + array(path.p.scale) ** -2
    loc = (raw[..., :Z] + array(path.p.loc) * array(path.p.scale) ** -2) / precision
    np.testing.assert_allclose(path.q.loc, loc, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(path.q.scale, precision**-0.5, rtol=1e-4)
    state = model.initial_state(BATCH)
    for t in range(LENGTH):
        found = model.step(state, x[:, t])
        state = found.state
    modes = model.encode(x)["z"]
    np.testing.assert_allclose(found.latents["z"].q.loc, modes.loc[:, -1], rtol=1e-4, atol=1e-5)


def test_a_random_linear_system_trusts_frames_that_it_knows_less_after_a_gap() -> None:
    """Covariances of a gap are those of prediction, so they grow; sharp on either side."""
    model, x = linear_lds(LINEAR), frames(1, 9, LINEAR.x_dim, 3)
    observed = np.ones([1, 9], bool)
    observed[0, 3:6] = False
    variance = np.trace(model.smooth(x, observed=observed).covariance[0].numpy(), axis1=-2, axis2=-1)
    assert variance[3:6].min() > 1.3 * np.delete(variance, [3, 4, 5])[1:].max() and variance[4] == variance.max()


@pytest.mark.parametrize(("driven", "mixed"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_messages_in_parallel_are_the_messages(length: int, driven: bool, mixed: bool) -> None:
    """Also where nodes are matrices, and each frame has a transition of its own and mixes what arrives."""
    rng = np.random.default_rng(length)
    vector, drift = (tf.constant(rng.normal(size=(2, length, Z))) for _ in range(2))
    weight = tf.constant(rng.gamma(1.0, size=(2, length, Z)) * (rng.random((2, length, 1)) < 0.7))
    transition, variance = tf.constant(0.7 * rng.normal(size=(Z, Z))), tf.constant(rng.gamma(1.0, size=Z))
    if mixed:
        factor = tf.constant(rng.normal(size=(2, length, Z, Z)))
        transition, mixing = (tf.constant(0.7 * rng.normal(size=(2, length, Z, Z))) for _ in range(2))
    dynamics = (transition, variance, drift if driven else None, mixing if mixed else None)
    found = []
    for run in (information.messages, information.messages_in_parallel):
        with tf.GradientTape() as tape:
            beside = [*([drift] if driven and length > 1 else []), *([mixing] if mixed and length > 1 else [])]
            watched = [vector, weight, transition, variance, *beside]
            tape.watch(watched)
            # Symmetric for every weight, as derivatives by entries that only lean to one side differ between the ways.
            precision = tf.matmul(factor, weight[..., None] * factor, transpose_a=True) if mixed else weight
            messages = run(Potential(vector, precision), *dynamics)
            total = tf.reduce_sum(messages.vector**2) + tf.reduce_sum(messages.precision**2)
        gradients = tape.gradient(total, watched, unconnected_gradients="zero")
        found.append([*messages, *gradients])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_scans_take_sequences_of_a_length_that_graphs_do_not_know() -> None:
    model = make(parallel=True)
    spec = tf.TensorSpec([None, None, X])
    run = tf.function(lambda x: model.infer(x).latents["z"].q.loc, input_signature=[spec])
    for length in (1, 3, 6):
        x = frames(2, length, X)
        np.testing.assert_allclose(run(x), model.infer(tf.constant(x)).latents["z"].q.loc, rtol=1e-5, atol=1e-5)


def test_factors_of_inverses() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(20, 6, 6))
    precision = factor @ factor.transpose(0, 2, 1) + 0.1 * np.eye(6)
    found = information.factor_of_inverse(tf.constant(precision)).numpy()
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), np.linalg.inv(precision), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(found, np.tril(found))
    sharp = np.diag([1e8, 1.0, 1e4]) + 0.5
    found = information.factor_of_inverse(tf.constant(sharp, tf.float32)).numpy()
    np.testing.assert_allclose(np.diag(found @ found.T), np.diag(np.linalg.inv(sharp)), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inference": "st_r"}, "`inference` must be 'smooth' or 'filter', got 'st_r'"),
        ({"transition_scale": 0.0}, "`transition_scale` must be above `min_scale`"),
        ({"latent_dim": 0}, "`latent_dim` must be at least 1"),
        ({"units": 3}, "LatentLDS has no use for `units`, since it has no recurrent layers"),
        (
            {"posterior_flow": 2},
            "has no use for `posterior_flow`, since its posterior is the Gaussian of its potentials",
        ),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.LatentLDS(**options)
