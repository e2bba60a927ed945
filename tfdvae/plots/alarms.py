"""A series, its labels, and what detectors say of each step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfdvae.plots.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfdvae.anomalies.alarms import Alarms

__all__ = ["plot_alarms"]


def plot_alarms(
    values: Any,
    methods: Mapping[str, "Alarms"],
    *,
    windows: Sequence[tuple[int, int]] = (),
    clean: int = 0,
    times: Any = None,
    features: Sequence[str] | None = None,
    title: str = "",
) -> "Figure":
    """The series on top, and for each method a panel with its excess, the threshold at 1 (dashed) and alarms (red);
    labelled windows are shaded, and the end of the clean part is a dotted line.

    Args:
        values: `[T, D]`; NaN is a gap in the line.
        methods: by name, what `AlarmRule` made of their scores, `[T]` each.
        windows: pairs (first, last) of steps.
        clean: where the clean part ends.
        times: `[T]`, numbers or dates; by default steps.
        features: names of the D features.
        title: of the figure.

    Raises:
        ValueError: shapes that do not fit, or windows outside of the series.
        ImportError: matplotlib is not installed.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or any(len(found.excess) != len(values) for found in methods.values()):
        raise ValueError(f"Expected values [T, D] and alarms [T] of each method, got values {list(values.shape)}.")
    times = np.arange(len(values)) if times is None else np.asarray(times)
    if times.shape != (len(values),):
        raise ValueError(f"`times` must be those of {len(values)} steps, got shape {list(times.shape)}.")
    if features is not None and len(features) != values.shape[1]:
        raise ValueError(f"`features` must name {values.shape[1]} features, got {len(features)} names.")
    if not all(0 <= first <= last < len(values) for first, last in windows):
        raise ValueError(f"`windows` must lie within the {len(values)} steps, got {list(windows)}.")
    figure = new_figure(9.0, 1.8 + 1.4 * len(methods))
    panels = np.ravel(figure.subplots(1 + len(methods), 1, sharex=True, squeeze=False))
    for i, row in enumerate(values.T):
        panels[0].plot(times, row, linewidth=0.8, label=None if features is None else features[i])
    if features is not None:
        panels[0].legend(fontsize="small", loc="upper left")
    panels[0].set_title(title)
    for axes, (name, found) in zip(panels[1:], methods.items(), strict=True):
        axes.plot(times, found.excess, color="0.35", linewidth=0.7)
        axes.axhline(1.0, color="black", linestyle="--", linewidth=0.8)
        axes.plot(times[found.alarms], found.excess[found.alarms], "o", color="C3", markersize=3.0)
        axes.set_ylabel(name, fontsize="small")
    for axes in panels:
        for first, last in windows:
            axes.axvspan(times[first], times[last], color="C1", alpha=0.3, linewidth=0.0)
        if clean:
            axes.axvline(times[min(clean, len(times) - 1)], color="C0", linestyle=":")
        axes.grid(alpha=0.3)
    if np.issubdtype(times.dtype, np.datetime64):
        figure.autofmt_xdate()
    return figure
