"""The Kalman layers against dense Gaussians, against the textbook's recursions, and against TensorFlow Probability."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.oracles.kalman_reference import Dense, System, random_system, rauch_tung_striebel
from tfdvae.layers import KalmanFilter, LinearSystem
from tfdvae.testing import assert_close

tfd = tfp.distributions

LENGTH, WIDTH, SIZE, BATCH = 7, 3, 4, 2
SEEN = {
    "all": np.ones([BATCH, LENGTH], bool),
    "gaps": np.array([[1, 0, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 0, 0]], bool),
    "none": np.array([[0] * 7, [1, 0, 0, 0, 0, 0, 0]], bool),
}


@pytest.fixture(scope="module")
def systems() -> list[System]:
    return [random_system(LENGTH, WIDTH, SIZE, seed) for seed in range(BATCH)]


@pytest.fixture
def a() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(BATCH, LENGTH, WIDTH))


@pytest.fixture(params=SEEN)
def seen(request: pytest.FixtureRequest) -> np.ndarray:
    return SEEN[request.param]


def layer(system: System) -> KalmanFilter:
    return KalmanFilter(system.sizes[2], **dict(zip(System._fields[3:], system[3:], strict=True)))


def batched(systems: list[System], dtype: str = "float64") -> LinearSystem:
    return LinearSystem(*(tf.constant(np.stack([s[i] for s in systems]), dtype) for i in range(3)))


def test_the_textbook_agrees_with_the_dense_gaussian(systems: list[System], a: np.ndarray, seen: np.ndarray) -> None:
    """The two references, of each other."""
    for b, system in enumerate(systems):
        for found, expected in zip(
            rauch_tung_striebel(system, a[b], seen[b]), Dense.of(system).marginals(a[b], seen[b]), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_filter_and_smoother_are_exact(systems: list[System], a: np.ndarray, seen: np.ndarray) -> None:
    kalman, given = layer(systems[0]), batched(systems)
    noise = np.where(seen[..., None], a, 1e3)
    filtered = kalman(given, tf.constant(noise), tf.constant(seen))
    smoothed = kalman.smooth(given, filtered)
    for b, system in enumerate(systems):
        dense = Dense.of(system)
        np.testing.assert_allclose(smoothed.mean[b], dense.marginals(a[b], seen[b])[0], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(smoothed.covariance[b], dense.marginals(a[b], seen[b])[1], rtol=1e-9, atol=1e-10)
        for t in range(LENGTH):
            for belief, last in ((filtered.predicted, t), (filtered.updated, t + 1)):
                mean, covariance = dense.marginals(a[b], seen[b] & (np.arange(LENGTH) < last))
                np.testing.assert_allclose(belief.mean[b, t], mean[t], rtol=1e-9, atol=1e-10)
                np.testing.assert_allclose(belief.covariance[b, t], covariance[t], rtol=1e-9, atol=1e-10)


def test_the_conditionals_of_the_dimensions_make_the_evidence(systems: list[System], a: np.ndarray) -> None:
    kalman, given = layer(systems[0]), batched(systems)
    p = kalman.conditionals(given, tf.constant(a))
    assert_close(p, kalman(given, tf.constant(a)).innovation.p, 1e-12)
    found = tf.reduce_sum(tfd.Normal(*p).log_prob(a), axis=[1, 2])
    np.testing.assert_allclose(found, [Dense.of(s).evidence(y) for s, y in zip(systems, a, strict=True)], rtol=1e-10)


@pytest.mark.parametrize("missing", ["all", "gaps"])
@pytest.mark.slow
def test_tensorflow_probability_agrees(systems: list[System], a: np.ndarray, missing: str) -> None:
    system, seen = systems[0], SEEN[missing]

    def matrix(values: np.ndarray, t: tf.Tensor) -> tf.linalg.LinearOperator:
        return tf.linalg.LinearOperatorFullMatrix(tf.gather(tf.constant(values), t))

    drift = tf.constant(np.concatenate([system.drift[1:], np.zeros([1, SIZE])]))
    other = tfd.LinearGaussianStateSpaceModel(
        num_timesteps=LENGTH,
        transition_matrix=functools.partial(matrix, system.transition),
        transition_noise=lambda t: tfd.MultivariateNormalDiag(
            tf.gather(drift, t), np.full(SIZE, system.transition_scale)
        ),
        observation_matrix=functools.partial(matrix, system.emission),
        observation_noise=tfd.MultivariateNormalDiag(scale_diag=np.full(WIDTH, system.emission_scale)),
        initial_state_prior=tfd.MultivariateNormalDiag(scale_diag=np.full(SIZE, system.initial_scale)),
    )
    kalman, given = layer(system), batched([system])
    filtered = kalman(given, tf.constant(a[:1]), tf.constant(seen[:1]))
    smoothed = kalman.smooth(given, filtered)
    found = other.forward_filter(tf.constant(a[0]), mask=tf.constant(~seen[0]))
    assert_close([y[0] for y in filtered.updated], [found[1], found[2]], 1e-9)
    # The other library counts a prediction by the frame that it is made at.
    assert_close([y[0, 1:] for y in filtered.predicted], [found[3][:-1], found[4][:-1]], 1e-9)
    assert_close(
        [y[0] for y in smoothed], other.posterior_marginals(tf.constant(a[0]), mask=tf.constant(~seen[0])), 1e-9
    )
    p = tfd.Normal(*filtered.innovation.p).log_prob(a[:1])
    total = np.sum(p.numpy()[seen[:1]])
    assert total == pytest.approx(float(other.log_prob(tf.constant(a[0]), mask=tf.constant(~seen[0]))), rel=1e-9)


def test_simulated_paths_have_the_law_of_the_posterior(systems: list[System], a: np.ndarray, seen: np.ndarray) -> None:
    """A draw is linear in its noise, so its mean and its covariance are those of a linear map: no sampling error."""
    kalman, system = layer(systems[1]), systems[1]
    given = batched([system])
    widths = (SIZE, WIDTH)
    unit = np.eye(LENGTH * sum(widths))
    noise = np.concatenate([np.zeros([1, len(unit)]), unit])
    rows = len(noise)
    state = tf.constant(noise[:, : LENGTH * SIZE].reshape(rows, LENGTH, SIZE))
    emission = tf.constant(noise[:, LENGTH * SIZE :].reshape(rows, LENGTH, WIDTH))
    repeated = LinearSystem(*(tf.repeat(y, rows, axis=0) for y in given))
    data = tf.repeat(tf.constant(np.where(seen[1:, :, None], a[1:], 1e3)), rows, axis=0)
    z = kalman.sample(repeated, data, tf.repeat(tf.constant(seen[1:]), rows, axis=0), state, emission)
    paths = z.numpy().reshape(rows, -1)
    columns = paths[1:] - paths[0]
    mean, covariance = Dense.of(system).given(a[1], seen[1])
    np.testing.assert_allclose(paths[0], mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(columns.T @ columns, covariance, rtol=1e-9, atol=1e-10)


def run(kalman: KalmanFilter, system: LinearSystem, a: tf.Tensor, seen: tf.Tensor) -> list:
    filtered = kalman(system, a, seen)
    noise = (tf.zeros_like(system.transition[..., 0]) + 0.3, tf.zeros_like(a) - 0.7)
    drawn = kalman.sample(system, a, seen, *noise)
    return [filtered, kalman.smooth(system, filtered), kalman.conditionals(system, a), drawn]


@pytest.mark.slow
def test_graphs_of_unknown_size_and_xla_agree_and_need_no_factorisation(systems: list[System], a: np.ndarray) -> None:
    kalman = layer(systems[0])
    arguments = (batched(systems), tf.constant(a), tf.constant(SEEN["gaps"]))
    expected = run(kalman, *arguments)
    signature = tf.nest.map_structure(lambda y: tf.TensorSpec([None, None, *y.shape[2:]], y.dtype), arguments)
    for compiled in (False, True):
        graph = tf.function(functools.partial(run, kalman), input_signature=signature, jit_compile=compiled)
        assert_close(graph(*arguments), expected, 1e-9)
    operations = {op.type for op in graph.get_concrete_function().graph.get_operations()}
    for inner in graph.get_concrete_function().graph._functions.values():
        operations |= {node.op for node in inner.cached_definition.node_def}
    assert "BatchMatMulV2" in operations
    assert not {op for op in operations if any(w in op for w in ("Inverse", "Cholesky", "Solve", "Svd", "Qr", "Eig"))}


@pytest.mark.slow
def test_long_sequences_in_float32_keep_a_valid_covariance() -> None:
    """A flat prior, precise observations, and a slow transition, for 400 frames."""
    system = random_system(400, 2, 4, 3, transition_scale=0.02, emission_scale=0.01, initial_scale=10.0)
    kalman = layer(system)
    a = np.random.default_rng(1).normal(size=(1, 400, 2))
    exact, single = (
        kalman.smooth(given, kalman(given, tf.constant(a, given.transition.dtype)))
        for given in (batched([system]), batched([system], "float32"))
    )
    assert exact.mean.dtype == tf.float64
    assert single.mean.dtype == tf.float32
    assert np.linalg.eigvalsh(single.covariance).min() > 0.0
    np.testing.assert_allclose(single.mean, exact.mean, atol=2e-3 * np.abs(exact.mean).max())
    np.testing.assert_allclose(single.covariance, exact.covariance, atol=2e-3 * np.abs(exact.covariance).max())


def test_gradients_reach_the_system_and_the_data(systems: list[System], a: np.ndarray) -> None:
    """Of the evidence, against differences of the dense Gaussian's."""
    kalman, system, step = layer(systems[0]), systems[0], 1e-6
    given, data = batched([system]), tf.constant(a[:1])
    with tf.GradientTape() as tape:
        tape.watch([given, data])
        total = tf.reduce_sum(tfd.Normal(*kalman.conditionals(given, data)).log_prob(data))
    slopes = tape.gradient(total, [*given, data])
    rng = np.random.default_rng(2)
    for name, slope in zip(("transition", "emission", "drift"), slopes, strict=False):
        direction = rng.normal(size=getattr(system, name).shape)
        ends = [
            Dense.of(system._replace(**{name: getattr(system, name) + s * direction})).evidence(a[0])
            for s in (step, -step)
        ]
        expected = (ends[0] - ends[1]) / (2.0 * step)
        # The drift into the first frame shifts z_1, which Dense takes to be centred.
        used = (
            direction * (np.arange(LENGTH) > 0).reshape(-1, *[1] * (direction.ndim - 1))
            if name == "drift"
            else direction
        )
        assert float(np.sum(slope[0] * used)) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    direction = rng.normal(size=a[0].shape)
    ends = [Dense.of(system).evidence(a[0] + s * direction) for s in (step, -step)]
    assert float(np.sum(slopes[3][0] * direction)) == pytest.approx((ends[0] - ends[1]) / (2.0 * step), rel=1e-5)


def test_arguments_survive_and_are_checked() -> None:
    kalman = KalmanFilter(3, transition_scale=0.1, emission_scale=0.2, initial_scale=0.3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(kalman))
    assert type(copy) is KalmanFilter and copy.get_config() == kalman.get_config()
    assert (copy.latent_dim, copy.transition_scale, copy.emission_scale, copy.initial_scale) == (3, 0.1, 0.2, 0.3)
    for name in ("transition_scale", "emission_scale", "initial_scale"):
        with pytest.raises(ValueError, match=f"`{name}` must be positive, got 0.0"):
            KalmanFilter(3, **{name: 0.0})
    with pytest.raises(ValueError, match="`latent_dim` must be at least 1, got 0"):
        KalmanFilter(0)
