"""Sequences in TFRecord shards, for data that do not fit into memory or onto the disk of one machine.

A folder of records holds `records.json` and shards `shard-00000.tfrecord` and so on. Sequence i is in shard i mod the
number of shards, so that every shard is a sample of all of them. A record is a `tf.train.Example`, which other programs
can read as well:

    "x"               floats, the T frames of D features one after the other
    "length"          T
    "u"               floats, T control inputs of U entries; where there are such
    "observed"        bytes, T times D of 0 and 1; where there are such
    "context"         C floats; where there are such
    "sequence_index"  which of the training sequences it is; where they are numbered
    "name"            bytes; where they have names

`record_batches` makes batches of them, `read_records` sequences.
"""

import contextlib
import json
import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.arguments import whole
from tfdvae.data.description import DataDescription
from tfdvae.data.files import named_damage, read_json, require_folder
from tfdvae.data.sequences import Sequences
from tfdvae.data.unfinished import unfinished

__all__ = ["RecordShard", "Records", "open_records", "write_records"]

FILE, FORMAT = "records.json", 1
NO_RECORDS = "does not describe records"
COUNTS = ("features", "inputs", "covariates", "num_indices", "longest")
KINDS = ("observed", "named")


class RecordShard(NamedTuple):
    """What one file holds: how many sequences, how many frames in all of them, and its size in bytes."""

    sequences: int
    frames: int
    size: int


class Records(NamedTuple):
    """What `records.json` says of a folder of records; from `open_records` or `write_records`.

    Attributes:
        folder: where they are.
        shards: one `RecordShard` per file.
        features, inputs, covariates: D, U and C; U and C are 0 where there are none.
        observed: whether the records say which values were observed.
        named: whether sequences have names.
        num_indices: where sequences are numbered, one more than the highest index; else 0.
        longest: frames of the longest sequence.
        description: what the numbers mean, or None.
        about: what the writer noted, a dict as JSON has it; empty where it noted nothing.
    """

    folder: Path
    shards: tuple[RecordShard, ...]
    features: int
    inputs: int
    covariates: int
    observed: bool
    named: bool
    num_indices: int
    longest: int
    description: DataDescription | None
    about: dict[str, Any]

    @property
    def num_sequences(self) -> int:
        return sum(shard.sequences for shard in self.shards)

    @property
    def num_frames(self) -> int:
        """Frames of all sequences together."""
        return sum(shard.frames for shard in self.shards)

    @property
    def paths(self) -> list[Path]:
        """The shards' files."""
        return [self.folder / _name(i) for i in range(len(self.shards))]

    def steps_per_epoch(self, batch_size: int, *, drop_remainder: bool = False) -> int:
        """Batches per epoch, as `tfdvae.data.steps_per_epoch` counts them.

        Raises:
            ValueError: batch_size below 1, or no full batch although the remainder is dropped.
        """
        whole("batch_size", batch_size, at_least=1)
        if not drop_remainder:
            return -(-self.num_sequences // batch_size)
        if self.num_sequences < batch_size:
            raise ValueError(
                f"drop_remainder=True needs at least one full batch of {batch_size} sequences; there are "
                f"{self.num_sequences} in {self.folder}."
            )
        return self.num_sequences // batch_size

    def describe(self) -> str:
        """One line for people, as `tfdvae.data.describe` has it."""
        extra = " (partly observed)" if self.observed else ""
        extra += f", {self.inputs} inputs" if self.inputs else ""
        extra += f", {self.covariates} static covariates" if self.covariates else ""
        return (
            f"{self.num_sequences} sequences, {self.num_frames} frames, {self.features} features{extra}, up to "
            f"{self.longest} frames each, in {len(self.shards)} shards"
        )


def write_records(
    sequences: Sequences | Iterable[Sequences],
    folder: str | os.PathLike,
    *,
    shards: int = 16,
    about: Mapping[str, Any] | None = None,
) -> Records:
    """Writes sequences as a folder of records, which appears complete or not at all.

    Long sequences are cut before they are written, since the number of batches must be known without reading them:

        write_records((windows(part, 100) for part in parts), "data/train", shards=64)

    Args:
        sequences: `Sequences`, or parts of a whole, each `Sequences`, of which one at a time is in memory.
        folder: there must be none yet.
        shards: number of files, all open at a time; no more are written than there are sequences. Shuffling mixes whole
            shards, and workers share blocks of several: choose a few for each worker that will read, and many more
            than an epoch has blocks (`shuffle_buffer` of `record_batches`).
        about: JSON values to keep beside them.

    Raises:
        FileExistsError: the folder is there.
        TypeError: a part is no `Sequences`, or `about` no JSON.
        ValueError: no sequence, or parts that do not agree with each other.
        OSError: the disk is full, or does not take so many open files.
    """
    folder, count = Path(folder), whole("shards", shards, at_least=1)
    if folder.exists():
        raise FileExistsError(f"There is already something at {folder}: remove it, or choose another folder.")
    noted = json.loads(json.dumps(dict(about or {}), allow_nan=False))
    with unfinished(folder) as temporary:
        temporary.mkdir()
        parts = [sequences] if isinstance(sequences, Sequences) else sequences
        try:
            content = _write_shards(parts, temporary, count)
        except tf.errors.OpError as error:
            raise OSError(f"Records cannot be written to {folder}: {error.message}") from error
        content |= {"about": noted}
        (temporary / FILE).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        temporary.rename(folder)
    return open_records(folder)


def _write_shards(parts: Iterable[Sequences], folder: Path, shards: int) -> dict[str, Any]:
    """Writes all files, and returns what is to be said of them."""
    known: tuple | None = None
    sequences, frames = np.zeros(shards, np.int64), np.zeros(shards, np.int64)
    longest = indices = 0
    with contextlib.ExitStack() as stack:
        writers: list[tf.io.TFRecordWriter] = []
        for part in parts:
            if not isinstance(part, Sequences):
                raise TypeError(f"Expected Sequences, got {type(part).__name__}; use from_arrays() on arrays.")
            if not part.num_sequences:
                continue
            kind = _kind(part)
            if known is not None and kind != known:
                raise ValueError(
                    "All parts must have the same features, inputs, covariates and description, and say alike what "
                    f"was observed, names and indices: got {_told(kind)} after {_told(known)}."
                )
            known = kind
            for i in range(part.num_sequences):
                place = int(sequences.sum()) % shards
                if place == len(writers):
                    writers.append(stack.enter_context(tf.io.TFRecordWriter(str(folder / _name(place)))))
                writers[place].write(_example(part, i).SerializeToString())
                sequences[place] += 1
                frames[place] += len(part.x[i])
                longest = max(longest, len(part.x[i]))
                indices = 0 if part.index is None else max(indices, int(part.index[i]) + 1)
    if known is None:
        raise ValueError("There is no sequence to write.")
    features, inputs, covariates, observed, named, _, description = known
    return {
        "format": FORMAT,
        **{"features": features, "inputs": inputs, "covariates": covariates, "observed": observed, "named": named},
        **{"num_indices": indices, "longest": longest},
        "shards": [
            {"sequences": int(n), "frames": int(t), "size": (folder / _name(i)).stat().st_size}
            for i, (n, t) in enumerate(zip(sequences, frames, strict=True))
            if n
        ],
        **({} if description is None else {"description": description.as_json()}),
    }


def _kind(part: Sequences) -> tuple:
    """What all parts must share."""
    present = (part.observed is not None, part.names is not None, part.index is not None)
    return (part.features, part.inputs, part.covariates, *present, part.description)


def _told(kind: tuple) -> str:
    names = ("features", "inputs", "covariates", "observed", "names", "indices", "description")
    return ", ".join(f"{name} {value}" for name, value in zip(names, kind, strict=True))


def _example(part: Sequences, i: int) -> tf.train.Example:
    def floats(values: np.ndarray) -> tf.train.Feature:
        # A list is five times as fast as an array.
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.asarray(values, np.float32).ravel().tolist()))

    def number(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    found = {"x": floats(part.x[i]), "length": number(len(part.x[i]))}
    if part.u is not None:
        found["u"] = floats(part.u[i])
    if part.observed is not None:
        found["observed"] = text(np.asarray(part.observed[i], np.uint8).tobytes())
    if part.context is not None:
        found["context"] = floats(part.context[i])
    if part.index is not None:
        found["sequence_index"] = number(part.index[i])
    if part.names is not None:
        found["name"] = text(part.names[i].encode())
    return tf.train.Example(features=tf.train.Features(feature=found))


def open_records(folder: str | os.PathLike) -> Records:
    """What a folder of records holds; its shards are looked for, and read by others.

    Raises:
        FileNotFoundError: no such folder, or no records in it.
        ValueError: `records.json` cannot be right, or a shard is missing or has another size than it had when it was
            written; names the file.
    """
    folder = require_folder(folder)
    path = folder / FILE
    content = read_json(path, NO_RECORDS)
    with named_damage(path, NO_RECORDS):
        if content.get("format") != FORMAT:
            raise ValueError(f"its format is {content.get('format')!r}, this version reads {FORMAT}")
        counts = {name: _count(content, name, name in ("features", "longest")) for name in COUNTS}
        kinds = {name: content.get(name) for name in KINDS}
        if not all(isinstance(value, bool) for value in kinds.values()):
            raise ValueError(f"expected true or false for each of {', '.join(KINDS)}")
        found = Records(folder.resolve(), _shards(content), **counts, **kinds, description=None, about={})
        _check_sizes(found)
        about, description = content.get("about", {}), content.get("description", {})
        if not isinstance(about, dict) or not isinstance(description, dict):
            raise ValueError("expected objects as 'about' and 'description'")
        found = found._replace(about=about)
        if "description" in content:
            known = DataDescription.from_json(description)
            found = found._replace(description=known.checked(found.features, found.inputs, found.covariates))
    for path, shard in zip(found.paths, found.shards, strict=True):
        if not path.is_file():
            raise ValueError(f"{path} is missing: {folder / FILE} says that there are {len(found.shards)} shards.")
        if path.stat().st_size != shard.size:
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes, and had {shard.size} when it was written: it is damaged, or "
                "its copy was not finished."
            )
    return found


def _shards(content: Mapping[str, Any]) -> tuple[RecordShard, ...]:
    listed = content.get("shards")
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise ValueError("it lists no shards")
    shards = tuple(RecordShard(*(_count(one, name, True) for name in RecordShard._fields)) for one in listed)
    total = sum(shard.sequences for shard in shards)
    dealt = [-(-(total - i) // len(shards)) for i in range(len(shards))]
    if [shard.sequences for shard in shards] != dealt:
        raise ValueError("its shards do not share the sequences evenly, in turn")
    return shards


def _check_sizes(records: Records) -> None:
    """Counts that say more than there are bytes would ask for memory without end."""
    per_frame = 4 * (records.features + records.inputs) + records.features * records.observed
    for i, shard in enumerate(records.shards):
        needed = shard.frames * per_frame + 4 * shard.sequences * records.covariates
        if needed > shard.size or shard.frames < shard.sequences:
            raise ValueError(
                f"{shard.sequences} sequences of {shard.frames} frames cannot be {shard.size} bytes, as it says of "
                f"{_name(i)}"
            )
    if records.longest > max(shard.frames for shard in records.shards):
        raise ValueError(f"no shard has the {records.longest} frames of the longest sequence")
    if records.num_indices > 2**31:
        raise ValueError(f"{records.num_indices} are more indices than int32 can hold")


def _count(content: Mapping[str, Any], name: str, positive: bool) -> int:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not positive <= value < 2**62:
        raise ValueError(f"expected a whole number from {int(positive)} on as {name!r}, got {str(value)[:40]!r}")
    return operator.index(value)


def _name(i: int) -> str:
    return f"shard-{i:05d}.tfrecord"
