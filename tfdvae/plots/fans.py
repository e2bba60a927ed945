"""Forecasts as fans: the past, the median, and bands in which the future lies with given probabilities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdvae.forecasts import Forecast
from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_forecast"]


def plot_forecast(
    forecast: Forecast,
    past: Any = None,
    future: Any = None,
    *,
    sequence: int = 0,
    features: Sequence[str] | None = None,
    times: Any = None,
    levels: Sequence[float] = (0.5, 0.9),
    title: str = "",
) -> "Figure":
    """One panel per feature: the past in grey, the median as a line, bands of `levels` about it, what came in black.

    Args:
        forecast: what `forecast` returned, of frames that are vectors.
        past: frames before it, `[B, T, D]`; NaN is a gap in the line.
        future: frames that came, `[B, horizon, D]`; NaN is a gap.
        sequence: which of the B sequences to draw.
        features: names of the D features.
        times: of past and future together, `[T + horizon]`, numbers or dates; by default frames, with 0 for the last
            one of the past.
        levels: probabilities of the bands.

    Raises:
        ValueError: no such sequence, or shapes that do not fit.
        ImportError: matplotlib is not installed.
    """
    median = forecast.quantile(0.5)
    if median.ndim != 3:
        raise ValueError(f"A fan is drawn of frames that are vectors, [B, horizon, D]; got {list(median.shape)}.")
    size, horizon, width = median.shape
    if not 0 <= sequence < size:
        raise ValueError(f"`sequence` must be from 0 to {size - 1}, got {sequence}.")
    before, after = (None if x is None else np.asarray(x, np.float64) for x in (past, future))
    if before is not None and (before.ndim != 3 or (before.shape[0], before.shape[2]) != (size, width)):
        raise ValueError(f"Expected a past [{size}, T, {width}], got {list(before.shape)}.")
    if after is not None and after.shape != median.shape:
        raise ValueError(f"Expected a future in the shape of the forecast, {list(median.shape)}, got {after.shape}.")
    if features is not None and len(features) != width:
        raise ValueError(f"`features` must name {width} features, got {len(features)}.")
    count = 0 if before is None else before.shape[1]
    times = np.arange(1 - count, horizon + 1) if times is None else np.asarray(times)
    if times.shape != (count + horizon,):
        raise ValueError(f"`times` must be those of past and future, [{count + horizon}], got {list(times.shape)}.")

    figure = new_figure(9.0, 0.6 + 2.0 * width)
    panels = np.ravel(figure.subplots(width, 1, sharex=True, squeeze=False))
    intervals = [(level, forecast.interval(level)) for level in sorted(levels, reverse=True)]
    for i, axes in enumerate(panels):
        if before is not None:
            axes.plot(times[:count], before[sequence, :, i], color="0.45", linewidth=1.0, label="past")
        for shade, (level, (lower, upper)) in enumerate(intervals):
            alpha = 0.2 + 0.25 * shade / max(len(intervals) - 1, 1)
            band = (lower[sequence, :, i], upper[sequence, :, i])
            axes.fill_between(times[count:], *band, color="C0", alpha=alpha, linewidth=0.0, label=f"{level:.0%}")
        axes.plot(times[count:], median[sequence, :, i], color="C0", label="median")
        if after is not None:
            axes.plot(times[count:], after[sequence, :, i], color="black", linewidth=1.0, label="what came")
        axes.set_ylabel(f"x[{i}]" if features is None else features[i])
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize="small", ncols=5, loc="upper left")
    panels[0].set_title(title)
    if np.issubdtype(times.dtype, np.datetime64):
        figure.autofmt_xdate()
    return figure
