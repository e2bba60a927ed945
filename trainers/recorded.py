"""Training on records: the keys `records`, `shuffle_buffer` and `data_service` of the section `training`."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from ml_collections import ConfigDict

from tfdvae import replicas
from tfdvae.data import Records, Splits, open_records, read_records, record_batches, record_errors
from tfdvae.data.record_batches import check_service
from trainers import loading, settings

__all__ = ["Recorded", "epochs_of", "errors", "opened", "splits_of"]

SAMPLE = 1 << 24
"""Numbers of the training set that statistics are taken from where it has more."""
ELSEWHERE = ("cache_dir",)
"""Keys of the section `data` that do not change what it holds."""


class Recorded(NamedTuple):
    """The three splits, as records."""

    train: Records
    valid: Records
    test: Records


def opened(config: ConfigDict) -> Recorded | None:
    """The records that a config names; None where it names none.

    Raises:
        ConnectionError: nobody listens at `data_service`.
        FileNotFoundError: there are none.
        ValueError: a damaged or missing file, splits that do not agree with each other, records of another data set
            than `config.data`, a service that has nothing to read, or `truncate`, which records do not have.
    """
    training = config.training
    if training.records is None:
        if training.data_service is not None:
            raise ValueError(
                "config.training.data_service reads records: give their folder as config.training.records "
                "(python -m trainers.records writes it), or leave it out."
            )
        return None
    if training.truncate is not None:
        raise ValueError(
            "config.training.truncate reads sequences in the order of their windows, and records are shuffled: "
            "leave out `truncate` or `records`."
        )
    if training.data_service is not None:
        check_service(loading.expand(training.data_service, training))
    found = Recorded(*(open_records(_folder(config) / name) for name in Recorded._fields))
    for records in found:
        kinds = [(one.features, one.inputs, one.covariates) for one in (found.train, records)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"{records.folder} has {kinds[1]} features, inputs and covariates, {found.train.folder} {kinds[0]}."
            )
        written, here = records.about.get("data"), settings.as_json(config)["data"]
        if not isinstance(written, dict):  # by others than trainers.records
            continue
        different = [
            f"{key} is {written[key]!r} there, {here[key]!r} here"
            for key in sorted(written.keys() & here.keys() - set(ELSEWHERE))
            if written[key] != here[key]
        ]
        if different:
            raise ValueError(
                f"{records.folder} was written from another config.data: {'; '.join(different[:5])}. Give the config "
                "that they were written with, or write others (python -m trainers.records)."
            )
    return found


def splits_of(records: Recorded) -> Splits:
    """Sequences in memory: all of validation and test, and of training as many as statistics are taken from, which are
    all where there are at most SAMPLE numbers, or evenly spread over them."""
    train = records.train
    numbers = train.num_frames * (train.features + train.inputs)
    limit = None if numbers <= SAMPLE else max(1, SAMPLE * train.num_sequences // numbers)
    return Splits(read_records(train, limit), read_records(records.valid), read_records(records.test))


def epochs_of(
    config: ConfigDict, records: Recorded, epochs: range, indexed: bool, strategy: tf.distribute.Strategy
) -> tf.data.Dataset:
    """The batches of these epochs: without a service the same whenever they are asked for. Raises what
    `record_batches` does."""
    training = config.training
    service = job = None
    if training.data_service is not None:
        service = loading.expand(training.data_service, training)
        if replicas.num_workers(strategy) > 1:
            # A name of its own for each start: the service remembers which batches of a job are gone.
            job = f"training-{replicas.agreed(strategy, int.from_bytes(os.urandom(3)))}"
    return record_batches(
        records.train,
        training.batch_size,
        seed=config.seed,
        epochs=epochs,
        shuffle_buffer=training.shuffle_buffer,
        buckets=training.buckets,
        multiple_of=training.multiple_of,
        indexed=indexed,
        service=service,
        job=job,
    )


@contextlib.contextmanager
def errors(config: ConfigDict) -> Iterator[None]:
    """Makes one clear error of what TensorFlow says in training of damaged records, and of a service that lost
    something.

    Raises:
        ValueError: a damaged shard, by its name.
        ConnectionError: a worker of the service was lost with what it was reading.
    """
    training = config.training
    try:
        yield
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        if training.records is None:
            raise
        if training.data_service is not None and "was expected to contain" in str(error):
            raise ConnectionError(
                f"the data service at {training.data_service} lost batches, as it does when one of its workers ends. "
                "See that they run, and give the same command again: training goes on from the last epoch that was "
                "finished."
            ) from error
        with record_errors(open_records(_folder(config) / "train")):
            raise


def _folder(config: ConfigDict) -> Path:
    return Path(loading.expand(config.training.records, config.training))
