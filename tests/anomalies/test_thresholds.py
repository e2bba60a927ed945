"""Thresholds by extreme values, against distributions whose tail is known; and alarms."""

import numpy as np
import pytest

from tfdvae.anomalies import AlarmRule, Threshold, enough_scores, fit_threshold, held, smoothed


def test_the_tail_of_known_distributions_is_found() -> None:
    rng = np.random.default_rng(0)
    # Exponential scores: P(x > z) = exp(-z), shape 0. The paper's example of a light tail.
    found = fit_threshold(rng.exponential(size=50_000))
    assert found.shape == pytest.approx(0.0, abs=0.08) and found.count == 1000
    assert found.at(1e-4) == pytest.approx(-np.log(1e-4), rel=0.1)
    # Pareto scores: P(x > z) = z^-3, shape 1/3.
    found = fit_threshold(rng.pareto(3.0, size=50_000) + 1.0)
    assert found.shape == pytest.approx(1 / 3, abs=0.1)
    assert found.at(1e-4) == pytest.approx(1e-4 ** (-1 / 3), rel=0.2)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4])
def test_equation_one_and_its_inverse(shape: float) -> None:
    found = Threshold(level=2.0, exceeding=0.02, shape=shape, scale=0.5, count=40)
    z = 2.0 + (0.5 / shape * ((1e-3 / 0.02) ** -shape - 1.0) if shape else 0.5 * np.log(20.0))
    assert found.at(1e-3) == pytest.approx(z)
    np.testing.assert_allclose(found.risk([z, 1.0, np.nan]), [1e-3, 1.0, np.nan])
    assert found.at(0.02) == pytest.approx(2.0)


def test_the_shape_stays_where_a_fit_means_something() -> None:
    # Uniform tails have shape -1.
    found = fit_threshold(np.linspace(0.0, 1.0, 2000))
    assert found.shape == -0.5 and found.at(1e-6) < 1.1
    # A Pareto tail of shape 2, which has no mean.
    found = fit_threshold(np.random.default_rng(0).pareto(0.5, size=5000))
    assert found.shape == 1.0


def test_units_do_not_matter() -> None:
    scores = np.random.default_rng(1).gamma(2.0, size=3000)
    expected = fit_threshold(scores).at(1e-4)
    assert fit_threshold(1e-6 * scores + 5.0).at(1e-4) == pytest.approx(1e-6 * expected + 5.0, rel=1e-7)
    with_gaps = np.insert(scores, [3, 70], np.nan)
    assert fit_threshold(with_gaps).at(1e-4) == pytest.approx(expected)


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(ValueError, match="There is no clean score"):
        fit_threshold([np.nan, np.nan])
    with pytest.raises(ValueError, match="quantile 0.98, 3 different ones at least, and there are 2, 2 of them"):
        fit_threshold(np.arange(100.0))
    with pytest.raises(ValueError, match="there are 20, 1 of them different, among 2000"):
        fit_threshold(np.repeat([0.0, 1.0], [1980, 20]), level=0.98)
    with pytest.raises(ValueError, match="there are 0, 0 of them different, among 500"):
        fit_threshold(np.ones(500))
    with pytest.raises(ValueError, match="must be finite"):
        fit_threshold([np.inf, 1.0])
    with pytest.raises(ValueError, match="`level` is a quantile"):
        fit_threshold(np.arange(100.0), level=1.0)
    with pytest.raises(ValueError, match="A risk of 0.1 is more than the 0.02"):
        Threshold(2.0, 0.02, 0.1, 0.5, 40).at(0.1)


def test_smoothing_and_holding() -> None:
    np.testing.assert_allclose(smoothed([4.0, np.nan, 0.0, 2.0], 0.75), [4.0, np.nan, 3.0, 2.75])
    flags = np.isin(np.arange(12), [2, 3, 4, 5, 9])
    np.testing.assert_array_equal(np.flatnonzero(held(flags, 0)), [2, 3, 4, 5, 9])
    np.testing.assert_array_equal(np.flatnonzero(held(flags, 1)), [2, 9])
    np.testing.assert_array_equal(np.flatnonzero(held(flags, 3)), [2, 9])
    np.testing.assert_array_equal(np.flatnonzero(held(flags, 4)), [2])
    np.testing.assert_array_equal(np.flatnonzero(held(~flags, 1)), [0, 6, 10])
    assert not held(np.zeros(5, bool), 3).any()
    with pytest.raises(ValueError, match="a weight from 0 to below 1"):
        smoothed([1.0], 1.0)


def test_a_rule_flags_what_is_above_the_threshold_of_the_clean_part() -> None:
    scores = np.random.default_rng(0).exponential(size=1200)
    scores[1000:1004] = 40.0
    scores[[5, 1100]] = 40.0, np.nan
    found = AlarmRule(risk=1e-4, smoothing=(0.0,), hold=3)(scores, 500, 900)
    np.testing.assert_array_equal(np.flatnonzero(found.flags), [5, 1000, 1001, 1002, 1003])
    np.testing.assert_array_equal(np.flatnonzero(found.alarms), [5, 1000])
    tail = fit_threshold(scores[500:900], 0.95)
    assert found.thresholds == (tail.at(1e-4),) and found.tails == (tail,)
    np.testing.assert_array_equal(found.flags, np.nan_to_num(scores) > found.thresholds[0])
    assert np.isnan(found.excess[1100]) and found.excess[1000] == pytest.approx(
        (40.0 - tail.level) / (found.thresholds[0] - tail.level)
    )
    with pytest.raises(ValueError, match="name at least one weight"):
        AlarmRule(smoothing=())(scores, 0, 100)
    with pytest.raises(ValueError, match="no clean part from step 0 to 0"):
        AlarmRule()(scores, 0, 0)


def test_many_that_are_somewhat_high_are_found_by_the_average() -> None:
    scores = np.random.default_rng(0).exponential(size=1500)
    scores[1200:1300] += 1.5
    single, both = (AlarmRule(risk=1e-4, smoothing=s)(scores, 0, 1000) for s in ((0.0,), (0.0, 0.95)))
    assert single.flags[1000:].sum() == 0
    assert both.flags[1210:1300].mean() > 0.8 and not both.flags[1000:1200].any()
    np.testing.assert_array_equal(both.flags, single.flags | (smoothed(scores, 0.95) > both.thresholds[1]))


def test_scores_with_ties_are_flagged_above_all_clean_ones() -> None:
    scores = np.repeat([0.0, 1.0], 200)
    scores = np.append(scores, [1.0, 1.5, 0.5])
    found = AlarmRule(smoothing=(0.0,))(scores, 0, 400)
    assert found.tails == (None,) and found.thresholds == (1.0,)
    np.testing.assert_array_equal(np.flatnonzero(found.flags), [401])
    constant = AlarmRule(smoothing=(0.0,))(np.append(np.ones(400), 1.1), 0, 400)
    np.testing.assert_array_equal(np.flatnonzero(constant.flags), [400])
    # Too few scores are no ties.
    with pytest.raises(ValueError, match="give a longer clean part"):
        AlarmRule(smoothing=(0.0,))(scores, 0, 40)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.98])
def test_how_many_scores_are_enough_is_known_before_there_are_any(level: float) -> None:
    counts = [count for count in range(2, 1000) if enough_scores(count, level)]
    assert counts == list(range(counts[0], 1000)) and not enough_scores(0, level)
    scores = np.random.default_rng(0).exponential(size=counts[0])
    assert fit_threshold(scores, level).count >= 10
    with pytest.raises(ValueError, match="A threshold needs 10 clean scores"):
        fit_threshold(scores[1:], level)
