"""Records as training data: a model learns from them what it learns from the same sequences in memory."""

import numpy as np
import pytest

from tests import cases
from tests.distribution import runs
from tests.distribution.child import Child
from tfdvae.data import Records, from_arrays, record_batches, write_records

OPTIONS = {"seed": 3, "shuffle_buffer": 8, "buckets": 2}


def trained(records: Records, replicas: int) -> list[np.ndarray]:
    """Weights after two epochs on records, on one device or in a `Child` on several."""
    model = runs.made("vae", replicas, runs.sgd, run_eagerly=True)
    data = record_batches(records, 3, epochs=2, indexed=False, **OPTIONS)
    model.fit(data, steps_per_epoch=records.steps_per_epoch(3), epochs=2, verbose=0)
    return model.get_weights()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Records:
    width = cases.training_data("vae", length=4)["x"].shape[-1]
    rng = np.random.default_rng(0)
    sequences = from_arrays([rng.normal(size=(n, width)) for n in rng.integers(1, 5, 7)])
    return write_records(sequences, tmp_path_factory.mktemp("data") / "frames", shards=3)


@pytest.mark.slow
def test_a_model_is_fitted_to_records_as_to_the_same_batches_in_memory(frames: Records) -> None:
    found = trained(frames, 0)
    model = runs.made("vae", 0, runs.sgd, run_eagerly=True)
    same = list(record_batches(frames, 3, epochs=2, indexed=False, **OPTIONS).as_numpy_iterator())
    model.fit(iter(same), steps_per_epoch=3, epochs=2, verbose=0)
    for a, b in zip(found, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.exhaustive
def test_replicas_train_on_records_as_one_device_does(frames: Records) -> None:
    child = Child(2)
    try:
        one, two = (child(trained, frames, replicas) for replicas in (0, 2))
    finally:
        child.close()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
