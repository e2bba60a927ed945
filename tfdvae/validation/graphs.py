"""The same checks where there are no values yet: assertions in graphs, of Datasets, tf.functions and signatures."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.observations.values import REAL
from tfdvae.types import Batch
from tfdvae.validation.batches import (
    Sizes,
    as_observed,
    as_training_data,
    check_beside_static,
    check_static,
    flat,
    index_allowed,
    index_limit,
    with_missing,
)
from tfdvae.validation.sources import named
from tfdvae.validation.values import Support

__all__ = ["after", "check_dataset", "finite_check", "sound_rows", "value_checks"]


def check_dataset(
    dataset: tf.data.Dataset, sizes: Sizes | None = None, missing: str | None = None, support: Support | None = None
) -> tf.data.Dataset:
    """The dataset with the same checks made on each batch, on the host, while the model is busy with the one before.

    Its elements become dicts with "x" and what else there is, "sample_weight" and "sequence_index" included.

    Raises ValueError at once for what the element spec tells, InvalidArgumentError while iterating for what the
    values tell.
    """
    batch, beside = as_training_data(dataset.element_spec)
    check_static(batch, sizes)
    check_beside_static(beside, batch, sizes)

    # Nothing here branches on values, and AutoGraph warns of syntax that it does not know.
    @tf.autograph.experimental.do_not_convert
    def check(*element: Any) -> dict[str, tf.Tensor]:
        batch, beside = as_training_data(element if len(element) > 1 else element[0])
        shape = (sizes and sizes.frame_shape) or tuple(batch.x.shape[2:])
        checks = [_checks_where_needed(with_missing(batch, missing), support, shape)]
        if beside.sample_weight is not None:
            given = tf.cast(beside.sample_weight, tf.float32)
            allowed = tf.reduce_all(tf.math.is_finite(given) & (given >= 0.0))
            checks.append(tf.debugging.Assert(allowed, ["`sample_weight` must be finite and not negative, got", given]))
        if beside.sequence_index is not None:
            given = tf.cast(beside.sequence_index, tf.int64)
            limit = index_limit(sizes)
            allowed = tf.reduce_all(index_allowed(given, limit))
            told = [f"`sequence_index` must be from 0 to {limit - 1}, got", given]
            checks.append(tf.debugging.Assert(allowed, told))
        return after(checks, named(batch, beside))

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def after(checks: list, tensors: Any) -> Any:
    """The tensors, once the checks have passed: what bad values would break later on is not reached."""
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.nest.map_structure(lambda y: None if y is None else tf.identity(y), tensors)


def value_checks(
    batch: Batch, support: Support | None = None, frame_shape: tuple[int, ...] | None = None
) -> list[tf.Operation]:
    """Assertions on the values of a batch of tensors.

    Args:
        batch: of any types that a model takes.
        support: says which values x may have; None allows all that are finite.
        frame_shape: of x, where frames are no vectors.
    """
    return [tf.debugging.Assert(~tf.reduce_any(bad), data) for bad, data in _faults(batch, support, frame_shape)]


def _checks_where_needed(batch: Batch, support: Support | None, frame_shape: tuple[int, ...]) -> tf.Tensor:
    """The assertions of `value_checks`, made only where a cheaper look at the batch has not settled that all is well.

    To say which value of which frame is wrong takes three times as long as to see that none is, and a Dataset is asked
    at every step.
    """

    def look_closely() -> tf.Tensor:
        with tf.control_dependencies(value_checks(batch, support, frame_shape)):
            return tf.constant(True)

    return tf.cond(_surely_sound(batch, support, frame_shape), lambda: tf.constant(True), look_closely)


def _surely_sound(batch: Batch, support: Support | None, frame_shape: tuple[int, ...]) -> tf.Tensor:
    """Whether nothing is wrong with a batch, frames that do not exist included; false says nothing. Scalar bool."""
    settled = []
    observed = None if batch.observed is None else as_observed(tf.cast(batch.observed, tf.bool), batch.x)
    for value in (batch.mask, batch.observed):
        if value is not None and value.dtype != tf.bool:
            settled.append((value == tf.zeros([], value.dtype)) | (value == tf.ones([], value.dtype)))
    if batch.mask is not None:
        settled.append(tf.reduce_any(tf.cast(batch.mask, tf.bool), axis=1))
    bounded = False
    if support is not None and tuple(support.values) != (REAL,):
        frames = flat(Batch(tf.cast(batch.x, tf.float32), None, None, observed), frame_shape)
        settled.append(support.supported(frames.x, frames.observed))
        bounded = all(np.isfinite((values.low, values.high)).all() for values in support.values)
    for value in (None if bounded else batch.x, batch.u, batch.context):
        if value is not None and value.dtype.is_floating:
            settled.append(tf.math.is_finite(tf.cast(value, tf.float32)))
    found = tf.constant(True)
    for one in settled:
        found &= tf.reduce_all(one)
    return found


def sound_rows(batch: Batch, support: Support | None = None, frame_shape: tuple[int, ...] | None = None) -> tf.Tensor:
    """Which sequences `value_checks` would let pass, `[B]`: for callers whose batch has sequences of others in it."""
    faults = [bad for bad, _ in _faults(batch, support, frame_shape)]
    return ~tf.reduce_any([tf.reduce_any(bad, axis=list(range(1, bad.shape.rank))) for bad in faults], axis=0)


def _faults(
    batch: Batch, support: Support | None, frame_shape: tuple[int, ...] | None
) -> Iterator[tuple[tf.Tensor, list]]:
    """What may be wrong with a batch: where it is, with an axis of sequences first, and what an assertion says."""
    for name in ("mask", "observed"):
        value = getattr(batch, name)
        if value is not None and value.dtype != tf.bool:
            allowed = (value == tf.zeros([], value.dtype)) | (value == tf.ones([], value.dtype))
            what = "a mask" if name == "mask" else "`observed`"
            yield ~allowed, [f"Expected {what} of booleans (or 0 and 1), got", value]
    mask = tf.ones(tf.shape(batch.x)[:2], tf.bool) if batch.mask is None else tf.cast(batch.mask, tf.bool)
    yield (
        ~tf.reduce_any(mask, axis=1),
        [
            "Every sequence needs a frame that exists; shape of the mask, and frames per sequence:",
            tf.shape(mask),
            tf.math.count_nonzero(mask, 1),
        ],
    )
    observed = None if batch.observed is None else as_observed(tf.cast(batch.observed, tf.bool), batch.x)
    for name, value in (("x", batch.x), ("u", batch.u)):
        if value is not None and value.dtype.is_floating:
            # As the model will see it: what float32 cannot hold is infinite there.
            bad = ~tf.math.is_finite(tf.cast(value, tf.float32))
            if name == "x" and observed is not None:
                bad &= observed
            bad = mask & tf.reduce_any(bad, axis=list(range(2, value.shape.rank)))
            yield bad, [f"`{name}` holds NaN or infinity in frames that exist; (sequence, frame):", tf.where(bad)]
    if batch.context is not None and batch.context.dtype.is_floating:
        yield ~tf.math.is_finite(tf.cast(batch.context, tf.float32)), ["`context` holds NaN or infinity."]
    if support is not None and tuple(support.values) != (REAL,):
        shape = frame_shape or tuple(batch.x.shape[2:])
        frames = flat(Batch(tf.cast(batch.x, tf.float32), None, None, observed), shape)
        finite, seen = tf.math.is_finite(frames.x), frames.observed
        known = finite if seen is None else finite & seen
        bad = known & ~support.supported(tf.where(known, frames.x, tf.zeros([], frames.x.dtype)), seen)
        # What is not finite has a message of its own, and it would be chance which of the two comes first.
        whole = tf.reduce_all(finite if seen is None else finite | ~seen, axis=-1)
        bad = mask & whole & tf.reduce_any(bad, axis=-1)
        yield bad, [f"`x` holds values that cannot be: {support.support}; (sequence, frame):", tf.where(bad)]


def finite_check(name: str, value: tf.Tensor) -> tf.Operation:
    """Asserts that a tensor of any shape holds neither NaN nor infinity."""
    finite = tf.reduce_all(tf.math.is_finite(tf.cast(value, tf.float32)))
    return tf.debugging.Assert(finite, [f"`{name}` holds NaN or infinity."])
