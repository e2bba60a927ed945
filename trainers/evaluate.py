"""Scores a trained model: bounds on log p(x) in nats, per frame and per sequence.

python -m trainers.evaluate --workdir runs/bach_vrnn --split valid --num_samples 100
python -m trainers.evaluate --workdir runs/pianoroll_vrnn --data set=nottingham
python -m trainers.evaluate --workdir runs/pianoroll_vrnn --bounds elbo,iwae,fivo
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tfdvae.data import Splits
from trainers import building, loading, scoring, settings
from trainers.scoring import Scores

__all__ = ["run"]


def run(
    workdir: Path,
    split: str = "test",
    data: Sequence[str] = (),
    num_samples: int | None = None,
    bounds: Sequence[str] | None = None,
) -> Scores:
    """Prints and returns the scores of the model in `workdir`.

    Args:
        workdir: folder of a finished run.
        split: train, valid or test.
        data: "key=value", overrides of the section `data` of its config.
        num_samples: K; that of its config by default.
        bounds: some of elbo, iwae, fivo; those of its config by default.

    Raises:
        FileNotFoundError: no finished run there.
        ValueError: an unknown split, key or bound, FIVO of a model that is not causal, or data with another number of
            features.
    """
    settings.check_split(split)
    config = settings.load(workdir)
    settings.override(config.data, data)
    if num_samples is not None:
        config.evaluation.num_samples = num_samples
    if bounds is not None:
        config.evaluation.bounds = list(bounds)
    model = building.load_model(workdir)
    sequences = getattr(loading.load_splits(config.data), split)
    if sequences.features != model.x_dim:
        raise ValueError(f"The model was trained on {model.x_dim} features, the data has {sequences.features}.")
    scores = scoring.score_split(config, model, sequences, split)
    print(scoring.as_text(scores), flush=True)
    return scores


def main() -> None:
    values = flags.FLAGS
    run(Path(values.workdir), values.split, values.data, values.num_samples, values.bounds)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run of trainers.train.")
    flags.DEFINE_enum("split", "test", Splits._fields, "What to score on.")
    flags.DEFINE_multi_string("data", [], "key=value, another value in the config's section data, such as path=FILE.")
    flags.DEFINE_integer("num_samples", None, "K of IWAE and FIVO; that of the config by default.", lower_bound=1)
    flags.DEFINE_list("bounds", None, "Some of elbo,iwae,fivo; those of the config by default.")
    flags.mark_flag_as_required("workdir")
    settings.run_app(main)
