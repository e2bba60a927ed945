"""A map of latents that exist once per sequence, in the manner of figures 1 and 2 of the VRAE paper."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_latent_map"]


def plot_latent_map(points: np.ndarray, labels: Sequence[str | int]) -> "Figure":
    """One point per sequence, one colour per label.

    Latents of more than two dimensions are projected on their first two principal components. (The paper takes t-SNE
    there, which would need scikit-learn and does not keep distances.)

    Args:
        points: `[N, Z]` with Z of at least 2, such as `VRAE.latent_map` returns.
        labels: N names or numbers.

    Raises:
        ValueError: other shapes, or values that are not finite.
        ImportError: matplotlib is not installed.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or not len(points) or len(labels) != len(points):
        raise ValueError(
            f"Expected points [N, Z] with Z of at least 2 and a label for each, got shape {points.shape} and "
            f"{len(labels)} labels."
        )
    if not np.isfinite(points).all():
        raise ValueError("Latents to draw must be finite; got NaN or infinity.")
    names = ("z_1", "z_2")
    if points.shape[1] > 2:
        centred = points - points.mean(axis=0)
        points, names = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T, ("component 1", "component 2")
    figure = new_figure(7.0, 6.0)
    axes = figure.subplots()
    kinds = list(dict.fromkeys(labels))
    chosen = np.array([kinds.index(label) for label in labels])
    for i, label in enumerate(kinds):
        x, y = points[chosen == i].T
        axes.scatter(x, y, s=14, color=f"C{i % 10}", marker="os^vD"[i // 10 % 5], label=str(label), alpha=0.8)
    if len(kinds) <= 20:
        axes.legend(fontsize="small", loc="best")
    axes.set(xlabel=names[0], ylabel=names[1], title=f"{len(points)} sequences")
    return figure
