"""From records to a `tf.data.Dataset` of padded batches, by operations of TensorFlow alone, so that tf.data service can
run it on other machines.

An epoch is cut into blocks of sequences. Which ones are in a block, and which batches are made of them, follows from
(seed, epoch, number of the block) alone, so a block is what workers of the service share among each other.
"""

import functools
import socket
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfdvae import random
from tfdvae.arguments import whole
from tfdvae.data.batching import epoch_numbers
from tfdvae.data.record_parsing import padded, parsed, segments
from tfdvae.data.records import Records, open_records

__all__ = ["check_service", "record_batches"]

CONNECT_SECONDS = 10.0


class _Plan(NamedTuple):
    """How an epoch is cut; sizes in sequences."""

    records: Records
    batch_size: int
    block: int
    buckets: int
    drop_remainder: bool
    pad_to: int | None
    multiple_of: int
    indexed: bool
    seed: int | None

    @property
    def num_blocks(self) -> int:
        return -(-self.records.num_sequences // self.block)


def record_batches(
    records: Records | str | Path,
    batch_size: int,
    *,
    seed: int | None = None,
    epochs: int | Sequence[int] = 1,
    shuffle_buffer: int = 4096,
    buckets: int | None = None,
    shuffle: bool | None = None,
    drop_remainder: bool = False,
    pad_to: int | None = None,
    multiple_of: int | None = None,
    indexed: bool = True,
    service: str | None = None,
    job: str | None = None,
) -> tf.data.Dataset:
    """Padded batches {"x", "mask"} and, where there are such, "u", "observed", "context" and "sequence_index", of the
    shapes and dtypes of `tfdvae.data.batches`, read from records as they are needed.

    The batches of epoch e depend on (seed, e) and these arguments alone: `epochs=range(3, 10)` gives what `epochs=10`
    gives from its fourth epoch on. Each epoch has each sequence once, in `Records.steps_per_epoch` batches:

        train = open_records("data/train")
        fit(record_batches(train, 32, seed=0, epochs=range(3, 10)), initial_epoch=3, epochs=10,
            steps_per_epoch=train.steps_per_epoch(32), shuffle=False)

    Shuffling takes the shards in another order in each epoch, and shuffles blocks of `shuffle_buffer` sequences that
    follow on each other then. Where a block holds all sequences that is as good as one permutation of all; else
    two sequences that are in distant shards of an epoch's order are in no batch together. About two blocks are in
    memory at a time.

    With `service` the workers of a tf.data service read, shuffle and pad; they must see the folder at the same path
    (`trainers.data_service` starts them). Each epoch is a job of its own with dynamic sharding
    (`ShardingPolicy.DYNAMIC`): each block goes to one worker, whichever is free, so choose a `shuffle_buffer` that
    leaves several blocks for each. Each epoch has each sequence once, in the same batches as without the service, but
    their order hangs on which worker is faster, and no two runs are the same bit for bit. A worker that is lost
    takes its block with it: where it is started again at its address, the epoch ends with
    tf.errors.FailedPreconditionError, which counts too few batches; until then the dataset waits. (`OFF` would
    give each sequence once per worker; static sharding, `FILE` or `DATA`, needs workers whose number never changes.)

    Under a strategy of `tf.distribute` these are global batches. Without the service each of several machines makes all
    of them and trains on its rows, so that they train as one process does (auto-sharding by data). With the
    service and one machine it is the same. Several machines give the same `job`, and share its batches, first
    come, first served: each sequence still comes once per epoch, but a step is on rows of several batches, blocks of
    an epoch may come before the last ones of the epoch before, and nothing counts whether all came.

    Args:
        records: from `open_records`, or the folder.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: not negative. Sequences are shuffled when it is given, and keep the order in which they were written when
            it is None.
        epochs: a number of epochs, or the epochs themselves as a range or list.
        shuffle_buffer: sequences in a block, rounded up to whole batches.
        buckets: number of quantiles of length within a block; a batch holds sequences of one, or of two neighbours at a
            border. None: one bucket.
        shuffle: False keeps the order although a seed is given.
        drop_remainder: leave out N mod B sequences, others in each epoch when shuffled.
        pad_to: T of every batch; by default T is the longest sequence of the batch.
        multiple_of: round T up to a multiple.
        indexed: False leaves out "sequence_index", for models that learn nothing of single sequences.
        service: "grpc://HOST:PORT" of the dispatcher of a tf.data service.
        job: with `service`, a name that all machines of one training share, and no other training has.

    Returns:
        A dataset of known cardinality, `steps_per_epoch` for each epoch (unknown with `job`).

    Raises:
        FileNotFoundError, ValueError: what `open_records` says; an argument out of range, shuffle=True without a seed,
            sequences longer than `pad_to`.
        ConnectionError: there is no dispatcher. While iterating, what shards hold and should not is
            tf.errors.DataLossError or InvalidArgumentError; `record_errors` makes ValueErrors of them.
    """
    records = records if isinstance(records, Records) else open_records(records)
    steps = records.steps_per_epoch(batch_size, drop_remainder=drop_remainder)
    shuffle = seed is not None if shuffle is None else shuffle
    if shuffle and seed is None:
        raise ValueError("shuffle=True needs a seed, so that a run can be resumed; got seed=None.")
    if seed is not None:
        whole("seed", seed, at_least=0)
    epochs = epoch_numbers(epochs)
    if pad_to is not None and multiple_of not in (None, 1):
        raise ValueError("Give pad_to or multiple_of, not both.")
    if pad_to is not None and pad_to < records.longest:
        raise ValueError(
            f"pad_to must be at least the longest sequence, {records.longest} frames; got {pad_to}. "
            "windows() cuts longer ones before they are written."
        )
    if job is not None and service is None:
        raise ValueError(f"A `job` is shared by machines that read from one service: give `service` with {job!r}.")
    block = -(-whole("shuffle_buffer", shuffle_buffer, at_least=1) // batch_size) * batch_size
    plan = _Plan(
        records,
        batch_size,
        block,
        1 if buckets is None else whole("buckets", buckets, at_least=1),
        drop_remainder,
        pad_to,
        1 if multiple_of is None else whole("multiple_of", multiple_of, at_least=1),
        indexed,
        seed if shuffle else None,
    )
    whole_run = tf.data.experimental.assert_cardinality(steps * len(epochs))
    sharding = tf.data.experimental.AutoShardPolicy
    if service is None:
        dataset, sharded = _alone(plan, epochs).apply(whole_run), sharding.DATA
    else:
        check_service(service)
        sharded = sharding.OFF
        if job is None:
            dataset = _served(plan, epochs, steps, service).apply(whole_run)
        else:
            distribute, mode = tf.data.experimental.service.distribute, tf.data.experimental.service.ShardingPolicy
            dataset = _alone(plan, epochs).apply(distribute(mode.DYNAMIC, service, job_name=job))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = sharded
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def _alone(plan: _Plan, epochs: list[int]) -> tf.data.Dataset:
    """Blocks one after the other, each read while the one before is used."""
    numbers = tf.constant(epochs, tf.int64)
    count = plan.num_blocks
    return _of_tasks(plan, tf.data.Dataset.range(count * len(epochs)).map(lambda i: (numbers[i // count], i % count)))


@tf.autograph.experimental.do_not_convert
def _served(plan: _Plan, epochs: list[int], steps: int, service: str) -> tf.data.Dataset:
    """By workers of a service, each epoch as a job of its own."""
    of_service = tf.data.experimental.service

    def of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        return _of_tasks(plan, tf.data.Dataset.range(plan.num_blocks).map(lambda block: (epoch, block)))

    spec = of_epoch(tf.constant(0, tf.int64)).element_spec

    def served(epoch: tf.Tensor) -> tf.data.Dataset:
        known = of_service.register_dataset(service, of_epoch(epoch))
        found = of_service.from_dataset_id(of_service.ShardingPolicy.DYNAMIC, service, known, element_spec=spec)
        return found.apply(tf.data.experimental.assert_cardinality(steps))

    with warnings.catch_warnings():
        # Within a graph nobody can see which options a dataset has; this one has none.
        warnings.filterwarnings("ignore", "To make it possible to preserve tf.data options")
        return tf.data.Dataset.from_tensor_slices(tf.constant(epochs, tf.int64)).flat_map(served)


def check_service(service: str) -> None:
    """Raises one clear error at once where nobody listens, since TensorFlow would try for an hour: ConnectionError, or
    ValueError for what is no address."""
    protocol, _, address = service.rpartition("://")
    host, _, port = address.rpartition(":")
    if protocol != "grpc" or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f'service must be "grpc://HOST:PORT", the dispatcher of a tf.data service; got {service!r}.')
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(
            f"There is no tf.data service at {service} ({error}): start its dispatcher there, and its workers "
            f"(python -m trainers.data_service --role=dispatcher --port={port}), or leave `service` out."
        ) from error


@tf.autograph.experimental.do_not_convert
def _of_tasks(plan: _Plan, tasks: tf.data.Dataset) -> tf.data.Dataset:
    """The batches of blocks, given as pairs of epoch and number."""
    read = tasks.flat_map(functools.partial(_read_block, plan))
    return read.prefetch(1).flat_map(functools.partial(_cut_block, plan))


def _read_block(plan: _Plan, epoch: tf.Tensor, block: tf.Tensor) -> tf.data.Dataset:
    """One element: the records of a block, its epoch and its number."""
    records = plan.records
    first = block * plan.block
    end = tf.minimum(first + plan.block, records.num_sequences)
    order = None
    if plan.seed is not None:
        order = _permutation(len(records.shards), _seed(plan.seed, epoch, "shards"))
    whole_block = segments(records, first, end, order).batch(plan.block)
    return whole_block.map(lambda found: (_complete(records, found, end - first), epoch, block))


def _complete(records: Records, found: tf.Tensor, expected: tf.Tensor) -> tf.Tensor:
    """The records of a block, of which none may be missing."""
    count = tf.size(found, tf.int64)
    told = [f"Records in {records.folder}: shards end before the last record; expected", expected, "here, got", count]
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(count, expected), told)]):
        return tf.identity(found)


def _cut_block(plan: _Plan, found: tf.Tensor, epoch: tf.Tensor, block: tf.Tensor) -> tf.data.Dataset:
    """The batches of a block."""
    records, size = plan.records, plan.batch_size
    seed = None if plan.seed is None else random.fold_in(_seed(plan.seed, epoch, "block"), block)
    count = tf.size(found)
    order = tf.range(count) if seed is None else _permutation(count, random.fold_in(seed, "order"))
    if plan.drop_remainder:
        # Before sorting by bucket: afterwards it would always be long sequences that are left out.
        order = order[: count // size * size]
    if plan.buckets > 1:
        lengths = tf.io.parse_example(found, {"length": tf.io.FixedLenFeature([], tf.int64)})["length"]
        rank = tf.argsort(tf.argsort(lengths, stable=True))
        order = tf.gather(order, tf.argsort(tf.gather(rank * plan.buckets // tf.maximum(count, 1), order), stable=True))
    groups = -(-tf.size(order) // size)
    turns = tf.range(groups) if seed is None else _permutation(groups, random.fold_in(seed, "batches"))

    def batch(turn: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = order[turn * size : (turn + 1) * size]
        frames = parsed(tf.gather(found, rows), records)
        static = size if plan.drop_remainder else None
        length = plan.pad_to or -(-tf.reduce_max(frames.lengths) // plan.multiple_of) * plan.multiple_of
        batch = padded(frames, length, static, plan.pad_to)
        return {k: v for k, v in batch.items() if plan.indexed or k != "sequence_index"}

    return tf.data.Dataset.from_tensor_slices(turns).map(batch, tf.data.AUTOTUNE, deterministic=True)


def _seed(seed: int, epoch: tf.Tensor, what: str) -> tf.Tensor:
    return random.fold_in(random.fold_in(random.make_seed(seed), what), epoch)


def _permutation(count: tf.Tensor | int, seed: tf.Tensor) -> tf.Tensor:
    """The numbers 0 to count - 1 in an order that follows from the seed, whatever TensorFlow's global seed is."""
    drawn = tf.random.stateless_uniform([count], seed, minval=None, maxval=None, dtype=tf.int64, alg="philox")
    return tf.argsort(drawn, stable=True)
