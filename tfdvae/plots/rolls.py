"""Pictures of piano-rolls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.data.pianoroll import KEYS, LOWEST_NOTE
from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_rolls"]

OCTAVE = 12


def plot_rolls(rolls: Mapping[str, np.ndarray]) -> "Figure":
    """Piano-rolls above each other on one scale of time and keys, such as original, reconstruction and sample.

    Args:
        rolls: title to `[T, 88]`, 0 and 1 or probabilities (grey), column = MIDI note - 21.

    Raises:
        ValueError: no roll, another shape, or values outside of 0 to 1.
        ImportError: matplotlib is not installed.
    """
    if not rolls:
        raise ValueError("There is no piano-roll to draw.")
    arrays = {title: np.asarray(roll, np.float32) for title, roll in rolls.items()}
    for title, roll in arrays.items():
        if roll.ndim != 2 or roll.shape[1] != KEYS or not len(roll):
            raise ValueError(f"A piano-roll is [T, {KEYS}] with T of at least 1; {title!r} has shape {roll.shape}.")
        if not (np.isfinite(roll).all() and roll.min() >= 0.0 and roll.max() <= 1.0):
            raise ValueError(f"A piano-roll holds probabilities, or 0 and 1; {title!r} holds other values.")
    sounding = np.flatnonzero(np.max([roll.max(axis=0) for roll in arrays.values()], axis=0) >= 0.5)
    low, high = (sounding[0], sounding[-1]) if len(sounding) else (0, KEYS - 1)
    low, high = max(0, low - 3), min(KEYS - 1, high + 3)
    length = max(map(len, arrays.values()))
    figure = new_figure(float(np.clip(0.1 * length, 7.0, 20.0)), 2.4 * len(arrays))
    all_axes = np.ravel(figure.subplots(len(arrays), 1, sharex=True, sharey=True))
    for axes, (title, roll) in zip(all_axes, arrays.items(), strict=True):
        axes.imshow(roll.T, origin="lower", aspect="auto", cmap="Greys", vmin=0.0, vmax=1.0, interpolation="nearest")
        cs = [key for key in range(KEYS) if (key + LOWEST_NOTE) % OCTAVE == 0]
        axes.set_yticks(cs, [f"C{(key + LOWEST_NOTE) // OCTAVE - 1}" for key in cs])
        axes.set(title=title, ylabel="key", xlim=(-0.5, length - 0.5), ylim=(low - 0.5, high + 0.5))
        axes.grid(axis="y", alpha=0.4)
    all_axes[-1].set_xlabel("frame")
    return figure
