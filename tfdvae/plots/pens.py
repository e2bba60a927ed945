"""Pictures of pen strokes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.data.strokes import offsets_to_points
from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_strokes"]


def plot_strokes(
    drawings: Mapping[str, np.ndarray], border: int | None = None, columns: int = 4, width: float = 2.4
) -> "Figure":
    """Drawings beside and below each other, such as original, reconstruction and continuation; x and y on one scale.

    Args:
        drawings: title to frames `[T, 3]` (dx, dy, pen), y growing downwards; a pen above 0.5 ends a stroke.
        border: what begins with this frame is red, such as the first that was generated.
        columns: drawings per row; 1 for lines of writing.
        width: of a drawing, in inches.

    Raises:
        ValueError: no drawing, another shape, or offsets that are not finite.
        ImportError: matplotlib is not installed.
    """
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1, got {columns}.")
    if not drawings:
        raise ValueError("There is no drawing to draw.")
    strokes = {title: offsets_to_points(frames) for title, frames in drawings.items()}
    for title, parts in strokes.items():
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError(f"Offsets to draw must be finite; {title!r} holds NaN or infinity.")
    columns = min(columns, len(strokes))
    rows = -(-len(strokes) // columns)
    spans = [np.ptp(np.concatenate(parts), axis=0) for parts in strokes.values()]
    ratio = max(float(span[1]) for span in spans) / max(1e-6, max(float(span[0]) for span in spans))
    figure = new_figure(width * columns, (width * float(np.clip(ratio, 0.2, 2.0)) + 0.3) * rows)
    all_axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, (title, parts) in zip(all_axes, strokes.items(), strict=False):
        first = 0
        for part in parts:
            old = len(part) if border is None else int(np.clip(border - first, 0, len(part)))
            axes.plot(*part[:old].T, "-", color="black", linewidth=1.2, marker="." if len(part) == 1 else None)
            if old < len(part):
                axes.plot(*part[max(0, old - 1) :].T, "-", color="red", linewidth=1.2)
            first += len(part)
        axes.set_title(title, fontsize="small")
        axes.set_aspect("equal", adjustable="datalim")
        axes.invert_yaxis()
    for axes in all_axes:
        axes.set_axis_off()
    return figure
