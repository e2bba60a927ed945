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
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tfdvae.data import Sequences, observed_moments, pad, read_icu_deaths
from tfdvae.data.files import import_extra
from tfdvae.models import DVAE
from tfdvae.representations import LatentFeatures, pooled
from trainers import building, impute, loading, probe, settings
from trainers.writing import write_json

__all__ = ["OUTCOMES", "Outcome", "run"]

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""C of the logistic regressions, the inverse of their penalty."""


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
        ValueError: an unknown split, data without outcomes, or a split in which fewer than five sequences have it, or
            have it not.
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
    write_json(workdir / f"outcomes{settings.split_suffix(split)}.json", {**content, "auroc": found})
    return found


def _classifier() -> Any:
    """A logistic regression whose penalty is chosen by cross-validation."""
    selection = import_extra("sklearn.model_selection", "Classification", "sklearn")
    penalties = {"logisticregression__C": PENALTIES}
    return selection.GridSearchCV(probe.logistic_regression(max_iter=5000), penalties, scoring="roc_auc", cv=5)


def _features(model: DVAE, parts: Mapping[str, Sequences], batch_size: int) -> dict[str, dict[str, np.ndarray]]:
    """`[N, F]` of each split, by what they are made of."""
    latents = LatentFeatures(model, pool="mean_std", batch_size=batch_size).fit(parts["train"])
    told: dict[str, dict[str, np.ndarray]] = {}
    for split, part in parts.items():
        own = {"latents": latents.transform(part)}
        if part.observed is not None:
            batch = pad(part._replace(index=None))
            for way, frames in _filled(model, batch, parts["train"], batch_size).items():
                own[f"frames, {way}"] = pooled(np.where(batch["observed"], batch["x"], frames), batch["mask"])
        if part.context is not None:
            own["covariates"] = np.stack(part.context)
        for name, features in own.items():
            told.setdefault(name, {})[split] = features
    return told


def _filled(model: DVAE, batch: Mapping[str, np.ndarray], train: Sequences, batch_size: int) -> dict[str, np.ndarray]:
    """What the model, along the modes of its latents, and simpler ways have for frames, `[N, T, D]`."""
    mean, _ = observed_moments(np.concatenate(train.x), np.concatenate(train.observed))
    x = np.where(batch["observed"], batch["x"], np.float32(0.0))
    simple = {way: fill(x, batch["observed"], mean) for way, fill in impute.SIMPLE_METHODS.items()}
    return {"by the model": impute.estimated("modes of latents", model, batch, batch_size), **simple}


def main() -> None:
    run(Path(flags.FLAGS.workdir), flags.FLAGS.split)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_enum("split", "test", ["test", "valid"], "What to score on; fitted on the training split.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
