"""Data sets from the section `data` of a config."""

import inspect
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from tfdvae.data import (
    DATASETS,
    SIMULATIONS,
    Sequences,
    Simulated,
    SpeechSplits,
    Splits,
    batches,
    numbered,
    read_speech,
    steps_per_epoch,
    transposed,
    trimmed,
    window_batches,
    window_steps,
    windows,
)
from trainers.settings import loader_options

__all__ = [
    "as_vectors",
    "epochs_of",
    "expand",
    "load_simulated",
    "load_splits",
    "loader_arguments",
    "numbered_by_origin",
    "origins",
    "recordings",
    "stacked",
    "steps_of",
    "training_set",
    "validation_of",
]


def load_splits(data: ConfigDict) -> Splits:
    """What the loader of `data.name` returns, at most `data.max_sequences` sequences of each split.

    Raises:
        ValueError: a path with an environment variable that is not set; whatever else the loader raises.
    """
    return _limited(DATASETS[data.name](**loader_arguments(data)), data.max_sequences)


def load_simulated(data: ConfigDict) -> Simulated:
    """The same with the true states, for data that was simulated.

    Raises:
        ValueError: a data set whose true states nobody knows.
    """
    if data.name not in SIMULATIONS:
        raise ValueError(
            f"The true states of {data.name!r} are not known: expected a run on one of "
            f"{', '.join(sorted(SIMULATIONS))}."
        )
    found = SIMULATIONS[data.name](**loader_arguments(data))
    known = {
        name: {split: values[: data.max_sequences] for split, values in arrays.items()}
        for name, arrays in (("truth", found.truth), ("constants", found.constants))
        if arrays is not None
    }
    return Simulated(_limited(found.splits, data.max_sequences), **known)


def recordings(data: ConfigDict) -> SpeechSplits:
    """The recordings behind power spectrograms of speech, without silence at both ends, as there.

    Raises:
        ValueError: data of another kind; whatever else `read_speech` raises.
    """
    if "trim_db" not in data:
        raise ValueError("Expected a run on power spectrograms of speech; its data are no recordings.")
    known = inspect.signature(read_speech).parameters
    found = read_speech(**{name: value for name, value in loader_arguments(data).items() if name in known})
    return SpeechSplits(*(trimmed(part, data.trim_db) for part in found))


def stacked(sequences: Sequences) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames `[N, T, D]` and inputs `[N, T, U]` of sequences that are all of one length.

    Raises:
        ValueError: they are not.
    """
    lengths = set(sequences.lengths.tolist())
    if len(lengths) != 1:
        raise ValueError(f"Expected sequences of one length, got lengths from {min(lengths)} to {max(lengths)}.")
    return np.stack(sequences.x), None if sequences.u is None else np.stack(sequences.u)


def as_vectors(frames: Any) -> np.ndarray:
    """Frames `[N, T, ...]` of any shape, as a model returns them, as vectors `[N, T, D]`, as data sets hold them."""
    frames = np.asarray(frames)
    return frames.reshape(*frames.shape[:2], -1)


def loader_arguments(data: ConfigDict) -> dict[str, Any]:
    """What the section says to its loader, with paths expanded.

    Raises:
        ValueError: a path with an environment variable that is not set.
    """
    options = {key: expand(data[key], data) for key in loader_options(data.name) if data.get(key) is not None}
    if "verbose" in inspect.signature(DATASETS[data.name]).parameters:
        options["verbose"] = int(sys.stdout.isatty())  # a progress bar makes a log unreadable
    return options


def _limited(splits: Splits, count: int | None) -> Splits:
    return Splits(*(split.first(count) for split in splits))


def training_set(data: ConfigDict, train: Sequences) -> Sequences:
    """The training sequences with their transpositions, in windows."""
    if data.transpose:
        train = transposed(train, range(-data.transpose, data.transpose + 1))
    return train if data.window is None else windows(train, data.window, data.hop)


def origins(sequences: Sequences) -> list[str]:
    """The name of the recording, or whatever was cut, that each sequence is a window of."""
    names = sequences.names or map(str, range(sequences.num_sequences))
    return [re.sub(r"(\[\d+:\d+\])+$", "", name) for name in names]


def numbered_by_origin(train: Sequences) -> Sequences:
    """The training sequences with an index each, windows of one recording with the same, for models that learn
    something of each training sequence."""
    return numbered(train, origins(train))


def epochs_of(config: ConfigDict, train: Sequences, epochs: range) -> tf.data.Dataset:
    """The batches of these epochs, the same whenever they are asked for."""
    training = config.training
    if training.truncate is not None:
        return window_batches(train, training.batch_size, training.truncate, seed=config.seed, epochs=epochs)
    return batches(
        train,
        training.batch_size,
        seed=config.seed,
        epochs=epochs,
        buckets=training.buckets,
        multiple_of=training.multiple_of,
    )


def steps_of(config: ConfigDict, train: Sequences) -> int:
    """How many batches an epoch has."""
    training = config.training
    if training.truncate is not None:
        return window_steps(train, training.batch_size, training.truncate)
    return steps_per_epoch(train, training.batch_size)


def validation_of(config: ConfigDict, valid: Sequences) -> tf.data.Dataset:
    """The batches of an epoch's validation: whole sequences, in windows where training has such."""
    size, training = config.evaluation.batch_size, config.training
    if training.truncate is not None:
        return window_batches(valid, size, training.truncate, whole=True)
    return batches(valid.by_length(), size, multiple_of=training.multiple_of)


def expand(value: Any, section: Mapping[str, Any]) -> Any:
    """`$NAME` by environment variables, `{key}` by keys of the section.

    Raises:
        ValueError: an environment variable that is not set.
    """
    if not isinstance(value, str):
        return value
    for name in re.findall(r"\$(\w+)", value):
        if name not in os.environ:
            raise ValueError(
                f"The path {value} needs the environment variable {name}, the folder with the data, and it is not "
                "set. Set it, or give a path: --config.data.path=FILE (in trainers.evaluate: --data path=FILE)."
            )
    return re.sub(r"\{(\w+)\}", lambda found: str(section[found[1]]), os.path.expandvars(value))
