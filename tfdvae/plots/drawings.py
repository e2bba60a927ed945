"""Pictures of drawings: the canvas after each glimpse, and where it was drawn."""

from typing import TYPE_CHECKING

import numpy as np

from tfdvae.plots.figures import new_figure
from tfdvae.types import Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_drawings"]


def plot_drawings(drawing: Drawing, picture: tuple[int, int] | None = None, count: int = 10) -> "Figure":
    """Canvases glimpse by glimpse, one row per picture; a red square is the window in which the glimpse drew, as Gregor
    et al. (2015) show it: its line is as thick as the filters are wide.

    Args:
        drawing: what `drawing` or `generated_drawing` of a model returned, values from 0 (black) to 1 (white).
        picture: height and width of frames that are vectors; squares by default.
        count: at most so many glimpses, evenly spaced, the last one among them.

    Raises:
        ValueError: frames that are neither pictures in one or three colours nor vectors of a square number of entries,
            or not of the size of `picture`; a `count` below 1.
        ImportError: matplotlib is not installed.
    """
    frames = np.asarray(drawing.frames, np.float32)
    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    batch, length, total = frames.shape[:3]
    shape = frames.shape[3:]
    if len(shape) == 1:
        side = int(np.sqrt(shape[0]))
        shape = (side, side) if picture is None else tuple(picture)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (1,), (3,)) or np.prod(shape) != np.prod(frames.shape[3:]):
        raise ValueError(
            f"Expected pictures, or vectors of as many entries as a square or `picture` has, got frames of shape "
            f"{frames.shape[3:]}{'' if picture is None else f' and picture={picture}'}."
        )
    canvases = frames.reshape(batch * length, total, *(shape[:2] if shape[2:] == (1,) else shape))
    written = None if drawing.write is None else np.asarray(drawing.write).reshape(batch * length, total, 4)
    shown = total - 1 - np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))[::-1]
    figure = new_figure(1.0 * len(shown) + 0.3, (shape[0] / shape[1] + 0.05) * len(canvases) + 0.3)
    axes = figure.subplots(len(canvases), len(shown), squeeze=False)
    for row, number in zip(axes, range(len(canvases)), strict=True):
        for one, g in zip(row, shown, strict=True):
            one.imshow(np.clip(canvases[number, g], 0.0, 1.0), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
            if written is not None:
                _add_square(one, *written[number, g])
            one.set(xticks=[], yticks=[], xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5))
    for one, g in zip(axes[-1], shown, strict=True):
        one.set_xlabel(f"{g + 1}", fontsize="small")
    return figure


def _add_square(axes, row: float, column: float, side: float, deviation: float) -> None:
    """Around the middle, in pixels; lines between half a point and four."""
    from matplotlib.patches import Rectangle

    corner = (column - 0.5 * side, row - 0.5 * side)
    axes.add_patch(
        Rectangle(corner, side, side, fill=False, edgecolor="red", linewidth=float(np.clip(deviation, 0.5, 4)))
    )
