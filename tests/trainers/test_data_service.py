"""`trainers.data_service`: a dispatcher and two workers over loopback make the batches that a process makes alone."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.distribution import runs
from tests.distribution.child import free_addresses
from tests.trainers.helpers import ROOT, program
from tfdvae.data import Records, from_arrays, numbered, open_records, record_batches, record_errors, write_records
from trainers import data_service

OPTIONS = {"seed": 3, "shuffle_buffer": 8, "buckets": 2}


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(data_service.dispatcher())
        for _ in range(2):
            assert stack.enter_context(data_service.worker(address)).startswith("grpc://localhost:")
        yield address


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    rng = np.random.default_rng(0)
    sequences = numbered(from_arrays([rng.normal(size=(n, 4)) for n in rng.integers(1, 6, 45)]))
    return write_records(sequences, tmp_path_factory.mktemp("data") / "train", shards=6)


def by_index(batches: list[dict[str, np.ndarray]]) -> dict[tuple[int, ...], dict[str, np.ndarray]]:
    return {tuple(batch["sequence_index"].tolist()): batch for batch in batches}


@pytest.mark.slow
def test_each_epoch_has_the_batches_of_one_process_in_another_order(service: str, records: Records) -> None:
    alone = list(record_batches(records, 4, epochs=2, **OPTIONS).as_numpy_iterator())
    dataset = record_batches(records, 4, epochs=2, service=service, **OPTIONS)
    steps = records.steps_per_epoch(4)
    assert int(dataset.cardinality()) == 2 * steps
    assert dataset.element_spec == record_batches(records, 4, **OPTIONS).element_spec
    served = list(dataset.as_numpy_iterator())
    assert len(served) == len(alone) == 2 * steps
    for epoch in (slice(0, steps), slice(steps, None)):
        found, expected = by_index(served[epoch]), by_index(alone[epoch])
        assert sorted(sum(map(list, found), [])) == list(range(45))
        assert set(found) == set(expected)
        for index, batch in expected.items():
            for name, value in batch.items():
                np.testing.assert_array_equal(found[index][name], value)


@pytest.mark.slow
def test_machines_of_one_job_share_its_batches(service: str, records: Records) -> None:
    options = {**OPTIONS, "epochs": 2, "service": service, "job": "shared"}
    readers = [iter(record_batches(records, 4, **options).as_numpy_iterator()) for _ in range(2)]
    seen: list[int] = []
    while readers:
        for reader in list(readers):
            batch = next(reader, None)
            if batch is None:
                readers.remove(reader)
            else:
                seen += batch["sequence_index"].tolist()
    assert sorted(seen) == sorted([*range(45)] * 2)


@pytest.mark.slow
def test_a_model_is_fitted_to_what_a_service_reads(service: str, records: Records) -> None:
    model = runs.made("vae", 0, runs.sgd, run_eagerly=True)
    steps = records.steps_per_epoch(8)
    data = record_batches(records, 8, epochs=2, indexed=False, service=service, **OPTIONS)
    history = model.fit(data, steps_per_epoch=steps, epochs=2, verbose=0).history
    assert int(model.optimizer.iterations.numpy()) == 2 * steps
    assert np.isfinite(history["loss"]).all() and len(history["loss"]) == 2


@pytest.mark.slow
def test_batches_that_are_lost_are_an_error(service: str, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a worker ends: what it was reading does not come, and the epoch has fewer batches than it must."""
    monkeypatch.setattr(Records, "steps_per_epoch", lambda *_, **__: 13)
    with pytest.raises(tf.errors.FailedPreconditionError, match="was expected to contain 13 elements but"):
        list(record_batches(records, 4, service=service, **OPTIONS))


@pytest.mark.slow
def test_damage_that_a_worker_finds_is_named(service: str, records: Records, tmp_path: Path) -> None:
    copy = shutil.copytree(records.folder, tmp_path / "copy")
    path = copy / "shard-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    damaged = open_records(copy)
    with pytest.raises(ValueError, match=r"shard-00003\.tfrecord is no shard of these"), record_errors(damaged):
        list(record_batches(damaged, 4, service=service, **OPTIONS))


@pytest.mark.slow
def test_workers_wait_for_their_dispatcher_and_say_what_is_wrong() -> None:
    (address,) = free_addresses(1)
    with pytest.raises(ConnectionError, match=f"no dispatcher at {address}"), data_service.worker(address, patience=0):
        pass
    with pytest.raises(ValueError, match="HOST:PORT, got 'somewhere'"), data_service.worker("somewhere"):
        pass
    with socket.socket() as one:
        one.bind(("", 0))
        one.listen()
        port = one.getsockname()[1]
        with pytest.raises(OSError, match=f"listen at port {port} here"), data_service.dispatcher(port=port):
            pass


def started(*arguments: str) -> tuple[subprocess.Popen, str]:
    """The program, and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainers.data_service", *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert " listens at grpc://localhost:" in line, process.communicate(timeout=60)
    return process, line.split()[-1]


@pytest.mark.exhaustive
def test_the_programs_read_for_others_and_end_when_they_are_told_to(records: Records) -> None:
    done = program("data_service", "--role=worker")
    assert done.returncode == 1 and "--dispatcher=HOST:PORT goes with --role=worker" in done.stderr
    dispatcher, address = started("--role=dispatcher")
    processes = [started("--role=worker", f"--dispatcher={address}")[0] for _ in range(2)] + [dispatcher]
    try:
        served = record_batches(records, 4, service=address, **OPTIONS).as_numpy_iterator()
        assert sorted(sum((batch["sequence_index"].tolist() for batch in served), [])) == list(range(45))
        for number, process in zip((signal.SIGTERM, signal.SIGINT, signal.SIGTERM), processes, strict=True):
            process.send_signal(number)
            out, errors = process.communicate(timeout=120)
            assert (process.returncode, out, errors) == (0, "", "")
    finally:
        for process in processes:
            process.kill()
