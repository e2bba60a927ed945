"""How well the regimes of a switching system are found, against those that made the data."""

import numpy as np
from scipy.cluster.vq import kmeans2, vq
from scipy.optimize import linear_sum_assignment

from trainers import loading
from trainers.tables.table import Column, Finished, Row, Table

__all__ = ["REGIMES", "matching"]


def matching(found: np.ndarray, true: np.ndarray, count: int) -> np.ndarray:
    """The true label for each found one, `[K]`, with which most frames agree; each is used once.

    Args:
        found, true: labels of the same frames, from 0 on; those found are below K, of true ones there may be more.
        count: K.
    """
    together = np.zeros([count, max(count, int(true.max()) + 1)])
    np.add.at(together, (found.ravel(), true.ravel()), 1)
    rows, columns = linear_sum_assignment(together, maximize=True)
    return columns[np.argsort(rows)]


def _accuracies(run: Finished) -> dict[str, float | None]:
    """Of the model's most likely paths and of clusters of frames, and of frames with the one before; labels are matched
    on the validation split, or on `run.fitted`."""
    simulated = loading.load_simulated(run.config.data)
    frames = {split: loading.stacked(getattr(simulated.splits, split))[0] for split in {"train", run.fitted, run.split}}
    # The regime of the first frame has moved nothing.
    true = {split: simulated.truth[split][:, 1:, 2].astype(int) for split in (run.fitted, run.split)}
    count = run.config.model.num_regimes
    labels = {"accuracy": {split: run.model.segment(frames[split]).path.numpy()[:, 1:] for split in true}}
    for name, shown in (("k-means, frames", _alone), ("k-means, pairs", _pairs)):
        points = {split: shown(x) for split, x in frames.items()}
        every = points["train"].reshape(-1, points["train"].shape[-1])
        centers, _ = kmeans2(every, count, minit="++", seed=run.config.seed)
        labels[name] = {split: _nearest(points[split], centers) for split in true}
    figures: dict[str, float | None] = {}
    for name, own in labels.items():
        names = matching(own[run.fitted], true[run.fitted], count)
        figures[name] = 100.0 * float(np.mean(names[own[run.split]] == true[run.split]))
    return {**figures, "ELBO": run.scores.elbo.nats_per_frame}


def _alone(x: np.ndarray) -> np.ndarray:
    return x[:, 1:]


def _pairs(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x[:, :-1], x[:, 1:]], axis=-1)


def _nearest(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The index of the nearest of `[K, F]` for `[N, T, F]`."""
    return vq(points.reshape(-1, points.shape[-1]), centers)[0].reshape(points.shape[:-1])


_CONFIG = "configs/nascar/switching_lds.py"

REGIMES = Table(
    title="Regimes of a car on a track",
    unit="Test split, frames 2 to the last: percent of the frames whose regime is found; nats per frame.",
    heads=("data", "model"),
    columns=(
        *(Column(name, 1) for name in ("accuracy", "k-means, frames", "k-means, pairs")),
        Column("ELBO", 3),
    ),
    measure=_accuracies,
    rows=(
        Row(("one way", "SwitchingLDS"), _CONFIG),
        Row(("both ways", "SwitchingLDS"), _CONFIG, {"data.both_ways": True, "model.num_regimes": 6}),
    ),
    notes=(
        "Regimes that were found have no names: they are matched with the true ones on the validation split, each with "
        "one (Hungarian method). Beside the model: k-means with as many clusters on frames, and on frames joined with "
        "the one before. Both ways: half of the cars go clockwise, which makes six regimes in place of four."
    ),
)
