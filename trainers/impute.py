"""Fills in what was taken away at random, and compares with simpler ways.

    python -m trainers.impute --workdir runs/ball_in_box_kvae --rates 0.3,0.5,0.7,0.9
    python -m trainers.impute --workdir runs/icu_srnn --rates 0.1
    python -m trainers.impute --workdir runs/timeseries_srnn --rates 0.1,0.3,0.5,0.7

Where data is complete, whole frames are taken away, as in section 5.1 of the KVAE paper: of each test sequence the
first `context` frames stay, each later one is missing with the given probability. Errors are means over missing frames:
squared error summed over features and, for frames of 0 and 1, the fraction of features that are wrong at a threshold of
1/2.

Where data is observed in part, single values are taken away: of all observed values the given part, chosen at random,
is hidden from every method and compared with what the method puts there. Errors are means over hidden values, each in
standard deviations of its variable over the observed training values (see `tfdvae.data.hold_out`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tfdvae.data import (
    MaskedErrors,
    Sequences,
    Splits,
    hold_out,
    impute_forward,
    impute_kalman,
    impute_linear,
    impute_mean,
    masked_errors,
    observed_moments,
    pad,
)
from tfdvae.models import DVAE, KVAE
from tfdvae.plots import plot_videos
from trainers import building, loading, settings
from trainers.generate import save_figure
from trainers.writing import write_json

__all__ = ["PARTLY_METHODS", "SIMPLE_METHODS", "ImputationError", "estimated", "run", "score_held_out"]


class ImputationError(NamedTuple):
    """Mean over missing frames: squared error per frame, and the fraction of wrong features (None for grey frames)."""

    squared_error_per_frame: float
    wrong_features: float | None


def _without_a_model(impute: Callable[..., np.ndarray]) -> Callable[[DVAE, np.ndarray, np.ndarray], np.ndarray]:
    """A simple method for whole frames. The first ones are always observed: nothing is left to be filled with zero."""
    return lambda model, x, observed: impute(
        x, np.broadcast_to(observed[..., None], x.shape), np.zeros(x.shape[-1], np.float32)
    )


def _model(model: DVAE, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return loading.as_vectors(model.impute(x, observed=observed, num_samples=4, seed=0).mean)


METHODS: dict[str, tuple[type, Callable[[DVAE, np.ndarray, np.ndarray], np.ndarray]]] = {
    "smoothing": (KVAE, lambda model, x, observed: loading.as_vectors(model.smooth(x, observed=observed).x)),
    "filtering": (KVAE, lambda model, x, observed: loading.as_vectors(model.filter(x, observed=observed).x)),
    "impute (samples)": (DVAE, _model),
    "last observed frame": (DVAE, _without_a_model(impute_forward)),
    "line between neighbours": (DVAE, _without_a_model(impute_linear)),
}
"""Ways to fill in frames, and the models that know them; of frames `[B, T, D]`, zero where not `observed` `[B, T]`."""


def _from_modes(model: DVAE, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    return model.reconstruct(**batch).numpy()


def _from_samples(model: DVAE, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    return model.impute(**batch, num_samples=16, seed=0).mean.numpy()


PARTLY_METHODS: dict[str, Callable[[DVAE, Mapping[str, np.ndarray]], np.ndarray]] = {
    "modes of latents": _from_modes,
    "impute (samples)": _from_samples,
}
"""Ways of a model to estimate values that were not observed, for a batch with "observed"."""
SIMPLE_METHODS = {
    "mean": impute_mean,
    "forward fill": impute_forward,
    "linear interpolation": impute_linear,
    "Kalman smoother": impute_kalman,
}
"""The same without a model, of x, observed and the training means."""


def run(
    workdir: Path,
    rates: Sequence[float] | None = None,
    context: int = 4,
    max_sequences: int | None = None,
    split: str = "test",
) -> Mapping[float, Mapping[str, ImputationError | MaskedErrors]]:
    """Prints a table, returns it by rate and method; writes `imputation.json`, and `imputation.png` of square pictures.

    Of another split than "test" they are `imputation_<split>.json` and `.png`.

    Args:
        workdir: folder of a finished run.
        rates: probabilities that a frame is missing, 0.3, 0.5, 0.7 and 0.9 by default; where data was observed in part,
            parts of the observed values that are hidden, 0.1 by default.
        context: frames at the beginning that are never missing; means nothing where data was observed in part.
        max_sequences: at most so many sequences of the split; all by default.
        split: train, valid or test.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: a rate outside of (0, 1), an unknown split, or sequences that are not longer than `context`.
    """
    settings.check_split(split)
    if rates is not None and (not rates or not all(0.0 < rate < 1.0 for rate in rates)):
        raise ValueError(f"Rates of missing values must be between 0 and 1, got {list(rates)}.")
    config = settings.load(workdir)
    model = building.load_model(workdir)
    splits = loading.load_splits(config.data)
    scored = getattr(splits, split).first(max_sequences)
    content = {"model": config.model.name, "data": config.data.name, "split": split, "sequences": scored.num_sequences}
    output = workdir / f"imputation{settings.split_suffix(split)}"
    if scored.observed is None:
        content["context"] = context
        table = _missing_frames(output, config, model, scored, rates or (0.3, 0.5, 0.7, 0.9), context)
        text = _as_text(config.model.name, config.data.name, table)
    else:
        season = config.data.get("season", 1)
        table = {rate: score_held_out(model, scored, splits.train, rate, season=season) for rate in rates or (0.1,)}
        text = _held_out_text(config.model.name, f"{config.data.name}, split {split}", table)
    print(text, flush=True)
    rows = {str(rate): {name: error._asdict() for name, error in row.items()} for rate, row in table.items()}
    write_json(output.with_suffix(".json"), {**content, "errors": rows})
    return table


def score_held_out(
    model: DVAE,
    scored: Sequences,
    train: Sequences,
    rate: float = 0.1,
    batch_size: int = 64,
    seed: int = 0,
    season: int = 1,
) -> Mapping[str, MaskedErrors]:
    """Errors at hidden values, by method.

    Args:
        model: what was trained on `train`.
        scored: sequences with "observed" whose values are hidden and estimated.
        train: sequences with "observed" that give means and units.
        rate, seed: which of the observed values are hidden, see `hold_out`.
        batch_size: sequences that the model fills in at a time.
        season: steps in a frame, see `tfdvae.data.Seasons`; methods without a model fill in step by step.
    """
    batch = pad(scored)
    mean, scale = observed_moments(np.concatenate(train.x), np.concatenate(train.observed))
    kept, held = hold_out(batch["observed"], rate, seed)
    x = np.where(kept, batch["x"], np.float32(0.0))
    estimates = {name: _by_steps(method, x, kept, mean, season) for name, method in SIMPLE_METHODS.items()}
    given = {**batch, "x": x, "observed": kept}
    estimates |= {name: estimated(name, model, given, batch_size) for name in PARTLY_METHODS}
    return {name: masked_errors(estimate, batch["x"], held, scale) for name, estimate in estimates.items()}


def estimated(method: str, model: DVAE, given: Mapping[str, np.ndarray], batch_size: int = 64) -> np.ndarray:
    """Frames `[N, T, D]` by a method in PARTLY_METHODS, of a batch with "observed", so many sequences at a time."""
    starts = range(0, len(given["x"]), batch_size)
    parts = ({name: y[i : i + batch_size] for name, y in given.items()} for i in starts)
    return np.concatenate([PARTLY_METHODS[method](model, part) for part in parts])


def _by_steps(
    method: Callable[..., np.ndarray], x: np.ndarray, observed: np.ndarray, mean: np.ndarray, season: int
) -> np.ndarray:
    """What a method without a model says of frames `[N, T, D]` that hold `season` steps of each feature."""

    def steps(frames: np.ndarray) -> np.ndarray:
        parts = frames.reshape(*frames.shape[:2], -1, season)
        return np.moveaxis(parts, -1, -2).reshape(len(frames), -1, parts.shape[-2])

    found = method(steps(x), steps(observed), mean.reshape(-1, season).mean(axis=-1))
    frames = found.reshape(*x.shape[:2], season, -1)
    return np.moveaxis(frames, -1, -2).reshape(x.shape)


def _missing_frames(
    output: Path, config: ConfigDict, model: DVAE, scored: Sequences, rates: Sequence[float], context: int
) -> Mapping[float, Mapping[str, ImputationError]]:
    """Errors at missing frames of complete data, by rate and method; draws the first sequence if it is of pictures."""
    x, _ = loading.stacked(scored)
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
    if round(x.shape[-1] ** 0.5) ** 2 == x.shape[-1]:
        figure = plot_videos({title: np.clip(video, 0.0, 1.0) for title, video in pictures.items()}, count=16)
        save_figure(figure, output.with_suffix(".png"))
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


def _held_out_text(model: str, data: str, table: Mapping[float, Mapping[str, MaskedErrors]]) -> str:
    lines = [f"{model} on {data}: absolute and root mean squared error of hidden values, in standard deviations"]
    width = max(len(name) for row in table.values() for name in row)
    heads = (f"{f'{rate:.0%} of observed':>18}" for rate in table)
    lines.append(" " * width + "".join(heads))
    for name in next(iter(table.values())):
        cells = (f"{row[name].mae:.4f} / {row[name].rmse:.4f}" for row in table.values())
        lines.append(name.ljust(width) + "".join(f"{cell:>18}" for cell in cells))
    counts = ", ".join(f"{next(iter(row.values())).count} at {rate:.0%}" for rate, row in table.items())
    return "\n".join([*lines, f"Hidden values: {counts}."])


def main() -> None:
    values = flags.FLAGS
    rates = None if values.rates is None else settings.numbers("rates", values.rates, "0.3,0.5")
    run(Path(values.workdir), rates, values.context, values.max_sequences, values.split)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_list("rates", None, "Probabilities that a frame, or parts of the values that are, missing.")
    flags.DEFINE_integer("context", 4, "Frames at the beginning that are never missing.", lower_bound=1)
    flags.DEFINE_integer("max_sequences", None, "At most so many sequences; all by default.", lower_bound=1)
    flags.DEFINE_enum("split", "test", Splits._fields, "What to score on.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
