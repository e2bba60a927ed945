"""Anomalies in a sensor's log, from a table to alarms as the values come in.

    python examples/anomalies.py             # a made-up sensor, a minute or two
    python examples/anomalies.py --toy       # seconds, to see that all runs

The table is made here; with your own, replace `made_log` by `tfdvae.data.read_csv("sensor.csv")`. It needs the extra
`anomalies`; a picture is drawn where `plots` is there.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfdvae import metrics, recipes
from tfdvae.anomalies import AlarmRule, rolling_z_score
from tfdvae.data import regular_series, snap_to_grid

STUCK, SHIFTED = (2200, 2215), (2600, 2700)
"""What is wrong with the log, in steps: the sensor stands still, and the daily pattern comes three hours late."""


def made_log(steps: int = 3000) -> dict[str, np.ndarray]:
    """A log of half-hours with a daily pattern, a few rows of which are missing, and one is there twice."""
    rng = np.random.default_rng(0)
    time = np.datetime64("2024-01-01", "s") + np.timedelta64(30, "m") * np.arange(steps)
    hour = np.arange(steps) / 2.0
    hour[slice(*SHIFTED)] -= 3.0
    value = 20.0 + 4.0 * np.sin(2 * np.pi * hour / 24.0) + 1.5 * np.sin(4 * np.pi * hour / 24.0)
    value += 0.3 * rng.normal(size=steps)
    value[slice(*STUCK)] = value[STUCK[0]]
    rows = np.sort(np.append(np.delete(np.arange(steps), [70, 71, 900]), 1500))
    return {"time": time[rows], "value": value[rows]}


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Prints what was found, and returns the share of the labelled windows that each method finds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="a model and a training for seconds")
    parser.add_argument("--picture", type=Path, default=Path("anomalies.png"), help="where to draw to")
    given = parser.parse_args(arguments)

    # 1. From rows to a series: untidy times go on a grid, and it is said what was done.
    tidy = snap_to_grid(made_log(), ["value"], time="time")
    print(f"{tidy.moved} rows between the steps of the grid, {tidy.merged} at the time of another row")
    series = regular_series(tidy.table, ["value"], time="time", gaps="missing")

    # 2. A detector learns what is usual from a part that is known to be clean.
    clean = 2000
    sizes = {"updates": 40, "units": 8, "length": 32, "batch_size": 16} if given.toy else {}
    detector = recipes.detector(**sizes)
    detector.fit(series, stop=clean)

    # 3. Scores in nats, and alarms above thresholds that a clean step exceeds once in ten thousand.
    rule = AlarmRule(risk=1e-4, hold=48)
    scores = {
        "detector": detector.score(series)[0],
        "rolling z-score": rolling_z_score(np.where(series.observed[0], series.x[0], np.nan)[:, 0], 48),
    }
    found = {name: rule(own, clean // 2, clean) for name, own in scores.items()}
    windows = [(first, last - 1) for first, last in (STUCK, SHIFTED)]
    recalls = {}
    for name, alarms in found.items():
        score = metrics.window_scores(alarms.alarms, windows, start=clean)
        recalls[name] = score.recall
        print(f"{name}: {score.true_positives} of {len(windows)} windows found, {score.false_positives} false alarms")

    # 4. The same scores one by one, as values come in.
    stream = detector.stream()
    for t, (value, time) in enumerate(zip(series.x[0][:5], series.times(0, 0, 5), strict=True)):
        print(f"{time}: {stream.push(value, time):.3f} nats (all at once: {scores['detector'][t]:.3f})")

    if importlib.util.find_spec("matplotlib"):
        from tfdvae import plots

        values = np.where(series.observed[0], series.x[0], np.nan)
        times = series.times(0, 0, len(values))
        plots.plot_alarms(values, found, windows=windows, clean=clean, times=times).savefig(given.picture)
    return recalls


if __name__ == "__main__":
    main()
