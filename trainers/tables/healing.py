"""Digits that turn, with most pixels missing: what models put there (Fortuin et al. 2020, table of Healing MNIST)."""

import numpy as np
from ml_collections import ConfigDict

from tfdvae.data import observed_moments, pad
from trainers import loading
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["HEALING", "missing_pixels"]

SAMPLES = 20
"""Of the latents, per sequence."""
CHUNK = 100
"""Sequences at a time."""
LEAST = 1e-6
"""Probabilities are held this far from 0 and 1, where float32 ends."""

MODELS = {"GP-VAE": "gpvae", "VAE": "vae", "KVAE": "kvae", "SRNN": "srnn", "VRNN": "vrnn"}
PUBLISHED = {"GP-VAE": {"NLL": "(0.350)"}, "VAE": {"NLL": "(0.599)"}}


def missing_pixels(mean: np.ndarray, truth: np.ndarray, missing: np.ndarray) -> dict[str, float]:
    """Negative log-likelihood, nats, and squared error of pixels, means over those that are missing.

    Args:
        mean: probability of each pixel to be 1, `[N, T, D]`.
        truth: 0 or 1, `[N, T, D]`.
        missing: `[N, T, D]` bool.
    """
    p, x = np.clip(np.float64(mean[missing]), LEAST, 1.0 - LEAST), truth[missing]
    return {
        "NLL": float(-np.mean(np.where(x > 0.5, np.log(p), np.log1p(-p)))),
        "squared error": float(np.mean(np.square(mean[missing] - x))),
    }


def _measure(run: Finished) -> dict[str, float | None]:
    """Of p(x_missing | x_observed), the mean over samples of the latents."""
    complete = ConfigDict(run.config.data)
    complete.missing_rate = 0.0
    truth, _ = loading.stacked(getattr(loading.load_splits(complete), run.split))
    batch = pad(run.measured)
    given = {name: batch[name] for name in ("x", "observed")}
    parts = [
        run.model.impute(
            **{name: y[start : start + CHUNK] for name, y in given.items()},
            num_samples=SAMPLES,
            seed=run.config.seed + start,
        ).mean.numpy()
        for start in range(0, len(truth), CHUNK)
    ]
    missing, train = ~given["observed"], run.splits.train
    found = missing_pixels(np.concatenate(parts), truth, missing)
    means, _ = observed_moments(np.concatenate(train.x), np.concatenate(train.observed))
    simple = missing_pixels(np.broadcast_to(means, truth.shape), truth, missing)
    return {
        **found,
        **{f"{name}, means": value for name, value in simple.items()},
        "ELBO": run.scores.elbo.nats_per_frame,
    }


HEALING = Table(
    title="Digits that turn, 60% of their pixels missing",
    unit=(
        "Test digits, means over missing pixels: negative log-likelihood in nats and squared error; ELBO of what was "
        "observed, nats per frame."
    ),
    heads=("model",),
    columns=(
        *(Column(f"{name}{way}", 4, False) for way in ("", ", means") for name in ("NLL", "squared error")),
        Column("ELBO", 2),
    ),
    measure=_measure,
    above_zero=("data.missing_rate",),
    rows=tuple(
        Row((name,), f"configs/healing_digits/{config}.py", {}, PUBLISHED.get(name, {}))
        for name, config in MODELS.items()
    ),
    notes=(
        f"NLL of the mean of p(x | z) over {SAMPLES} samples of the latents. Means: of each pixel over the training "
        "frames where it was observed, whatever else is seen. Published, in brackets: Fortuin et al. (2020), HI-VAE "
        "0.372 beside them, from memory and unchecked; of 60,000 digits turned by other angles, and perhaps of single "
        "samples, so that the order alone compares."
    ),
)
