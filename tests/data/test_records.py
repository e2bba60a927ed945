"""Records: what is written comes back, as sequences and as the batches of `batches`; damage is one clear error."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.distribution.child import free_addresses
from tfdvae.data import (
    DataDescription,
    Records,
    Sequences,
    batches,
    check_records,
    from_arrays,
    numbered,
    open_records,
    pad,
    read_records,
    record_batches,
    record_errors,
    steps_per_epoch,
    windows,
    write_records,
)

N = 23
OPTIONS = {"seed": 3, "shuffle_buffer": 8, "buckets": 2}
"""Three blocks of an epoch, each cut into two quantiles of length."""


def made(count: int = N, seed: int = 0) -> Sequences:
    """Sequences with all that there can be beside x."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, count)
    found = from_arrays(
        [rng.normal(size=(n, 3)) for n in lengths],
        u=[rng.normal(size=(n, 2)) for n in lengths],
        names=[f"sequence {i}" for i in range(count)],
        observed=[rng.random((n, 3)) < 0.7 for n in lengths],
        context=rng.normal(size=(count, 4)),
    )
    known = DataDescription(("a", "b", "c"), ("l/s",), frame_period=0.5)
    return numbered(found)._replace(description=known)


SEQUENCES = made()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    return write_records(SEQUENCES, tmp_path_factory.mktemp("data") / "train", shards=4, about={"data": {"limit": 3}})


def indices(dataset: tf.data.Dataset) -> list[list[int]]:
    return [batch["sequence_index"].tolist() for batch in dataset.as_numpy_iterator()]


def check_equal(found: Sequences, expected: Sequences) -> None:
    for name, values in expected._asdict().items():
        other = getattr(found, name)
        if values is None or name == "description":
            assert other == values
            continue
        assert len(other) == len(values)
        for a, b in zip(other, values, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.slow
def test_what_is_written_comes_back(records: Records, tmp_path: Path) -> None:
    assert (records.num_sequences, records.num_frames) == (N, SEQUENCES.num_frames)
    assert [shard.sequences for shard in records.shards] == [6, 6, 6, 5]
    assert records.about == {"data": {"limit": 3}} and records.longest == SEQUENCES.lengths.max()
    assert records == open_records(records.folder)
    assert records.steps_per_epoch(4) == steps_per_epoch(SEQUENCES, 4) == 6
    assert records.steps_per_epoch(4, drop_remainder=True) == 5
    assert records.describe().startswith(f"23 sequences, {SEQUENCES.num_frames} frames, 3 features (partly observed)")
    check_records(records)
    check_equal(read_records(records), SEQUENCES)
    plain = from_arrays(list(SEQUENCES.x))
    check_equal(read_records(write_records(plain, tmp_path / "plain", shards=100)), plain)
    assert len(list((tmp_path / "plain").glob("*.tfrecord"))) == N


def test_parts_are_written_as_the_whole(records: Records, tmp_path: Path) -> None:
    parts = (SEQUENCES.take(range(i, min(i + 7, N))) for i in (0, 7, 14, 21))
    written = write_records(parts, tmp_path / "parts", shards=4)
    for one, other in zip(written.paths, records.paths, strict=True):
        assert one.read_bytes() == other.read_bytes()
    cut = write_records((windows(part, 3) for part in [SEQUENCES]), tmp_path / "cut")
    check_equal(read_records(cut), windows(SEQUENCES, 3))


def test_a_sample_is_spread_over_all(records: Records) -> None:
    assert sorted(read_records(records, 13).index) == [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21]
    assert read_records(records, 3).index == (0, 8, 16)
    assert read_records(records, N + 1).index == SEQUENCES.index


@pytest.mark.parametrize(
    "options", [{}, {"multiple_of": 5}, {"pad_to": 10}, {"drop_remainder": True}, {"buckets": 3, "multiple_of": 2}]
)
def test_batches_are_those_of_sequences_in_memory(options: dict[str, Any], records: Records) -> None:
    buffer = 100 if "buckets" in options else 5
    expected = batches(SEQUENCES, 5, epochs=2, **options)
    found = record_batches(records, 5, epochs=2, shuffle_buffer=buffer, **options)
    assert found.element_spec == expected.element_spec
    assert int(found.cardinality()) == int(expected.cardinality())
    pairs = list(zip(found.as_numpy_iterator(), expected.as_numpy_iterator(), strict=True))
    assert len(pairs) == int(expected.cardinality())
    for a, b in pairs:
        assert set(a) == set(b)
        for name, value in b.items():
            np.testing.assert_array_equal(a[name], value, err_msg=name)
            assert a[name].dtype == value.dtype


@pytest.mark.parametrize("options", [{}, {"drop_remainder": True}, {"buckets": None, "shuffle_buffer": 100}])
@pytest.mark.slow
def test_each_epoch_has_each_sequence_once(options: dict[str, Any], records: Records) -> None:
    options = {**OPTIONS, **options}
    steps = records.steps_per_epoch(4, drop_remainder="drop_remainder" in options)
    epochs = []
    for i, batch in enumerate(record_batches(records, 4, epochs=5, **options).as_numpy_iterator()):
        if i % steps == 0:
            epochs.append([])
        epochs[-1] += batch["sequence_index"].tolist()
        expected = pad(SEQUENCES.take(batch["sequence_index"]))
        for name, value in expected.items():
            np.testing.assert_array_equal(batch[name], value, err_msg=name)
    assert len(epochs) == 5
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == (20 if "drop_remainder" in options else N)
    assert all(a != b for i, a in enumerate(epochs) for b in epochs[:i])
    assert set().union(*epochs) == set(range(N))


@pytest.mark.slow
def test_the_batches_of_an_epoch_follow_from_its_number(records: Records) -> None:
    steps = records.steps_per_epoch(4)
    whole = indices(record_batches(records, 4, epochs=5, **OPTIONS))
    assert indices(record_batches(records, 4, epochs=range(2, 5), **OPTIONS)) == whole[2 * steps :]
    assert indices(record_batches(records, 4, epochs=[4, 0], **OPTIONS)) == whole[4 * steps :] + whole[:steps]
    assert indices(record_batches(records, 4, epochs=5, **{**OPTIONS, "seed": 4})) != whole
    keras.utils.set_random_seed(0)  # of everything else that is random
    assert indices(record_batches(records.folder, 4, epochs=5, **OPTIONS)) == whole
    ordered = indices(record_batches(records, 4, shuffle=False, seed=3))
    assert sum(ordered, []) == list(range(N))


@pytest.mark.slow
def test_blocks_mix_what_is_in_different_shards(tmp_path: Path) -> None:
    """Of shards in the order of the data, each epoch brings others together."""
    many = numbered(from_arrays([np.ones((1, 1))] * 64))
    found = write_records(many, tmp_path / "many", shards=16)
    together = set()
    for batch in indices(record_batches(found, 8, seed=0, epochs=20, shuffle_buffer=16)):
        together |= {(i % 16, j % 16) for i in batch for j in batch}
    assert len(together) > 0.9 * 16**2


def test_sequences_without_numbers_on_request(records: Records) -> None:
    assert "sequence_index" not in record_batches(records, 4, indexed=False).element_spec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"shuffle": True}, "needs a seed"),
        ({"seed": -1}, "`seed` must not be negative"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"pad_to": 5}, "longest sequence, 8 frames; got 5"),
        ({"pad_to": 8, "multiple_of": 2}, "not both"),
        ({"buckets": 0}, "`buckets` must be at least 1"),
        ({"shuffle_buffer": 0}, "`shuffle_buffer` must be at least 1"),
        ({"batch_size": 24, "drop_remainder": True}, "at least one full batch of 24"),
        ({"job": "a"}, "give `service`"),
        ({"service": "localhost:1"}, "grpc://HOST:PORT"),
        ({"service": "grpc://localhost:port"}, "grpc://HOST:PORT"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str, records: Records) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        record_batches(records, **{"batch_size": 4, **options})


def test_a_service_that_is_not_there_is_one_error_at_once(records: Records) -> None:
    (address,) = free_addresses(1)
    with pytest.raises(ConnectionError, match=f"no tf.data service at grpc://{address} .*trainers.data_service"):
        record_batches(records, 4, service=f"grpc://{address}")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "records"

    def torn() -> Iterator[Sequences]:
        yield SEQUENCES
        raise RuntimeError("torn")

    for wrong, error, message in (
        ([], ValueError, "no sequence to write"),
        ([SEQUENCES, from_arrays([np.ones((2, 3))])], ValueError, "All parts must have the same .* got .*inputs 0"),
        ([{"x": np.ones((2, 3, 3))}], TypeError, "Expected Sequences, got dict"),
        (torn(), RuntimeError, "torn"),
    ):
        with pytest.raises(error, match=message):
            write_records(wrong, target)
        assert list(tmp_path.iterdir()) == []
    write_records(SEQUENCES, target)
    with pytest.raises(FileExistsError, match="already something"):
        write_records(SEQUENCES, target)
    with pytest.raises(ValueError, match="`shards` must be at least 1"):
        write_records(SEQUENCES, tmp_path / "other", shards=0)


@pytest.fixture
def copy(records: Records, tmp_path: Path) -> Path:
    return Path(shutil.copytree(records.folder, tmp_path / "copy"))


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "records.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda c: c.update(format=2),
    "no features": lambda c: c.update(features=0),
    "features beyond memory": lambda c: c.update(features=10**12),
    "inputs beyond memory": lambda c: c.update(inputs=10**9),
    "a fraction": lambda c: c.update(features=3.5),
    "a text": lambda c: c.update(longest="x" * 10**6),
    "true": lambda c: c.update(covariates=True),
    "a number for yes": lambda c: c.update(observed=1),
    "no key": lambda c: c.pop("named"),
    "no shards": lambda c: c.update(shards=[]),
    "shards that are numbers": lambda c: c.update(shards=[1, 2]),
    "sequences without end": lambda c: c["shards"][0].update(sequences=10**15),
    "frames without end": lambda c: c["shards"][0].update(frames=10**15),
    "fewer frames than sequences": lambda c: c["shards"][0].update(frames=2),
    "a sequence longer than all": lambda c: c.update(longest=10**6),
    "indices beyond int32": lambda c: c.update(num_indices=2**40),
    "names of other features": lambda c: c["description"].update(features=["a"]),
    "a description that is none": lambda c: c.update(description=[1]),
    "a size below 0": lambda c: c["shards"][1].update(size=-1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_lies_is_refused_by_name(lie: str, copy: Path) -> None:
    changed(copy, LIES[lie])
    with pytest.raises(ValueError, match=r"records\.json does not describe records: "):
        open_records(copy)


def test_a_damaged_description_is_refused_by_name_or_holds_the_truth(copy: Path) -> None:
    path = copy / "records.json"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        data = bytearray(content)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            data[at] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(data[: rng.integers(len(data))] if rng.integers(4) == 0 else data))
        try:
            open_records(copy)
        except ValueError as error:
            assert re.search(r"records\.json|shard-\d{5}\.tfrecord", str(error)), error
            refused += 1
    assert refused > 100


def test_no_records_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        open_records(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*records\.json"):
        open_records(tmp_path)


def test_missing_and_truncated_shards_are_refused_before_anything_is_read(copy: Path) -> None:
    path = copy / "shard-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-5])
    for call in (open_records, read_records, check_records, lambda folder: record_batches(folder, 4)):
        with pytest.raises(ValueError, match=r"shard-00002\.tfrecord has \d+ bytes, and had \d+ when"):
            call(copy)
    path.unlink()
    with pytest.raises(ValueError, match=r"shard-00002\.tfrecord is missing"):
        open_records(copy)


def flipped(copy: Path) -> None:
    path = copy / "shard-00001.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def examples(path: Path) -> list[tf.train.Example]:
    return [tf.train.Example.FromString(one) for one in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def other_frames(copy: Path) -> None:
    """A shard with checksums that are right, of which one sequence has another length than it says."""
    found = examples(copy / "shard-00001.tfrecord")
    found[3].features.feature["length"].int64_list.value[0] = 10**12
    rewritten(copy, found)


def no_numbers(copy: Path) -> None:
    found = examples(copy / "shard-00001.tfrecord")
    found[3].features.feature["x"].float_list.value[0] = float("nan")
    rewritten(copy, found)


def fewer(copy: Path) -> None:
    rewritten(copy, examples(copy / "shard-00001.tfrecord")[:-1])


def another_kind(copy: Path) -> None:
    rewritten(copy, [b"\xff" * 300] * 6)


def rewritten(copy: Path, records: list) -> None:
    """The shard with these records, and a description that knows its size."""
    path = copy / "shard-00001.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in records:
            writer.write(one if isinstance(one, bytes) else one.SerializeToString())
    changed(copy, lambda c: c["shards"][1].update(size=path.stat().st_size))


@pytest.mark.parametrize("damage", [flipped, other_frames, no_numbers, fewer, another_kind])
@pytest.mark.slow
def test_damage_within_a_shard_is_named(damage: Callable[[Path], None], copy: Path) -> None:
    damage(copy)
    records = open_records(copy)
    message = r"shard-00001\.tfrecord is no shard of these records: "
    for call in (check_records, read_records):
        with pytest.raises(ValueError, match=message):
            call(records)
    for options in ({}, OPTIONS):
        with pytest.raises(ValueError, match=message), record_errors(records):
            list(record_batches(records, 4, **options))


def test_other_errors_pass_through(records: Records) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="of another thing"), record_errors(records):
        raise tf.errors.InvalidArgumentError(None, None, "of another thing")
