"""Pictures of power spectrograms."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_spectrograms"]


def plot_spectrograms(
    spectrograms: Mapping[str, np.ndarray],
    rate: int = 16000,
    hop_length: int = 256,
    border: int | None = None,
    range_db: float = 70.0,
) -> "Figure":
    """Power spectrograms below each other on one scale of time, frequency and colour (dB), such as original,
    reconstruction and continuation, in the manner of figures 13.2 to 13.4 of the survey.

    Args:
        spectrograms: title to `[T, F]`, power, F frequencies from 0 to rate / 2.
        rate: samples per second, Hz.
        hop_length: samples from frame to frame.
        border: a frame before which a red line is drawn, such as the first that is generated.
        range_db: what is further below the largest value is drawn like silence.

    Raises:
        ValueError: no spectrogram, different numbers of frequencies, or negative or undefined values.
        ImportError: matplotlib is not installed.
    """
    arrays = {title: np.asarray(power, np.float64) for title, power in spectrograms.items()}
    if not arrays or any(power.ndim != 2 or not power.size for power in arrays.values()):
        raise ValueError(f"Expected spectrograms [T, F], got {[power.shape for power in arrays.values()] or 'none'}.")
    if len({power.shape[1] for power in arrays.values()}) > 1:
        raise ValueError(f"Expected spectrograms of one F, got {[power.shape for power in arrays.values()]}.")
    for title, power in arrays.items():
        if not (np.isfinite(power).all() and power.min() >= 0.0):
            raise ValueError(f"A power spectrogram holds finite values of at least 0; {title!r} holds others.")
    top = max(power.max() for power in arrays.values())
    loudest = 10.0 * np.log10(top) if top > 0.0 else 0.0
    longest = max(map(len, arrays.values()))
    seconds = hop_length / rate
    figure = new_figure(float(np.clip(0.025 * longest, 7.0, 20.0)), 2.4 * len(arrays))
    all_axes = np.ravel(figure.subplots(len(arrays), 1, sharex=True, sharey=True))
    for axes, (title, power) in zip(all_axes, arrays.items(), strict=True):
        image = axes.imshow(
            10.0 * np.log10(np.maximum(power, 10.0 ** ((loudest - range_db) / 10.0))).T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=loudest - range_db,
            vmax=loudest,
            interpolation="nearest",
            extent=(0.0, len(power) * seconds, 0.0, rate / 2000.0),
        )
        if border is not None:
            axes.axvline(border * seconds, color="red")
        axes.set(title=title, ylabel="kHz", xlim=(0.0, longest * seconds))
    figure.colorbar(image, ax=list(all_axes), label="dB", pad=0.01)
    all_axes[-1].set_xlabel("seconds")
    return figure
