"""A made-up set of piano-rolls, and a run that has been trained on it."""

from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.trainers.helpers import smoke
from tfdvae.data import Splits, from_arrays, save_pianoroll
from trainers import train


@pytest.fixture(scope="session")
def rolls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chords that move up and down a scale: something to learn in few epochs."""
    rng = np.random.default_rng(0)

    def sequence() -> np.ndarray:
        root = 36 + np.cumsum(rng.choice([-2, 0, 2], size=rng.integers(6, 14))).clip(-12, 12)
        roll = np.zeros([len(root), 88], np.float32)
        for interval in (0, 4, 7):
            roll[np.arange(len(root)), root + interval] = 1.0
        return roll

    splits = Splits(*(from_arrays([sequence() for _ in range(count)]) for count in (8, 3, 3)))
    path = tmp_path_factory.mktemp("data") / "rolls.npz"
    save_pianoroll(path, splits)
    return path


@pytest.fixture(scope="session")
def config(rolls: Path) -> ConfigDict:
    """A VRNN on them, with dropout."""
    return smoke(
        "pianoroll",
        "vrnn",
        rolls,
        model={"dropout": 0.2},
        optimizer={"learning_rate": 0.01, "schedule": "constant"},
        training={"epochs": 3, "kl_warmup_epochs": 1, "kl_warmup_start": 0.0},
    )


@pytest.fixture(scope="session")
def finished(config: ConfigDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its run."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    train.run(config, workdir)
    return workdir
