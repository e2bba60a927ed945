"""Fills in frames that were taken away at random, and compares with simpler ways, as in section 5.1 of the KVAE paper.

    python -m trainers.impute --workdir runs/ball_in_box_kvae --rates 0.3,0.5,0.7,0.9

Of each test sequence the first `context` frames stay, each later one is taken away with the given probability. Errors
are means over missing frames: squared error summed over features and, for frames of 0 and 1, the fraction of features
that are wrong at a threshold of 1/2.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from tfdvae.data.files import atomic_write
from tfdvae.models import DVAE, KVAE
from tfdvae.plots import plot_videos
from trainers import building, loading, settings
from trainers.generate import save_figure

__all__ = ["ImputationError", "run"]


class ImputationError(NamedTuple):
    """Mean over missing frames: squared error per frame, and the fraction of wrong features (None for grey frames)."""

    squared_error_per_frame: float
    wrong_features: float | None


def _last_frame(model: DVAE, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    last = np.maximum.accumulate(np.where(observed, np.arange(x.shape[1]), 0), axis=1)
    return np.take_along_axis(x, last[..., None], axis=1)


def _between_neighbours(model: DVAE, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    times = np.arange(x.shape[1])
    filled = x.copy()
    for row, seen in zip(filled, observed, strict=True):
        after = np.minimum(np.searchsorted(times[seen], times), seen.sum() - 1)
        before = np.maximum(np.searchsorted(times[seen], times, side="right") - 1, 0)
        low, high = times[seen][before], times[seen][after]
        share = np.where(high > low, (times - low) / np.maximum(high - low, 1), 0.0)[:, None]
        row[:] = (1.0 - share) * row[low] + share * row[high]
    return filled


def _model(model: DVAE, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return model.impute(x, observed, num_samples=4, seed=0).mean.numpy()


METHODS: dict[str, tuple[type, Callable[[DVAE, np.ndarray, np.ndarray], np.ndarray]]] = {
    "smoothing": (KVAE, lambda model, x, observed: model.smooth(x, observed=observed).x.numpy()),
    "filtering": (KVAE, lambda model, x, observed: model.filter(x, observed=observed).x.numpy()),
    "impute (samples)": (DVAE, _model),
    "last observed frame": (DVAE, _last_frame),
    "line between neighbours": (DVAE, _between_neighbours),
}
"""Ways to fill in frames, and the models that know them; of frames `[B, T, D]`, zero where not `observed` `[B, T]`."""


def run(
    workdir: Path, rates: Sequence[float] = (0.3, 0.5, 0.7, 0.9), context: int = 4, max_sequences: int | None = None
) -> Mapping[float, Mapping[str, ImputationError]]:
    """Prints a table, returns it by rate and method; writes `imputation.json` and `imputation.png`.

    Args:
        workdir: folder of a finished run.
        rates: probabilities that a frame is missing.
        context: frames at the beginning that are never missing.
        max_sequences: at most so many test sequences; all by default.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: a rate outside of (0, 1), or sequences that are not longer than `context`.
    """
    if not rates or not all(0.0 < rate < 1.0 for rate in rates):
        raise ValueError(f"Rates of missing frames must be between 0 and 1, got {list(rates)}.")
    config = settings.load(workdir)
    model = building.load_model(workdir)
    test = loading.load_splits(config.data).test
    x, _ = loading.stacked(test.take(range(min(max_sequences or test.num_sequences, test.num_sequences))))
    if not 1 <= context < x.shape[1]:
        raise ValueError(f"`context` must be from 1 to {x.shape[1] - 1} for sequences of {x.shape[1]} frames.")
    methods = {name: way for name, (kind, way) in METHODS.items() if isinstance(model, kind)}
    table: dict[float, dict[str, ImputationError]] = {}
    pictures = {}
    for rate in rates:
        rng = np.random.default_rng(config.seed)
        observed = (np.arange(x.shape[1]) < context) | (rng.random(x.shape[:2]) >= rate)
        seen = np.where(observed[..., None], x, np.float32(0.0))
        filled = {name: way(model, seen, observed) for name, way in methods.items()}
        table[rate] = {name: _error(y, x, observed) for name, y in filled.items()}
        if not pictures or rate <= 0.7:
            holed = np.where(observed[0, :, None], x[0], np.nan)
            pictures = {"truth": x[0], f"seen ({rate:.0%} missing)": holed, **{k: y[0] for k, y in filled.items()}}
    print(_as_text(config.model.name, config.data.name, table), flush=True)
    rows = {str(rate): {name: error._asdict() for name, error in row.items()} for rate, row in table.items()}
    content = {"model": config.model.name, "data": config.data.name, "sequences": len(x), "context": context}
    with atomic_write(workdir / "imputation.json") as file:
        file.write((json.dumps({**content, "errors": rows}, indent=2) + "\n").encode())
    if round(x.shape[-1] ** 0.5) ** 2 == x.shape[-1]:
        figure = plot_videos({title: np.clip(video, 0.0, 1.0) for title, video in pictures.items()}, count=16)
        save_figure(figure, workdir / "imputation.png")
    return table


def _error(filled: np.ndarray, x: np.ndarray, observed: np.ndarray) -> ImputationError:
    filled, truth = filled[~observed], x[~observed]
    if not len(truth):
        raise ValueError("No frame is missing: take a higher rate or more sequences.")
    squared = float(np.square(filled - truth, dtype=np.float64).sum(axis=-1).mean())
    binary = np.isin(x, (0.0, 1.0)).all()
    return ImputationError(squared, float(((filled >= 0.5) != (truth >= 0.5)).mean()) if binary else None)


def _as_text(model: str, data: str, table: Mapping[float, Mapping[str, ImputationError]]) -> str:
    lines = [f"{model} on {data}: squared error per missing frame, and wrong features in percent"]
    width = max(len(name) for row in table.values() for name in row)
    lines.append(" " * width + "".join(f"{f'{rate:.0%} missing':>18}" for rate in table))
    for name in next(iter(table.values())):
        cells = []
        for row in table.values():
            wrong = row[name].wrong_features
            share = "" if wrong is None else f" / {100.0 * wrong:.2f}%"
            cells.append(f"{row[name].squared_error_per_frame:.2f}{share}")
        lines.append(name.ljust(width) + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    values = flags.FLAGS
    try:
        rates = [float(rate) for rate in values.rates]
    except ValueError as error:
        raise ValueError(f"--rates must be numbers such as 0.3,0.5, got {','.join(values.rates)}.") from error
    run(Path(values.workdir), rates, values.context, values.max_sequences)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_list("rates", ["0.3", "0.5", "0.7", "0.9"], "Probabilities that a frame is missing.")
    flags.DEFINE_integer("context", 4, "Frames at the beginning that are never missing.", lower_bound=1)
    flags.DEFINE_integer("max_sequences", None, "At most so many test sequences; all by default.", lower_bound=1)
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
