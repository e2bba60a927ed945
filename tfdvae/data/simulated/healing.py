"""Videos of handwritten digits that turn, of which most pixels are missing."""

import os
from pathlib import Path

import keras
import numpy as np

from tfdvae.data.simulated.digits import check_digit_size, chosen_digits, read_digits
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

__all__ = ["load_healing_digits", "simulate_healing_digits"]


def simulate_healing_digits(
    path: str | os.PathLike,
    num_train: int = 8000,
    num_valid: int = 500,
    num_test: int = 1000,
    length: int = 10,
    digit_size: int = 28,
    max_rotation: float = 30.0,
    jitter: float = 5.0,
    missing_rate: float = 0.6,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Simulated:
    """Videos of MNIST digits that turn around their middle, black or white, with pixels missing at random: "healing
    MNIST" (Krishnan et al., "Deep Kalman filters", 2015) as Fortuin et al., "GP-VAE: deep probabilistic time series
    imputation" (2020), fill it in.

    A digit stands as it was written in the first frame, and turns by its speed and by a random angle from frame to
    frame. Turned pictures are interpolated linearly, and a pixel is white where that is above 1/2. Frames of the
    training and validation splits show training digits, those of the test split test digits. The papers do not print
    how angles are drawn: that is our choice, as are the numbers of sequences.

    Args:
        path: `.npz` of "train_images" and "test_images", uint8 [N, 28, 28], with "train_labels" and "test_labels" [N].
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        digit_size: pixels per side: 28, or their means over squares of 2 or 4 pixels, 14 or 7; D is its square, the
            top row first.
        max_rotation: speeds are uniform in [-max_rotation, max_rotation], degrees per frame, counterclockwise.
        jitter: standard deviation of the angle that is added to the speed anew at each frame, in degrees; may be 0.
        missing_rate: probability of each pixel to be missing, in all splits. With 0 the pictures are the same, and
            complete: what to compare with.
        seed: of digits, angles and missing pixels.
        cache_dir: of the angles; the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.

    Returns:
        x float32 [T, D] of 0 and 1, and "observed", unless nothing is missing; truth [N, T, 3]: the angle in degrees,
        the number of the digit's picture, those for training first, and its label.

    Raises:
        ValueError: a count below 1, a number that is not positive, a rate outside of [0, 1), a damaged file or one of
            something else, which is named.
        FileNotFoundError: no such file.
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, seed=seed)
    check_positive(max_rotation=max_rotation)
    check_positive(or_zero=True, jitter=jitter, missing_rate=missing_rate)
    check_digit_size(digit_size)
    if missing_rate >= 1.0:
        raise ValueError(f"missing_rate must be below 1, which leaves nothing to see; got {missing_rate!r}.")
    pictures, labels, counted = read_digits(path, digit_size)

    def simulate() -> Arrays:
        found = {}
        for split, rng in generators(seed).items():
            number = chosen_digits(rng, (counts[split], length, 1), counted, split == "test")[:, :, 0]
            speed = rng.uniform(-max_rotation, max_rotation, (counts[split], 1))
            turned = speed + jitter * rng.normal(size=(counts[split], length))
            turned[:, 0] = 0.0
            found[split] = np.concatenate([np.cumsum(turned, axis=1)[..., None], number], axis=-1)
        return found

    options = integers | {"max_rotation": max_rotation, "jitter": jitter}
    options |= dict(zip(("train_digits", "test_digits"), counted, strict=True))
    shapes = {split: (count, length, 2) for split, count in counts.items()}
    turned = cached("healing_digits", options, shapes, simulate, cache_dir)
    named = {split: labels[states[..., 1:].astype(np.int64)] for split, states in turned.items()}
    states = {split: np.concatenate([turned[split], named[split]], axis=-1) for split in turned}
    observed = None
    if missing_rate:
        shape = (length, digit_size**2)
        # Another stream than that of the angles, none of which hangs on what is missing.
        observed = {s: rng.random((counts[s], *shape)) >= missing_rate for s, rng in generators(seed, 1).items()}
    about = {"origin": f"simulated: turning digits of {Path(path).name}, seed {seed}"}
    return picture(
        states,
        lambda part: _turn(part, pictures),
        digit_size**2,
        verbose=verbose,
        observed=observed,
        about={**about, "units": ("0 or 1",)},
    )


load_healing_digits = splits_of(simulate_healing_digits, "load_healing_digits")


def _turn(states: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """[n, T, 3] to [n, T, size, size] of 0 and 1."""
    angle, number = np.radians(states[..., 0].ravel()), states[..., 1].ravel().astype(np.int64)
    cos, sin, zeros = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    middle = 0.5 * (pictures.shape[1] - 1)
    # Where in the picture as it was written a turned column and row come from; rows count downwards.
    columns = (cos, -sin, middle - cos * middle + sin * middle)
    rows = (sin, cos, middle - sin * middle - cos * middle)
    moves = np.stack([*columns, *rows, zeros, zeros], axis=-1).astype(np.float32)
    turned = keras.ops.image.affine_transform(pictures[number][..., None], moves, data_format="channels_last")
    found = (keras.ops.convert_to_numpy(turned)[..., 0] > 0.5).astype(np.float32)
    return found.reshape(*states.shape[:2], *pictures.shape[1:])
