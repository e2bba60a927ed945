"""Pictures of videos: frames side by side, one row per video."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_videos"]


def plot_videos(
    videos: Mapping[str, np.ndarray], frame_shape: tuple[int, int] | None = None, count: int = 12
) -> "Figure":
    """Videos below each other on one scale of time, such as truth and prediction; grey where a frame is NaN.

    Args:
        videos: title to `[T, D]`, values from 0 (black) to 1 (white); all of the same length.
        frame_shape: height and width; square frames by default.
        count: at most so many frames, evenly spaced over time.

    Raises:
        ValueError: no video, videos of different shapes, or frames that do not fit `frame_shape`.
        ImportError: matplotlib is not installed.
    """
    arrays = {title: np.asarray(video, np.float32) for title, video in videos.items()}
    shapes = {video.shape for video in arrays.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        raise ValueError(f"Expected videos of one shape [T, D], got {sorted(shapes) or 'none'}.")
    length, pixels = shapes.pop()
    height, width = (math.isqrt(pixels),) * 2 if frame_shape is None else frame_shape
    if height * width != pixels:
        raise ValueError(f"Frames have {pixels} pixels, which is not {height} x {width}: give their `frame_shape`.")
    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    times = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))
    figure = new_figure(1.0 * len(times) + 0.5, (1.0 * height / width + 0.25) * len(arrays))
    all_axes = np.reshape(figure.subplots(len(arrays), len(times), squeeze=False), (len(arrays), len(times)))
    for row, (title, video) in zip(all_axes, arrays.items(), strict=True):
        for axes, t in zip(row, times, strict=True):
            axes.set_facecolor("0.5")
            frame = np.ma.masked_invalid(video[t].reshape(height, width))
            axes.imshow(frame, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        row[0].set_title(title, loc="left", fontsize="small")
    for axes, t in zip(all_axes[-1], times, strict=True):
        axes.set_xlabel(f"{t}", fontsize="small")
    return figure
