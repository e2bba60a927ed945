"""Runs that are killed, interrupted, run out of disk space and find damaged checkpoints end like one that was not.

Bit for bit: weights, optimizer, logs, scores and export; and nothing is left of what was half written. The short form
strikes twice, when it is its turn. The long form goes through every kind of blow at every stage, in another order with
another seed:

    make test PYTEST_ARGS="tests/trainers/test_soak.py --soak-blows 200 --soak-seed 1 -rP --exhaustive=all"

`-rP` shows what struck where.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.trainers.helpers import ROOT
from tests.trainers.soak import STAGES

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
AT_ONCE = 3
"""Blows to one run, at most."""


class Server:
    """A process that runs programs, see `tests.trainers.soak`."""

    def __init__(self, rolls: Path, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "always"}
        command = [sys.executable, "-m", "tests.trainers.soak"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self.rolls, self.tally, self.printed = rolls, folder / "tally.json", ""

    def run(self, module: str, folder: Path, **blow: Any) -> int:
        """The exit status of a program."""
        flags = [f"--config={ROOT / 'configs/pianoroll/vae.py'}:smoke", f"--workdir={folder}"]
        flags += [f"--config.data.path={self.rolls}", "--config.training.epochs=3", "--config.model.dropout=0.2"]
        request = {
            "module": module,
            "arguments": flags,
            "folder": str(folder),
            "tally": str(self.tally),
            "blow": blow,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        status, self.printed = json.loads(self.process.stdout.readline())
        return status


@pytest.fixture
def server(rolls: Path, tmp_path: Path) -> Iterator[Server]:
    found = Server(rolls, tmp_path)
    yield found
    found.process.stdin.close()
    found.process.wait(60)


def arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file of weights, of a checkpoint, or of the weights in a .keras file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    found: dict[str, np.ndarray] = {}
    content = zipfile.ZipFile(path).open("model.weights.h5") if path.suffix == ".keras" else path.open("rb")
    with content, h5py.File(content, "r") as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but for TensorBoard's events, whose names and contents hold the time."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith("tensorboard"):
            continue
        if path.suffix in (".npz", ".keras", ".h5"):
            found |= {f"{name}/{key}": value.tobytes() for key, value in arrays(path).items()}
        elif path.name in ("saved_model.pb", "fingerprint.pb"):
            found[name] = path.stat().st_size > 0  # Names of functions count up within a process.
        else:
            found[name] = path.read_bytes()
    return found


def damage(folder: Path, rng: random.Random) -> str:
    """Spoils the newest checkpoint where there is another one to fall back to; how."""
    newest = sorted((folder / "checkpoints").glob("epoch-*.npz"))
    if len(newest) < 2:
        return ""
    content = bytearray(newest[-1].read_bytes())
    how = rng.choice(("truncated", "flipped"))
    if how == "truncated":
        del content[rng.randrange(len(content)) :]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    newest[-1].write_bytes(bytes(content))
    return how


def blows(rng: random.Random, seen: dict[str, dict[str, int]], largest: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every signal at every stage of the programs and full disks, in a random order, without end."""
    while True:
        kinds = list(itertools.product(SIGNALS, ["start-up", *STAGES])) + [("disk", None)] * 6
        rng.shuffle(kinds)
        for kind, stage in kinds:
            if kind == "disk":
                yield "trainers.train", {"limit": int(largest * rng.random() ** 3)}
                continue
            module = "export" if stage == "export" else "trainers.train"
            # A run that goes on has fewer of them.
            event, delay = int(seen[module][stage] * rng.random() ** 2), rng.choice((0.0, 0.0, 0.001, 0.01, 0.1))
            yield module, {"signal": int(kind), "stage": stage, "event": event, "delay": delay}


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_is_disturbed_ends_as_what_is_not(server: Server, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count, seed = request.config.getoption("--soak-blows"), request.config.getoption("--soak-seed")
    rng, counts = random.Random(seed), Counter()
    seen = {}
    for module in ("trainers.train", "export"):
        assert server.run(module, tmp_path / "calm") == 0, server.printed
        seen[module] = json.loads(server.tally.read_text())
    assert {*seen["trainers.train"], *seen["export"]} >= {"start-up", *STAGES}
    expected = outcome(tmp_path / "calm")
    largest = max(path.stat().st_size for path in (tmp_path / "calm").rglob("*"))
    coming, number = blows(rng, seen, largest), 0
    while number < count:
        folder = tmp_path / f"run{number}"
        for module, blow in itertools.islice(coming, min(AT_ONCE, count - number)):
            number += 1
            if module == "export" and not (folder / "model.keras").exists():
                assert server.run("trainers.train", folder) == 0, server.printed
            status = server.run(module, folder, **blow)
            what = "disk" if "limit" in blow else f"{signal.Signals(blow['signal']).name} in {blow['stage']}"
            counts[f"{what}: {'struck' if status else 'missed'}"] += 1
            told = f"{what}, {blow}: {status}\n{server.printed[-2000:]}"
            if "limit" in blow:
                assert status in (0, 1) and (not status or "Error" in server.printed), told
            else:
                assert status in (0, -blow["signal"], 130), told
            how = damage(folder, rng) if rng.random() < 0.5 else ""
            if how:
                counts[f"checkpoint {how}"] += 1
            told = f"{what}, {blow}: exit status {status}; checkpoint {how or 'left alone'}"
            print(f"blow {number}, {folder.name}: {told}", flush=True)
            if how == "truncated":
                server.run("trainers.train", folder)
                assert "since a newer checkpoint is damaged" in server.printed, server.printed
        for module in ("trainers.train", "export"):
            if module == "trainers.train" or not (folder / "served").exists():
                assert server.run(module, folder) == 0, server.printed
        found = outcome(folder)
        assert found.keys() == expected.keys()
        assert [name for name in found if found[name] != expected[name]] == []
        assert not [path for path in folder.rglob(".*")]
    print(f"seed {seed}, {number} blows\n" + "\n".join(f"{what}: {n}" for what, n in sorted(counts.items())))
