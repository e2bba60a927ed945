"""Partly observed data: what `adapt` and `validate` read of it, and families that know whole frames alone."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.observations import OBSERVATIONS, Gaussian, Observation
from tfdvae.observations.numerics import observed_mean, spread_components

ZEROS = np.zeros((1, 6), np.float32)


@pytest.fixture
def fresh(name, case):
    """A built observation whose kernels are as they are created."""
    observation = OBSERVATIONS[name](**case.arguments)
    observation.build((None, 6), (None, case.x_dim))
    return observation


def holes(case, seed=0, shape=(20, 30)):
    """Frames [B, T, D] and `observed`, which favours large values, so that filling the holes would show; the features
    of a variable have that of its first one."""
    rng = np.random.default_rng(seed)
    x = case.data(rng, int(np.prod(shape))).reshape(*shape, -1)
    observed = rng.random(x.shape) < np.where(x > np.mean(x, axis=(0, 1)), 0.8, 0.4)
    return x, np.concatenate([np.repeat(observed[..., v[:1]], len(v), axis=-1) for v in case.variables], axis=-1)


def moments(observation, params):
    """Mean and standard deviation of every feature, each [D], of p(x | params)."""
    distribution = observation.distribution(params[0])
    if isinstance(distribution, tfp.distributions.Blockwise):
        parts = distribution.distributions
        return (np.concatenate([getattr(part, what)() for part in parts]) for what in ("mean", "stddev"))
    if isinstance(distribution, tfp.distributions.Autoregressive):
        mean = observation.mean(params)[0].numpy()
        return mean, np.sqrt(mean * (1 - mean))
    return distribution.mean().numpy(), distribution.stddev().numpy()


def observed_moments(case, x, observed):
    """Mean and standard deviation of what was observed of every feature; of bits, with half a count on either side, of
    classes, with half a count for each."""
    values = np.ma.masked_array(x, ~observed)
    bit = np.isin(x, (0.0, 1.0)).all(axis=(0, 1))
    classes = np.concatenate([np.full(len(v), max(len(v), 2)) for v in case.variables])
    with_half_counts = (values.sum(axis=(0, 1)) + 0.5) / (observed.sum(axis=(0, 1)) + 0.5 * classes)
    mean = np.where(bit, with_half_counts, values.mean(axis=(0, 1)))
    variance = np.where(bit, mean * (1.0 - mean), values.var(axis=(0, 1)))
    return mean, np.sqrt(variance)


def test_adapt_starts_every_feature_at_what_was_observed_of_it(fresh, name, case):
    x, observed = holes(case)
    fresh.adapt(np.where(observed, x, np.nan), observed=observed)
    mean, scale = moments(fresh, fresh(ZEROS))
    expected_mean, expected_scale = observed_moments(case, x, observed)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-3)
    if name not in ("identity_gaussian", "gamma", "poisson"):
        np.testing.assert_allclose(scale, expected_scale, rtol=1e-3)


def test_adapt_of_whole_frames_is_that_with_a_mask(fresh, case):
    x, observed = holes(case)
    frames = observed[..., 0]
    fresh.adapt(x, mask=frames)
    by_mask = fresh.bias.numpy()
    fresh.adapt(np.where(frames[..., None], x, np.nan), observed=frames)
    np.testing.assert_allclose(fresh.bias, by_mask, rtol=1e-6, atol=1e-7)
    fresh.adapt(x)
    whole = fresh.bias.numpy()
    fresh.adapt(x, observed=np.ones(x.shape, bool))
    np.testing.assert_array_equal(fresh.bias, whole)
    assert np.any(whole != by_mask)


def test_adapt_leaves_out_what_is_masked_and_what_was_not_observed(fresh, case):
    x, observed = holes(case)
    mask = np.arange(x.shape[1])[None] < np.arange(1, 1 + x.shape[0])[:, None]
    fresh.adapt(x, observed=observed & mask[..., None])
    expected = fresh.bias.numpy()
    fresh.adapt(np.where(observed & mask[..., None], x, np.inf), mask, observed)
    np.testing.assert_allclose(fresh.bias, expected, rtol=1e-6, atol=1e-7)


NEUTRAL = {
    "gamma": (1.0, 1.0),
    "bernoulli": (0.5, 0.5),
    "autoregressive_bernoulli": (0.5, 0.5),
    "poisson": (1.0, 1.0),
    "negative_binomial": (1.0, 1.01**0.5),
}


@pytest.mark.parametrize("junk", [np.nan, -1.0])
def test_a_feature_never_observed_starts_neutral(fresh, name, case, junk):
    x, observed = holes(case)
    for variable in case.variables:
        others = ~np.isin(np.arange(case.x_dim), variable)
        seen = observed & others
        fresh.adapt(np.where(seen, x, junk), observed=seen)
        mean, scale = (y[variable] for y in moments(fresh, fresh(ZEROS)))
        share = 1.0 / max(len(variable), 2)
        bit = name == "categorical" or (name, variable[0]) == ("pen", 2)
        neutral = (share, (share * (1.0 - share)) ** 0.5) if bit else NEUTRAL.get(name, (0.0, 1.0))
        expected_scale = fresh.scale if name == "identity_gaussian" else neutral[1]
        np.testing.assert_allclose(mean, np.full_like(mean, neutral[0]), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(scale, np.full_like(scale, expected_scale), rtol=1e-3, atol=1e-4)
        mean, _ = moments(fresh, fresh(ZEROS))
        np.testing.assert_allclose(mean[others], observed_moments(case, x, observed)[0][others], rtol=1e-3)


def test_adapt_needs_an_observed_value_in_a_frame_that_exists(fresh, case):
    x, observed = holes(case)
    with pytest.raises(ValueError, match="no observed value"):
        fresh.adapt(np.full(x.shape, np.nan), observed=np.zeros(x.shape, bool))
    mask = np.zeros(x.shape[:2], bool)
    mask[0] = True
    observed[0] = False
    with pytest.raises(ValueError, match="no observed value"):
        fresh.adapt(x, mask, observed)
    np.testing.assert_array_equal(fresh.bias, np.zeros(fresh.params_dim))


def test_validate_reads_observed_values_alone(fresh, case):
    x, _ = holes(case)
    x[3, 4] = case.bad_frame
    with pytest.raises(ValueError, match=type(fresh).__name__):
        fresh.validate(x, np.ones(x.shape, bool))
    frames = np.ones(x.shape[:2], bool)
    frames[3, 4] = False
    fresh.validate(x, frames)
    fresh.validate(x.reshape(-1, case.x_dim), frames.reshape(-1))
    bad = int(np.argmin(np.isin(case.bad_frame, (0.0, 1.0))))
    for variable in case.variables:
        observed = np.ones(x.shape, bool)
        observed[3, 4, variable] = False
        if bad in variable:
            fresh.validate(x, observed)
        else:
            with pytest.raises(ValueError, match=type(fresh).__name__):
                fresh.validate(x, observed)


@pytest.mark.parametrize("shape", [(20,), (30, 20), (20, 30, 1), (20, 30, 9), ()])
def test_observed_of_another_shape_is_refused(fresh, case, shape):
    x, _ = holes(case)
    for read in (fresh.validate, fresh.adapt):
        with pytest.raises(ValueError, match=r"observed must say which values hold data"):
            read(x, observed=np.ones(shape, bool))


def test_statistics_of_what_was_observed():
    rng = np.random.default_rng(0)
    whole = rng.multivariate_normal([3.0, -1.0], [[2.0, 0.7], [0.7, 1.0]], 300)
    frames = np.where(rng.random(whole.shape) < 0.6, whole, np.nan)
    both = np.isfinite(frames).all(axis=1)
    mean, variance = np.nanmean(frames, axis=0), np.nanvar(frames, axis=0)
    covariance = np.prod(frames[both] - mean, axis=1).mean()
    np.testing.assert_allclose(observed_mean(frames, 5.0), mean, rtol=1e-12)
    loc, within = spread_components(frames, 6)
    np.testing.assert_allclose(loc.mean(0), mean, rtol=1e-12)
    between = np.cov(loc.T, bias=True)
    np.testing.assert_allclose(np.diagonal(within + between), variance, rtol=1e-12)
    np.testing.assert_allclose((within + between)[0, 1], covariance, rtol=1e-12)
    frames[:, 1] = np.nan
    np.testing.assert_allclose(observed_mean(frames, 5.0), [mean[0], 5.0], rtol=1e-12)
    loc, within = spread_components(frames, 6)
    np.testing.assert_array_equal(loc[:, 1], np.zeros(6))
    np.testing.assert_array_equal(within[1], [0.0, 1.0])


class WholeFrames(Gaussian):
    """A family of a user's own that knows nothing of partly observed frames."""

    def log_prob(self, params, x):
        """Tempered."""
        return 0.5 * super().log_prob(params, x)


class Positive(Observation):
    """A log-normal family of a user's own: zero, where unobserved values usually stand, is outside of its support."""

    stand_in = 1.0

    @property
    def params_dim(self):
        return self._built_x_dim()

    def _log_prob(self, params, x, observed):
        values = tfp.distributions.LogNormal(params, 1.0).log_prob(x)
        return tf.reduce_sum(values if observed is None else tf.where(observed, values, 0.0), axis=-1)

    def _check_support(self, x, observed):
        if np.any(x <= 0.0):
            raise ValueError("Positive expects positive frames.")

    def _bias_from(self, frames):
        return np.nan_to_num(np.nanmean(np.log(frames), axis=0))


def test_a_family_that_knows_whole_frames_alone_says_so():
    observation, reference = WholeFrames(), Gaussian()
    for layer in (observation, reference):
        layer.build((None, 6), (None, 2))
    x, params = np.ones((5, 2), np.float32), np.zeros((5, 4), np.float32)
    np.testing.assert_array_equal(observation.log_prob(params, x), 0.5 * reference.log_prob(params, x))
    observation.adapt(x)
    observation.validate(x)
    seen = np.ones((5, 2), bool)
    refused = "WholeFrames does not know partly observed frames"
    with pytest.raises(ValueError, match=refused):
        observation.log_prob(params, x, seen)
    with pytest.raises(ValueError, match=refused):
        tf.function(observation.log_prob)(params, x, observed=seen)
    with pytest.raises(ValueError, match=refused):
        observation.validate(x, seen)
    with pytest.raises(ValueError, match=refused):
        observation.adapt(x, observed=seen)
    assert WholeFrames.log_prob.__doc__ == "Tempered."
    reference.adapt(x, observed=seen)


@pytest.mark.slow
def test_a_family_says_what_stands_in_for_what_was_not_observed():
    observation = Positive()
    observation.build((None, 6), (None, 2))
    x = tf.constant([[2.0, 0.0], [np.nan, 3.0], [-1.0, np.inf]])
    seen = np.array([[True, False], [False, True], [False, False]])
    observation.validate(x.numpy(), seen)
    observation.adapt(x.numpy(), observed=seen)
    np.testing.assert_allclose(observation.bias, np.log([2.0, 3.0]), rtol=1e-6)
    params = tf.zeros((3, 2))
    with tf.GradientTape() as tape:
        tape.watch([params, x])
        log_prob = observation.log_prob(params, x, seen)
    one = tfp.distributions.LogNormal(0.0, 1.0)
    np.testing.assert_allclose(log_prob, [one.log_prob(2.0), one.log_prob(3.0), 0.0], rtol=1e-6)
    to_params, to_x = tape.gradient(log_prob, [params, x])
    np.testing.assert_allclose(to_params, np.where(seen, np.log([2.0, 3.0]), 0.0), rtol=1e-6)
    assert np.isfinite(to_x).all() and not to_x.numpy()[~seen].any()
