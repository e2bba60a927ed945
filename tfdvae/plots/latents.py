"""A picture of a latent sequence, in the manner of figure 13.5 of the survey."""

from typing import TYPE_CHECKING

import numpy as np

from tfdvae import gaussian
from tfdvae.plots.figures import new_figure
from tfdvae.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_latents"]


def plot_latents(path: Trajectory, index: int = 0, length: int | None = None) -> "Figure":
    """Posterior mean, posterior log-variance and KL of each latent dimension over time, as heat maps.

    Args:
        path: what `model.infer(x, mask)` returns.
        index: which sequence of the batch.
        length: draws the first `length` frames; all by default.

    Raises:
        ValueError: a model without latent variables, no such sequence, or no frame.
        ImportError: matplotlib is not installed.
    """
    batch, frames, dimensions = path.q.loc.shape
    if not dimensions:
        raise ValueError("The model has no latent variables to draw.")
    if not 0 <= index < batch:
        raise ValueError(f"`index` must be from 0 to {batch - 1}, the last sequence of the batch; got {index}.")
    length = frames if length is None else length
    if not 1 <= length <= frames:
        raise ValueError(f"`length` must be from 1 to {frames} frames, got {length}.")
    kl = gaussian.kl_per_dimension(path.q, path.p)
    mean, scale, kl = (np.asarray(y)[index, :length] for y in (path.q.loc, path.q.scale, kl))
    spread = float(np.abs(mean).max()) or 1.0
    panels = (
        ("posterior mean", mean, "RdBu_r", -spread, spread),
        ("posterior log-variance", 2.0 * np.log(np.maximum(scale, 1e-12)), "viridis", None, None),
        ("KL(q || p), nats", kl, "magma", 0.0, None),
    )
    figure = new_figure(float(np.clip(0.1 * length, 7.0, 20.0)), 7.5)
    all_axes = figure.subplots(3, 1, sharex=True)
    for axes, (title, values, colours, low, high) in zip(all_axes, panels, strict=True):
        image = axes.imshow(
            values.T, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest"
        )
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set(title=title, ylabel="dimension of z")
        axes.yaxis.get_major_locator().set_params(integer=True)
    all_axes[-1].set_xlabel("frame")
    return figure
