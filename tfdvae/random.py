"""Stateless randomness: every number follows from a seed, on every device, in every execution mode.

A model takes its noise as tensors that are drawn before its loop, so the same code runs eagerly, in a graph, under
XLA, in a SavedModel and in LiteRT. Seeds are int32 `[2]` tensors; `fold_in` derives new ones. Seeds `[N, 2]` are
one for each of N rows: what a row draws is what it would draw alone, whatever rows it stands among. A training step
folds the optimizer's iteration counter into the model's seed, which is why a resumed run continues as if never stopped.
"""

import contextlib
import contextvars
import math
import zlib
from collections.abc import Iterator

import tensorflow as tf

__all__ = [
    "dropout",
    "dropout_scope",
    "dropout_seed",
    "fold_in",
    "hiding_scope",
    "is_training",
    "make_seed",
    "normal",
    "replaced_frames",
    "replacement_scope",
    "rows_scope",
    "uniform",
    "unhidden",
]

_dropout_seed: contextvars.ContextVar[tf.Tensor | None] = contextvars.ContextVar("dropout_seed", default=None)
_replacement: contextvars.ContextVar[tuple[tf.Tensor, tf.Tensor] | None] = contextvars.ContextVar(
    "replacement", default=None
)
_hiding: contextvars.ContextVar[tuple[float, tf.Tensor] | None] = contextvars.ContextVar("hiding", default=None)
_rows: contextvars.ContextVar[tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None] = contextvars.ContextVar(
    "rows", default=None
)


def make_seed(seed: int) -> tf.Tensor:
    """An int32 `[2]` seed tensor from a Python integer."""
    return tf.constant([seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF], tf.int32)


def fold_in(seed: tf.Tensor, data: tf.Tensor | int | str) -> tf.Tensor:
    """A seed that follows from `seed` and a number or a name, and is independent of it for all practical purposes.

    Of seeds `[N, 2]` it makes as many, with one number for all of them or one for each, `[N]`.
    """
    if isinstance(data, str):
        data = zlib.crc32(data.encode()) & 0x7FFFFFFF
    data = tf.cast(data, tf.int32)
    if seed.shape.rank == 2:
        own = (seed, tf.broadcast_to(data, tf.shape(seed)[:1]))
        return tf.map_fn(lambda row: fold_in(*row), own, fn_output_signature=tf.TensorSpec([2], tf.int32))
    folded = tf.random.experimental.stateless_fold_in(seed, data)
    # XLA and TensorFlow widen negative seeds differently, and would draw different numbers from then on.
    return tf.bitwise.bitwise_and(folded, 0x7FFFFFFF)


def normal(seed: tf.Tensor, shape: tf.Tensor | list) -> tf.Tensor:
    """Standard normal noise: the same numbers, but for rounding, eagerly, in a graph and under XLA."""
    return tf.math.erfinv(_centred(seed, shape) * 2.0**-22) * math.sqrt(2.0)


def uniform(seed: tf.Tensor, shape: tf.Tensor | list) -> tf.Tensor:
    """Uniform noise strictly inside (0, 1): the logarithm of it, and of one minus it, is finite."""
    return _centred(seed, shape) * 2.0**-23 + 0.5


def _centred(seed: tf.Tensor, shape: tf.Tensor | list) -> tf.Tensor:
    """Whole numbers plus 1/2, uniform in (-2^22, 2^22).

    From the integers of Philox, which are the same everywhere: TensorFlow's kernels and XLA make different floats of
    them.
    """
    if seed.shape.rank == 2:
        own = tf.TensorSpec([n if isinstance(n, int) else None for n in shape[1:]], tf.float32)
        return tf.map_fn(lambda row: _centred(row, shape[1:]), seed, fn_output_signature=own)
    rows = _rows.get()
    bits = _bits(seed, shape) if rows is None else _bits_of_rows(seed, shape, *rows)
    return tf.cast(tf.bitwise.right_shift(bits, 9), tf.float32) + 0.5


def _bits(seed: tf.Tensor, shape: tf.Tensor | list) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")


def _bits_of_rows(
    seed: tf.Tensor, shape: tf.Tensor | list, own: tf.Tensor, before: tf.Tensor, total: tf.Tensor
) -> tf.Tensor:
    """The rows of this replica among what one process would draw for the global batch."""
    shape = tf.convert_to_tensor(shape, tf.int32)
    copies = shape[0] // own  # several paths of a sequence stand in adjacent rows
    drawn = _bits(seed, tf.concat([[copies * total], shape[1:]], axis=0))
    begin = tf.concat([[copies * before], tf.zeros_like(shape[1:])], axis=0)
    return tf.slice(drawn, begin, shape)


@contextlib.contextmanager
def rows_scope(own: tf.Tensor, before: tf.Tensor, total: tf.Tensor) -> Iterator[None]:
    """Within it the first axis of what is drawn is that of a replica's sequences, or of several paths of each in
    adjacent rows: `own` of `total`, with `before` of them on the replicas before. Each has the noise that it has in
    one process with all of them."""
    token = _rows.set((own, before, total))
    try:
        yield
    finally:
        _rows.reset(token)


@contextlib.contextmanager
def dropout_scope(seed: tf.Tensor | None) -> Iterator[None]:
    """Within it a model is being trained, and `dropout` drops; outside, or with None, it is the identity."""
    token = _dropout_seed.set(seed)
    try:
        yield
    finally:
        _dropout_seed.reset(token)


def dropout_seed() -> tf.Tensor | None:
    """The seed of the `dropout_scope` around this call; None outside of one."""
    return _dropout_seed.get()


def is_training() -> bool:
    """Whether this call is part of a training step: within a `dropout_scope` that has a seed.

    What Keras' layers get as `training`. Keras' own way to them leads through `Model.__call__`, which a training step
    on a bound does not take.
    """
    return dropout_seed() is not None


def dropout(x: tf.Tensor, rate: float, name: str, parts: tf.Tensor | int = 1) -> tf.Tensor:
    """Drops units of `x` `[B, F]` or `[B, T, F]`, the same ones at every frame of a sequence.

    One mask per sequence (Gal and Ghahramani 2016) is what recurrent models need, and it follows from the seed in
    scope and from `name` alone: an equation has the same value whether a loop evaluates it frame by frame or at once.
    Where a sequence stands in `parts` adjacent rows, they share its mask.
    """
    seed = _dropout_seed.get()
    if seed is None or rate == 0.0:
        return x
    batch, units = tf.shape(x)[0] // parts, x.shape[-1]
    shape = [batch, units] if x.shape.rank == 2 else [batch, *[1] * (x.shape.rank - 2), units]
    keep = uniform(fold_in(seed, name), shape) >= rate
    if not isinstance(parts, int) or parts > 1:
        keep = tf.reshape(tf.tile(keep[:, None], [1, parts, *[1] * (x.shape.rank - 1)]), [-1, *keep.shape[1:]])
    return tf.where(keep, x / tf.cast(1.0 - rate, x.dtype), tf.zeros([], x.dtype))


@contextlib.contextmanager
def replacement_scope(rate: tf.Tensor | None, seed: tf.Tensor) -> Iterator[None]:
    """Within it a model is fed its own output in place of that part of the frames; not where that is None."""
    token = _replacement.set(None if rate is None else (rate, seed))
    try:
        yield
    finally:
        _replacement.reset(token)


def replaced_frames(x: tf.Tensor) -> tf.Tensor | None:
    """Which frames of `[B, T, D]` to replace, `[B, T]` bool, drawn independently; None outside of a scope."""
    found = _replacement.get()
    return None if found is None else uniform(found[1], tf.shape(x)[:2]) < found[0]


@contextlib.contextmanager
def hiding_scope(rate: float, seed: tf.Tensor) -> Iterator[None]:
    """Within it that part of what was observed is hidden from a model's networks; not where it is 0."""
    token = _hiding.set((rate, seed) if rate else None)
    try:
        yield
    finally:
        _hiding.reset(token)


def unhidden(x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor | None:
    """Which entries of `[B, T, D]` networks may see: those that were observed, less what the scope hides of them,
    drawn independently. `observed` is None, and outside of a scope stays so, where everything was."""
    found = _hiding.get()
    if found is None:
        return observed
    kept = uniform(found[1], tf.shape(x)) >= found[0]
    return kept if observed is None else observed & kept
