"""Data sets from the section `data` of a config."""

import os
import re
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from tfdvae.data import DATASETS, Sequences, Splits, batches, transposed, windows
from trainers.settings import loader_options

__all__ = ["epochs_of", "load_splits", "training_set"]


def load_splits(data: ConfigDict) -> Splits:
    """What the loader of `data.name` returns, at most `data.max_sequences` sequences of each split.

    Raises:
        ValueError: a path with an environment variable that is not set; whatever else the loader raises.
    """
    options = {key: _expand(data[key], data) for key in loader_options(data.name) if data.get(key) is not None}
    splits = DATASETS[data.name](**options)
    if data.max_sequences is None:
        return splits
    return Splits(*(split.take(range(min(data.max_sequences, split.num_sequences))) for split in splits))


def training_set(data: ConfigDict, train: Sequences) -> Sequences:
    """The training sequences with their transpositions, in windows."""
    if data.transpose:
        train = transposed(train, range(-data.transpose, data.transpose + 1))
    return train if data.window is None else windows(train, data.window, data.hop)


def epochs_of(config: ConfigDict, train: Sequences, epochs: range) -> tf.data.Dataset:
    """The batches of these epochs, the same whenever they are asked for."""
    training = config.training
    return batches(
        train,
        training.batch_size,
        seed=config.seed,
        epochs=epochs,
        buckets=training.buckets,
        multiple_of=training.multiple_of,
    )


def _expand(value: Any, section: Mapping[str, Any]) -> Any:
    """`$NAME` by environment variables, `{key}` by keys of the section."""
    if not isinstance(value, str):
        return value
    for name in re.findall(r"\$(\w+)", value):
        if name not in os.environ:
            raise ValueError(
                f"The path {value} needs the environment variable {name}, the folder with the data, and it is not "
                "set. Set it, or give a path: --config.data.path=FILE (in trainers.evaluate: --data path=FILE)."
            )
    return re.sub(r"\{(\w+)\}", lambda found: str(section[found[1]]), os.path.expandvars(value))
