"""`trainers.train --strategy`: the same run on replicas and on workers, and after one of them was killed."""

import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.distribution.child import Child, on_workers
from tests.trainers.helpers import ROOT, program
from trainers import building, settings, strategies, train

PATIENCE = 1200
ROUNDING = 1e-5
"""What float32 allows after a dozen updates, relative: sums over replicas are added in another order."""


def test_flags_that_cannot_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="Unknown strategy 'tpu': expected one of none, mirrored, multiworker"):
        strategies.make("tpu")
    for name, replicas in (("none", 2), ("mirrored", 0)):
        with pytest.raises(ValueError, match=f"--cpu_replicas must be 1, or more with .*; got {replicas} with {name}"):
            strategies.make(name, replicas)
    worker = {"type": "worker", "index": 0}
    for text, told in (
        ("", "got none"),
        ("{", "got '{'"),
        (json.dumps({"cluster": {"worker": ["one:1"]}, "task": worker}), "got '.*one:1"),
        (json.dumps({"cluster": {"worker": ["one:1", "two:1"]}, "task": {**worker, "index": 2}}), "got '.*2"),
        (json.dumps({"cluster": {"worker": ["one:1", "two:1"]}, "task": {**worker, "type": "chief"}}), "got '.*chief"),
    ):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(ValueError, match=rf"needs the environment variable TF_CONFIG.*{told}"):
            strategies.make("multiworker")
    monkeypatch.setenv("TF_CONFIG", strategies.EXAMPLE)
    strategies.check("multiworker")


def test_a_lost_worker_is_one_clear_error() -> None:
    for kind in (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError):
        with pytest.raises(ConnectionError, match="start each with its own command again"), strategies.lost_workers():
            raise kind(None, None, "Collective ops is aborted by: Socket closed")
    with pytest.raises(tf.errors.OutOfRangeError), strategies.lost_workers():
        raise tf.errors.OutOfRangeError(None, None, "end of sequence")


def test_the_composed_workers_are_told_from_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((ROOT / "trainers" / "workers.yaml").read_text())["services"]
    clusters = [json.loads(service["environment"]["TF_CONFIG"]) for service in services.values()]
    assert [found["task"]["index"] for found in clusters] == list(range(len(services)))
    for service, found in zip(services.values(), clusters, strict=True):
        assert [address.partition(":")[0] for address in found["cluster"]["worker"]] == list(services)
        assert "--strategy=multiworker" in service["command"]
        monkeypatch.setenv("TF_CONFIG", service["environment"]["TF_CONFIG"])
        strategies.check("multiworker")


def arguments(rolls: Path, workdir: Path, epochs: int) -> list[str]:
    config = ["--config", "configs/pianoroll/vrnn.py:smoke", f"--config.data.path={rolls}"]
    return [*config, f"--config.training.epochs={epochs}", "--workdir", str(workdir)]


def weights(workdir: Path) -> list[np.ndarray]:
    return building.load_model(workdir).get_weights()


def on_two_devices(like: Path, workdir: Path) -> None:
    """The run of another folder, on replicas; in a `Child`."""
    train.run(settings.load(like), workdir, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))


@pytest.mark.slow
def test_a_run_on_replicas_is_that_of_one_process(finished: Path, tmp_path: Path) -> None:
    child = Child(2)
    child(on_two_devices, finished, tmp_path)
    child.close()
    check_equal(tmp_path, finished)


@pytest.fixture(scope="module")
def alone(rolls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process."""
    workdir = tmp_path_factory.mktemp("alone")
    done = program("train", *arguments(rolls, workdir, epochs=4))
    assert done.returncode == 0, done.stderr
    return workdir


def check_equal(workdir: Path, alone: Path) -> None:
    for found, expected in zip(weights(workdir), weights(alone), strict=True):
        np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING)
    assert settings.load(workdir).to_json() == settings.load(alone).to_json()
    scores = [json.loads((folder / "scores_test.json").read_text()) for folder in (workdir, alone)]
    assert scores[0]["elbo"] == pytest.approx(scores[1]["elbo"], rel=ROUNDING)
    logs = [np.genfromtxt(folder / "log.csv", delimiter=",", skip_header=1) for folder in (workdir, alone)]
    assert len(logs[0]) == settings.load(alone).training.epochs
    np.testing.assert_allclose(*logs, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.exhaustive
def test_replicas_make_the_run_of_one_process(rolls: Path, alone: Path, tmp_path: Path) -> None:
    done = program("train", *arguments(rolls, tmp_path, epochs=4), "--strategy=mirrored", "--cpu_replicas=2")
    assert done.returncode == 0, done.stderr
    check_equal(tmp_path, alone)


def start(rolls: Path, workdir: Path) -> list[subprocess.Popen]:
    return on_workers(2, "trainers.train", *arguments(rolls, workdir, epochs=4), "--strategy=multiworker")


def finish(processes: list[subprocess.Popen]) -> list[str]:
    """What they printed; all must succeed."""
    printed = []
    for process in processes:
        out, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors[-3000:]
        printed.append(out)
    return printed


@pytest.mark.exhaustive
def test_workers_make_the_run_of_one_process_though_one_is_killed(rolls: Path, alone: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first, second = finish(start(rolls, whole))
    assert "IWAE" in first and not second
    check_equal(whole, alone)

    processes = start(rolls, killed)
    deadline = time.monotonic() + PATIENCE
    while not (killed / "checkpoints" / "epoch-00001.npz").is_file():
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.01)
    processes[1].kill()
    _, errors = processes[0].communicate(timeout=PATIENCE)
    processes[1].communicate()
    assert processes[0].returncode == 1
    assert "ConnectionError: another worker ended or cannot be reached." in errors
    first, _ = finish(start(rolls, killed))
    assert "Going on after epoch" in first
    for found, expected in zip(weights(killed), weights(whole), strict=True):
        np.testing.assert_array_equal(found, expected)
    for name in ("log.csv", "scores_test.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
