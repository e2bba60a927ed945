"""From sequences to a `tf.data.Dataset` of padded batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.arguments import whole
from tfdvae.data.sequences import Sequences, pad

__all__ = ["batches", "dataset_of", "epoch_numbers", "shuffled", "steps_per_epoch"]


def batches(
    sequences: Sequences,
    batch_size: int,
    *,
    seed: int | None = None,
    epochs: int | Sequence[int] = 1,
    buckets: int | None = None,
    shuffle: bool | None = None,
    drop_remainder: bool = False,
    pad_to: int | None = None,
    multiple_of: int | None = None,
) -> tf.data.Dataset:
    """Padded batches {"x": float32 [B, T, D], "mask": bool [B, T]}, and where there are such, "u": float32
    [B, T, U], "observed": bool [B, T, D], "context": float32 [B, C] and "sequence_index": int32 [B].

    The order of epoch e depends on (seed, e) alone: `epochs=range(3, 10)` gives what `epochs=10` gives from
    its fourth epoch on, so that a resumed run sees the batches that it would have seen. All epochs have the
    same number of batches, `steps_per_epoch`. Epochs 3 to 9 are trained on by

        fit(batches(data, 32, seed=0, epochs=range(3, 10)), initial_epoch=3, epochs=10,
            steps_per_epoch=steps_per_epoch(data, 32), shuffle=False)

    Args:
        sequences: from `from_arrays` or a loader.
        batch_size: B; the last batch of an epoch may be smaller.
        seed: not negative. Sequences are shuffled when it is given, and keep their order when it is None.
        epochs: a number of epochs, or the epochs themselves as a range or list.
        buckets: number of quantiles of length; a batch holds sequences of one quantile, or of two neighbours
            at a border. With shuffling, sequences are shuffled within a bucket and the batches of an epoch
            among themselves. None: one bucket.
        shuffle: False keeps the order although a seed is given.
        drop_remainder: leave out N mod B sequences, others in each epoch when shuffled, so that B is
            constant.
        pad_to: T of every batch; by default T is the longest sequence of the batch.
        multiple_of: round T up to a multiple, which bounds the number of shapes to trace and compile.

    Raises:
        TypeError: `sequences` is no `Sequences`.
        ValueError: an argument out of range, shuffle=True without a seed, sequences longer than `pad_to`, or
            drop_remainder with fewer sequences than one batch.
    """
    steps = steps_per_epoch(sequences, batch_size, drop_remainder=drop_remainder)
    shuffle = seed is not None if shuffle is None else shuffle
    if shuffle and seed is None:
        raise ValueError("shuffle=True needs a seed, so that a run can be resumed; got seed=None.")
    if seed is not None and seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}.")
    epochs = epoch_numbers(epochs)
    buckets = 1 if buckets is None else whole("buckets", buckets, at_least=1)
    multiple_of = 1 if multiple_of is None else whole("multiple_of", multiple_of, at_least=1)
    lengths = sequences.lengths
    if pad_to is not None:
        if multiple_of != 1:
            raise ValueError("Give pad_to or multiple_of, not both.")
        if pad_to < lengths.max():
            raise ValueError(
                f"pad_to must be at least the longest sequence, {lengths.max()} frames; got {pad_to}. "
                "windows() cuts longer ones."
            )
    bucket_of = _buckets(lengths, buckets)

    def generate() -> Iterator[dict[str, np.ndarray]]:
        for epoch in epochs:
            rng = np.random.default_rng([seed, epoch]) if shuffle else None
            for indices in _epoch_order(bucket_of, batch_size, steps, rng):
                length = pad_to or -(-int(lengths[indices].max()) // multiple_of) * multiple_of
                yield pad(sequences.take(indices), length)

    size = batch_size if drop_remainder else None
    return dataset_of(generate, sequences, size, pad_to, steps * len(epochs))


def shuffled(arrays: Mapping[str, np.ndarray], batch_size: int, *, seed: int, epochs: int) -> dict[str, Any]:
    """What `fit` is to be called with, beside options of its own, to train on arrays `[N, ...]` in an order that
    follows from the seed, that of `batches`. Keras shuffles arrays by a seed of the process.

    Rows are gathered by TensorFlow, not by Python, and there is no mask where `arrays` has none.

    Raises:
        ValueError: a number out of range.

    Example:
        model.fit(**shuffled({"x": x}, 32, seed=0, epochs=10), verbose=2)
    """
    seed, epochs = whole("seed", seed, at_least=0), whole("epochs", epochs, at_least=1)
    batch_size = whole("batch_size", batch_size, at_least=1)
    count = len(next(iter(arrays.values())))
    steps, one_bucket = -(-count // batch_size), np.zeros(count, np.int64)
    orders = [_epoch_order(one_bucket, batch_size, steps, np.random.default_rng([seed, e])) for e in range(epochs)]
    rows = [row for order in orders for row in order]
    indices = tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows])
    with tf.device("CPU"):  # A GPU need not hold all rows to be given some.
        held = {name: tf.constant(values) for name, values in arrays.items()}
    x = tf.data.Dataset.from_tensor_slices(indices).map(
        lambda row: {name: tf.gather(values, row) for name, values in held.items()}
    )
    return {"x": x.prefetch(tf.data.AUTOTUNE), "epochs": epochs, "steps_per_epoch": steps, "shuffle": False}


def dataset_of(
    generate: Callable[[], Iterator[dict[str, np.ndarray]]],
    sequences: Sequences,
    size: int | None,
    length: int | None,
    count: int,
    beside: Mapping[str, tf.TensorSpec] | None = None,
) -> tf.data.Dataset:
    """`count` batches of these sequences that a generator makes by `pad`, as a Dataset that knows their shapes.

    Args:
        size: B, where it is constant.
        length: T, where it is.
        beside: specs of what else the batches hold.
    """
    signature = {
        "x": tf.TensorSpec([size, length, sequences.features], tf.float32),
        "mask": tf.TensorSpec([size, length], tf.bool),
        **(beside or {}),
    }
    if sequences.u is not None:
        signature["u"] = tf.TensorSpec([size, length, sequences.inputs], tf.float32)
    if sequences.observed is not None:
        signature["observed"] = tf.TensorSpec([size, length, sequences.features], tf.bool)
    if sequences.context is not None:
        signature["context"] = tf.TensorSpec([size, sequences.covariates], tf.float32)
    if sequences.index is not None:
        signature["sequence_index"] = tf.TensorSpec([size], tf.int32)
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(sequences: Sequences, batch_size: int, *, drop_remainder: bool = False) -> int:
    """Batches per epoch: ceil(N / batch_size), or floor(N / batch_size) with `drop_remainder`.

    Raises:
        TypeError: `sequences` is no `Sequences`.
        ValueError: batch_size below 1, no sequence, or no full batch although the remainder is dropped.
    """
    if not isinstance(sequences, Sequences):
        raise TypeError(f"Expected Sequences, got {type(sequences).__name__}; use from_arrays() on arrays.")
    whole("batch_size", batch_size, at_least=1)
    count = sequences.num_sequences
    if count == 0:
        raise ValueError("There is no sequence to make batches of.")
    if not drop_remainder:
        return -(-count // batch_size)
    if count < batch_size:
        raise ValueError(
            f"drop_remainder=True needs at least one full batch of {batch_size} sequences; there are {count}."
        )
    return count // batch_size


def _epoch_order(
    bucket_of: np.ndarray, batch_size: int, steps: int, rng: np.random.Generator | None
) -> list[np.ndarray]:
    count = len(bucket_of)
    order = np.arange(count) if rng is None else rng.permutation(count)
    # Dropping before sorting by bucket: afterwards it would always be long sequences that are left out.
    order = order[: steps * batch_size]
    order = order[np.argsort(bucket_of[order], kind="stable")]
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return groups if rng is None else [groups[i] for i in rng.permutation(len(groups))]


def _buckets(lengths: np.ndarray, buckets: int) -> np.ndarray:
    bucket_of = np.empty(len(lengths), dtype=np.int64)
    for bucket, members in enumerate(np.array_split(np.argsort(lengths, kind="stable"), buckets)):
        bucket_of[members] = bucket
    return bucket_of


def epoch_numbers(epochs: int | Sequence[int]) -> list[int]:
    """The numbers of some epochs, given as a count or as they are; raises one ValueError for none or negative ones."""
    if isinstance(epochs, int | np.integer):
        epochs = range(epochs)
    numbers = [int(epoch) for epoch in epochs]
    if not numbers or min(numbers) < 0:
        raise ValueError(f"epochs must be at least 1, or a range from 0 on; got {epochs!r}.")
    return numbers
