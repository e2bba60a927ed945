"""The file format: what is written is read, and what is damaged, of another model or made to do harm is refused."""

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfdvae
from tests.codec.subjects import SMALL, built, equal, waves
from tfdvae import codec
from tfdvae.codec import files

SEQUENCES = waves(3, 4, 3, 7)


@pytest.fixture(scope="module")
def model() -> tfdvae.VRNN:
    return built(tfdvae.VRNN(2, phi_x=(4,), phi_z=(4,), observation="bernoulli", **SMALL), SEQUENCES)


@pytest.fixture(scope="module")
def coded(model: tfdvae.VRNN) -> codec.Coded:
    return codec.compress(model, SEQUENCES)


@pytest.fixture
def path(tmp_path: Path, coded: codec.Coded) -> Path:
    path = tmp_path / "waves.dvae"
    assert codec.write_coded(path, coded) == path.stat().st_size
    return path


def refused(path: Path, model: Any = None, **options: Any) -> str:
    """What a file is refused with: one ValueError that names it."""
    with pytest.raises(ValueError, match=re.escape(str(path))) as raised:
        codec.read_coded(path) if model is None else codec.read_file(path, model, **options)
    return str(raised.value)


def rewritten(path: Path, change: Callable[[dict], Any], raw: Callable[[bytes], bytes] = bytes) -> None:
    """The same file with another header, whose checksum fits."""
    data = path.read_bytes()
    magic, version, length = files._START.unpack(data[: files._START.size])
    header = json.loads(zlib.decompress(data[files._START.size : files._START.size + length]))
    changed = change(header)
    deflated = raw(zlib.compress(json.dumps(header if changed is None else changed).encode()))
    rest = data[files._START.size + length + 4 :]
    path.write_bytes(
        files._START.pack(magic, version, len(deflated)) + deflated + files._CRC.pack(zlib.crc32(deflated)) + rest
    )


@pytest.mark.slow
def test_a_file_holds_all_that_its_model_needs(path: Path, model: tfdvae.VRNN, coded: codec.Coded) -> None:
    found = codec.read_coded(path)
    assert found.header == coded.header and found.initial_bits == coded.initial_bits > 0
    np.testing.assert_array_equal(found.words, coded.words)
    assert equal(codec.read_file(path, model), SEQUENCES)
    assert list(path.parent.iterdir()) == [path]


def test_a_saved_model_reads_what_the_one_before_has_written(path: Path, model: tfdvae.VRNN, tmp_path: Path) -> None:
    model.save(tmp_path / "model.keras")
    assert equal(codec.read_file(path, tfdvae.model_files.load_model(tmp_path / "model.keras")), SEQUENCES)


def test_every_cut_and_every_flipped_bit_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        refused(path)
    path.write_bytes(whole + b"\0")
    refused(path)
    rng = np.random.default_rng(0)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(lengths=[1 << 50]), "lengths must be whole numbers"),
        (lambda h: h.update(lengths=[]), "must hold sequences"),
        (lambda h: h.update(lengths=[3.5]), "lengths must be whole numbers"),
        (lambda h: h.update(lengths=[True]), "lengths must be whole numbers"),
        (lambda h: h.update(frame_shape=[1 << 20, 1 << 20]), "too large"),
        (lambda h: h.update(rows=1 << 30), "rows must be a whole number"),
        (lambda h: h.update(spare=[0, 1 << 40]), "spare must be whole numbers"),
        (lambda h: h.update(spare=[5, 1]), "the first one not greater"),
        (lambda h: h.update(kind="magic"), "kind must be one of lossless, lossy"),
        (lambda h: h.update(words=1 << 38), "bytes of payload"),
        (lambda h: h.update(grid_bits={"z": [99]}), "grid_bits must be lists of numbers"),
        (lambda h: h.update(grid_bits=[1]), "grid_bits must be lists of numbers"),
        (lambda h: h.update(most=[1], per_unit=[1.0]), "resolution must be that of each feature"),
        (lambda h: h.update(per_unit=[float("nan")] * 4, most=[1] * 4), "per_unit must be positive"),
        (lambda h: h.update(model=3), "must be text"),
        (lambda h: h.update(weights="abc"), "must have 32 digits"),
        (lambda h: h.update(more=1), "must have the keys"),
        (lambda h: h.pop("seed") * 0 or None, "must have the keys"),
        (lambda h: [], "must have the keys"),
    ],
)
def test_headers_that_lie(path: Path, change: Callable, message: str) -> None:
    rewritten(path, change)
    assert message in refused(path)


def test_headers_that_inflate_without_end(path: Path) -> None:
    rewritten(path, lambda h: None, raw=lambda _: zlib.compress(b" " * (1 << 26)))
    assert "no deflated text of at most" in refused(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(content=h["content"] ^ 1), "other frames came out of it than were written"),
        (lambda h: h.update(probe=h["probe"] ^ 1), "computes other numbers here than where the file was written"),
        (lambda h: h.update(weights="0" * 32), "written by another model than this one: weights"),
        (lambda h: h.update(model="RNN"), "written by another model than this one: model is RNN there, VRNN here"),
        (lambda h: h.update(observation="Pen"), "another model than this one: observation"),
        (lambda h: h.update(frame_shape=[2, 2]), "another model than this one: frame_shape"),
        (lambda h: h.update(lengths=[1 << 30]), "more than 67108864 numbers in all"),
        (lambda h: h.update(lengths=[1, 1, 1 << 20], rows=1024), "more than 67108864 numbers in all"),
        (lambda h: h.update(spare=[0, 1 << 20]), "1048576 initial words"),
        (lambda h: h.update(seed=h["seed"] + 1), "is not what it began with"),
        (lambda h: h.update(lengths=[length + 1 for length in h["lengths"]]), "initial words"),
        (lambda h: h.update(lengths=[*h["lengths"], 1]), "is not what it began with"),
        (lambda h: h.update(grid_bits={}), "Expected a grid for the latents {'z': 2}"),
        (lambda h: h.update(grid_bits={"z": [2]}), "Expected a grid for the latents {'z': 2}"),
        (lambda h: h.update(per_unit=[1.0] * 4, most=[1] * 4), "do not belong together"),
        (lambda h: h.update(kind="lossy"), "Expected a grid"),
    ],
)
def test_files_that_do_not_fit_the_model(path: Path, model: tfdvae.VRNN, change: Callable, message: str) -> None:
    rewritten(path, change)
    assert message in refused(path, model)


def test_other_weights_and_other_options_are_told_apart(path: Path, model: tfdvae.VRNN) -> None:
    other = built(tfdvae.VRNN(2, phi_x=(4,), phi_z=(4,), observation="bernoulli", seed=5, **SMALL), SEQUENCES)
    assert "weights is" in refused(path, other)
    relu = tfdvae.VRNN(2, phi_x=(4,), phi_z=(4,), observation="bernoulli", activation="relu", **SMALL)
    relu.build_for(4)
    relu.set_weights(model.get_weights())
    assert "the weights are the same, but its options" in refused(path, relu)


def test_sizes_are_bounded_by_the_reader(path: Path, model: tfdvae.VRNN) -> None:
    count = SEQUENCES.num_frames * 4
    assert equal(codec.read_file(path, model, max_values=count), SEQUENCES)
    assert "give `max_values`" in refused(path, model, max_values=count - 1)


def test_what_no_reader_would_take_is_not_written(
    coded: codec.Coded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_HEADER", 100)
    with pytest.raises(ValueError, match="The lengths of 3 sequences do not fit"):
        codec.write_coded(tmp_path / "waves.dvae", coded)
    assert not list(tmp_path.iterdir())


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        codec.read_coded(tmp_path / "nothing")
