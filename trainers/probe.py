"""What latents know of labels that no training saw: classification from them, beside that from the frames themselves.

    python -m trainers.probe --data DATA/timeseries/JapaneseVowels.npz --workdir results/vowels

The file is an .npz with, for "train" and "test", all frames below each other `train_frames` `[F, D]`, the length of
each sequence `train_len` `[N]`, and its class `train_label` `[N]`. A model is trained on the training sequences without
their labels; then a logistic regression from means and standard deviations over time, of the latents, of the frames,
and of both, is fitted on the training labels and scored on the test sequences. In the working folder are then
`probe.json` and `model.keras`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from tfdvae import MODELS
from tfdvae.data import Sequences, from_arrays, pad
from tfdvae.data.files import import_extra, named_damage, require_file
from tfdvae.representations import LatentFeatures, pooled
from trainers import settings
from trainers.train import save_model
from trainers.writing import write_json

__all__ = ["Labelled", "logistic_regression", "read_labelled", "run"]

ARRAYS = ("frames", "len", "label")


class Labelled(NamedTuple):
    """Sequences and the class of each, `[N]`."""

    sequences: Sequences
    labels: np.ndarray


def read_labelled(path: Path) -> dict[str, Labelled]:
    """The splits "train" and "test" of a file as above.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an array is missing, or lengths and labels do not fit.
    """
    path = require_file(path)
    found = {}
    with named_damage(path, "holds no labelled sequences"):
        with np.load(path, allow_pickle=False) as archive:
            for split in ("train", "test"):
                missing = [f"{split}_{name}" for name in ARRAYS if f"{split}_{name}" not in archive]
                if missing:
                    raise ValueError(f"it has no array {missing[0]!r}")
                frames, lengths, labels = (archive[f"{split}_{name}"] for name in ARRAYS)
                if lengths.ndim != 1 or lengths.shape != labels.shape or lengths.sum() != len(frames):
                    raise ValueError(
                        f"{split}_len and {split}_label must hold one number per sequence, and the lengths add up to "
                        f"{len(frames)} frames; got shapes {lengths.shape} and {labels.shape}, in all {lengths.sum()}"
                    )
                found[split] = Labelled(from_arrays(np.split(frames, np.cumsum(lengths)[:-1])), labels)
    return found


def run(
    data: Path,
    workdir: Path,
    model: str = "srnn",
    latent_dim: int = 16,
    units: int = 64,
    epochs: int = 60,
    seed: int = 0,
) -> Mapping[str, float]:
    """Prints and returns accuracies by what the classes were told from; writes `probe.json` and `model.keras`.

    Args:
        data: the file.
        workdir: where to write.
        model: a name in `tfdvae.MODELS`.
        latent_dim, units: its sizes.
        epochs: of training, 32 sequences per update.
        seed: of weights and noise.

    Raises:
        FileNotFoundError, ValueError: as `read_labelled`, or an unknown model.
        ImportError: scikit-learn is not installed.
    """
    probe = logistic_regression()
    splits = read_labelled(data)
    train, test = splits["train"], splits["test"]
    options = {"latent_dim": latent_dim, "units": units}
    features = LatentFeatures(model, options, pool="mean_std", epochs=epochs, learning_rate=2e-3, seed=seed)
    features.fit(train.sequences)
    told = {
        split: {"latents": features.transform(part.sequences), "frames": _moments(part.sequences)}
        for split, part in splits.items()
    }
    for rows in told.values():
        rows["both"] = np.concatenate([rows["latents"], rows["frames"]], axis=-1)
    found = {}
    for name, x in told["train"].items():
        found[name] = float(probe.fit(x, train.labels).score(told["test"][name], test.labels))
    counts = f"{train.sequences.num_sequences} and {test.sequences.num_sequences} sequences"
    print(f"{model}, {len(set(train.labels.tolist()))} classes, {counts}: accuracy on the test split")
    for name, accuracy in found.items():
        print(f"  {name:8} {told['test'][name].shape[1]:4} numbers  {accuracy:.4f}", flush=True)
    content = {"model": model, **options, "epochs": epochs, "seed": seed, "accuracy": found}
    write_json(workdir / "probe.json", content)
    save_model(features.model_, workdir / "model.keras")
    return found


def logistic_regression(max_iter: int = 2000) -> Any:
    """An untrained pipeline of scikit-learn: features of mean 0 and scale 1, and a logistic regression from them.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    linear = import_extra("sklearn.linear_model", "Classification", "sklearn")
    pipeline = import_extra("sklearn.pipeline", "Classification", "sklearn")
    preprocessing = import_extra("sklearn.preprocessing", "Classification", "sklearn")
    return pipeline.make_pipeline(preprocessing.StandardScaler(), linear.LogisticRegression(max_iter=max_iter))


def _moments(sequences: Sequences) -> np.ndarray:
    batch = pad(sequences)
    return pooled(batch["x"], batch["mask"])


def main() -> None:
    values = flags.FLAGS
    sizes = {name: values[name].value for name in ("model", "latent_dim", "units", "epochs", "seed")}
    run(Path(values.data), Path(values.workdir), **sizes)


if __name__ == "__main__":
    flags.DEFINE_string("data", None, "An .npz of labelled sequences.")
    flags.DEFINE_string("workdir", None, "Where to write.")
    flags.DEFINE_enum("model", "srnn", sorted(MODELS), "Model.")
    flags.DEFINE_integer("latent_dim", 16, "Z.", lower_bound=1)
    flags.DEFINE_integer("units", 64, "Units of the recurrence.", lower_bound=1)
    flags.DEFINE_integer("epochs", 60, "Epochs of training.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed.")
    flags.mark_flags_as_required(["data", "workdir"])
    settings.run_app(main)
