"""Rate against distortion, of sequences that were compressed with loss."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfdvae.codec import RatePoint

__all__ = ["plot_rate_distortion"]


def plot_rate_distortion(curves: "Mapping[str, Sequence[RatePoint]]", unit: str = "") -> "Figure":
    """Mean squared error of a feature against bits per frame, a curve for each title; both axes are logarithmic.

    Args:
        curves: by title, what `tfdvae.codec.rate_distortion` returns, in any order.
        unit: of the data, such as "m"; the error is in its square.

    Raises:
        ValueError: no curve, a curve without a point, or rates and errors that are not positive and finite.
        ImportError: matplotlib is not installed.
    """
    if not curves or not all(len(points) for points in curves.values()):
        raise ValueError("Expected curves of at least one point each, got none.")
    for title, points in curves.items():
        values = np.array([point[1:] for point in points], np.float64)
        if not (np.isfinite(values).all() and (values > 0.0).all()):
            raise ValueError(f"Rates and errors must be positive and finite; {title!r} holds others.")
    figure = new_figure(5.6, 4.0)
    axes = figure.subplots()
    for title, points in curves.items():
        ordered = sorted(points, key=lambda point: point.bits_per_frame)
        rates, errors = ([getattr(p, name) for p in ordered] for name in ("bits_per_frame", "squared_error"))
        axes.plot(rates, errors, "o-", label=title)
        for point in ordered:
            axes.annotate(f"{point.step:g}", (point.bits_per_frame, point.squared_error), fontsize="x-small")
    axes.set(xscale="log", yscale="log", xlabel="bits per frame", title="numbers: steps of the latents")
    axes.set_ylabel("squared error of a feature" + (f" [{unit}²]" if unit else ""))
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure
