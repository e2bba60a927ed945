"""Predicts each frame from those before it, on the test split of a run, and draws predictions beside the truth.

    python -m trainers.predict --workdir runs/bouncing_balls_vssn

The error is that of the tables on bouncing balls: the squared error of E[x_t | x_<t], summed over the features, mean
over frames t >= 2. Beside it stand the errors of two predictions that need no model: the frame before, and the line
through the two frames before.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from tfdvae.data import Splits
from tfdvae.metrics import one_step_predictions, squared_error_per_frame
from tfdvae.models import DVAE
from tfdvae.plots import plot_videos
from trainers import building, loading, settings
from trainers.generate import save_figure
from trainers.writing import write_json

__all__ = ["PredictionErrors", "predicted", "run"]


class PredictionErrors(NamedTuple):
    """Squared errors per frame: of the model, of the frame before, of the line through the two frames before."""

    model: float
    previous_frame: float
    straight_line: float


def run(
    workdir: Path,
    split: str = "test",
    num_samples: int = 8,
    max_sequences: int | None = None,
    continuation: int = 20,
    batch_size: int = 100,
) -> PredictionErrors:
    """Prints the errors; writes `predictions_<split>.json` and, for square frames, `predictions_<split>.png`.

    Args:
        workdir: folder of a finished run.
        split: train, valid or test.
        num_samples: paths of latents per prediction.
        max_sequences: at most so many sequences; all by default.
        continuation: frames at the end of the first sequence that the picture also shows as one forecast.
        batch_size: sequences at a time.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: sequences of different lengths, or of less than three frames.
    """
    config = settings.load(workdir)
    model = building.load_model(workdir)
    sequences = getattr(loading.load_splits(config.data), split)
    x, u = loading.stacked(sequences.first(max_sequences))
    if x.shape[1] < 3:
        raise ValueError(f"Predictions need sequences of at least three frames, got {x.shape[1]}.")
    errors, predictions = predicted(model, x, u, num_samples=num_samples, batch_size=batch_size, seed=config.seed)
    text = {"model": config.model.name, "data": config.data.name, "split": split, "sequences": len(x)}
    text |= {"num_samples": num_samples, "squared_error_per_frame": errors._asdict()}
    write_json(workdir / f"predictions_{split}.json", text)
    print(
        f"{config.model.name} on {config.data.name}, split {split}, {len(x)} sequences, K = {num_samples}: "
        f"squared error per frame {errors.model:.4f} (frame before {errors.previous_frame:.4f}, straight line "
        f"{errors.straight_line:.4f})",
        flush=True,
    )
    side = round(x.shape[-1] ** 0.5)
    if side * side == x.shape[-1]:
        horizon = min(continuation, x.shape[1] - 1)
        past_u, next_u = (None, None) if u is None else (u[:1, :-horizon], u[:1, -horizon:])
        options = {"horizon": horizon, "future_u": next_u, "num_samples": 1, "seed": config.seed}
        ahead = loading.as_vectors(model.forecast(x[:1, :-horizon], u=past_u, **options).mean)[0]
        rows = {
            "truth": x[0, -horizon:],
            "each frame from those before it": predictions[0, -horizon:],
            f"all {horizon} frames from those before them": ahead,
        }
        figure = plot_videos({title: np.clip(video, 0.0, 1.0) for title, video in rows.items()})
        save_figure(figure, workdir / f"predictions_{split}.png")
    return errors


def predicted(
    model: DVAE, x: np.ndarray, u: np.ndarray | None, *, num_samples: int = 8, batch_size: int = 100, seed: int = 0
) -> tuple[PredictionErrors, np.ndarray]:
    """The errors, and predictions of frames 2 to T as vectors `[N, T - 1, D]`; see `run`."""
    parts = []
    for start in range(0, len(x), batch_size):
        rows = slice(start, start + batch_size)
        part = one_step_predictions(model, x[rows], None if u is None else u[rows], num_samples=num_samples, seed=seed)
        parts.append(part)
    predictions = loading.as_vectors(np.concatenate(parts))
    errors = PredictionErrors(
        squared_error_per_frame(predictions, x[:, 1:]),
        squared_error_per_frame(x[:, :-1], x[:, 1:]),
        squared_error_per_frame(2.0 * x[:, 1:-1] - x[:, :-2], x[:, 2:]),
    )
    return errors, predictions


def main() -> None:
    values = flags.FLAGS
    run(Path(values.workdir), values.split, values.num_samples, values.max_sequences)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_enum("split", "test", Splits._fields, "What to predict.")
    flags.DEFINE_integer("num_samples", 8, "Paths of latents per prediction.", lower_bound=1)
    flags.DEFINE_integer("max_sequences", None, "At most so many sequences; all by default.", lower_bound=1)
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
