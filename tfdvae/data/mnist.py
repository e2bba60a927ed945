"""Handwritten digits as still pictures: sequences of one frame, black or white."""

import os
from pathlib import Path

import numpy as np

from tfdvae.data.sequences import Splits, from_arrays
from tfdvae.data.simulated.digits import check_digit_size, read_digits

__all__ = ["load_mnist"]

BINARISE = ("sample", "threshold")


def load_mnist(
    path: str | os.PathLike,
    num_valid: int = 1000,
    digit_size: int = 28,
    binarise: str = "sample",
    limit: int | None = None,
    seed: int = 0,
) -> Splits:
    """MNIST digits, each a sequence of one frame: x float32 [1, D] of 0 and 1. Training and validation digits are those
    for training, test digits those of the official test set.

    Args:
        path: `.npz` of "train_images" and "test_images", uint8 [N, 28, 28], with "train_labels" and "test_labels" [N].
        num_valid: the last of the training digits, for validation.
        digit_size: pixels per side: 28, or their means over squares of 2 or 4 pixels, 14 or 7; D is its square, the
            top row first.
        binarise: "sample" makes a pixel 1 with its brightness for a probability, once and for all, as Salakhutdinov and
            Murray, "On the quantitative analysis of deep belief networks" (2008), did; theirs are other draws.
            "threshold" makes it 1 where it is brighter than 1/2.
        limit: at most so many digits of each split, the first ones.
        seed: of "sample".

    Returns:
        Splits; names are the labels.

    Raises:
        ValueError: a count below 1, no digit left for training, another `binarise` or `digit_size`, a damaged file or
            one of something else, which is named.
        FileNotFoundError: no such file.
    """
    check_digit_size(digit_size)
    if binarise not in BINARISE:
        raise ValueError(f"binarise must be one of {', '.join(map(repr, BINARISE))}; got {binarise!r}.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all; got {limit}.")
    pictures, labels, (trained, tested) = read_digits(path, digit_size)
    if not 1 <= num_valid < trained:
        raise ValueError(
            f"num_valid must be at least 1 and leave digits for training; got {num_valid} of {trained} digits."
        )
    # Drawn for all pictures, so that none hangs on how many others are wanted.
    level = np.random.default_rng(seed).random(pictures.shape, np.float32) if binarise == "sample" else np.float32(0.5)
    x = (pictures > level).astype(np.float32).reshape(len(pictures), 1, -1)
    starts = (0, trained - num_valid, trained, trained + tested)
    parts = []
    for start, end in zip(starts[:-1], starts[1:], strict=True):
        own = slice(start, end if limit is None else min(end, start + limit))
        parts.append(from_arrays(x[own], names=[str(int(label)) for label in labels[own]]))
    return Splits(*parts).described(origin=f"digits of {Path(path).name}", units=("0 or 1",))
