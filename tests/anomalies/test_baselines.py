"""What any detector must beat, against its definition, and blind to what comes later."""

import numpy as np
import pytest

from tfdvae.anomalies import isolation_forest, left_matrix_profile, rolling_z_score


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """Waves with noise, one of which is missing its crest, and a gap."""
    rng = np.random.default_rng(0)
    x = np.sin(2 * np.pi * np.arange(240) / 24) + 0.05 * rng.normal(size=240)
    x[172:184] = 0.0
    x[[50, 51]] = np.nan
    return 100.0 + x


def test_the_z_score_is_that_of_the_window_before(wave: np.ndarray) -> None:
    found = rolling_z_score(wave, 20)
    for t in (30, 55, 180, 239):
        before = wave[t - 20 : t]
        before = before[~np.isnan(before)]
        assert found[t] == pytest.approx(abs(wave[t] - before.mean()) / before.std(), rel=1e-6)
    assert np.isnan(found[[0, 1, 50, 51]]).all() and np.isfinite(found[2])
    assert np.isnan(rolling_z_score(np.ones(9), 4)).all()


def test_the_forest_finds_a_window_that_is_set_apart(wave: np.ndarray) -> None:
    found = isolation_forest(wave, 24, 150)
    assert np.isnan(found[:23]).all() and np.isnan(found[50]) and 172 <= np.nanargmax(found) < 208
    np.testing.assert_array_equal(isolation_forest(wave[:200], 24, 150), found[:200])
    with pytest.raises(ValueError, match="A clean part of 10 steps, of a series of 240, has no window of 24"):
        isolation_forest(wave, 24, 10)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_left_profile_is_the_distance_to_the_nearest_window_before(wave: np.ndarray) -> None:
    """Exhaustive, since stumpy compiles for half a minute."""
    pytest.importorskip("stumpy")
    found = left_matrix_profile(wave, 24)
    filled = wave.copy()
    filled[[50, 51]] = wave[49]
    rows = np.lib.stride_tricks.sliding_window_view(filled, 24)
    shapes = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, keepdims=True)
    for t in (60, 120, 183, 239):
        i = t - 23
        # Neighbours are more than a quarter of a window away.
        expected = np.sqrt(((shapes[i] - shapes[: i - 6]) ** 2).sum(axis=1)).min()
        assert found[t] == pytest.approx(expected, rel=1e-5)
    assert 172 <= np.nanargmax(np.where(np.arange(240) > 60, found, np.nan)) < 208
    np.testing.assert_allclose(left_matrix_profile(wave[:200], 24), found[:200], rtol=1e-6, equal_nan=True)


def test_bad_series_are_refused(wave: np.ndarray) -> None:
    for x in (np.zeros([3, 2]), np.full(5, np.nan), [1.0, np.inf]):
        with pytest.raises(ValueError, match=r"Expected a series \[T\] of finite numbers or NaN"):
            rolling_z_score(x, 4)
    with pytest.raises(ValueError, match="has no two windows of 24"):
        left_matrix_profile(wave[:24], 24)
