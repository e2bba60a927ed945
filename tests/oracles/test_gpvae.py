"""The GP-VAE against one dense Gaussian in float64: prior, posterior, divergence, and what is conditioned on what."""

from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles.kalman_reference import log_density
from tests.oracles.networks import affine, gaussian_head, join, mlp, run
from tests.oracles.process_reference import JITTER, LENGTHS, SCALE, conditional, covariance
from tests.oracles.support import randomise
from tfdvae import random
from tfdvae.layers.gaussian_process import KERNELS
from tfdvae.types import Batch

pytestmark = pytest.mark.usefixtures("eagerly")

BATCH, LENGTH, X, U, Z = 3, 6, 4, 2, 3
EXISTS = np.arange(LENGTH) < np.array([[6], [3], [1]])
TIMES = np.array([[0.0, 0.4, 0.5, 2.0, 2.0, 5.0], [1.0, 1.5, 4.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0, 0.0]])


def make(u_dim: int = 0, spread: float = 0.4, **options: Any) -> tfdvae.GPVAE:
    process = {"length_scales": LENGTHS, "prior_scale": SCALE, "jitter": JITTER}
    units = {"units": 4} if options.get("inference") == "recurrent" else {}
    model = tfdvae.GPVAE(Z, encoder_units=(5,), decoder_units=(6,), **{**units, **process, **options})
    model.build_for(X, u_dim)
    randomise(model, spread, 0)
    return model


def frames(width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=[BATCH, LENGTH, width]).astype(np.float32)


def batch(u_dim: int, times: bool) -> Batch:
    """Sequences of three lengths with missing values, and times in the last column of u where there are any."""
    u = frames(u_dim, 2) if u_dim else None
    if times:
        u[..., -1] = TIMES
    observed = np.random.default_rng(3).random([BATCH, LENGTH, X]) < 0.6
    observed[0, 2] = False
    return Batch(*(None if y is None else tf.constant(y) for y in (frames(X), EXISTS, u, observed)))


class Chain(NamedTuple):
    """q of one sequence in float64: means, marginal scales and correlations, `[T, Z]`."""

    loc: np.ndarray
    scale: np.ndarray
    correlation: np.ndarray

    def factor(self, j: int) -> np.ndarray:
        """B_j, upper bidiagonal."""
        s, r = self.scale[:, j], self.correlation[:, j]
        own = 1.0 / (s * np.sqrt(1.0 - r**2))
        return np.diag(own) + np.diag(-r[1:] / (s[:-1] * np.sqrt(1.0 - r[1:] ** 2)), 1)

    def covariance(self, j: int) -> np.ndarray:
        b = self.factor(j)
        return np.linalg.inv(b @ b.T)


def inferred(model: tfdvae.GPVAE, given: Batch, b: int) -> Chain:
    """q of sequence b alone, by its equations."""
    length = int(EXISTS[b].sum())
    x = np.where(given.observed[b], given.x[b], 0.0).astype(np.float64)[:length]
    u = None if given.u is None else np.float64(given.u[b])[:length]
    if model.times_in_u:
        u = u[:, :-1] if u.shape[1] > 1 else None
    seen = join(x, u)
    if model.inference == "recurrent":
        forward = run(model.forward_rnn, seen[None])[0]
        seen = join(forward, run(model.backward_rnn, seen[None], backward=True)[0])
    else:
        reach = model.window // 2
        padded = np.pad(seen, [[reach, reach], [0, 0]])
        seen = join(*(padded[i : i + length] for i in range(model.window)))
    features = mlp(model.encoder, seen)
    correlation = 0.9999 * np.tanh(affine(model.correlation_head, features))
    correlation[0] = 0.0
    return Chain(*gaussian_head(model.posterior_head, features), correlation)


def divergence(mean: np.ndarray, covariance: np.ndarray, prior: np.ndarray) -> float:
    """KL(N(mean, covariance) || N(0, prior))."""
    inverse = np.linalg.inv(prior)
    logs = np.linalg.slogdet(prior)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) + mean @ inverse @ mean - len(mean) + logs)


def times_of(model: tfdvae.GPVAE, b: int, length: int) -> np.ndarray:
    return TIMES[b, :length] if model.times_in_u else np.arange(length, dtype=np.float64)


FORMS = [
    pytest.param(0, {}, id="convolution"),
    pytest.param(U, {"kernel": "matern52", "window": 5, "scale": "exp"}, id="inputs"),
    pytest.param(U, {"kernel": "rbf", "times_in_u": True}, id="times and inputs"),
    pytest.param(1, {"kernel": "matern32", "times_in_u": True, "inference": "recurrent"}, id="times, recurrent"),
    pytest.param(U, {"kernel": "matern12", "inference": "recurrent", "cell": "gru"}, id="recurrent"),
]


@pytest.mark.parametrize(("u_dim", "options"), FORMS)
def test_the_terms_are_those_of_the_dense_gaussians(u_dim: int, options: dict[str, Any]) -> None:
    model = make(u_dim, **options)
    given = batch(u_dim, model.times_in_u)
    noise = model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)
    path = model.infer(*given, noise=noise)
    terms, smoothed = model.terms(path, given).latents["z"], model.smooth(*given)
    for b, length in enumerate(EXISTS.sum(axis=1)):
        q, times = inferred(model, given, b), times_of(model, b, length)
        np.testing.assert_allclose(smoothed.loc[b, :length], q.loc, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(smoothed.scale[b, :length], q.scale, rtol=1e-4)
        assert not np.any(smoothed.loc[b, length:]) and not np.any(smoothed.scale[b, length:])
        z, log_p, log_q = path.latents["z"].z.numpy()[b, :length].astype(np.float64), 0.0, 0.0
        for j in range(Z):
            k, spread = covariance(model.kernel, times, LENGTHS[j]), q.covariance(j)
            white = q.factor(j).T @ (z[:, j] - q.loc[:, j])
            np.testing.assert_allclose(white, noise["z"][b, :length, j], atol=2e-3)
            log_p += log_density(z[:, j], np.zeros(length), k)
            log_q += log_density(z[:, j], q.loc[:, j], spread)
            # The term of a frame is what it adds to the divergence of the frames up to it.
            up_to = [divergence(q.loc[:t, j], spread[:t, :t], k[:t, :t]) for t in range(length + 1)]
            np.testing.assert_allclose(terms.kl[b, :length, j], np.diff(up_to), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(terms.log_p[b].numpy().sum(), log_p, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(terms.log_q[b].numpy().sum(), log_q, rtol=1e-3, atol=1e-3)
        assert not np.any(terms.kl[b, length:])


def test_a_convolution_does_not_see_what_a_frame_encoder_makes_of_padding() -> None:
    model, given = make(frame_encoder=(5,)), batch(0, False)
    found = model.smooth(*given)
    for b, length in enumerate(EXISTS.sum(axis=1)):
        alone = model.smooth(given.x[b : b + 1, :length], observed=given.observed[b : b + 1, :length])
        np.testing.assert_allclose(found.loc[b, :length], alone.loc[0], rtol=1e-5, atol=1e-6)


def test_samples_have_the_covariance_of_q_and_of_the_prior() -> None:
    """Both are linear in the noise, so unit noise tells their covariances exactly."""
    model, given = make(), batch(0, False)
    units = tf.tile(tf.eye(LENGTH)[:, :, None], [1, 1, Z])
    repeated = Batch(tf.repeat(given.x[:1], LENGTH, axis=0), None, None, tf.repeat(given.observed[:1], LENGTH, axis=0))
    moved = model.infer(*repeated, noise={"z": units}).latents["z"].z - model.infer(*repeated).latents["z"].z
    drawn = model.prior_path(None, {"z": units}, LENGTH, LENGTH)
    q = inferred(model, given, 0)
    for j in range(Z):
        for columns, expected in ((moved, q.covariance(j)), (drawn, covariance("cauchy", np.arange(6.0), LENGTHS[j]))):
            columns = columns[..., j].numpy().astype(np.float64)
            np.testing.assert_allclose(columns.T @ columns, expected, rtol=1e-3, atol=1e-4)
    assert not np.any(model.generate(4, 2, sample=False).latents["z"])


@pytest.mark.parametrize(
    ("kernel", "times_in_u"),
    [
        ("cauchy", False),
        ("rbf", True),
        *(pytest.param(name, True, marks=pytest.mark.exhaustive) for name in ("matern12", "matern32", "matern52")),
    ],
)
def test_continuations_have_the_conditional_law(kernel: str, times_in_u: bool) -> None:
    model, horizon = make(1 if times_in_u else 0, kernel=kernel, times_in_u=times_in_u), 2
    u = tf.constant(TIMES[..., None], tf.float32) if times_in_u else None
    ends = np.array([[5.5, 9.0], [4.5, 5.0], [3.5, 3.6]])
    future_u = tf.constant(ends[..., None], tf.float32) if times_in_u else None
    z, mask = frames(Z), tf.constant(EXISTS)
    noises = [None, *(np.zeros([BATCH, horizon, Z], np.float32) for _ in range(horizon))]
    for i in range(horizon):
        noises[i + 1][:, i] = 1.0
    paths = [
        model.continue_path(tf.constant(z), mask, u, future_u, None if n is None else {"z": tf.constant(n)}, horizon)
        for n in noises
    ]
    for b, length in enumerate(EXISTS.sum(axis=1)):
        later = ends[b] if times_in_u else length + np.arange(float(horizon))
        times = np.concatenate([times_of(model, b, length), later])
        for j in range(Z):
            k, known = covariance(kernel, times, LENGTHS[j]), np.arange(len(times)) < length
            mean, spread = conditional(k, known, np.float64(z[b, :length, j]))
            np.testing.assert_allclose(paths[0][b, :, j], mean, rtol=1e-3, atol=2e-3)
            moves = np.stack([path[b, :, j] - paths[0][b, :, j] for path in paths[1:]]).astype(np.float64)
            np.testing.assert_allclose(moves.T @ moves, spread, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("times_in_u", [False, True])
def test_what_lies_between_known_frames_has_the_conditional_law(times_in_u: bool) -> None:
    model = make(1 if times_in_u else 0, times_in_u=times_in_u)
    u = tf.constant(TIMES[..., None], tf.float32) if times_in_u else None
    known = EXISTS & np.array([[0, 1, 0, 0, 1, 1], [1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool)
    z = frames(Z)
    mean = model.between(tf.constant(z), tf.constant(known), u, None).numpy()
    np.testing.assert_array_equal(mean[known], z[known])
    units = np.eye(LENGTH, dtype=np.float32)[:, None, :, None] + np.zeros([BATCH, 1, Z], np.float32)
    paths = [model.between(tf.constant(z), tf.constant(known), u, tf.constant(e)).numpy() for e in units]
    moves = np.float64(np.stack(paths) - mean)
    for b, length in enumerate(EXISTS.sum(axis=1)):
        unknown = np.flatnonzero(~known[b, :length])
        for j in range(Z):
            k, own = covariance("cauchy", times_of(model, b, length), LENGTHS[j]), known[b, :length]
            expected, spread = conditional(k, own, np.float64(z[b, :length, j][own]))
            np.testing.assert_allclose(mean[b, unknown, j], expected, rtol=1e-3, atol=2e-3)
            # Noise of padding, which comes last, does not reach frames that exist.
            found = moves[:, b, unknown, j]
            np.testing.assert_allclose(found.T @ found, spread, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("partly_observed", [True, False])
def test_impute_draws_frames_without_any_value_from_the_conditional(partly_observed: bool) -> None:
    model, given, count = make(), batch(0, False), 2
    observed = given.observed.numpy()
    if not partly_observed:
        observed[:] = observed.any(axis=-1, keepdims=True)
    model.partly_observed = partly_observed
    found = model.impute(given.x, given.mask, observed=observed, num_samples=count, num_sweeps=1, seed=5)
    x, mask, seen = (tf.tile(tf.constant(y), [count, 1, 1][: y.ndim]) for y in (given.x.numpy(), EXISTS, observed))
    seed = random.make_seed(5)
    noise = model.draw_noise(random.fold_in(seed, "latent"), count * BATCH, LENGTH)
    z = np.float64(model.infer(x, mask, None, seen, noise=noise).latents["z"].z)
    for row in range(count * BATCH):
        length = int(EXISTS[row % BATCH].sum())
        known = observed[row % BATCH, :length].any(axis=-1)
        if known.all():
            continue
        for j in range(Z):
            k = covariance("cauchy", np.arange(float(length)), LENGTHS[j])
            mean, spread = conditional(k, known, z[row, :length, j][known])
            own = np.linalg.cholesky(spread) @ np.float64(noise["z"])[row, :length, j][~known]
            z[row, np.flatnonzero(~known), j] = mean + own
    assert not observed[0, 2].any()
    means = np.asarray(model.frames.mean(model.frames.params(model.decode(tf.constant(z, tf.float32)))))
    expected = means.reshape(count, BATCH, LENGTH, X).mean(axis=0)
    missing = EXISTS[..., None] & ~observed
    np.testing.assert_allclose(found.mean.numpy()[missing], expected[missing], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("inference", "reach"), [("convolution", 1), ("recurrent", LENGTH)])
@pytest.mark.slow
def test_the_graph_is_the_paper_s(inference: str, reach: int) -> None:
    """q(z_t | z_{t-1}) sees x around t, p(z_t | .) all earlier z, and x_t is made of z_t."""
    model = make(U, inference=inference)
    names = ("x", "u", "z")
    given = dict(zip(names, (frames(width)[:1] for width in (X, U, Z)), strict=True))

    def found(**values: np.ndarray) -> dict[str, np.ndarray]:
        x, u, z = (tf.constant(values[name]) for name in names)
        chain = model.posterior(x, u, None)
        p = model.prior(u, LENGTH).conditionals(z)
        columns = {"q": join(*chain[:2]), "moved": chain.conditionals(z).loc, "p": p.loc, "x": model.decode(z, None, u)}
        return {name: np.asarray(y)[0] for name, y in columns.items()}

    plain = found(**given)
    reached = {(name, source): np.zeros([LENGTH, LENGTH], bool) for name in plain for source in names}
    for source in names:
        for s in range(LENGTH):
            moved = given[source].copy()
            moved[:, s] += 0.5
            for name, values in found(**{**given, source: moved}).items():
                reached[name, source][:, s] = np.any(np.abs(values - plain[name]) > 1e-5, axis=-1)
    ahead = np.subtract.outer(np.arange(LENGTH), np.arange(LENGTH))
    for source in ("x", "u"):
        np.testing.assert_array_equal(reached["q", source], np.abs(ahead) <= reach)
        assert not reached["p", source].any()
    np.testing.assert_array_equal(reached["moved", "z"], ahead == 1)
    np.testing.assert_array_equal(reached["p", "z"], ahead > 0)
    np.testing.assert_array_equal(reached["x", "z"], ahead == 0)
    np.testing.assert_array_equal(reached["x", "u"], ahead == 0)
    assert not reached["x", "x"].any()


def test_times_reach_the_kernel_alone() -> None:
    model, given = make(U, times_in_u=True), batch(U, True)
    moved = given.u + tf.constant([0.0, 7.0])
    other = model.infer(given.x, given.mask, moved, given.observed)
    path = model.infer(*given)
    np.testing.assert_allclose(other.x, path.x, rtol=1e-6)
    # Kernels are stationary, so a shift of all times is nothing, and a stretch is not.
    np.testing.assert_allclose(model.terms(other, given).kl, model.terms(path, given).kl, rtol=1e-4, atol=1e-3)
    stretched = model.infer(given.x, given.mask, given.u * tf.constant([1.0, 3.0]), given.observed)
    assert np.abs(model.terms(stretched, given).kl - model.terms(path, given).kl).max() > 0.1


@pytest.mark.parametrize("kernel", KERNELS)
def test_before_training_q_is_as_smooth_as_the_prior(kernel: str) -> None:
    model = tfdvae.GPVAE(Z, length_scales=LENGTHS, prior_scale=SCALE, jitter=JITTER, kernel=kernel, encoder_units=(4,))
    model.build_for(X)
    chain = model.posterior(tf.zeros([1, LENGTH, X]), None, None)
    k = [covariance(kernel, np.arange(2.0), length) for length in LENGTHS]
    expected = np.zeros([LENGTH, Z])
    expected[1:] = [one[0, 1] / one[0, 0] for one in k]
    np.testing.assert_allclose(chain.correlation[0], expected, rtol=1e-4)


def test_length_scales_are_spread_given_or_shared() -> None:
    def lengths(given: Any, latent_dim: int = 4) -> tuple[float, ...]:
        return tfdvae.GPVAE(latent_dim, length_scales=given).length_scales

    np.testing.assert_allclose(lengths((1.0, 8.0)), [1.0, 2.0, 4.0, 8.0])
    assert lengths(3) == lengths((3.0,)) == (3.0,) * 4
    assert lengths((1.0, 16.0), latent_dim=1) == (4.0,)
    assert lengths((1.0, 5.0, 2.0, 4.0)) == (1.0, 5.0, 2.0, 4.0)
    model = make(1, times_in_u=True, kernel="matern32", inference="recurrent")
    same = tfdvae.GPVAE.from_config(keras.saving.deserialize_keras_object(model.get_config()))
    assert same.get_config() == model.get_config() and same.process == model.process


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "linear"}, "`kernel` must be one of 'cauchy', 'rbf', 'matern12', 'matern32', 'matern52', got 'lin"),
        ({"inference": "smooth"}, "`inference` must be 'convolution' or 'recurrent', got 'smooth'"),
        ({"window": 4}, "`window` must be an odd number of frames, got 4"),
        ({"length_scales": (1.0, 2.0, 3.0)}, "the shortest and the longest, or 4, one for each dimension; got 3"),
        ({"length_scales": (1.0, 0.0)}, "`length_scales` must be a positive finite number"),
        ({"jitter": 0.0}, "`jitter` must be a positive finite number"),
        ({"prior_scale": -1.0}, "`prior_scale` must be a positive finite number"),
        ({"latent_dim": 0}, "`latent_dim` must be at least 1"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\)"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.GPVAE(**{"latent_dim": 4, **options})


@pytest.mark.slow
def test_what_it_cannot_do_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="With `times_in_u` the last column of the inputs `u` holds the times of fra"):
        make(0, times_in_u=True)
    model = make()
    for call in (model.initial_state, lambda: model.step({}, np.zeros([1, X])), lambda: model.generate_step({})):
        with pytest.raises(ValueError, match="GPVAE"):
            call()
    with pytest.raises(ValueError, match="infers latents from frames that are yet to come"):
        model.particle_log_prob(frames(X))
    with pytest.raises(ValueError, match="`kl_balance` divides .* the closed form of a GPVAE does not tell apart"):
        model.compile(kl_balance=0.8)
