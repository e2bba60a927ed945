"""The tridiagonal posterior against one dense Gaussian in float64, and against the likelihood of linear systems."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfdvae
from tests.oracles.kalman_reference import log_density
from tests.oracles.linear import PLANE, System, set_observation, set_weights, softplus_inverse
from tests.oracles.networks import affine, mlp, softplus
from tests.oracles.support import frames, randomise
from tfdvae.types import Batch

tfd = tfp.distributions

BATCH, LENGTH, X, U, Z = 3, 5, 4, 2, 3
EXISTS = np.arange(LENGTH) < np.array([[5], [3], [1]])
NETWORKS = {"encoder_phi_x": (4,), "posterior_units": (5,), "decoder_units": (3,), "transition_units": (3,)}


def make(u_dim: int = 0, **options: Any) -> tfdvae.DKF:
    networks = {"inference": "tridiagonal", **NETWORKS, **options}
    idle = tfdvae.DKF.without_use(networks)
    model = tfdvae.DKF(Z, **{name: value for name, value in networks.items() if name not in idle})
    model.build_for(X, u_dim)
    randomise(model, 0.4, 0)
    return model


def triangles(head: Any, features: np.ndarray, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """A vector `[T, 3]` and a lower triangle `[T, 3, 3]`, whose entries below the diagonal come last first."""
    raw = affine(head.output_layer, features)
    positive = softplus(raw[:, 3:6]) if scale == "softplus" else np.exp(0.5 * raw[:, 3:6])
    lower = np.zeros([len(raw), 3, 3])
    lower[:, [0, 1, 2], [0, 1, 2]] = positive + head.family.min_scale
    lower[:, [1, 2, 2], [0, 0, 1]] = raw[:, [8, 7, 6]]
    return raw[:, :3], lower


def dense(model: tfdvae.DKF, x: np.ndarray, u: np.ndarray | None, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of all z of a sequence `[T, X]`, `[T Z]`: precision and vector as sums of quadratic forms."""
    cell, length = model.cell, len(x)
    seen = np.concatenate([x, *([] if u is None else [u]), known[:, None]], axis=1)
    features = mlp(cell.encoder_x_features, seen)
    blocks = cell.blocks
    vector, factor = triangles(blocks.node_head, mlp(blocks.node_net, features), cell.scale)
    before = np.concatenate([np.zeros_like(features[:1]), features[:-1]])
    first = (np.arange(length) == 0)[:, None]
    pair = mlp(blocks.pair_net, np.concatenate([before, features, first], axis=1))
    drift, mixing = triangles(blocks.pair_head, pair, cell.scale)
    gain = affine(blocks.gain, pair).reshape(length, Z, Z)
    precision, right = np.zeros([length * Z] * 2), np.zeros(length * Z)
    for t in range(length):
        here = slice(t * Z, (t + 1) * Z)
        precision[here, here] += known[t] * factor[t] @ factor[t].T
        right[here] += known[t] * vector[t]
        # |S^-1 z_t - G z_{t-1} - r|^2 as |D z - r|^2.
        form = np.zeros([Z, length * Z])
        form[:, here] = np.linalg.inv(mixing[t])
        if t:
            form[:, (t - 1) * Z : t * Z] = -gain[t]
        precision += form.T @ form
        right += form.T @ drift[t]
    blocks = np.abs(precision).reshape(length, Z, length, Z).max(axis=(1, 3))
    assert not np.any(blocks[np.abs(np.subtract.outer(range(length), range(length))) > 1])
    covariance = np.linalg.inv(precision)
    return covariance @ right, covariance


@pytest.mark.parametrize(
    ("u_dim", "scale", "parallel"),
    [
        (0, "softplus", False),
        (U, "exp", True),
        pytest.param(0, "softplus", True, marks=pytest.mark.exhaustive),
        pytest.param(U, "exp", False, marks=pytest.mark.exhaustive),
    ],
)
def test_paths_and_densities_are_those_of_the_dense_gaussian(u_dim: int, scale: str, parallel: bool) -> None:
    """With frames that hold nothing, frames that were observed in part, and sequences of several lengths."""
    model = make(u_dim, parallel=parallel, scale=scale)
    x, u = frames("gaussian", BATCH, LENGTH, X), frames("gaussian", BATCH, LENGTH, u_dim, 2) if u_dim else None
    observed = np.ones([BATCH, LENGTH, X], bool)
    observed[0, 1] = observed[0, 4] = observed[1, 0] = False
    observed[2, 0, 1] = False  # Of a frame that was observed in part, the networks see the rest as zero.
    x[~observed] = np.nan
    seen = np.where(observed, x, 0.0).astype(np.float64)
    exists, rows = EXISTS.repeat(LENGTH * Z + 1, axis=0), LENGTH * Z + 1
    # No noise, and each entry of it alone: the path is affine in it, so its covariance is known without sampling.
    noise = np.concatenate([np.zeros([1, LENGTH * Z]), np.eye(LENGTH * Z)]).reshape(rows, LENGTH, Z)
    noise = {"z": tf.constant(np.tile(noise, [BATCH, 1, 1]), tf.float32)}
    many = (None if y is None else tf.constant(y.repeat(rows, axis=0)) for y in (x, u, observed))
    x_many, u_many, observed_many = many
    batch = Batch(x_many, tf.constant(exists), u_many, observed_many)
    path = model.infer(*batch, noise=noise)
    log_q = model.terms(path, batch).latents["z"].log_q.numpy().reshape(BATCH, rows, LENGTH)
    z = path.latents["z"].z.numpy().astype(np.float64).reshape(BATCH, rows, LENGTH, Z)
    factors = path.latents["z"].q.scale_tril.numpy().astype(np.float64).reshape(BATCH, rows, LENGTH, Z, Z)
    for b, length in enumerate(EXISTS.sum(axis=1)):
        known = observed[b, :length].any(axis=-1).astype(np.float64)
        mean, covariance = dense(model, seen[b, :length], None if u is None else u[b, :length], known)
        found = z[b, :, :length].reshape(rows, -1)
        np.testing.assert_allclose(found[0], mean, rtol=2e-4, atol=2e-4)
        spread = found[1:] - found[0]
        np.testing.assert_allclose(spread.T @ spread, covariance, rtol=1e-3, atol=1e-3 * np.abs(covariance).max())
        for row in (0, 3):
            expected = log_density(found[row], mean, covariance)
            np.testing.assert_allclose(log_q[b, row, :length].sum(), expected, rtol=2e-4)
        # The entropy, less its constant: from the diagonal alone, and the same for every path.
        diagonal = np.diagonal(factors[b, 0, :length], axis1=-2, axis2=-1)
        np.testing.assert_allclose(np.log(diagonal).sum(), 0.5 * np.linalg.slogdet(covariance)[1], rtol=2e-4)
        np.testing.assert_array_equal(factors[b, 0, :length], factors[b, 3, :length])


DRIVE = np.array([[0.7, -0.4], [0.2, 0.9], [-0.3, 0.1]])


def linear_dkf(system: System, drive: np.ndarray | None = None, **options: Any) -> tfdvae.DKF:
    """The system, with z_t moved by `drive` [U, Z] from the second frame on, and the blocks of its exact posterior:
    S = Q^1/2, G = Q^-1/2 A, r = Q^-1/2 B u, h = C' R^-1 (x - offset), J = C' R^-1 C, which is not diagonal."""
    size, x_dim = system.latent_dim, system.x_dim
    networks = {"encoder_phi_x": (), "posterior_units": (), "decoder_units": (), "min_scale": 1e-6, **options}
    model = tfdvae.DKF(size, inference="tridiagonal", transition="linear", **networks)
    u_dim = 0 if drive is None else len(drive)
    model.build_for(x_dim, u_dim)
    set_observation(model.observation, system)
    drive = np.zeros([0, size]) if drive is None else drive
    transition, blocks = model.cell.transition_net, model.cell.blocks
    transition.linear.kernel.assign(np.concatenate([system.transition.T, drive]))
    transition.raw_scale.assign(softplus_inverse(system.noise - 1e-6))

    weighted = system.emission.T / system.scale**2
    factor = np.linalg.cholesky(weighted @ system.emission)
    assert abs(factor[1, 0]) > 0.1
    kernel = np.zeros([x_dim + u_dim + 1, 5])
    kernel[:x_dim, :size] = weighted.T
    diagonal = softplus_inverse(np.diag(factor) - 1e-6)
    bias = np.concatenate([-weighted @ system.offset, diagonal, [factor[1, 0]]])
    set_weights(blocks.node_head.output_layer, kernel, bias)

    width = x_dim + u_dim + 1
    kernel, at_first = np.zeros([2 * width + 1, 5]), softplus_inverse(np.ones(size) - 1e-6)
    later = softplus_inverse(system.noise - 1e-6)
    kernel[width + x_dim : width + x_dim + u_dim, :size] = drive / system.noise
    kernel[-1, size : 2 * size] = at_first - later
    set_weights(blocks.pair_head.output_layer, kernel, np.concatenate([np.zeros(size), later, [0.0]]))
    gain = (system.transition / system.noise[:, None]).ravel()
    set_weights(blocks.gain, np.zeros([2 * width + 1, size**2]), gain)
    return model


@pytest.mark.parametrize("parallel", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_with_the_right_blocks_the_bound_is_the_likelihood(parallel: bool) -> None:
    model, length = linear_dkf(PLANE, parallel=parallel), 8
    x = frames("gaussian", 4, length, PLANE.x_dim, 3) * 1.5
    exact = PLANE.distribution(length).log_prob(x.astype(np.float64))
    batch = Batch(tf.constant(x))
    terms = model.sample_terms(batch, tfdvae.random.make_seed(4), 50)
    weights = np.reshape(tfdvae.bounds.log_weight(terms), [4, 50])
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], 50, axis=1), rtol=1e-5)
    np.testing.assert_allclose(model.log_prob(x, num_samples=1, seed=1), exact, rtol=1e-5)
    missing = np.zeros([4, length], bool)
    missing[0, 2:5] = missing[1, ::2] = missing[2, :] = True
    missing[2, 7] = False
    exact = PLANE.distribution(length).log_prob(x.astype(np.float64), mask=missing)
    junk = np.where(missing[..., None], np.nan, x)
    np.testing.assert_allclose(model.log_prob(junk, observed=~missing, num_samples=1, seed=2), exact, rtol=1e-5)


@pytest.mark.exhaustive
def test_inputs_that_drive_a_linear_system_are_part_of_its_likelihood() -> None:
    model, length = linear_dkf(PLANE, DRIVE), 6
    x, u = frames("gaussian", 1, length, PLANE.x_dim, 3), frames("gaussian", 1, length, 3, 4)
    u[:, 0] = 0.0  # r of the first frame would follow it, and p(z_1) = N(0, I) does not.
    # By the frame that z leaves; nothing leaves the last one.
    moved = tf.constant(np.concatenate([u[0, 1:].astype(np.float64) @ DRIVE, np.zeros([1, 2])]))
    driven = tfd.LinearGaussianStateSpaceModel(
        num_timesteps=length,
        transition_matrix=PLANE.transition,
        transition_noise=lambda t: tfd.MultivariateNormalDiag(tf.gather(moved, t), PLANE.noise),
        observation_matrix=PLANE.emission,
        observation_noise=tfd.MultivariateNormalDiag(PLANE.offset, PLANE.scale),
        initial_state_prior=tfd.MultivariateNormalDiag(np.zeros(2), np.ones(2)),
    )
    exact = driven.log_prob(x[0].astype(np.float64))
    assert abs(float(exact) - float(PLANE.distribution(length).log_prob(x[0].astype(np.float64)))) > 0.1
    np.testing.assert_allclose(model.log_prob(x, u=u, num_samples=1, seed=1)[0], exact, rtol=1e-5)


@pytest.mark.exhaustive
def test_learning_brings_the_bound_to_the_likelihood() -> None:
    """From blocks that start at random, where the generative model is the true one and held fixed."""
    model, length = linear_dkf(PLANE), 6
    mean, covariance = PLANE.moments(length)
    x = np.random.default_rng(0).multivariate_normal(mean, covariance, 64).reshape(64, length, -1).astype(np.float32)
    exact = np.mean(PLANE.distribution(length).log_prob(x.astype(np.float64)))
    randomise(model.cell.blocks, 0.1, 1)
    weights = model.cell.blocks.trainable_variables
    optimizer = tf.keras.optimizers.Adam(0.02)
    optimizer.build(weights)

    @tf.function(autograph=False)
    def step(seed: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            terms = model.sample_terms(Batch(tf.constant(x)), seed, 4)
            loss = -tf.reduce_mean(tfdvae.bounds.log_weight(terms))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return -loss

    bounds = [float(step(tf.constant([1, i]))) for i in range(250)]
    assert bounds[0] < exact - 3.0
    assert exact - 0.15 < np.mean(bounds[-20:]) < exact + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transition": "affine"}, "`transition` must be 'gated' or 'linear', got 'affine'"),
        ({"inference": "st_r", "parallel": True}, "`parallel` is for inference='tridiagonal', got inference='st_r'"),
        ({"posterior_flow": 2}, "The tridiagonal posterior of a DKF .* needs family='gaussian' and posterior_flow=0"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.DKF(2, **{"inference": "tridiagonal", **options})
