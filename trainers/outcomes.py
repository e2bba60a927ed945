"""How well the outcome of each sequence can be told from the latents of a finished run: AUROC.

    python -m trainers.outcomes --workdir runs/icu_dkf
    python -m trainers.outcomes --workdir runs/icu_dkf --split valid    # to choose by

No training of the model saw the outcomes, such as death in hospital. A logistic regression is fitted on those of the
training split, its penalty chosen there by five folds, and scored on another split, from means and standard deviations
over time of the latents, of the frames with the model's values where nothing was observed, and of the frames filled in
by simpler ways; and from the covariates of the sequences alone. In the working folder is then `outcomes.json`, or
`outcomes_<split>.json`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tfdvae.data import (
    Sequences,
    impute_forward,
    impute_linear,
    impute_mean,
    observed_moments,
    pad,
    read_icu_deaths,
)
from tfdvae.data.files import import_extra
from tfdvae.models import DVAE
from tfdvae.representations import LatentFeatures
from trainers import building, loading, settings
from trainers.writing import write_json

__all__ = ["OUTCOMES", "Outcome", "run"]

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""C of the logistic regressions, the inverse of their penalty."""
SIMPLE_METHODS = {
    "frames, mean": impute_mean,
    "frames, forward fill": impute_forward,
    "frames, linear interpolation": impute_linear,
}


class Outcome(NamedTuple):
    """What came of sequences, and how it is read: from the section `data` to 0 or 1 by the name of a sequence."""

    name: str
    read: Callable[[ConfigDict], Mapping[str, int]]


OUTCOMES: dict[str, Outcome] = {
    "icu": Outcome("death in hospital", lambda data: read_icu_deaths(loading.expand(data.path, data))),
}
"""By data set."""


def run(workdir: Path, split: str = "test", batch_size: int = 64) -> Mapping[str, float]:
    """Prints and returns the area under the ROC curve by what the outcome was told from.

    Args:
        workdir: folder of a finished run on one of OUTCOMES.
        split: test or valid, what to score on.
        batch_size: sequences that the model sees at a time.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: an unknown split, data without outcomes, or sequences of which fewer than five, or all, have it.
        ImportError: scikit-learn is not installed.
    """
    settings.check_split(split, ("test", "valid"))
    metrics = import_extra("sklearn.metrics", "AUROC", "sklearn")
    config = settings.load(workdir)
    if config.data.name not in OUTCOMES:
        raise ValueError(f"Nothing is known of what came of {config.data.name!r}: expected one of {sorted(OUTCOMES)}.")
    model, splits = building.load_model(workdir), loading.load_splits(config.data)
    outcome = OUTCOMES[config.data.name]
    by_name = outcome.read(config.data)
    parts = {name: getattr(splits, name) for name in ("train", split)}
    labels = {name: np.array([by_name[one] for one in part.names]) for name, part in parts.items()}
    for name, y in labels.items():
        if not 5 <= y.sum() <= len(y) - 5:
            raise ValueError(f"{outcome.name} is {y.sum()} times in the {len(y)} sequences of split {name!r}: too few.")
    told = _features(model, parts, batch_size)
    found = {}
    for name, by_split in told.items():
        classifier = _classifier().fit(by_split["train"], labels["train"])
        found[name] = float(metrics.roc_auc_score(labels[split], classifier.decision_function(by_split[split])))
    count = f"{int(labels[split].sum())} of {len(labels[split])} sequences"
    print(f"{config.model.name} on {config.data.name}, split {split}, {outcome.name}, {count}: AUROC")
    for name, area in found.items():
        print(f"  {name:30} {told[name]['train'].shape[1]:4} numbers  {area:.4f}", flush=True)
    content = {"model": config.model.name, "data": config.data.name, "split": split, "outcome": outcome.name}
    write_json(
        workdir / ("outcomes.json" if split == "test" else f"outcomes_{split}.json"), {**content, "auroc": found}
    )
    return found


def _classifier():
    """A logistic regression on standardised features, its penalty by cross-validation."""
    linear = import_extra("sklearn.linear_model", "Classification", "sklearn")
    pipeline = import_extra("sklearn.pipeline", "Classification", "sklearn")
    preprocessing = import_extra("sklearn.preprocessing", "Classification", "sklearn")
    selection = import_extra("sklearn.model_selection", "Classification", "sklearn")
    steps = pipeline.make_pipeline(preprocessing.StandardScaler(), linear.LogisticRegression(max_iter=5000))
    return selection.GridSearchCV(steps, {"logisticregression__C": PENALTIES}, scoring="roc_auc", cv=5)


def _features(model: DVAE, parts: Mapping[str, Sequences], batch_size: int) -> dict[str, dict[str, np.ndarray]]:
    """`[N, F]` of each split, by what they are made of."""
    latents = LatentFeatures(model, pool="mean_std", batch_size=batch_size).fit(parts["train"])
    told = {"latents": {name: latents.transform(part) for name, part in parts.items()}}
    if parts["train"].observed is not None:
        told["frames, by the model"] = {name: _moments(_filled(model, x, batch_size)) for name, x in parts.items()}
        mean, _ = observed_moments(np.concatenate(parts["train"].x), np.concatenate(parts["train"].observed))
        for way, fill in SIMPLE_METHODS.items():
            told[way] = {
                name: _moments(
                    [fill(x[None], seen[None], mean)[0] for x, seen in zip(part.x, part.observed, strict=True)]
                )
                for name, part in parts.items()
            }
    if parts["train"].context is not None:
        told["covariates"] = {name: np.stack(part.context) for name, part in parts.items()}
    return told


def _filled(model: DVAE, sequences: Sequences, batch_size: int) -> list[np.ndarray]:
    """Frames with the model's values, along the modes of its latents, where nothing was observed."""
    found = []
    for start in range(0, sequences.num_sequences, batch_size):
        batch = pad(sequences.take(range(start, min(start + batch_size, sequences.num_sequences)))._replace(index=None))
        guess = loading.as_vectors(model.reconstruct(**batch))
        filled = np.where(batch["observed"], batch["x"], guess)
        found += [x[exists] for x, exists in zip(filled, batch["mask"], strict=True)]
    return found


def _moments(frames: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in frames])


def main() -> None:
    run(Path(flags.FLAGS.workdir), flags.FLAGS.split)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_enum("split", "test", ["test", "valid"], "What to score on; fitted on the training split.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
