"""Trains a model on a data set.

    python -m trainers.train --config configs/bach/vrnn.py --workdir runs/bach_vrnn --config.model.latent_dim=32

The same command again goes on after an interruption, to the same result. `--strategy=mirrored` trains on all GPUs of a
machine, `--strategy=multiworker` on several machines (see `trainers.strategies`). Data that do not fit into memory are
read from records (see `trainers.records` and `trainers.data_service`). In the working folder are then

    config.json            what was asked for
    model.keras            the model with the weights of the best epoch (of the last one where the config says so)
    scores_test.txt .md .json   ELBO and IWAE on the test split; with --split=valid scores_valid, on the validation one
    log.csv, tensorboard/  curves
    best.weights.h5, checkpoints/   what an interrupted run goes on with
"""

import csv
import io
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from ml_collections import ConfigDict, config_flags

from tfdvae import replicas
from tfdvae.callbacks import Resume
from tfdvae.data import Sequences, Splits, describe, pad
from tfdvae.data.files import atomic_write, named_damage
from tfdvae.data.unfinished import unfinished
from tfdvae.models import DVAE
from trainers import building, loading, recorded, scoring, settings, strategies
from trainers.scoring import Scores
from trainers.settings import FITTED

__all__ = ["run"]


def run(
    config: ConfigDict, workdir: Path, strategy: tf.distribute.Strategy | None = None, split: str = "test"
) -> tuple[DVAE, Splits, Scores]:
    """Trains, scores and saves; prints what it does.

    Args:
        config: see `configs.defaults`.
        workdir: folder of the run.
        strategy: what `trainers.strategies.make` returned; None: this process trains alone. Of several workers the
            first one writes and prints.
        split: what to score on in the end.

    Returns:
        The model, the data (of records that do not fit into memory, a sample of the training sequences), and the
        scores.

    Raises:
        ValueError, TypeError: an unknown split, a config that cannot be right, or another one than that of the run in
            `workdir`; before anything is written.
    """
    settings.check_split(split, FITTED)
    settings.check(config)
    strategy = strategy or tf.distribute.get_strategy()
    first = replicas.writes(strategy)
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = building.build_model(config)
    records = recorded.opened(config)
    if records is None:
        splits = loading.load_splits(config.data)
        train = loading.training_set(config.data, splits.train)
        steps = loading.steps_of(config, train)
    else:
        splits = recorded.splits_of(records)
        train = splits.train
        steps = records.train.steps_per_epoch(config.training.batch_size)
    with strategy.scope():
        building.compile_model(model, config, steps)
        building.build_for(model, config, train)
    _adapt(model, train)
    if model.indexed_sequences and records is None:
        train = loading.numbered_by_origin(train)
    if config.training.start_from is not None:
        building.begin_with(model, config.training.start_from)
    steering = building.learning_callbacks(config, workdir / "best.weights.h5")
    by_epoch = building.epoch_callbacks(config.training)
    settings.claim(workdir, config)

    validation = loading.validation_of(config, splits.valid)
    resume = Resume(workdir / "checkpoints", steering, config=settings.as_json(config))
    epochs = resume.epochs(config.training.epochs)
    logs: list[keras.callbacks.Callback] = []
    if records is None:
        data = loading.epochs_of(config, train, epochs or range(1))
    else:
        data = recorded.epochs_of(config, records, epochs or range(1), bool(model.indexed_sequences), strategy)
    if first:
        told = describe(train) if records is None else records.train.describe()
        print(f"train: {told}\nvalid: {describe(splits.valid)}\ntest:  {describe(splits.test)}")
        print(f"{config.model.name}: {model.count_params()} parameters, Z = {config.model.latent_dim}", flush=True)
        if resume.initial_epoch:
            print(f"Going on after epoch {resume.initial_epoch}." if epochs else "Training was complete.", flush=True)
        _cut_log(workdir / "log.csv", resume.initial_epoch)
        logs = [
            keras.callbacks.CSVLogger(workdir / "log.csv", append=True),
            keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False),
        ]
    model.fit(
        data,
        steps_per_epoch=steps,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        shuffle=False,
        validation_data=validation,
        verbose=(1 if sys.stdout.isatty() else 2) if first else 0,
        callbacks=[*by_epoch, *steering, *logs, resume],
    )
    save_model(model, workdir / building.MODEL_FILE)
    scores = scoring.score_split(config, model, getattr(splits, split), split)
    if first:
        scoring.write_scores(workdir, scores)
        print(f"\n{scoring.as_text(scores)}", flush=True)
    return model, splits, scores


def _adapt(model: DVAE, train: Sequences) -> None:
    """Sets the model's statistics from all training frames, one after the other; where sequences have units of their
    own, from the sequences. The model keeps what is known of them."""
    model.data = train.description
    if model.frames.mode == "sequence":
        model.adapt(**pad(train))
        return
    given = {name: getattr(train, name) for name in ("x", "u", "observed") if getattr(train, name) is not None}
    joined = {name: np.concatenate(arrays)[None] for name, arrays in given.items()}
    if train.context is not None:
        joined["context"] = train.context[0][None]  # it has no statistics
    model.adapt(**joined)


def save_model(model: DVAE, path: Path) -> None:
    """Writes a .keras file, completely or not at all."""
    with unfinished(path) as temporary:
        # Several workers meet wherever metrics are read, which Keras saves with weights: all write, one file stays.
        model.save(temporary)
        if replicas.writes(model.distribute_strategy):
            temporary.replace(path)


def _cut_log(path: Path, epochs: int) -> None:
    """Removes epochs that were logged but not finished, and will be run again."""
    if not path.is_file():
        return
    with named_damage(path, "is no log of epochs"), path.open(newline="") as file:
        rows = list(csv.reader(file))
    kept = rows[:1] + [row for row in rows[1:] if row and row[0].isdecimal() and int(row[0]) < epochs]
    if len(kept) < len(rows):
        text = io.StringIO()
        csv.writer(text).writerows(kept if epochs else [])
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())


def main() -> None:
    strategy = strategies.make(flags.FLAGS.strategy, flags.FLAGS.cpu_replicas)
    with strategies.lost_workers(), recorded.errors(flags.FLAGS.config):
        run(flags.FLAGS.config, Path(flags.FLAGS.workdir), strategy, flags.FLAGS.split)


if __name__ == "__main__":
    config_flags.DEFINE_config_file("config", None, "File with get_config(), see configs/.")
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_enum("split", "test", list(FITTED), "What to score on in the end: valid, to choose by.")
    flags.DEFINE_enum("strategy", "none", list(strategies.STRATEGIES), "Devices and machines, see trainers.strategies.")
    flags.DEFINE_integer("cpu_replicas", 1, "With --strategy=mirrored and no GPU: as how many devices to use the CPU.")
    flags.mark_flags_as_required(["config", "workdir"])
    settings.run_app(main)
