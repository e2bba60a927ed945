"""Scores of detectors against values that were computed by hand."""

import math

import numpy as np
import pytest

from tfdvae.metrics import NAB_PROFILES, NabProfile, nab_score, point_scores, window_scores


def flags(length: int, *steps: int) -> np.ndarray:
    return np.isin(np.arange(length), steps)


def sigma(y: float) -> float:
    return 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0


def test_points_count_each_step() -> None:
    found = point_scores(flags(20, 3, 10, 11, 19), [(10, 13)])
    assert found[:3] == (0.5, 0.5, 0.5) and found[3:] == (2, 2, 2)
    # Neither what was not observed, nor what lies before the start.
    found = point_scores(flags(20, 3, 10, 11, 19), [(10, 13)], observed=~flags(20, 11, 12), start=5)
    assert found == (0.5, 0.5, 0.5, 1, 1, 1)


def test_windows_count_once_and_runs_outside_once() -> None:
    windows = [(5, 8), (20, 22), (30, 33)]
    found = window_scores(flags(40, 1, 2, 3, 7, 8, 12, 25, 26, 31), windows)
    assert found[3:] == (2, 3, 1)
    assert found[:3] == pytest.approx((2 / 5, 2 / 3, 2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3)))
    # A run that reaches into a window is no false alarm; one over a gap is one.
    assert window_scores(flags(40, 3, 4, 5), windows)[3:] == (1, 0, 2)
    assert window_scores(flags(40, 10, 11, 13, 14), windows, observed=~flags(40, 12))[3:] == (0, 1, 3)
    # A window that is over before the start does not count.
    assert window_scores(flags(40, 21), windows, start=9)[3:] == (1, 0, 1)


def test_nothing_flagged_and_nothing_labelled() -> None:
    assert point_scores(flags(9), [(2, 3)])[:3] == (1.0, 0.0, 0.0)
    assert window_scores(flags(9, 1), [])[:3] == (0.0, 1.0, 0.0)


def test_the_benchmarks_score_of_perfect_and_silent_detectors() -> None:
    windows = [[(10, 19), (30, 39)], [(5, 6)]]
    perfect = [flags(50, 10, 30), flags(20, 5)]
    silent = [flags(50), flags(20)]
    for profile in NAB_PROFILES:
        assert nab_score(perfect, windows, profile) == pytest.approx(100.0)
        assert nab_score(silent, windows, profile) == pytest.approx(0.0)


def test_the_benchmarks_score_by_hand() -> None:
    # One window of ten steps; found at its fourth, y = -7/10; a second flag in it earns nothing.
    earned = sigma(-0.7) / sigma(-1.0)
    assert nab_score([flags(60, 13, 15)], [[(10, 19)]]) == pytest.approx(100.0 * (earned + 1.0) / 2.0)
    # A flag before all windows costs all of 0.11, one three steps behind the window 0.11 sigma(3/9), one at y > 3 all.
    cost = 0.11 * (-1.0 + sigma(3 / 9) - 1.0)
    found = nab_score([flags(60, 4, 13, 22, 50)], [[(10, 19)]])
    assert found == pytest.approx(100.0 * (earned + cost + 1.0) / 2.0)
    # Low FP doubles what they cost, low FN what a missed window costs.
    found = nab_score([flags(60, 4, 13, 22, 50)], [[(10, 19)]], "reward_low_FP_rate")
    assert found == pytest.approx(100.0 * (earned + 2.0 * cost + 1.0) / 2.0)
    found = nab_score([flags(60, 13)], [[(10, 19), (40, 44)]], "reward_low_FN_rate")
    assert found == pytest.approx(100.0 * (earned - 2.0 + 4.0) / 6.0)
    assert nab_score([flags(60, 4)], [[(10, 19)]], NabProfile(1.0, 0.5, 1.0)) == pytest.approx(-25.0)


def test_series_are_summed_and_what_lies_before_the_start_is_not() -> None:
    early, late = flags(40, 2, 12), flags(40, 33)
    both = nab_score([early, late], [[(10, 19)], [(30, 39)]], start=[5, 0])
    first = nab_score([early], [[(10, 19)]], start=5)
    second = nab_score([late], [[(30, 39)]])
    assert both == pytest.approx((first + second) / 2.0)
    assert nab_score([early], [[(10, 19)]]) == pytest.approx(first - 5.5)
    unseen = nab_score([early], [[(10, 19)]], start=5, observed=[~flags(40, 12)])
    assert unseen == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(9), [(1, 2)]), "as bool"),
        ((flags(9), [(1, 9)]), "does not lie within the series, whose steps are 0 to 8"),
        ((flags(9), [(3, 2)]), "does not lie within"),
        ((flags(9), [(1, 4), (4, 6)]), "overlap at step 4"),
        ((flags(9), [(1, 4)], None, 9), "nothing is left to score"),
        ((flags(9), [(1, 4)], flags(8)), r"bool \[8\]"),
    ],
)
def test_what_cannot_be_scored_is_said(arguments, message: str) -> None:
    for score in (point_scores, window_scores):
        with pytest.raises(ValueError, match=message):
            score(*arguments)


def test_the_benchmarks_score_refuses() -> None:
    with pytest.raises(ValueError, match="Unknown profile 'best': expected one of standard"):
        nab_score([flags(9)], [[(1, 2)]], "best")
    with pytest.raises(ValueError, match="No window lies behind the start"):
        nab_score([flags(9)], [[(1, 2)]], start=4)
    with pytest.raises(ValueError, match="as many series; got 1, 2, 1 and 1"):
        nab_score([flags(9)], [[(1, 2)], []])
