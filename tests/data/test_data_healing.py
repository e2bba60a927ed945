"""Digits that turn, with missing pixels: how they turn, what is missing, and what to compare with."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_data_digits import arrays
from tfdvae.data import DATASETS, SIMULATIONS, load_healing_digits, simulate_healing_digits

SMALL = {"num_train": 6, "num_valid": 3, "num_test": 4, "length": 5, "verbose": 0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Random pictures, of which the first for training and for tests is a bar from the middle upwards."""
    given = arrays()
    for split in ("train", "test"):
        given[f"{split}_images"][0] = 0
        given[f"{split}_images"][0, 2:14, 12:16] = 255
    np.savez(tmp_path / "digits.npz", **given)
    return tmp_path / "digits.npz"


def frames(splits, split: str) -> np.ndarray:
    return np.stack(getattr(splits, split).x)


def test_it_is_a_data_set_with_missing_pixels_whose_states_are_known(path: Path, tmp_path: Path) -> None:
    assert DATASETS["healing_digits"] is load_healing_digits
    assert SIMULATIONS["healing_digits"] is simulate_healing_digits
    splits, truth, constants = simulate_healing_digits(path, **SMALL, cache_dir=tmp_path)
    assert constants is None
    for split, count in (("train", 6), ("valid", 3), ("test", 4)):
        x, seen = frames(splits, split), np.stack(getattr(splits, split).observed)
        assert x.shape == seen.shape == (count, 5, 784) and x.dtype == np.float32 and seen.dtype == bool
        assert set(np.unique(x)) <= {0.0, 1.0} and not x[~seen].any()
        assert seen.mean() == pytest.approx(0.4, abs=0.03)
        assert not (seen[:, 1:] == seen[:, :-1]).all(axis=-1).any(), "the same pixels are missing in all frames"
        assert truth[split].shape == (count, 5, 3) and not truth[split][:, 0, 0].any()
        numbers = truth[split][..., 1]
        assert ((numbers >= 5) == (split == "test")).all() and (numbers == numbers[:, :1]).all()
    again = load_healing_digits(path, **SMALL, cache_dir=tmp_path)
    np.testing.assert_array_equal(frames(again, "test"), frames(splits, "test"))
    assert len(list(tmp_path.glob("healing-digits-*.npz"))) == 1
    other = load_healing_digits(path, **SMALL, cache_dir=tmp_path, seed=1)
    assert not np.array_equal(frames(other, "test"), frames(splits, "test"))


def test_without_missing_pixels_the_pictures_are_the_same_and_complete(path: Path, tmp_path: Path) -> None:
    splits, truth, _ = simulate_healing_digits(path, **SMALL, cache_dir=tmp_path)
    whole, same, _ = simulate_healing_digits(path, **SMALL, missing_rate=0.0, cache_dir=tmp_path)
    for split in splits._fields:
        np.testing.assert_array_equal(same[split], truth[split])
        assert getattr(whole, split).observed is None
        seen = np.stack(getattr(splits, split).observed)
        np.testing.assert_array_equal(frames(splits, split), np.where(seen, frames(whole, split), 0.0))
        assert frames(whole, split)[~seen].any()


def test_a_digit_turns_around_its_middle_by_the_angle_of_the_truth(path: Path, tmp_path: Path) -> None:
    options = {**SMALL, "num_train": 40, "missing_rate": 0.0, "max_rotation": 40.0}
    splits, truth, _ = simulate_healing_digits(path, **options, cache_dir=tmp_path)
    pictures = np.concatenate([arrays()["train_images"], arrays()["test_images"]])
    place = np.arange(28) - 13.5
    bars = 0
    for x, states in zip(frames(splits, "train"), truth["train"], strict=True):
        number = int(states[0, 1])
        if number:
            np.testing.assert_array_equal(x[0].reshape(28, 28), pictures[number] / 255.0 > 0.5)
            continue
        bars += 1
        for frame, (angle, _, _) in zip(x.reshape(-1, 28, 28), states, strict=True):
            rows, columns = (frame * place[:, None]).sum() / frame.sum(), (frame * place).sum() / frame.sum()
            # The middle of the bar is 6 pixels above the middle; counterclockwise it moves to the left first.
            np.testing.assert_allclose([columns, -rows], -6.0 * np.sin(np.radians([angle, angle - 90.0])), atol=0.3)
            assert frame.sum() == pytest.approx(48, abs=8)
    assert bars > 2


def test_speeds_are_uniform_and_jitter_is_new_at_each_frame(path: Path, tmp_path: Path) -> None:
    options = {**SMALL, "num_train": 3000, "length": 9, "digit_size": 7, "missing_rate": 0.0}
    for jitter in (0.0, 4.0):
        truth = simulate_healing_digits(path, **options, max_rotation=20.0, jitter=jitter, cache_dir=tmp_path).truth
        turned = np.diff(truth["train"][..., 0], axis=1)
        assert turned.mean(axis=1).std() == pytest.approx((400.0 / 3.0 + jitter**2 / 8.0) ** 0.5, rel=0.05)
        assert (turned - turned.mean(axis=1, keepdims=True)).std() == pytest.approx(jitter * (7 / 8) ** 0.5, abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": 0}, "num_train must be an integer of at least 1"),
        ({"digit_size": 10}, "digit_size must be one of 7, 14, 28; got 10"),
        ({"max_rotation": 0.0}, "max_rotation must be a finite number above 0"),
        ({"jitter": -1.0}, "jitter must be a finite number of at least 0"),
        ({"missing_rate": 1.0}, "missing_rate must be below 1, which leaves nothing to see; got 1.0"),
        ({"missing_rate": float("nan")}, "missing_rate must be a finite number of at least 0"),
    ],
)
def test_arguments_that_cannot_be(path: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_healing_digits(path, **{**SMALL, **change}, cache_dir=tmp_path)
    assert not list(tmp_path.glob("healing-digits-*"))


@pytest.mark.data
@pytest.mark.slow
def test_the_real_digits(tfdvae_data: Path, tmp_path: Path) -> None:
    options = {**SMALL, "missing_rate": 0.0, "cache_dir": tmp_path}
    splits, truth, _ = simulate_healing_digits(tfdvae_data / "mnist10k" / "mnist10k.npz", **options)
    assert 0.05 < frames(splits, "train").mean() < 0.3
    assert truth["test"][..., 1].min() >= 10_000
