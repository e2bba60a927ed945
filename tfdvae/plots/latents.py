"""Pictures of a latent sequence: figure 13.5 of the survey, figure 2 of the VRNN paper."""

from typing import TYPE_CHECKING

import numpy as np

from tfdvae.layers.latent import latent_terms
from tfdvae.metrics import Diagnosis
from tfdvae.plots.figures import new_figure
from tfdvae.types import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfdvae.models import DVAE

__all__ = ["plot_change", "plot_latents"]


def plot_latents(
    model: "DVAE", path: Trajectory, name: str | None = None, index: int = 0, length: int | None = None
) -> "Figure":
    """Posterior mean, posterior log-variance, sample and KL of a latent of frames over time, as heat maps.

    Args:
        model: whose path it is.
        path: what `model.infer(x, ..., noise=noise)` returns; without noise there is the mode in place of a sample.
        name: of the latent; by default the last one declared.
        index: which sequence of the batch.
        length: draws the first `length` frames; all by default.

    Raises:
        ValueError: a model without latents of frames, no such latent or sequence, or no frame.
        ImportError: matplotlib is not installed.
    """
    own = {latent.name: latent for latent in model.frame_latents}
    if not own:
        raise ValueError("The model has no latent variables of frames to draw.")
    name = list(own)[-1] if name is None else name
    if name not in own:
        raise ValueError(f"`name` must be one of {', '.join(own)}, got {name!r}.")
    latent, drawn = own[name], path.latents[name]
    length = _check_part(*drawn.z.shape[:2], index, length)
    values = (latent.q.mean(drawn.q), latent.q.scale(drawn.q), drawn.z, latent_terms(latent, drawn).kl)
    mean, scale, sample, kl = (np.asarray(y)[index, :length] for y in values)
    spread = float(max(np.abs(mean).max(), np.abs(sample).max())) or 1.0
    panels = (
        ("posterior mean", mean, "RdBu_r", -spread, spread),
        ("posterior log-variance", 2.0 * np.log(np.maximum(scale, 1e-12)), "viridis", None, None),
        ("mode" if drawn.noise is None else "sample", sample, "RdBu_r", -spread, spread),
        ("KL(q || p), nats", kl, "magma", 0.0, None),
    )
    figure = new_figure(float(np.clip(0.1 * length, 7.0, 20.0)), 10.0)
    all_axes = figure.subplots(4, 1, sharex=True)
    for axes, (title, values, colours, low, high) in zip(all_axes, panels, strict=True):
        image = axes.imshow(
            values.T, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest"
        )
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set(title=title, ylabel=f"dimension of {name}")
        axes.yaxis.get_major_locator().set_params(integer=True)
    all_axes[-1].set_xlabel("frame")
    return figure


def plot_change(x: np.ndarray, diagnosis: Diagnosis, index: int = 0, length: int | None = None) -> "Figure":
    """How far the posterior mean moves, the KL of each latent dimension, and the frames, over time.

    Where a signal changes its character, delta_t has a peak (VRNN paper, figure 2).

    Args:
        x: the frames that were diagnosed, `[B, T, D]`. Raw frames of a signal, for instance, stand as columns.
        diagnosis: what `tfdvae.metrics.diagnose` returned for them.
        index: which sequence of the batch.
        length: draws the first `length` frames; all by default.

    Raises:
        ValueError: frames of another shape than those diagnosed, no such sequence, or no frame.
        ImportError: matplotlib is not installed.
    """
    x = np.asarray(x)
    if x.ndim != 3 or x.shape[:2] != diagnosis.change.shape:
        raise ValueError(f"Expected the frames that were diagnosed, {diagnosis.change.shape} and D; got {x.shape}.")
    batch, frames = diagnosis.change.shape
    length = _check_part(batch, frames, index, length)
    figure = new_figure(float(np.clip(0.1 * length, 7.0, 20.0)), 7.5)
    change, kl, signal = figure.subplots(3, 1, sharex=True)
    change.plot(diagnosis.change[index, :length], color="black", linewidth=0.8)
    change.set(title="squared change of the posterior mean", ylabel="delta_t", ylim=(0.0, None))
    for axes, values, title, colours in (
        (kl, diagnosis.kl[index, :length], "KL(q || p), nats", "magma"),
        (signal, x[index, :length], "frames", "viridis"),
    ):
        image = axes.imshow(values.T, origin="lower", aspect="auto", cmap=colours, interpolation="nearest")
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set_title(title)
    kl.set_ylabel("dimension of z")
    signal.set(ylabel="feature", xlabel="frame")
    return figure


def _check_part(batch: int, frames: int, index: int, length: int | None) -> int:
    """How many frames to draw.

    Raises:
        ValueError: no such sequence, or no frame.
    """
    if not 0 <= index < batch:
        raise ValueError(f"`index` must be from 0 to {batch - 1}, the last sequence of the batch; got {index}.")
    length = frames if length is None else length
    if not 1 <= length <= frames:
        raise ValueError(f"`length` must be from 1 to {frames} frames, got {length}.")
    return length
