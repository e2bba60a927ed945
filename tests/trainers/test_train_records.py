"""`trainers.records` and training on what it wrote: going on after an interruption, and what is refused."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from tests.distribution.child import free_addresses, on_workers
from tests.trainers.helpers import program, smoke
from tests.trainers.test_strategies import check_equal, finish
from tests.trainers.test_train import Interrupted, interrupt, rows
from tfdvae.data import open_records, read_records, windows
from trainers import building, data_service, loading, recorded, records, train

SECTIONS = {
    "data": {"window": 4, "hop": 3},
    "optimizer": {"learning_rate": 0.01, "schedule": "constant"},
    "training": {"epochs": 3, "kl_warmup_epochs": 1, "shuffle_buffer": 8, "buckets": 2, "multiple_of": 4},
}


@pytest.fixture(scope="module")
def written(rolls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the made-up rolls, cut into windows."""
    folder = tmp_path_factory.mktemp("records") / "rolls"
    records.write(smoke("pianoroll", "vae", rolls, **SECTIONS), folder, shards=4)
    return folder


@pytest.fixture
def config(rolls: Path, written: Path) -> ConfigDict:
    found = smoke("pianoroll", "vae", rolls, **SECTIONS)
    found.training.records = str(written)
    return found


@pytest.fixture(scope="module")
def whole(rolls: Path, written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on records that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    config = smoke("pianoroll", "vae", rolls, **SECTIONS)
    config.training.records = str(written)
    train.run(config, workdir)
    return workdir


def test_the_splits_of_a_config_are_written(config: ConfigDict, written: Path) -> None:
    splits = loading.load_splits(config.data)
    for name in ("valid", "test"):
        found, expected = read_records(written / name), getattr(splits, name)
        assert found.description == expected.description
        for a, b in zip(found.x, expected.x, strict=True):
            np.testing.assert_array_equal(a, b)
    cut = loading.numbered_by_origin(windows(splits.train, 4, 3))
    found = read_records(written / "train")
    assert found.index == cut.index and open_records(written / "train").num_sequences == cut.num_sequences
    with pytest.raises(FileExistsError, match="already something"):
        records.write(config, written)


@pytest.mark.slow
def test_a_run_on_records_goes_on_after_an_interruption_to_the_same_result(
    config: ConfigDict,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        interrupt(patch, epoch=1)
        train.run(config, tmp_path)
    capsys.readouterr()
    model, splits, _ = train.run(config, tmp_path)
    printed = capsys.readouterr().out
    assert "Going on after epoch 1." in printed and "in 4 shards" in printed
    assert rows(tmp_path) == rows(whole) and len(rows(whole)) == 3
    assert (tmp_path / "scores_test.json").read_bytes() == (whole / "scores_test.json").read_bytes()
    for a, b in zip(building.load_model(tmp_path).get_weights(), building.load_model(whole).get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.data.features[:2] == ("A0", "A#0")
    mean = np.concatenate(splits.train.x).mean(axis=0)
    np.testing.assert_allclose(building.load_model(tmp_path).statistics.mean, mean, rtol=1e-5)


def test_what_cannot_be_trained_on_is_refused_before_anything_is_written(
    config: ConfigDict, written: Path, tmp_path: Path
) -> None:
    run, copy = tmp_path / "run", Path(shutil.copytree(written, tmp_path / "copy"))
    (address,) = free_addresses(1)
    for section, values, error, message in (
        ("data", {"window": 5}, ValueError, "written from another config.data: window is 4 there, 5 here"),
        ("training", {"records": None, "data_service": "grpc://a:1"}, ValueError, "give their folder"),
        ("training", {"data_service": f"grpc://{address}"}, ConnectionError, f"no tf.data service at grpc://{address}"),
        ("training", {"truncate": 4}, ValueError, "leave out `truncate` or `records`"),
        ("training", {"records": str(tmp_path / "nowhere")}, FileNotFoundError, "There is no folder .*nowhere"),
        ("training", {"records": "$NOWHERE/rolls"}, ValueError, "needs the environment variable NOWHERE"),
        ("training", {"records": str(copy)}, ValueError, "shard-00001.tfrecord is missing"),
    ):
        (copy / "valid" / "shard-00001.tfrecord").unlink(missing_ok=True)
        other = config.copy_and_resolve_references()
        with other[section].ignore_type():
            other[section].update(values)
        with pytest.raises(error, match=message):
            train.run(other, run)
        assert not run.exists()


@pytest.mark.slow
def test_what_a_service_lost_is_one_clear_error(config: ConfigDict) -> None:
    lost = tf.errors.FailedPreconditionError(None, None, "Input dataset was expected to contain 3 elements but ...")
    with pytest.raises(tf.errors.FailedPreconditionError), recorded.errors(config):
        raise lost
    config.training.data_service = "grpc://reader0:5050"
    with pytest.raises(ConnectionError, match="reader0:5050 lost batches.*same command again"), recorded.errors(config):
        raise lost
    with pytest.raises(tf.errors.OutOfRangeError), recorded.errors(config):
        raise tf.errors.OutOfRangeError(None, None, "end of sequence")


@pytest.mark.exhaustive
def test_the_programs_name_what_is_damaged(rolls: Path, written: Path, tmp_path: Path) -> None:
    config = ["--config", "configs/pianoroll/vae.py:smoke", f"--config.data.path={rolls}"]
    folder = tmp_path / "folder"
    done = program("records", *config, "--folder", folder, "--shards=2")
    assert done.returncode == 0 and done.stdout.startswith("train: 6 sequences, "), done.stderr
    assert program("records", "--check", "--folder", folder).stdout == done.stdout
    assert "--config to write" in program("records", "--check", *config, "--folder", folder).stderr
    path = folder / "train" / "shard-00001.tfrecord"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    arguments = [*config, f"--config.training.records={folder}", "--workdir", tmp_path / "run"]
    for done in (program("records", "--check", "--folder", folder), program("train", *arguments)):
        assert done.returncode == 1
        assert "ValueError: " in done.stderr and "shard-00001.tfrecord is no shard of these records" in done.stderr


@pytest.mark.exhaustive
def test_a_run_by_a_service(config: ConfigDict, whole: Path, tmp_path: Path) -> None:
    with data_service.dispatcher() as address, data_service.worker(address):
        config.training.data_service = address
        train.run(config, tmp_path)
    found, expected = rows(tmp_path), rows(whole)
    assert len(found) == len(expected) == 3
    # The same batches in another order.
    losses = [[float(row["val_elbo_nats_per_frame"]) for row in log] for log in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=0.05)


@pytest.mark.exhaustive
@pytest.mark.parametrize("served", [False, True])
def test_workers_train_on_records(served: bool, rolls: Path, written: Path, whole: Path, tmp_path: Path) -> None:
    """Without a service as one process does; with one they share the batches of each epoch."""
    with contextlib.ExitStack() as stack:
        sections = {section: dict(values) for section, values in SECTIONS.items()}
        sections["training"]["records"] = written
        sections["data"]["path"] = rolls
        if served:
            sections["training"]["data_service"] = stack.enter_context(data_service.dispatcher())
            stack.enter_context(data_service.worker(sections["training"]["data_service"]))
        config = [f"--config.{name}.{key}={v}" for name, values in sections.items() for key, v in values.items()]
        arguments = ["--config", "configs/pianoroll/vae.py:smoke", *config, "--workdir", str(tmp_path)]
        first, second = finish(on_workers(2, "trainers.train", *arguments, "--strategy=multiworker"))
    assert "IWAE" in first and not second
    if not served:
        check_equal(tmp_path, whole)
    assert len(rows(tmp_path)) == 3
    assert all(np.isfinite(float(value)) for row in rows(tmp_path) for value in row.values())
