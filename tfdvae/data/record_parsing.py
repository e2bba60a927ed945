"""What is in records: read in an order, parsed and checked, padded, or turned back into sequences."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.arguments import whole
from tfdvae.data.files import named_damage
from tfdvae.data.records import Records, open_records
from tfdvae.data.sequences import Sequences, from_arrays

__all__ = ["check_records", "padded", "parsed", "read_records", "record_errors", "segments"]

DAMAGE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError)
AT_ONCE = 64
"""Sequences that are parsed together where they are read one after the other."""


class Frames(NamedTuple):
    """Sequences behind one another, without padding: frames `[S, .]` of n sequences, S = the sum of `lengths` `[n]`;
    None for what there is not."""

    lengths: tf.Tensor
    x: tf.Tensor
    u: tf.Tensor | None
    observed: tf.Tensor | None
    context: tf.Tensor | None
    sequence_index: tf.Tensor | None
    names: tf.Tensor | None


def segments(
    records: Records, first: tf.Tensor | int, end: tf.Tensor | int, order: tf.Tensor | None = None
) -> tf.data.Dataset:
    """The records number `first` to `end` - 1, as they lie on disk.

    Args:
        order: of the shards, `[shards]`; records then count within the first of them, then within the second, and so
            on. None: they count in the order in which they were written, which took the shards in turn.
    """
    shards = len(records.shards)
    files = tf.range(shards) if order is None else tf.cast(order, tf.int32)
    first, end = tf.cast(first, tf.int64), tf.cast(end, tf.int64)
    if order is None:
        # That of `first` has the first turn.
        files = tf.roll(files, -tf.cast(first % shards, tf.int32), 0)
        skip, stop = (-((tf.cast(files, tf.int64) - border) // shards) for border in (first, end))
    else:
        counts = tf.gather(tf.constant([shard.sequences for shard in records.shards], tf.int64), files)
        before = tf.cumsum(counts, exclusive=True)
        skip, stop = (tf.clip_by_value(border - before, 0, counts) for border in (first, end))
    parts = tf.boolean_mask(files, stop > skip), *(tf.boolean_mask(y, stop > skip) for y in (skip, stop - skip))
    paths = tf.constant([str(path) for path in records.paths])

    def part(file: tf.Tensor, skip: tf.Tensor, count: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(paths[file]).skip(skip).take(count)

    # In the order of writing all shards have a turn in each round, so all must be open.
    return tf.data.Dataset.from_tensor_slices(parts).interleave(
        part,
        cycle_length=shards if order is None else min(shards, 8),
        block_length=1,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def parsed(serialized: tf.Tensor, records: Records, names: bool = False) -> Frames:
    """Records `[n]`, checked: what does not fit to what is said of them is an InvalidArgumentError."""
    ragged = tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)
    number, text = tf.io.FixedLenFeature([], tf.int64), tf.io.FixedLenFeature([], tf.string)
    wanted = {"x": ragged, "length": number}
    if records.inputs:
        wanted["u"] = ragged
    if records.observed:
        wanted["observed"] = text
    if records.covariates:
        wanted["context"] = tf.io.FixedLenFeature([records.covariates], tf.float32)
    if records.num_indices:
        wanted["sequence_index"] = number
    if names and records.named:
        wanted["name"] = text
    found = tf.io.parse_example(serialized, wanted)
    lengths = found["length"]
    right = [(lengths >= 1) & (lengths <= records.longest)]
    for name, width in (("x", records.features), ("u", records.inputs)):
        if name in found:
            right.append(found[name].row_lengths() // width == lengths)
            right.append(found[name].row_lengths() % width == 0)
            right.append(tf.reduce_all(tf.math.is_finite(found[name].flat_values))[None])
    if records.observed:
        entries = tf.cast(tf.strings.length(found["observed"]), tf.int64)
        right += [entries // records.features == lengths, entries % records.features == 0]
    if records.covariates:
        right.append(tf.reduce_all(tf.math.is_finite(found["context"]), axis=-1))
    if records.num_indices:
        right.append((found["sequence_index"] >= 0) & (found["sequence_index"] < records.num_indices))
    told = f"Records in {records.folder}: one is not as records.json says, or holds NaN or infinity"
    checks = [tf.debugging.Assert(tf.reduce_all(tf.stack([tf.reduce_all(one) for one in right])), [told])]
    with tf.control_dependencies(checks):
        found = tf.nest.map_structure(tf.identity, found, expand_composites=True)
    observed = None
    if records.observed:
        observed = tf.io.decode_raw(tf.strings.reduce_join(found["observed"]), tf.uint8) > 0
        observed = tf.reshape(observed, [-1, records.features])
    index = found.get("sequence_index")
    return Frames(
        found["length"],
        tf.reshape(found["x"].flat_values, [-1, records.features]),
        tf.reshape(found["u"].flat_values, [-1, records.inputs]) if records.inputs else None,
        observed,
        found.get("context"),
        None if index is None else tf.cast(index, tf.int32),
        found.get("name"),
    )


def padded(frames: Frames, length: tf.Tensor | int, size: int | None, pad_to: int | None) -> dict[str, tf.Tensor]:
    """A batch of `length` frames, as `tfdvae.data.pad` makes it; `size` and `pad_to` are what is known of its shape."""
    mask = tf.sequence_mask(frames.lengths, length)
    places = tf.where(mask)

    def spread(values: tf.Tensor) -> tf.Tensor:
        shape = tf.concat([tf.shape(mask, tf.int64), tf.shape(values, tf.int64)[1:]], 0)
        return tf.ensure_shape(tf.scatter_nd(places, values, shape), [size, pad_to, values.shape[1]])

    batch = {"x": spread(frames.x), "mask": tf.ensure_shape(mask, [size, pad_to])}
    if frames.u is not None:
        batch["u"] = spread(frames.u)
    if frames.observed is not None:
        batch["observed"] = spread(frames.observed)
    if frames.context is not None:
        batch["context"] = tf.ensure_shape(frames.context, [size, frames.context.shape[1]])
    if frames.sequence_index is not None:
        batch["sequence_index"] = tf.ensure_shape(frames.sequence_index, [size])
    return batch


def read_records(records: Records | str | Path, limit: int | None = None) -> Sequences:
    """Sequences in memory, in the order in which they were written, which is that of `write_records`.

    Args:
        records: from `open_records`, or the folder.
        limit: at most so many, evenly spread over all of them, those of a few shards, in another order; None: all.

    Raises:
        FileNotFoundError, ValueError: what `open_records` says; a damaged shard, by its name.
    """
    records = records if isinstance(records, Records) else open_records(records)
    total = records.num_sequences
    count = total if limit is None else min(total, whole("limit", limit, at_least=1))
    with record_errors(records):
        found: dict[str, list] = {name: [] for name in Frames._fields}
        dataset = segments(records, 0, total) if count == total else _sampled(records, count)
        for frames in _in_parts(dataset, records, names=True):
            cuts = np.cumsum(frames.lengths.numpy())[:-1]
            for name, values in frames._asdict().items():
                if values is not None:
                    split = name in ("x", "u", "observed")
                    found[name].extend(np.split(values.numpy(), cuts) if split else values.numpy())
    if limit is None and len(found["x"]) != total:
        check_records(records)
    names = [name.decode(errors="replace") for name in found["names"]] or None
    sequences = from_arrays(
        found["x"],
        u=found["u"] or None,
        names=names,
        observed=found["observed"] or None,
        context=found["context"] or None,
    )
    index = tuple(int(i) for i in found["sequence_index"]) or None
    return sequences._replace(index=index, description=records.description)


@tf.autograph.experimental.do_not_convert
def _in_parts(dataset: tf.data.Dataset, records: Records, names: bool = False) -> tf.data.Dataset:
    """What is in the records of a dataset, some at a time."""
    return dataset.batch(AT_ONCE).map(lambda part: parsed(part, records, names))


def _sampled(records: Records, count: int) -> tf.data.Dataset:
    """Records of the first shards, each of which is a sample of all, or every so many of the first one."""
    most = records.shards[0].sequences
    shards = max(1, count // most)
    available = sum(shard.sequences for shard in records.shards[:shards])
    dataset = segments(records, 0, available, tf.range(len(records.shards)))
    return dataset.shard(max(1, available // count), 0).take(count)


def check_records(records: Records | str | Path) -> None:
    """Reads all shards, one after the other.

    Raises:
        FileNotFoundError, ValueError: what `open_records` says; a shard that is damaged, or holds something else than
            `records.json` says, by its name.
    """
    records = records if isinstance(records, Records) else open_records(records)
    for path, shard in zip(records.paths, records.shards, strict=True):
        with named_damage(path, "is no shard of these records"):
            lengths: list[int] = []
            for frames in _in_parts(tf.data.TFRecordDataset(str(path)), records):
                lengths.extend(frames.lengths.numpy().tolist())
            if (len(lengths), sum(lengths)) != (shard.sequences, shard.frames):
                raise ValueError(
                    f"expected {shard.sequences} sequences of {shard.frames} frames in all, found {len(lengths)} of "
                    f"{sum(lengths)}"
                )


@contextlib.contextmanager
def record_errors(records: Records) -> Iterator[None]:
    """Within it, what TensorFlow raises of damaged records becomes one ValueError that names the shard, which is looked
    for then.

    Example:
        with record_errors(train):
            model.fit(record_batches(train, 32, seed=0))

    Raises:
        ValueError: instead of tf.errors.DataLossError, and of InvalidArgumentError and NotFoundError about records.
    """
    try:
        yield
    # TensorFlow quotes what it could not parse, and Python cannot decode the quotation.
    except (*DAMAGE, UnicodeDecodeError) as error:
        told = str(records.folder) in str(error) or isinstance(error, tf.errors.DataLossError | UnicodeDecodeError)
        if not told:
            raise
        check_records(open_records(records.folder))
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ValueError(f"Records in {records.folder} could not be read, and can be now: {error}") from error
