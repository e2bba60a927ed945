"""Backtests score what they were given, step by step, in the units that they say."""

import numpy as np
import pytest

from tfdvae import metrics
from tfdvae.forecasting import Origin, backtest, regular_series, rolling_origins, score_table

RNG = np.random.default_rng(0)
VALUES = np.cumsum(RNG.normal(size=(60, 2)), axis=0)
VALUES[50, 0] = np.nan
SERIES = regular_series({"t": np.arange(60.0), "a": VALUES[:, 0], "b": VALUES[:, 1]}, ["a", "b"], time="t")
ORIGINS = rolling_origins(SERIES, 4, start=40, stride=4)
SAMPLES = RNG.normal(size=(30, len(ORIGINS), 4, 2)) + VALUES[40]


def spread(series, origins, horizon):
    return SAMPLES[:, :, :horizon]


def test_scores_are_those_of_the_metrics_in_units_of_each_target() -> None:
    scale = np.array([2.0, 5.0])
    (scores,) = backtest({"spread": spread}, SERIES, ORIGINS, 4, season=3, scale=scale).values()
    assert len(ORIGINS) == 5 and scores.count.tolist() == [10, 10, 9, 10]
    x = np.stack([VALUES[t : t + 4] for _, t in ORIGINS])
    seen = np.isfinite(x)
    steps = {"observed": seen, "axis": (0, 2)}
    median = np.median(SAMPLES, axis=0)
    np.testing.assert_allclose(scores.mae, metrics.mae(median / scale, x / scale, **steps), rtol=1e-5)
    np.testing.assert_allclose(scores.mse, metrics.mse(SAMPLES.mean(axis=0) / scale, x / scale, **steps), rtol=1e-5)
    np.testing.assert_allclose(scores.crps, metrics.crps(SAMPLES / scale, x / scale, **steps), rtol=1e-5)
    low, high = np.quantile(SAMPLES, [0.05, 0.95], axis=0)
    np.testing.assert_allclose(scores.coverage, metrics.coverage(low, high, x, **steps))
    np.testing.assert_allclose(scores.energy, metrics.energy_score(SAMPLES / scale, x / scale, seen, axis=0), rtol=1e-5)
    past = np.abs(VALUES[3:40] - VALUES[:37]).mean(axis=0)
    np.testing.assert_allclose(scores.mase, metrics.mae(median / past, x / past, **steps), rtol=1e-5)
    assert scores.up_to(4)["mae"] == pytest.approx(metrics.mae(median / scale, x / scale, seen), rel=1e-5)
    with pytest.raises(ValueError, match="from 1 to 4, the horizon that was scored, got 5"):
        scores.up_to(5)


def test_the_table_has_a_row_per_method_and_horizon() -> None:
    def one(series, origins, horizon):
        return SAMPLES[:1, :, :horizon]

    scores = backtest({"one": one, "spread": spread}, SERIES, ORIGINS, 4)
    lines = score_table(scores, [1, 4]).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["method", "steps"],
        *([n, h] for h in "14" for n in ("one", "spread")),
    ]
    assert f"{scores['spread'].up_to(4)['crps']:.4f}" in lines[4].split() and "-" in lines[1].split()
    assert len(set(map(len, lines))) == 1
    marked = score_table(scores, [4], markdown=True).splitlines()
    assert marked[1].count("---") == 8 and marked[3].startswith("| spread | 4 |")


def test_a_method_that_returns_another_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"K paths in front of \[5, 4, 2\], spread gave \[30, 5, 3, 2\]"):
        backtest({"spread": lambda *given: SAMPLES[:, :, :3]}, SERIES, ORIGINS, 4)
    with pytest.raises(ValueError, match="`scale` must hold 2 positive numbers"):
        backtest({"spread": spread}, SERIES, ORIGINS, 4, scale=[1.0, 0.0])


def test_a_constant_past_has_no_mase() -> None:
    with pytest.warns(UserWarning, match="never changes"):
        flat = regular_series({"t": np.arange(20.0), "a": np.ones(20)}, ["a"], time="t")
    (scores,) = backtest({"zero": lambda s, o, h: np.zeros((1, len(o), h, 1))}, flat, [Origin(0, 10)], 2).values()
    assert scores.up_to(2)["mae"] == 1.0 and np.isnan(scores.up_to(2)["mase"])
