"""Programs answer a damaged model file with one ValueError that names it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from export import program
from tests import cases
from trainers import building, reproduce, settings
from trainers.tables import TABLES

LOADERS = {"export": program.load_model, "trainers": lambda path: building.load_model(path.parent)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    cases.make("vrnn").save(path)
    return path


def rewritten(saved: Path, path: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy in which one member was changed; its checksums are right."""
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, "w") as new:
        for member in archive.namelist():
            content = archive.read(member)
            new.writestr(member, change(content) if member == name else content)
    return path


def nested(content: bytes) -> bytes:
    return b'{"config": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"


def large(content: bytes) -> bytes:
    """Sizes that no memory can hold."""

    def grown(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: 10**12 if k in ("latent_dim", "hidden_dim") else grown(v) for k, v in value.items()}
        return [grown(one) for one in value] if isinstance(value, list) else value

    return json.dumps(grown(json.loads(content))).encode()


def nan(content: bytes, folder: Path) -> bytes:
    """The weights, with NaN in all of one array."""
    file = folder / "weights.h5"
    file.write_bytes(content)
    with h5py.File(file, "r+") as weights:
        found = []
        weights.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) and item.size else None)
        one = next(item for item in found if item.dtype == np.float32)
        one[...] = np.nan
    return file.read_bytes()


def hollow(content: bytes, folder: Path) -> bytes:
    """Weights with an array of a terabyte of which nothing is stored."""
    file = folder / "weights.h5"
    file.write_bytes(content)
    with h5py.File(file, "r+") as weights:
        weights.create_dataset("more", (2**38,), "f4", chunks=(2**20,))
    return file.read_bytes()


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.slow
def test_a_damaged_model_is_one_error_that_names_it(saved: Path, tmp_path: Path, loader: str) -> None:
    damages = {
        "nested": ("config.json", nested),
        "large": ("config.json", large),
        "nan": ("model.weights.h5", lambda content: nan(content, tmp_path)),
        "hollow": ("model.weights.h5", lambda content: hollow(content, tmp_path)),
        "cut": ("model.weights.h5", lambda content: content[: len(content) // 2]),
        "none": ("model.weights.h5", lambda content: b""),
    }
    for name, (member, change) in damages.items():
        (tmp_path / name).mkdir()
        path = rewritten(saved, tmp_path / name / "model.keras", member, change)
        with pytest.raises(ValueError, match=rf"{name}.model\.keras cannot be loaded as a model of this library"):
            LOADERS[loader](path)


def test_arrays_for_programs_are_checked_against_the_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", b"")
    with pytest.raises(ValueError, match=r"x\.npz cannot be read: expected an \.npz file of arrays"):
        program.read_arrays(tmp_path / "x.npz")


@pytest.mark.slow
def test_damaged_files_of_runs_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 10**5)
    with pytest.raises(ValueError, match=r"config\.json is no config of a run"):
        settings.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"config\.json is no config of a run"):
        settings.load(tmp_path)
    (tmp_path / "settings.json").write_text('["')
    with pytest.raises(ValueError, match=r"settings\.json cannot be read"):
        reproduce.run(next(iter(TABLES.values())), tmp_path)
