"""Two workers over loopback train as one process with the same global batches."""

from pathlib import Path

import numpy as np
import pytest

from tests.distribution.child import on_workers
from tests.distribution.test_replicas import ROUNDING

pytestmark = pytest.mark.exhaustive

PATIENCE = 1200


def finished(folder: Path, workers: int) -> list[dict[str, np.ndarray]]:
    """What each process left behind."""
    for process in on_workers(workers, "tests.distribution.worker", str(folder)):
        errors = process.communicate(timeout=PATIENCE)[1]
        assert process.returncode == 0, errors[-3000:]
    found = []
    for index in range(workers):
        with np.load(folder / f"worker-{index}.npz", allow_pickle=False) as archive:
            found.append(dict(archive))
    return found


def test_two_workers_train_as_one_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    (alone,) = finished(tmp_path_factory.mktemp("one"), 1)
    for worker in finished(tmp_path_factory.mktemp("two"), 2):
        assert set(worker) == set(alone)
        for name, value in alone.items():
            np.testing.assert_allclose(worker[name], value, rtol=10 * ROUNDING, atol=10 * ROUNDING, err_msg=name)
    assert len(alone["logs/val_loss"]) == 3
