"""Densities of counts over many decades against scipy's in float64, and draws against the distributions themselves."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from scipy import special as scipy_special
from scipy import stats

from tfdvae.observations import special

COUNTS = np.array([0.0, 1.0, 2.0, 5.0, 20.0, 100.0, 1e3, 1e4, 1e5, 1e6])
MANY = 100_000


def float32(value: float) -> float:
    return float(np.float32(value))


def assert_within_rounding(found: tf.Tensor, expected: np.ndarray) -> None:
    finite = np.isfinite(expected)
    assert np.isfinite(found).all() and finite.sum() > 5
    np.testing.assert_allclose(found.numpy()[finite], expected[finite], rtol=5e-7, atol=5e-7)


@pytest.mark.parametrize("rate", [1e-4, 0.3, 3.0, 50.0, 1e3, 1e5])
def test_log_probabilities_of_a_poisson(rate: float) -> None:
    log_rate = float32(np.log(rate))
    found = special.poisson_log_prob(tf.constant(COUNTS, tf.float32), tf.constant(log_rate))
    assert_within_rounding(found, stats.poisson(np.exp(log_rate)).logpmf(COUNTS))


@pytest.mark.parametrize("mean", [0.01, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("concentration", [0.01, 0.5, 3.0, 100.0, 1e4])
def test_log_probabilities_of_a_negative_binomial(mean: float, concentration: float) -> None:
    m, r = tf.constant(mean), tf.constant(concentration)
    found = special.negative_binomial_log_prob(tf.constant(COUNTS, tf.float32), m, r)
    m, r = float32(mean), float32(concentration)
    assert_within_rounding(found, stats.nbinom(r, r / (r + m)).logpmf(COUNTS))


def test_the_ratio_of_gammas_half_a_step_apart() -> None:
    x = np.float32([1e-3, 0.2, 1.0, 2.5, 40.0, 1e4])
    expected = scipy_special.gammaln(x.astype(float) + 0.5) - scipy_special.gammaln(x.astype(float))
    np.testing.assert_allclose(special.log_gamma_ratio_of_halves(tf.constant(x)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rate", [0.01, 0.7, 9.9, 10.1, 25.0, 400.0, 1e5])
def test_counts_are_drawn_from_a_poisson(rate: float) -> None:
    noise = np.random.default_rng(1).random((MANY, special.POISSON_NOISE), np.float32)
    drawn = special.poisson_sample(tf.fill([MANY, 1], np.float32(rate)), noise).numpy()[:, 0]
    assert (drawn == np.round(drawn)).all()
    exact = stats.poisson(rate)
    edges = np.unique(np.linspace(exact.ppf(1e-3) - 1, exact.ppf(1 - 1e-3), 25).astype(int)) + 0.5
    probability = np.diff([0.0, *exact.cdf(edges), 1.0])
    found = np.histogram(drawn, [-np.inf, *edges, np.inf])[0]
    enough = probability * MANY > 5
    expected = probability[enough] / probability[enough].sum() * found[enough].sum()
    assert stats.chisquare(found[enough], expected).pvalue > 1e-4


@pytest.mark.parametrize("concentration", [0.2, 0.7, 1.0, 4.0, 200.0])
def test_rates_are_drawn_from_a_gamma(concentration: float) -> None:
    noise = np.random.default_rng(1).random((MANY, special.GAMMA_NOISE), np.float32)
    drawn = special.gamma_sample(tf.fill([MANY, 1], np.float32(concentration)), noise).numpy()[:, 0]
    assert stats.kstest(drawn, stats.gamma(concentration).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("draw", "noise_dim", "tries", "values"),
    [
        (special.poisson_sample, special.POISSON_NOISE, 14, [10.0, 10.5, 30.0, 1e3, 1e6]),
        (special.gamma_sample, special.GAMMA_NOISE, 7, [1e-2, 0.3, 1.0, 100.0]),
    ],
)
def test_all_tries_fail_together_as_rarely_as_promised(
    draw: Callable, noise_dim: int, tries: int, values: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[np.ndarray] = []
    first = special._first_accepted
    monkeypatch.setattr(special, "_first_accepted", lambda v, a, o: first(v, accepted.append(a.numpy()) or a, o))
    noise = np.random.default_rng(1).random((20_000, noise_dim), np.float32)
    for value in values:
        draw(tf.fill([20_000, 1], np.float32(value)), noise)
        shares = accepted.pop().mean(axis=(0, 1))
        assert shares.shape == (tries,)
        assert np.ptp(shares) < 0.03 and (1.0 - shares.mean()) ** tries < 1e-8, value


def test_where_no_try_is_accepted_the_mode_is_returned() -> None:
    values, accepted = tf.constant([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), tf.constant([[False, True, True], [False] * 3])
    np.testing.assert_array_equal(special._first_accepted(values, accepted, tf.constant([7.0, 8.0])), [2.0, 8.0])
