"""What every model must beat, on series whose answers are plain."""

import numpy as np
import pytest

from tfdvae.forecasting import Origin, baselines, last_seasons, last_value, regular_series, seasonal_naive

DAYS = {"day": np.arange(11.0), "a": np.arange(11.0), "b": 100.0 - np.arange(11.0)}
SERIES = regular_series(DAYS, ["a", "b"], time="day")
HOLED = regular_series(
    {**DAYS, "a": np.where(np.isin(np.arange(11), (7, 3, 4)), np.nan, DAYS["a"])}, ["a", "b"], time="day"
)


def test_the_last_value_and_the_last_season() -> None:
    found = last_value(SERIES, [Origin(0, 8), Origin(0, 5)], 3)
    assert found.shape == (1, 2, 3, 2)
    np.testing.assert_array_equal(found[0, :, :, 0], [[7, 7, 7], [4, 4, 4]])
    np.testing.assert_array_equal(found[0, 0, :, 1], [93, 93, 93])
    found = seasonal_naive(SERIES, [Origin(0, 8)], 7, 3)
    np.testing.assert_array_equal(found[0, 0, :, 0], [5, 6, 7, 5, 6, 7, 5])


def test_the_last_seasons_are_samples_the_latest_first() -> None:
    found = last_seasons(SERIES, [Origin(0, 8)], 4, season=3, count=2)
    np.testing.assert_array_equal(found[:, 0, :, 0], [[5, 6, 7, 5], [2, 3, 4, 2]])
    # The first season lacks its beginning: what is there is repeated.
    found = last_seasons(SERIES, [Origin(0, 8)], 3, season=3, count=4)
    np.testing.assert_array_equal(found[:, 0, :, 0], [[5, 6, 7], [2, 3, 4], [5, 0, 1], [2, 6, 7]])


def test_what_was_not_observed_is_taken_from_a_season_before() -> None:
    found = last_seasons(HOLED, [Origin(0, 9)], 4, season=4, count=2)
    # Phases of 5, 6, 7, 8: 7 and 3 were missing, and nothing else at their place in the season.
    np.testing.assert_array_equal(found[:, 0, :, 0], [[5, 6, 8, 8], [1, 2, 8, 0]])
    np.testing.assert_array_equal(last_value(HOLED, [Origin(0, 8)], 2)[0, 0, :, 0], [6, 6])


def test_baselines_do_not_read_the_future() -> None:
    for method in baselines(3, 2).values():
        np.testing.assert_array_equal(method(SERIES, [Origin(0, 7)], 4), method(SERIES.until(7), [Origin(0, 7)], 4))
    assert list(baselines(3, 2)) == ["last value", "seasonal naive", "last 2 seasons"]


def test_a_target_that_was_not_observed_yet_is_named() -> None:
    late = regular_series({**DAYS, "b": np.where(np.arange(11) < 6, np.nan, DAYS["b"])}, ["a", "b"], time="day")
    with pytest.raises(ValueError, match="'b' was never observed before step 6"):
        last_value(late, [Origin(0, 6)], 2)
    with pytest.raises(ValueError, match="`count` must be at least 1"):
        last_seasons(SERIES, [Origin(0, 8)], 3, season=3, count=0)
