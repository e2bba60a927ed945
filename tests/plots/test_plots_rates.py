"""Rate and distortion as a picture."""

import pytest

from tfdvae.codec import RatePoint
from tfdvae.plots import plot_rate_distortion

pytest.importorskip("matplotlib")
POINTS = [RatePoint(0.5, 40.0, 0.1), RatePoint(2.0, 10.0, 0.4), RatePoint(1.0, 20.0, 0.2)]


def test_a_curve_runs_from_low_rates_to_high_ones() -> None:
    figure = plot_rate_distortion({"VRNN": POINTS, "VAE": POINTS[:1]}, unit="mm")
    axes = figure.axes[0]
    assert [list(line.get_xdata()) for line in axes.lines] == [[10.0, 20.0, 40.0], [40.0]]
    assert list(axes.lines[0].get_ydata()) == [0.4, 0.2, 0.1]
    assert [text.get_text() for text in axes.texts] == ["2", "1", "0.5", "0.5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["VRNN", "VAE"]
    assert axes.get_xscale() == axes.get_yscale() == "log" and "mm²" in axes.get_ylabel()


@pytest.mark.parametrize(
    ("curves", "message"),
    [({}, "got none"), ({"a": []}, "got none"), ({"a": [RatePoint(1.0, 0.0, 1.0)]}, "'a' holds others")],
)
def test_what_is_no_curve(curves: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_rate_distortion(curves)
