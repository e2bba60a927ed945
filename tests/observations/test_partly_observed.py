"""Densities of partly observed frames: exact marginals, and nothing depends on what stands at other places."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.observations import OBSERVATIONS, GaussianMixture

JUNK = (np.nan, np.inf, -np.inf, -1.0, 7.0, 1e30)
COUNTS = ("poisson", "negative_binomial")
"""Their densities are formulas of their own at 0, so that no gradient reaches x there; to a count it means nothing."""
MARGINALS = sorted(set(OBSERVATIONS) - {"autoregressive_bernoulli"})


def patterns(x_dim):
    """All ways to observe some, all or none of the features, [2^D, D]."""
    return np.array(list(itertools.product([False, True], repeat=x_dim)))


def log_prob_and_gradients(observation, params, x, observed):
    """log p, and the gradients of its weighted sum to parameters, x and the weights of the family itself."""
    params, x = tf.convert_to_tensor(params), tf.convert_to_tensor(x)
    weights = [weight.value for weight in observation.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch([params, x])
        log_prob = observation.log_prob(params, x, observed)
        total = tf.reduce_sum(tf.reshape(log_prob, [-1]) * tf.cast(1 + tf.range(tf.size(log_prob)), tf.float32))
    gradients = tape.gradient(total, [params, x, *weights])
    return [log_prob, *(gradient for gradient in gradients if gradient is not None)]


def every_pattern(observation, case, features_for, seed=1):
    """Parameters, frames in the support and `observed`, one of each per pattern."""
    observed = patterns(case.x_dim)
    x = case.data(np.random.default_rng(seed), len(observed)).astype(np.float32)
    return observation(features_for(len(observed), seed=seed)), x, observed


def with_junk(x, observed, junk):
    return np.where(observed, x, np.float32(junk)).astype(np.float32)


def completions(case, x, observed):
    """All frames [M, D] that agree with x where it was observed, and their quadrature weights [M]."""
    axes = [
        (np.array([value]), np.ones(1)) if seen else axis
        for value, seen, axis in zip(x, observed, case.axes, strict=True)
    ]
    return case._replace(axes=axes).grid()


@pytest.mark.parametrize("name", MARGINALS)
@pytest.mark.slow
def test_it_is_the_integral_of_the_full_density_over_what_was_not_observed(observation, case, features_for):
    params, x, patterns_observed = every_pattern(observation, case, features_for)
    for given, frame, observed in zip(params, x, patterns_observed, strict=True):
        points, weights = completions(case, frame, observed)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(given)
            log_full = observation.distribution(given[None]).log_prob(points)
            expected = tf.reduce_logsumexp(log_full + np.log(weights).astype(np.float32))
            found = observation.log_prob(given, with_junk(frame, observed, np.nan), observed)
        np.testing.assert_allclose(found, expected, atol=3e-4, err_msg=str(observed))
        gradients = [tape.gradient(value, given) for value in (found, expected)]
        np.testing.assert_allclose(*gradients, atol=2e-3, err_msg=str(observed))


def test_a_mixture_of_many_features_has_the_marginal_of_the_distributions_library(features_for):
    observation = GaussianMixture(num_components=4)
    observation.build((None, 6), (None, 7))
    rng = np.random.default_rng(0)
    observed = rng.random((5, 3, 7)) < 0.5
    x = rng.normal(size=(5, 3, 7)).astype(np.float32)
    params = 3.0 * observation(features_for(5, 3))
    logits, loc, scale = (part.numpy() for part in observation.components(params))
    found = observation.log_prob(params, with_junk(x, observed, np.nan), observed)
    tfd = tfp.distributions
    for place in np.ndindex(5, 3):
        seen = observed[place]
        parts = tfd.MultivariateNormalDiag(loc[place][:, seen], scale[place][:, seen])
        marginal = tfd.MixtureSameFamily(tfd.Categorical(logits=logits[place]), parts)
        np.testing.assert_allclose(found[place], marginal.log_prob(x[place][seen]), rtol=1e-5, atol=1e-5)


def masked_network(observation, params, x, observed):
    """log p of one frame by the masked network of `AutoregressiveBernoulli` with tanh units, in float64."""
    split = observation.hidden_dim
    w_in, w_out = (
        np.asarray(kernel, np.float64) * mask
        for kernel, mask in (
            (observation.input_kernel, observation.input_mask),
            (observation.output_kernel, observation.output_mask),
        )
    )
    total = 0.0
    for i in np.flatnonzero(observed):
        hidden = params[:split].copy()
        for j in np.flatnonzero(observed[:i]):
            hidden += x[j] * w_in[j]
        logit = params[split + i] + np.tanh(hidden) @ w_out[:, i]
        total -= np.log1p(np.exp(-logit if x[i] else logit))
    return total


def test_the_autoregressive_density_is_that_of_the_masked_network(make, cases, features_for):
    observation = make("autoregressive_bernoulli")
    params, x, patterns_observed = every_pattern(observation, cases["autoregressive_bernoulli"], features_for)
    found, gradient, *_ = log_prob_and_gradients(
        observation, params, with_junk(x, patterns_observed, np.nan), patterns_observed
    )
    for place, (given, frame, observed) in enumerate(zip(params.numpy(), x, patterns_observed, strict=True)):
        given = given.astype(np.float64)
        expected = masked_network(observation, given, frame, observed)
        np.testing.assert_allclose(found[place], expected, rtol=1e-5, atol=1e-6)
        steps = 1e-5 * np.eye(len(given))
        differences = [
            masked_network(observation, given + step, frame, observed)
            - masked_network(observation, given - step, frame, observed)
            for step in steps
        ]
        np.testing.assert_allclose(gradient[place], (1 + place) * np.array(differences) / 2e-5, rtol=1e-4, atol=1e-4)


def test_the_autoregressive_density_sums_to_one_over_every_set_of_observed_features(make, features_for):
    observation = make("autoregressive_bernoulli")
    params = observation(features_for(1))
    for observed in patterns(observation.x_dim):
        frames = np.full((2 ** observed.sum(), observation.x_dim), np.nan, np.float32)
        frames[:, observed] = patterns(observed.sum())
        total = tf.reduce_sum(tf.exp(observation.log_prob(params, frames, observed)))
        np.testing.assert_allclose(total, 1.0, rtol=1e-5, err_msg=str(observed))


@pytest.mark.parametrize("compiled", [False, True])
def test_neither_value_nor_gradient_depends_on_what_was_not_observed(observation, case, features_for, compiled):
    params, x, observed = every_pattern(observation, case, features_for)

    def run(params, x, observed):
        return log_prob_and_gradients(observation, params, x, observed)

    run = tf.function(run, jit_compile=True) if compiled else run
    expected = run(params, tf.constant(x), tf.constant(observed))
    assert all(np.isfinite(value).all() for value in expected)
    reached = observed & (x != 0.0) if observation.name.startswith(COUNTS) else observed
    assert not expected[2].numpy()[~observed].any() and expected[2].numpy()[reached].all()
    for junk in JUNK:
        for found, value in zip(run(params, with_junk(x, observed, junk), observed), expected, strict=True):
            np.testing.assert_array_equal(found, value, err_msg=str(junk))


def test_a_whole_frame_is_as_without_observed(observation, case, features_for):
    x = case.data(np.random.default_rng(0), 12).reshape(3, 4, -1).astype(np.float32)
    params = observation(features_for(3, 4))
    whole = log_prob_and_gradients(observation, params, x, None)
    for found, value in zip(log_prob_and_gradients(observation, params, x, x == x), whole, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_observed_is_exactly_zero_with_a_gradient_of_exactly_zero(observation, features_for, compiled):
    x = np.full((3, 4, observation.x_dim), np.nan, np.float32)

    def run(params, x, observed):
        return log_prob_and_gradients(observation, params, x, observed)

    run = tf.function(run, jit_compile=True) if compiled else run
    values = run(10.0 * observation(features_for(3, 4)), x, np.zeros(x.shape, bool))
    assert len(values) >= 3 and values[0].shape == (3, 4)
    for value in values:
        np.testing.assert_array_equal(value, np.zeros(value.shape, np.float32))


def test_extreme_parameters_stay_finite(observation, case):
    rng = np.random.default_rng(4)
    observed = np.repeat(patterns(case.x_dim), 8, axis=0)
    params = 1e4 * rng.choice([-1.0, 1.0], (len(observed), observation.params_dim)).astype(np.float32)
    x = with_junk(case.data(rng, len(observed)), observed, np.inf)
    assert all(np.isfinite(value).all() for value in log_prob_and_gradients(observation, params, x, observed))


def test_leading_dimensions_broadcast(observation, case, features_for):
    rng = np.random.default_rng(2)
    x = case.data(rng, 12).reshape(3, 4, -1).astype(np.float32)
    observed = rng.random((3, 4, case.x_dim)) < 0.5
    params = observation(features_for(2, 3, 4))
    found = observation.log_prob(params, with_junk(x, observed, np.nan), observed)
    assert found.shape == (2, 3, 4) and found.dtype == tf.float32
    for place in np.ndindex(2, 3, 4):
        alone = observation.log_prob(params[place], x[place[1:]], observed[place[1:]])
        np.testing.assert_allclose(found[place], alone, rtol=1e-5, atol=1e-5)
    wide = observation.log_prob(params[0, 0, 0], x[0, 0], np.tile(observed, [2, 1, 1, 1]))
    assert wide.shape == (2, 3, 4)
    np.testing.assert_allclose(
        wide[1, 2, 3], observation.log_prob(params[0, 0, 0], x[0, 0], observed[2, 3]), rtol=1e-5, atol=1e-5
    )


@pytest.mark.slow
def test_graphs_with_unknown_leading_dimensions_give_the_same(observation, case, features_for):
    params, x, observed = every_pattern(observation, case, features_for)
    eager = log_prob_and_gradients(observation, params, x, observed)
    specs = [
        tf.TensorSpec([None, observation.params_dim]),
        tf.TensorSpec([None, case.x_dim]),
        tf.TensorSpec([None, case.x_dim], tf.bool),
    ]
    for compiler in (False, True):
        compiled = tf.function(
            lambda *arrays: log_prob_and_gradients(observation, *arrays), input_signature=specs, jit_compile=compiler
        )
        for found, value in zip(compiled(params, x, observed), eager, strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter:UserWarning")
@pytest.mark.slow
def test_litert_gives_the_same_with_builtin_operations_alone(observation, case, features_for, tmp_path):
    params, x, observed = every_pattern(observation, case, features_for)
    specs = [
        tf.TensorSpec(params.shape, name="params"),
        tf.TensorSpec(x.shape, name="x"),
        tf.TensorSpec(x.shape, tf.bool, name="observed"),
    ]

    @tf.function(input_signature=specs)
    def score(params, x, observed):
        return {"log_prob": observation.log_prob(params, x, observed)}

    module = tf.Module()
    module.variables_used = [weight.value for weight in observation.trainable_weights]
    module.score = score
    tf.saved_model.save(module, str(tmp_path), signatures=score)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = tf.lite.Interpreter(model_content=converter.convert()).get_signature_runner()
    found = runner(params=params.numpy(), x=with_junk(x, observed, np.nan), observed=observed)["log_prob"]
    np.testing.assert_allclose(found, observation.log_prob(params, x, observed), rtol=1e-4, atol=1e-4)
    assert found[0] == 0.0


def test_observed_has_an_entry_per_feature(observation, case, features_for):
    x = case.data(np.random.default_rng(0), 12).reshape(3, 4, -1).astype(np.float32)
    params = observation(features_for(3, 4))
    for shape in ((3, 9), (3, 4, 1), (3, 4, case.x_dim + 1), ()):
        with pytest.raises(ValueError, match=rf"{type(observation).__name__}.log_prob expects observed \[.., D\]"):
            observation.log_prob(params, x, np.ones(shape, bool))
