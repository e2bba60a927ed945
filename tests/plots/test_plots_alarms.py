"""A series, its labels and its alarms in one figure."""

import numpy as np
import pytest

from tfdvae.anomalies import AlarmRule
from tfdvae.plots import plot_alarms

SCORES = np.random.default_rng(0).exponential(size=300)
SCORES[250] = 60.0
FOUND = AlarmRule(risk=1e-4, smoothing=(0.0,))(SCORES, 0, 200)


def test_a_panel_for_each_method_with_its_alarms_and_labels() -> None:
    values = np.random.default_rng(1).normal(size=(300, 2))
    values[10] = np.nan
    times = np.datetime64("2024-01-01", "s") + np.timedelta64(60, "s") * np.arange(300)
    figure = plot_alarms(
        values, {"model": FOUND, "other": FOUND}, windows=[(240, 260)], clean=200, times=times, features=["a", "b"]
    )
    top, *panels = figure.axes
    assert len(panels) == 2 and [text.get_text() for text in top.get_legend().get_texts()] == ["a", "b"]
    assert [axes.get_ylabel() for axes in panels] == ["model", "other"]
    for axes in panels:
        drawn = next(line for line in axes.lines if line.get_marker() == "o")
        np.testing.assert_array_equal(drawn.get_ydata(), FOUND.excess[FOUND.alarms])
        assert FOUND.excess[250] in drawn.get_ydata() and len(axes.patches) == 1


@pytest.mark.slow
def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match=r"values \[T, D\] and alarms \[T\] of each method, got values \[299, 1\]"):
        plot_alarms(np.zeros([299, 1]), {"model": FOUND})
    with pytest.raises(ValueError, match="those of 300 steps, got shape"):
        plot_alarms(np.zeros([300, 1]), {"model": FOUND}, times=np.arange(9))
    with pytest.raises(ValueError, match="must name 1 features, got 2 names"):
        plot_alarms(np.zeros([300, 1]), {"model": FOUND}, features=["a", "b"])
    with pytest.raises(ValueError, match=r"must lie within the 300 steps, got \[\(290, 300\)\]"):
        plot_alarms(np.zeros([300, 1]), {"model": FOUND}, windows=[(290, 300)])
