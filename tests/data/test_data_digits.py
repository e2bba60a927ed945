"""Digits that move in a box: where they are, what they look like, how walls turn them, and what files are refused."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfdvae.data import DATASETS, SIMULATIONS, load_moving_digits, simulate_moving_digits
from tfdvae.data.simulated import digits

SMALL = {"num_train": 6, "num_valid": 3, "num_test": 4, "length": 7, "resolution": 20, "digit_size": 14, "verbose": 0}


def arrays() -> dict[str, np.ndarray]:
    """Five and four pictures of noise, which differ everywhere, with a bright corner."""
    rng = np.random.default_rng(0)
    found = {}
    for split, count in (("train", 5), ("test", 4)):
        found[f"{split}_images"] = rng.integers(1, 256, (count, 28, 28), dtype=np.uint8)
        found[f"{split}_labels"] = rng.integers(10, size=count)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "digits.npz", **arrays())
    return tmp_path / "digits.npz"


def test_it_is_a_data_set_whose_states_are_known(path: Path, tmp_path: Path) -> None:
    assert DATASETS["moving_digits"] is load_moving_digits and SIMULATIONS["moving_digits"] is simulate_moving_digits
    splits, truth, constants = simulate_moving_digits(path, **SMALL, cache_dir=tmp_path)
    assert constants is None
    for split, count in (("train", 6), ("valid", 3), ("test", 4)):
        x = np.stack(getattr(splits, split).x)
        assert x.shape == (count, 7, 400) and x.dtype == np.float32 and x.min() == 0.0 and x.max() <= 1.0
        assert truth[split].shape == (count, 7, 2, 6) and truth[split].dtype == np.float32
    again = load_moving_digits(path, **SMALL, cache_dir=tmp_path)
    np.testing.assert_array_equal(np.stack(again.test.x), np.stack(splits.test.x))
    assert len(list(tmp_path.glob("moving-digits-*.npz"))) == 1
    other = load_moving_digits(path, **SMALL, cache_dir=tmp_path, seed=1)
    assert not np.array_equal(np.stack(other.test.x), np.stack(splits.test.x))


@pytest.mark.parametrize("size", [7, 14, 28])
def test_frames_show_the_digits_of_the_truth_where_it_says(path: Path, tmp_path: Path, size: int) -> None:
    given = arrays()
    images = np.concatenate([given["train_images"], given["test_images"]]) / 255.0
    labels = np.concatenate([given["train_labels"], given["test_labels"]])
    splits, truth, _ = simulate_moving_digits(
        path, **SMALL | {"digit_size": size, "resolution": 33}, cache_dir=tmp_path
    )
    step = 28 // size
    for split, numbers in (("train", range(5)), ("valid", range(5)), ("test", range(5, 9))):
        for x, states in zip(getattr(splits, split).x, truth[split], strict=True):
            assert len({tuple(row) for row in states[..., 4]}) == 1, "a digit changes its picture"
            for frame, state in zip(x.reshape(-1, 33, 33), states, strict=True):
                expected = np.zeros([33, 33])
                for row, column, _, _, number, label in state:
                    assert number in numbers and label == labels[int(number)]
                    for i in range(size):
                        for j in range(size):
                            block = images[int(number), i * step : (i + 1) * step, j * step : (j + 1) * step]
                            expected[round(float(row)) + i, round(float(column)) + j] += block.mean()
                np.testing.assert_allclose(frame, np.minimum(expected, 1.0), atol=1e-5)


@pytest.mark.parametrize("stochastic", [False, True])
def test_digits_fly_straight_and_turn_at_walls(path: Path, tmp_path: Path, stochastic: bool) -> None:
    options = {**SMALL, "num_train": 200, "length": 40, "stochastic": stochastic, "max_speed": 2.5}
    states = simulate_moving_digits(path, **options, cache_dir=tmp_path).truth["train"].astype(float)
    corner, velocity = states[..., :2], states[..., 2:4]
    assert corner.min() == 0.0 and corner.max() == 6.0 and np.abs(velocity).max() <= 2.5
    straight = corner[:, :-1] + velocity[:, :-1]
    np.testing.assert_allclose(corner[:, 1:], np.clip(straight, 0.0, 6.0), atol=1e-5)
    hit = (straight < -1e-5) | (straight > 6.0 + 1e-5)
    free = ~hit.any(axis=-1)
    assert 0.2 < free.mean() < 0.9
    np.testing.assert_array_equal(velocity[:, 1:][free], velocity[:, :-1][free])
    turned = velocity[:, 1:][hit]
    assert (np.sign(turned) == np.where(straight[hit] < 0.0, 1.0, -1.0)).all()
    same = np.abs(turned) == np.abs(velocity[:, :-1][hit])
    assert not same.any() if stochastic else same.all()


def test_where_one_digit_meets_walls_is_nothing_to_the_others() -> None:
    class Elsewhere:
        """Random numbers by which the first digit of the first sequence begins in a corner."""

        def __init__(self) -> None:
            self.rng, self.calls = np.random.default_rng(0), 0

        def uniform(self, *args: Any) -> np.ndarray:
            found = self.rng.uniform(*args)
            found[0, 0] = 0.0 if self.calls == 0 else found[0, 0]
            self.calls += 1
            return found

    plain, moved = (digits._fly(rng, (3, 30, 2), 5.0, 2.0, True) for rng in (np.random.default_rng(0), Elsewhere()))
    assert (plain[0, :, 0] != moved[0, :, 0]).any()
    np.testing.assert_array_equal(plain[1:], moved[1:])
    np.testing.assert_array_equal(plain[0, :, 1], moved[0, :, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": 0}, "num_train must be an integer of at least 1"),
        ({"num_digits": 1.5}, "num_digits must be an integer"),
        ({"digit_size": 10}, "digit_size must be one of 7, 14, 28; got 10"),
        ({"resolution": 14}, "A digit of 14 pixels has no room to move in a box of 14"),
        ({"max_speed": 0.0}, "max_speed must be a finite number above 0"),
        ({"stochastic": "no"}, "`stochastic` must be True or False, got 'no'"),
    ],
)
def test_arguments_that_cannot_be(path: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_moving_digits(path, **SMALL | change, cache_dir=tmp_path)
    assert not list(tmp_path.glob("moving-digits-*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": np.zeros([5, 28, 28])}, r"train_images is float64 \[5, 28, 28\], expected uint8"),
        ({"test_images": np.zeros([0, 28, 28], np.uint8)}, r"test_images is uint8 \[0, 28, 28\]"),
        ({"test_labels": np.full(4, 11)}, "test_labels must hold a digit for each of the 4 images"),
        ({"train_labels": np.zeros(3, int)}, "train_labels must hold a digit for each of the 5 images"),
        ({"test_labels": None}, "test_labels"),
    ],
)
def test_files_of_something_else(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, **{k: v for k, v in {**arrays(), **change}.items() if v is not None})
    with pytest.raises(ValueError, match=f"other.npz.*{message}"):
        load_moving_digits(path, **SMALL, cache_dir=tmp_path)


def test_a_missing_file_and_the_defaults(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*none\.npz"):
        load_moving_digits(tmp_path / "none.npz")
    defaults = {name: p.default for name, p in inspect.signature(load_moving_digits).parameters.items()}
    assert (defaults["resolution"], defaults["digit_size"], defaults["num_digits"]) == (64, 28, 2)


@pytest.mark.data
@pytest.mark.slow
def test_the_real_digits(tfdvae_data: Path, tmp_path: Path) -> None:
    splits, truth, _ = simulate_moving_digits(
        tfdvae_data / "mnist10k" / "mnist10k.npz", **SMALL | {"resolution": 64, "digit_size": 28}, cache_dir=tmp_path
    )
    assert 0.02 < np.stack(splits.train.x).mean() < 0.2
    assert truth["test"][..., 4].min() >= 10_000
