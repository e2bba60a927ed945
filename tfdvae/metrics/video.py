"""How close pictures are to the true ones: SSIM and PSNR, as papers on video prediction report them."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

__all__ = ["VideoScores", "best_of_samples", "video_scores"]

SSIM_WINDOW = 11
"""Pixels of the side of the window that structural similarity compares, Wang et al. (2004)."""


class VideoScores(NamedTuple):
    """Figures of each frame, `[...]`.

    Attributes:
        ssim: structural similarity, at most 1.
        psnr: peak signal-to-noise ratio in decibels; infinite where two frames are equal.
    """

    ssim: np.ndarray
    psnr: np.ndarray


def video_scores(prediction: np.ndarray, x: np.ndarray) -> VideoScores:
    """SSIM (Wang et al. 2004) and PSNR of each frame, by `tf.image`.

    Args:
        prediction: pictures `[..., H, W, C]` of brightness 0 to 1; what lies beyond is cut off.
        x: the true ones, of the same shape.

    Raises:
        ValueError: different shapes, or pictures of less than 11 pixels per side.
    """
    prediction, x = np.asarray(prediction, np.float32), np.asarray(x, np.float32)
    if prediction.shape != x.shape or x.ndim < 3 or min(x.shape[-3:-1]) < SSIM_WINDOW:
        raise ValueError(
            f"Expected pictures of one shape [..., H, W, C] with at least {SSIM_WINDOW} pixels per side, got "
            f"{prediction.shape} and {x.shape}."
        )
    pair = [tf.constant(np.clip(y, 0.0, 1.0).reshape(-1, *x.shape[-3:])) for y in (prediction, x)]
    found = tf.image.ssim(*pair, max_val=1.0, filter_size=SSIM_WINDOW), tf.image.psnr(*pair, max_val=1.0)
    return VideoScores(*(y.numpy().reshape(x.shape[:-3]) for y in found))


def best_of_samples(samples: np.ndarray, x: np.ndarray) -> VideoScores:
    """The scores of that sample of each sequence whose mean over time is best, by each measure for itself: `[B, T]`.

    The sample is chosen by the truth, so this says what a model holds possible rather than what it predicts
    (Babaeizadeh et al. 2018; Denton and Fergus 2018).

    Args:
        samples: `[K, B, T, H, W, C]`.
        x: `[B, T, H, W, C]`.
    """
    each = [video_scores(sample, x) for sample in samples]
    best = []
    for values in zip(*each, strict=True):
        stacked = np.stack(values)
        chosen = stacked.mean(axis=2).argmax(axis=0)
        best.append(stacked[chosen, np.arange(stacked.shape[1])])
    return VideoScores(*best)
