"""Pictures and films of human motion."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.data.files import atomic_write
from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_skeletons", "write_skeleton_gif"]


def plot_skeletons(
    motions: Mapping[str, np.ndarray], parents: Sequence[int], count: int = 8, up: str = "y", border: int | None = None
) -> "Figure":
    """Skeletons from the front, one row per motion and one column per moment, such as original, reconstruction and
    continuation, all on one scale.

    Args:
        motions: title to `[T, 3 J]` or `[T, J, 3]`; all of the same shape.
        parents: of each joint; -1 for the root. `read_skeleton` reads it.
        count: at most so many frames, evenly spaced over time.
        up: the axis that points upwards, "x", "y" or "z"; x is to the side (y where x is up).
        border: frames from this one on are red, such as the first that was generated.

    Raises:
        ValueError: no motion, motions of different shapes or of other joints than `parents`, undefined positions.
        ImportError: matplotlib is not installed.
    """
    arrays, bones = _checked(motions, parents)
    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    length = len(next(iter(arrays.values())))
    times = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))
    across, upwards = _axes_of(up)
    figure = new_figure(1.3 * len(times) + 0.5, 2.4 * len(arrays))
    all_axes = figure.subplots(len(arrays), len(times), squeeze=False, sharex=True, sharey=True)
    for row, (title, joints) in zip(all_axes, arrays.items(), strict=True):
        for axes, t in zip(row, times, strict=True):
            for child, parent in bones:
                ends = joints[t, [parent, child]]
                colour = "red" if border is not None and t >= border else "black"
                axes.plot(ends[:, across], ends[:, upwards], color=colour, linewidth=1.2)
            axes.set_aspect("equal")
            axes.set(xticks=[], yticks=[])
        row[0].set_title(title, loc="left", fontsize="small")
    for axes, t in zip(all_axes[-1], times, strict=True):
        axes.set_xlabel(f"{t}", fontsize="small")
    return figure


def write_skeleton_gif(
    path: str | os.PathLike,
    motions: Mapping[str, np.ndarray],
    parents: Sequence[int],
    frames_per_second: float = 25.0,
    up: str = "y",
) -> None:
    """Writes a film (.gif) of motions side by side, seen from the front; by matplotlib and pillow. The file appears
    complete or not at all.

    Args:
        path: of the file, with the suffix .gif.
        motions, parents, up: as in `plot_skeletons`.
        frames_per_second: up to 50.

    Raises:
        ValueError: as `plot_skeletons`; another suffix or rate.
        ImportError: matplotlib is not installed.
    """
    arrays, bones = _checked(motions, parents)
    if Path(path).suffix.lower() != ".gif":
        raise ValueError(f"A film is written to a file with the suffix .gif; got {path}.")
    if not 0.0 < frames_per_second <= 50.0:
        raise ValueError(f"A GIF has from more than 0 to 50 frames per second; got {frames_per_second}.")
    across, upwards = _axes_of(up)
    figure = new_figure(2.4 * len(arrays), 3.0)
    # These come with matplotlib, whose absence new_figure has told by now.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    everywhere = np.concatenate([x.reshape(-1, 3) for x in arrays.values()])
    low, high = everywhere.min(axis=0) - 1e-6, everywhere.max(axis=0) + 1e-6
    lines = []
    for axes, title in zip(np.ravel(figure.subplots(1, len(arrays))), arrays, strict=True):
        lines.append([axes.plot([], [], color="black", linewidth=1.5)[0] for _ in bones])
        axes.set(xlim=(low[across], high[across]), ylim=(low[upwards], high[upwards]))
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_title(title, fontsize="small")
    canvas, images = FigureCanvasAgg(figure), []
    for t in range(len(next(iter(arrays.values())))):
        for joints, drawn in zip(arrays.values(), lines, strict=True):
            for (child, parent), line in zip(bones, drawn, strict=True):
                line.set_data(joints[t, [parent, child], across], joints[t, [parent, child], upwards])
        canvas.draw()
        images.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()).quantize())
    with atomic_write(path) as file:
        duration = 1000.0 / frames_per_second
        images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=duration, loop=0)


def _checked(
    motions: Mapping[str, np.ndarray], parents: Sequence[int]
) -> tuple[dict[str, np.ndarray], list[tuple[int, int]]]:
    arrays = {title: np.asarray(x, np.float64) for title, x in motions.items()}
    shapes = {x.shape for x in arrays.values()}
    if len(shapes) != 1 or 0 in next(iter(shapes)):
        raise ValueError(f"Expected motions of one shape [T, 3 J], got {sorted(shapes) or 'none'}.")
    shape = shapes.pop()
    if shape[1:] not in ((3 * len(parents),), (len(parents), 3)):
        raise ValueError(f"Expected motions [T, 3 J] of J = {len(parents)} joints, got {shape}.")
    if not all(np.isfinite(x).all() for x in arrays.values()):
        raise ValueError("Positions to draw must be finite; got NaN or infinity.")
    bones = [(child, int(parent)) for child, parent in enumerate(parents) if parent >= 0]
    return {title: x.reshape(len(x), -1, 3) for title, x in arrays.items()}, bones


def _axes_of(up: str) -> tuple[int, int]:
    """Columns that are drawn to the side and upwards."""
    if up not in ("x", "y", "z"):
        raise ValueError(f"`up` must be 'x', 'y' or 'z', got {up!r}.")
    return {"x": (1, 0), "y": (0, 1), "z": (0, 2)}[up]
