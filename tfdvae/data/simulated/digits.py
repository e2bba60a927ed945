"""Videos of handwritten digits that move in a box, and bounce off its walls as they came or anew."""

import os
from pathlib import Path

import numpy as np

from tfdvae.arguments import switch
from tfdvae.data.archives import read_flat
from tfdvae.data.files import named_damage
from tfdvae.data.simulated.shared import (
    Arrays,
    Simulated,
    cached,
    check_positive,
    counts_of,
    generators,
    picture,
    splits_of,
)

__all__ = ["check_digit_size", "chosen_digits", "load_moving_digits", "read_digits", "simulate_moving_digits"]

_EXPECTED = "pictures of digits: train_images, train_labels, test_images and test_labels"
_SIDE = 28
_SIZES = (7, 14, 28)


def simulate_moving_digits(
    path: str | os.PathLike,
    num_train: int = 5000,
    num_valid: int = 500,
    num_test: int = 500,
    length: int = 15,
    resolution: int = 64,
    digit_size: int = 28,
    num_digits: int = 2,
    stochastic: bool = True,
    max_speed: float = 4.0,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Simulated:
    """Videos of MNIST digits that fly in straight lines through a box, as Srivastava et al., "Unsupervised learning of
    video representations using LSTMs" (ICML 2015), introduced them. With `stochastic` a digit leaves a wall with a new
    random velocity, as Denton and Fergus, "Stochastic video generation with a learned prior" (ICML 2018), have them.

    A digit moves by its velocity from frame to frame, in each direction by itself; where that would take it out of the
    box it stops at the wall, and its velocity in this direction is turned back: the same speed again, or with
    `stochastic` another one, drawn as the first was, in both directions. Digits pass through each other; where they
    overlap, their brightness adds up to at most 1. Frames of the training and validation splits show training digits,
    those of the test split test digits.

    The papers print neither speeds nor splits; those here are our choice.

    Args:
        path: `.npz` of "train_images" and "test_images", uint8 [N, 28, 28], with "train_labels" and "test_labels" [N].
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        resolution: pixels per side; D is its square, the top row first.
        digit_size: pixels per side of a digit: 28, or its means over squares of 2 or 4 pixels, 14 or 7.
        num_digits: digits per sequence, K.
        stochastic: whether a wall changes the speed at random.
        max_speed: velocities in each direction are uniform in [-max_speed, max_speed], pixels per frame.
        seed: of digits, first places and velocities.
        cache_dir: of the trajectories; the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.

    Returns:
        x float32 [T, D] in [0, 1]; truth [N, T, K, 6] of each digit: row and column of its upper left corner, which is
        shown at the nearest pixel, its velocity in rows and columns per frame on the way to the next frame, the number
        of its picture, those for training first, and its label.

    Raises:
        ValueError: a count below 1, a number that is not positive, a digit that has no room to move, a damaged file or
            one of something else, which is named.
        FileNotFoundError: no such file.
    """
    counts, integers = counts_of(
        num_train, num_valid, num_test, length=length, resolution=resolution, num_digits=num_digits, seed=seed
    )
    check_positive(max_speed=max_speed)
    check_digit_size(digit_size)
    if resolution <= digit_size:
        raise ValueError(
            f"A digit of {digit_size} pixels has no room to move in a box of {resolution}: choose a resolution above "
            f"{digit_size}, or a smaller digit_size."
        )
    stochastic = switch("stochastic", stochastic)
    pictures, labels, counted = read_digits(path, digit_size)
    room = resolution - digit_size

    def simulate() -> Arrays:
        return {
            split: np.concatenate(
                [
                    _fly(rng, (counts[split], length, num_digits), room, max_speed, stochastic),
                    chosen_digits(rng, (counts[split], length, num_digits), counted, split == "test"),
                ],
                axis=-1,
            )
            for split, rng in generators(seed).items()
        }

    options = integers | {"digit_size": digit_size, "stochastic": stochastic, "max_speed": max_speed}
    options |= dict(zip(("train_digits", "test_digits"), counted, strict=True))
    shapes = {split: (count, length, num_digits, 5) for split, count in counts.items()}
    moved = cached("moving_digits", options, shapes, simulate, cache_dir)
    named = {split: labels[states[..., 4:].astype(np.int64)] for split, states in moved.items()}
    states = {split: np.concatenate([moved[split], named[split]], axis=-1) for split in moved}
    about = {"origin": f"simulated: {num_digits} moving digits of {Path(path).name}, seed {seed}"}
    return picture(states, lambda part: _draw(part, pictures, resolution), resolution**2, verbose=verbose, about=about)


load_moving_digits = splits_of(simulate_moving_digits, "load_moving_digits")


def check_digit_size(digit_size: int) -> None:
    """Raises ValueError for what pictures of 28 x 28 cannot be shrunk to by means over whole pixels."""
    if digit_size not in _SIZES:
        raise ValueError(f"digit_size must be one of {', '.join(map(str, _SIZES))}; got {digit_size!r}.")


def read_digits(path: str | os.PathLike, size: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Pictures float32 [M, size, size] in [0, 1] and their labels [M], those for training first; how many of each.

    Raises:
        ValueError: a damaged file or one of something else, which is named.
        FileNotFoundError: no such file.
    """
    arrays = read_flat(path, _EXPECTED)
    found: dict[str, list[np.ndarray]] = {"images": [], "labels": []}
    with named_damage(path, f"cannot be read: expected {_EXPECTED}"):
        for split in ("train", "test"):
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            if images.dtype != np.uint8 or images.shape[1:] != (_SIDE, _SIDE) or not len(images):
                raise ValueError(f"{split}_images is {images.dtype} {list(images.shape)}, expected uint8 [N, 28, 28].")
            if labels.shape != images.shape[:1] or not np.isin(labels, np.arange(10)).all():
                raise ValueError(f"{split}_labels must hold a digit for each of the {len(images)} images.")
            found["images"].append(images)
            found["labels"].append(labels)
    images, step = np.concatenate(found["images"]), _SIDE // size
    blocks = images.reshape(-1, size, step, size, step).mean(axis=(2, 4), dtype=np.float32)
    counted = (len(found["images"][0]), len(found["images"][1]))
    return blocks / np.float32(255.0), np.concatenate(found["labels"]).astype(np.float32), counted


def chosen_digits(
    rng: np.random.Generator, shape: tuple[int, int, int], counted: tuple[int, int], test: bool
) -> np.ndarray:
    """The number of each digit's picture, the same in all frames of a sequence: [N, T, K, 1]."""
    first, count = (counted[0], counted[1]) if test else (0, counted[0])
    numbers = first + rng.integers(count, size=(shape[0], 1, shape[2], 1))
    return np.broadcast_to(numbers, (*shape, 1)).astype(np.float64)


def _fly(
    rng: np.random.Generator, shape: tuple[int, int, int], room: float, max_speed: float, stochastic: bool
) -> np.ndarray:
    """Corner and velocity of each digit, [N, T, K, 4], in a box where corners are between 0 and `room`."""
    count, length, digits = shape
    corner = rng.uniform(0.0, room, (count, digits, 2))
    velocity = rng.uniform(-max_speed, max_speed, (count, digits, 2))
    states = np.empty((count, length, digits, 4))
    for t in range(length):
        states[:, t] = np.concatenate([corner, velocity], axis=-1)
        moved = corner + velocity
        inwards = (moved < 0.0).astype(float) - (moved > room)
        corner = np.clip(moved, 0.0, room)
        if stochastic:
            # Numbers are drawn whether or not they are used, so that no sequence depends on its neighbours.
            drawn = rng.uniform(-max_speed, max_speed, velocity.shape)
            hit = inwards.any(axis=-1, keepdims=True)
            velocity = np.where(hit, drawn, velocity)
        velocity = np.where(inwards == 0.0, velocity, inwards * np.abs(velocity))
    return states


def _draw(states: np.ndarray, pictures: np.ndarray, resolution: int) -> np.ndarray:
    """[n, T, K, 6] to [n, T, resolution, resolution]."""
    count, length, digits = states.shape[:3]
    size = np.arange(pictures.shape[1])
    frames = np.zeros((count * length, resolution, resolution), np.float32)
    flat = states.reshape(count * length, digits, -1)
    number = np.arange(count * length)[:, None, None]
    for k in range(digits):
        row, column = np.rint(flat[:, k, :2]).astype(np.int64).T
        rows, columns = row[:, None, None] + size[:, None], column[:, None, None] + size
        frames[number, rows, columns] += pictures[flat[:, k, 4].astype(np.int64)]
    return np.minimum(frames, 1.0).reshape(count, length, resolution, resolution)
