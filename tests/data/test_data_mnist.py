"""Digits as still pictures: which split has which, how they become black or white, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.test_data_digits import arrays
from tfdvae.data import DATASETS, load_mnist


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "digits.npz", **arrays())
    return tmp_path / "digits.npz"


def frames(part) -> np.ndarray:
    return np.stack(part.x)


def test_the_test_split_is_the_official_one_and_validation_the_end_of_training(path: Path) -> None:
    assert DATASETS["mnist"] is load_mnist
    given, splits = arrays(), load_mnist(path, num_valid=2, binarise="threshold")
    parts = (given["train_images"][:3], given["train_images"][3:], given["test_images"])
    for part, images in zip(splits, parts, strict=True):
        np.testing.assert_array_equal(frames(part), (images > 127.5).reshape(len(images), 1, 784))
        assert frames(part).dtype == np.float32
    names = [name for part in splits for name in part.names]
    assert names == [str(label) for label in (*given["train_labels"], *given["test_labels"])]
    assert splits.test.description.origin == "digits of digits.npz"


def test_pixels_are_drawn_once_with_their_brightness(tmp_path: Path) -> None:
    images = np.tile(np.linspace(0, 255, 784).reshape(1, 28, 28).astype(np.uint8), [400, 1, 1])
    kinds = {"images": images, "labels": np.zeros(400, int)}
    np.savez(tmp_path / "digits.npz", **{f"{s}_{what}": y for s in ("train", "test") for what, y in kinds.items()})
    splits = load_mnist(tmp_path / "digits.npz", num_valid=100)
    x = frames(splits.train)
    assert set(np.unique(x)) == {0.0, 1.0} and not x[..., 0].any() and x[..., -1].all()
    # Five standard errors of a frequency of one half, over 300 pictures.
    np.testing.assert_allclose(x.mean(axis=(0, 1)), images[0].ravel() / 255.0, atol=5 * 0.5 / np.sqrt(300))
    assert not np.array_equal(x[0], x[1]) and not np.array_equal(x[:100], frames(splits.test)[:100])
    few = load_mnist(tmp_path / "digits.npz", num_valid=100, limit=7)
    np.testing.assert_array_equal(frames(few.test), frames(splits.test)[:7])
    assert [len(part.x) for part in few] == [7, 7, 7]
    other = load_mnist(tmp_path / "digits.npz", num_valid=100, seed=1)
    assert not np.array_equal(frames(other.train), x)


def test_smaller_digits(path: Path) -> None:
    splits = load_mnist(path, num_valid=1, digit_size=7, binarise="threshold")
    blocks = arrays()["test_images"].reshape(4, 7, 4, 7, 4).mean(axis=(2, 4)) / 255.0
    np.testing.assert_array_equal(frames(splits.test)[:, 0], blocks.reshape(4, 49) > 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_valid": 5}, "leave digits for training; got 5 of 5 digits"),
        ({"num_valid": 0}, "num_valid must be at least 1"),
        ({"binarise": "round"}, "binarise must be one of 'sample', 'threshold'; got 'round'"),
        ({"digit_size": 9}, "digit_size must be one of 7, 14, 28; got 9"),
        ({"limit": 0}, "limit must be at least 1, or None for all; got 0"),
    ],
)
def test_what_cannot_be_is_refused(path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_mnist(path, **{"num_valid": 1, **options})


@pytest.mark.slow
def test_other_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", train_images=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz .*expected pictures of digits"):
        load_mnist(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match="none"):
        load_mnist(tmp_path / "none.npz")
