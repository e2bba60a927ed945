"""The car on a track: which regime moves it where, and what a frame shows of it."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import DATASETS, SIMULATIONS, TRACK_REGIMES, load_nascar, simulate_nascar

SMALL = {"num_train": 8, "num_valid": 3, "num_test": 2, "length": 80}


def test_each_regime_is_affine_and_known(tmp_path: Path) -> None:
    """Places of a regime follow from those before by one matrix and one vector, which are what it says."""
    simulated = simulate_nascar(**SMALL, both_ways=True, process_scale=0.0, cache_dir=tmp_path)
    states = simulated.truth["train"].astype(np.float64)
    before, after = (y.reshape(-1, 2) for y in (states[:, :-1, :2], states[:, 1:, :2]))
    regime = states[:, 1:, 2].ravel()
    turn = np.array([[np.cos(0.25), -np.sin(0.25)], [np.sin(0.25), np.cos(0.25)]])
    expected = {
        0: (turn, [2, 0]),
        1: (turn, [-2, 0]),
        4: (turn.T, [2, 0]),
        5: (turn.T, [-2, 0]),
    }
    assert set(regime) == set(range(len(TRACK_REGIMES)))
    for k in range(len(TRACK_REGIMES)):
        here = regime == k
        if k in expected:
            matrix, center = expected[k]
            moved = center + (before[here] - center) @ matrix.T
        else:
            moved = before[here] + [-0.25 if k == 2 else 0.25, 0.0]
        np.testing.assert_allclose(after[here], moved, atol=1e-5)
    # A car that turns left goes round the origin counterclockwise, and every other one does.
    around = np.unwrap(np.arctan2(states[..., 1], states[..., 0]), axis=1)
    assert np.all((around[:, -1] - around[:, 0]) * np.where(np.arange(8) % 2, -1, 1) > np.pi)
    assert np.abs(states[..., 1]).max() < 1.3 and np.abs(states[..., 0]).max() < 3.3


def test_frames_are_a_linear_function_of_places_and_noise(tmp_path: Path) -> None:
    simulated = simulate_nascar(**SMALL, noise_scale=0.1, cache_dir=tmp_path)
    assert set(np.unique(simulated.truth["test"][..., 2])) == {0.0, 1.0, 2.0, 3.0}
    fitted = {}
    for split in ("train", "valid"):
        x, places = np.stack(getattr(simulated.splits, split).x), simulated.truth[split][..., :2]
        assert x.shape == (*places.shape[:2], 10) and x.dtype == places.dtype == np.float32
        fitted[split], rest = np.linalg.lstsq(places.reshape(-1, 2), x.reshape(-1, 10), rcond=None)[:2]
        assert np.sqrt(rest.sum() / x.size) == pytest.approx(0.1, rel=0.1)
    np.testing.assert_allclose(fitted["train"], fitted["valid"], atol=0.05)


def test_it_is_a_data_set_whose_draws_follow_from_the_seed(tmp_path: Path) -> None:
    assert DATASETS["nascar"] is load_nascar and SIMULATIONS["nascar"] is simulate_nascar
    assert inspect.signature(load_nascar).parameters == inspect.signature(simulate_nascar).parameters
    first, again = (np.stack(load_nascar(**SMALL, cache_dir=tmp_path / name).test.x) for name in "ab")
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, np.stack(load_nascar(**SMALL, seed=1, cache_dir=tmp_path / "a").test.x))
    assert len(list((tmp_path / "a").glob("nascar-*.npz"))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 1.5}, "speed must be at most 1, the radius of the bends; got 1.5"),
        ({"speed": 0.0}, "speed must be a finite number above 0"),
        ({"noise_scale": -1.0}, "noise_scale must be a finite number above 0"),
        ({"process_scale": float("nan")}, "process_scale must be a finite number of at least 0"),
        ({"features": 0}, "features must be an integer of at least 1"),
        ({"both_ways": "no"}, "`both_ways` must be True or False, got 'no'"),
    ],
)
def test_arguments_that_cannot_be(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_nascar(**SMALL, **options, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
