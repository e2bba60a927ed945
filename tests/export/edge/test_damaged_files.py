"""A Stream of a damaged .tflite file, or of one with a damaged description, is one ValueError that names it."""

import copy
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import running
from export.edge.files import load_arrays, new_file
from export.edge.stream import Model, Stream


@pytest.fixture
def parts(vrnn) -> tuple[bytes, dict[str, Any]]:
    """The model without what was attached to it, and its description."""
    with zipfile.ZipFile(vrnn[1]) as attached:
        return vrnn[1].read_bytes()[: attached.infolist()[0].header_offset], json.loads(
            attached.read("signatures.json")
        )


def write(path: Path, model: bytes, description: str) -> Path:
    path.write_bytes(model)
    with zipfile.ZipFile(path, "a") as attached:
        attached.writestr("signatures.json", description)
    return path


def use(path: Path) -> None:
    """All that a stream can do, with nothing worse than one ValueError that names the file."""
    try:
        stream = Stream(path)
        shape = stream.frame_shape
        stream.push(np.zeros(shape))
        stream.generate(2)
        stream.run("encode", x=np.zeros((1, 3, *shape)))
    except ValueError as error:
        assert path.name in str(error) or "takes" in str(error), error


def damaged(value: Any, rng: np.random.Generator) -> Any:
    """JSON in which a key, an item or a leaf became something else or is missing."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(one: Any) -> None:
        for key in one if isinstance(one, dict) else range(len(one)):
            places.append((one, key))
            if isinstance(one[key], dict | list):
                walk(one[key])

    walk(value)
    holder, key = places[rng.integers(len(places))]
    new = [None, -1, 10**12, "none", [], {}, True, 0.5, [10**12, 4], {"name": 1}][rng.integers(12) % 10]
    if rng.integers(4):
        holder[key] = new
    else:
        del holder[key]
    return value


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_damaged_descriptions(parts, tmp_path: Path, count: int) -> None:
    model, description = parts
    write(tmp_path / "m.tflite", model, json.dumps(description))
    whole = Stream(tmp_path / "m.tflite")
    whole.push(np.zeros(whole.frame_shape))
    rng = np.random.default_rng(0)
    for _ in range(count):
        use(write(tmp_path / "m.tflite", model, json.dumps(damaged(description, rng))))


def without(description: dict[str, Any], *keys: str) -> dict[str, Any]:
    found = copy.deepcopy(description)
    holder = found
    for key in keys[:-1]:
        holder = holder[key]
    del holder[keys[-1]]
    return found


def larger_noise(description: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(description)
    for field in found["signatures"]["step"]["inputs"]:
        if "random" in field:
            field["shape"] = [1, 10**12]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda d: json.dumps(without(d, "frame_shape")),
        lambda d: json.dumps(without(d, "latents")),
        lambda d: json.dumps(without(d, "signatures", "step", "inputs")),
        lambda d: json.dumps(d | {"frame_shape": [10**12]}),
        lambda d: json.dumps(d | {"signatures": []}),
        lambda d: json.dumps(larger_noise(d)),
    ],
)
def test_a_description_that_does_not_fit_is_refused_when_the_file_is_opened(
    parts, tmp_path: Path, change: Callable[[dict[str, Any]], str]
) -> None:
    path = write(tmp_path / "m.tflite", parts[0], change(parts[1]))
    for cls in (Model, Stream):
        with pytest.raises(ValueError, match=r"m\.tflite cannot be read as a model that tfdvae exported"):
            cls(path)


def flipped(content: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Copies in which one byte of an index or a size became another."""
    while True:
        data = bytearray(content)
        data[rng.integers(len(data))] = rng.integers(256)
        yield bytes(data)


def test_damaged_models_are_refused_before_the_interpreter_sees_them(parts, tmp_path: Path) -> None:
    """One flipped byte can crash the interpreter: no exception, but the end of the process."""
    model, description = parts
    copies = flipped(model, np.random.default_rng(0))
    for damaged_model in (model[:-1], *(next(copies) for _ in range(20))):
        path = write(tmp_path / "m.tflite", damaged_model, json.dumps(description))
        if damaged_model == model:
            continue
        for read in (Model, Stream, running.load):
            with pytest.raises(ValueError, match="m.tflite cannot be read.*the model is not the one that was written"):
                read(path)


def test_arrays_that_are_none(tmp_path: Path) -> None:
    for name, content in (("a.npy", b""), ("a.npz", b"PK\x05\x06"), ("b.npy", b"\x93NUMPY\x01\x00v\x00{'descr'")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load_arrays(tmp_path / name)


def test_old_leftovers_beside_a_new_file_go(tmp_path: Path) -> None:
    import os
    import time

    for name, age in ((".a.csv.1.part", 2.0), (".a.csv.2.part", 0.1), (".b.csv.1.part", 2.0)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age * 24 * 3600.0,) * 2)
    with new_file(tmp_path / "a.csv") as partial:
        partial.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.csv.2.part", ".b.csv.1.part", "a.csv"]


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_description_that_leaves_something_out(parts, tmp_path: Path, side: str) -> None:
    model, description = parts
    description = copy.deepcopy(description)
    left_out = description["signatures"]["step"][side].pop(0)["name"]
    path = write(tmp_path / "m.tflite", model, json.dumps(description))
    with pytest.raises(ValueError, match=rf"m\.tflite cannot be read .*'step' has the {side} .*'{left_out}'"):
        Stream(path)


@pytest.mark.parametrize("values", [{"low": [0.0]}, {"low": [0.0] * 3, "high": 1.0, "whole": 0, "rounding": 0.0}])
@pytest.mark.slow
def test_a_description_whose_values_are_none(parts, tmp_path: Path, values: dict[str, Any]) -> None:
    model, description = parts
    description = copy.deepcopy(description)
    next(one for one in description["signatures"]["step"]["inputs"] if one["name"] == "x")["values"] = values
    path = write(tmp_path / "m.tflite", model, json.dumps(description))
    with pytest.raises(ValueError, match=r"m\.tflite cannot be read"):
        Stream(path)
