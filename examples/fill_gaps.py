"""Gaps in a log of sensors, filled from both sides and from the other sensors, beside simpler ways.

    python examples/fill_gaps.py             # a made-up log, some minutes
    python examples/fill_gaps.py --toy       # seconds, to see that all runs

The log is made here, so that what was lost is known; `tfdvae.data.regular_series(table, ..., gaps="missing")` makes a
table of your own a series with `observed`. A picture is drawn where the extra `plots` is there.
"""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

import tfdvae
from tfdvae import data

SENSORS, WINDOW = ("cellar", "room", "roof"), 48


def made_log(windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Half-hours of three thermometers of a house, `[N, 48, 3]`, and what was read of them: each loses stretches of two
    to ten hours, by itself, and a fifth of all other values."""
    rng = np.random.default_rng(0)
    steps = windows * WINDOW
    sun = np.maximum(np.sin(2 * np.pi * (np.arange(steps) / WINDOW - 0.25)), 0.0)
    clouds = np.repeat(rng.uniform(0.1, 1.0, steps // 6), 6)
    heat = sun * clouds
    # Each storey follows the sun more slowly than the one above it.
    storeys = []
    for slowness in (0.98, 0.93, 0.75):
        level = np.zeros(steps)
        for t in range(1, steps):
            level[t] = slowness * level[t - 1] + (1.0 - slowness) * heat[t]
        storeys.append(level)
    x = np.stack([12.0, 18.0, 16.0]) + np.stack(storeys, -1) * np.stack([8.0, 10.0, 22.0])
    observed = rng.uniform(size=x.shape) > 0.2
    for sensor in range(x.shape[1]):
        for start in rng.integers(0, steps - 20, steps // 60):
            observed[start : start + rng.integers(4, 21), sensor] = False
    x += rng.normal(scale=0.1, size=x.shape)
    shape = (windows, WINDOW, len(SENSORS))
    return x.reshape(shape).astype(np.float32), observed.reshape(shape)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Prints errors at what was lost, in standard deviations, and returns them by method."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--toy", action="store_true", help="a model and a training for seconds")
    parser.add_argument("--picture", type=Path, default=Path("gaps.png"), help="where to draw to")
    given = parser.parse_args(arguments)

    # 1. What was read is all that anything sees of the log; NaN may stand where nothing was read.
    truth, observed = made_log(20 if given.toy else 400)
    x = np.where(observed, truth, np.nan)
    held = len(x) // 10

    # 2. A deep Kalman filter whose latents see past and future. `hide` takes more values away in training, and scores
    # them, so that the model learns to fill gaps and not to copy what it sees.
    units = 8 if given.toy else 32
    model = tfdvae.DKF(8, units=units, inference="mf_lr", indicator=True, seed=0)
    updates = 4 if given.toy else 1600
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, updates)), hide=0.2)
    learned = {"x": x[held:], "observed": observed[held:]}
    model.adapt(**learned)
    epochs = max(1, updates // -(-len(learned["x"]) // 32))
    model.fit(learned, epochs=epochs, batch_size=32, verbose=0)

    # 3. Windows that the model never saw: samples of what is missing, and their mean.
    filled = model.impute(x[:held], observed=observed[:held], num_samples=32, seed=0)
    mean, scale = data.observed_moments(x[held:], observed[held:])
    guesses = {"dkf": filled.mean.numpy()}
    for name, impute in {"last value": data.impute_forward, "straight line": data.impute_linear}.items():
        guesses[name] = impute(np.nan_to_num(x[:held]), observed[:held], mean)
    errors = {}
    for name, guess in guesses.items():
        found = data.masked_errors(guess, truth[:held], ~observed[:held], scale)
        errors[name] = found.mae
        print(f"{name:14} MAE {found.mae:.3f}, RMSE {found.rmse:.3f} of {found.count} lost values")

    if importlib.util.find_spec("matplotlib"):
        draw(truth[0], x[0], filled.samples[:, 0].numpy(), given.picture)
    return errors


def draw(truth: np.ndarray, x: np.ndarray, samples: np.ndarray, path: Path) -> None:
    """One day: what was read as dots, what was lost as a line, and the band of 90% of the samples."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.5), layout="constrained")
    hours = np.arange(len(x)) / 2.0
    lower, median, upper = np.quantile(samples, [0.05, 0.5, 0.95], axis=0)
    for i, axes in enumerate(figure.subplots(len(SENSORS), 1, sharex=True)):
        axes.fill_between(hours, lower[:, i], upper[:, i], color="C0", alpha=0.25, linewidth=0.0, label="90%")
        axes.plot(hours, median[:, i], color="C0", label="median")
        axes.plot(hours, truth[:, i], color="black", linewidth=0.8, label="what was lost")
        axes.plot(hours, x[:, i], "o", color="0.3", markersize=3.0, label="what was read")
        axes.set_ylabel(SENSORS[i])
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize="small", ncols=4, loc="upper left")
    figure.axes[-1].set_xlabel("hour")
    figure.savefig(path)


if __name__ == "__main__":
    main()
