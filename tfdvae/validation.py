"""Checks of what users hand in: one clear exception each, before any work is lost."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdvae.layers.frame_shapes import flatten_frames
from tfdvae.types import Batch

__all__ = [
    "Sizes",
    "as_batch",
    "as_observed",
    "check_arrays",
    "check_dataset",
    "check_static",
    "flat",
    "is_symbolic",
    "with_missing",
    "value_checks",
]


class Sizes(NamedTuple):
    """What a built model expects; None where anything goes.

    Attributes:
        frame_shape: of a frame, (D,) or (H, W, C).
        u_dim: U, 0 for no inputs.
        context_dim: C, 0 for no context.
    """

    frame_shape: tuple[int, ...] | None = None
    u_dim: int | None = None
    context_dim: int | None = None


def as_batch(x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> Batch:
    """A Batch from frames and what belongs to them, or from one dict of all that. Raises on any other key."""
    if isinstance(x, Batch):
        return x
    given = Batch(x, mask, u, observed, context)
    if not isinstance(x, Mapping):
        return given
    unknown = sorted(set(x) - set(Batch._fields))
    if unknown or "x" not in x:
        known = ", ".join(repr(name) for name in Batch._fields[1:])
        raise ValueError(f"Expected a dict with 'x' and optionally {known}, got the keys {sorted(x)}.")
    twice = [name for name in Batch._fields[1:] if name in x and getattr(given, name) is not None]
    if twice:
        raise ValueError(f"Got {', '.join(twice)} twice: in the dict and as an argument.")
    return Batch(x["x"], *(x.get(name, getattr(given, name)) for name in Batch._fields[1:]))


def is_symbolic(*values: Any) -> bool:
    """Whether any of the values is a tensor without a value yet (inside a tf.function or a Keras graph)."""
    return any(isinstance(v, keras.KerasTensor) or (tf.is_tensor(v) and not hasattr(v, "numpy")) for v in values)


def as_observed(observed: Any, x: Any, leading: int = 2) -> Any:
    """`observed`, given for each entry of x or for whole frames, for each entry.

    Args:
        leading: how many axes stand before those of a frame.

    Raises:
        ValueError: it has another shape.
    """
    shapes = [list(x.shape), list(x.shape[:leading])]
    got = list(observed.shape)
    if not any(_agree(got, shape) for shape in shapes):
        raise ValueError(
            f"Expected `observed` of shape {shapes[0]}, for each entry of x, or {shapes[1]}, for whole frames; got "
            f"{got}."
        )
    if len(got) == len(shapes[0]):
        return observed
    if tf.is_tensor(observed):
        whole = tf.reshape(observed, tf.concat([tf.shape(observed), [1] * (len(shapes[0]) - leading)], axis=0))
        return tf.ensure_shape(tf.broadcast_to(whole, tf.shape(x)), x.shape)
    return np.broadcast_to(observed.reshape(*got, *[1] * (len(shapes[0]) - leading)), x.shape)


def with_missing(batch: Batch, missing: str | None) -> Batch:
    """The batch, where `missing` is "nan" with NaN in x marked as not observed; arrays or tensors."""
    if missing is None:
        return batch
    symbolic = tf.is_tensor(batch.x)
    known = ~tf.math.is_nan(batch.x) if symbolic else ~np.isnan(np.asarray(batch.x, np.float32))
    if batch.observed is not None:
        observed = as_observed(batch.observed if symbolic else np.asarray(batch.observed), batch.x)
        known = known & (tf.cast(observed, tf.bool) if symbolic else observed.astype(bool))
    return batch._replace(observed=known)


def flat(batch: Batch, frame_shape: tuple[int, ...]) -> Batch:
    """The batch with frames as vectors `[B, T, D]`, and `observed` for each of their entries; arrays or tensors."""
    x, observed = batch.x, batch.observed
    if observed is not None:
        observed = as_observed(observed, x)
    if len(x.shape) == 2 + len(frame_shape) and len(frame_shape) > 1:
        if tf.is_tensor(x):
            x, observed = (None if y is None else flatten_frames(y, frame_shape) for y in (x, observed))
        else:
            shape = (*x.shape[:2], math.prod(frame_shape))
            x, observed = (None if y is None else y.reshape(shape) for y in (x, observed))
    return batch._replace(x=x, observed=observed)


def check_static(batch: Batch, sizes: Sizes | None = None) -> None:
    """Ranks and sizes, as far as shapes tell, of each other and of what a built model expects."""
    frame_shape, u_dim, context_dim = sizes or Sizes()
    shape = list(batch.x.shape)
    if len(shape) < 3:
        raise ValueError(
            f"Expected frames of shape [batch, time, features], got shape {shape}. One sequence needs x[None]."
        )
    if 0 in shape:
        raise ValueError(f"Expected at least one sequence, one frame and one feature, got shape {shape}.")
    if frame_shape is not None:
        expected = list(frame_shape)
        as_vectors = [math.prod(frame_shape)]
        if not any(_agree(shape[2:], s) for s in (expected, as_vectors)):
            wanted = f"{expected[0]} features" if len(expected) == 1 else f"shape {expected}"
            got = f"{shape[2]}" if len(shape) == 3 else f"{shape[2:]}"
            raise ValueError(f"The model was built for frames of {wanted}, got {got} (shape {shape}).")
    for name, rank in (("mask", 2), ("u", 3)):
        value = getattr(batch, name)
        if value is not None and (len(value.shape) != rank or not _agree(list(value.shape[:2]), shape[:2])):
            expected = "[batch, time]" if rank == 2 else "[batch, time, inputs]"
            raise ValueError(
                f"Expected `{name}` of shape {expected} = {shape[:2]} to fit x of shape {shape}, got "
                f"{list(value.shape)}."
            )
    if batch.context is not None:
        got = list(batch.context.shape)
        if len(got) != 2 or not _agree(got[:1], shape[:1]):
            raise ValueError(f"Expected `context` of shape [batch, entries], one row per sequence, got {got}.")
    if batch.observed is not None:
        as_observed(batch.observed, batch.x)
    if u_dim is not None:
        _check_width("inputs `u`", "features", batch.u, u_dim)
    if context_dim is not None:
        _check_width("a `context`", "entries", batch.context, context_dim)


def _agree(a: list, b: list) -> bool:
    return len(a) == len(b) and all(m == n for m, n in zip(a, b, strict=True) if None not in (m, n))


def _check_width(what: str, of: str, value: Any, expected: int) -> None:
    got = 0 if value is None else value.shape[-1]
    if got != expected:
        wanted = f"{what} with {expected} {of}" if expected else f"no {what.removeprefix('a ')}"
        raise ValueError(f"The model was built for {wanted}, got {'none' if value is None else f'{got} {of}'}.")


def check_arrays(batch: Batch, sizes: Sizes | None = None, missing: str | None = None) -> Batch:
    """Checks arrays by value as well, and returns them as numpy arrays (float32 and bool).

    Args:
        batch: what users handed over.
        sizes: what a built model expects.
        missing: "nan" lets NaN in x mean a value that was not observed.

    Raises:
        ValueError: wrong rank or size, no frame at all in some sequence, NaN or infinity where a frame exists and was
            observed.
    """
    try:
        x, u, context = (None if y is None else np.asarray(y, np.float32) for y in (batch.x, batch.u, batch.context))
        mask, observed = (None if y is None else np.asarray(y) for y in (batch.mask, batch.observed))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Expected arrays of numbers with equal lengths (pad and mask ragged ones): {error}"
        ) from error
    check_static(Batch(x, mask, u, observed, context), sizes)
    for name, value in (("mask", mask), ("observed", observed)):
        if value is not None and not np.isin(value, (0, 1)).all():
            article = "a mask" if name == "mask" else "`observed`"
            raise ValueError(f"Expected {article} of booleans (or 0 and 1), got other values.")
    if mask is not None:
        mask = mask.astype(bool)
        empty = np.flatnonzero(~mask.any(axis=1))
        if empty.size:
            raise ValueError(
                f"Every sequence needs a frame that exists; the mask is false everywhere in sequence {empty[0]}."
            )
    if observed is not None:
        observed = np.asarray(as_observed(observed.astype(bool), x))
    found = with_missing(Batch(x, mask, u, observed, context), missing)
    _check_finite(found)
    return found


def _check_finite(batch: Batch) -> None:
    for name, value in (("x", batch.x), ("u", batch.u)):
        if value is None:
            continue
        bad = ~np.isfinite(value)
        if name == "x" and batch.observed is not None:
            bad &= batch.observed
        bad = bad.reshape(*bad.shape[:2], -1).any(axis=-1)
        bad = bad if batch.mask is None else bad & batch.mask
        if bad.any():
            b, t = np.argwhere(bad)[0]
            raise ValueError(
                f"`{name}` holds NaN or infinity at sequence {b}, frame {t} ({bad.sum()} such frames). "
                "Mask frames that do not exist; say by `observed` which values are missing, or make the model with "
                "missing='nan'."
            )
    if batch.context is not None and not np.isfinite(batch.context).all():
        row = np.argwhere(~np.isfinite(batch.context))[0][0]
        raise ValueError(
            f"`context` holds NaN or infinity at sequence {row}: give what is not known a value of its own."
        )


def check_dataset(dataset: tf.data.Dataset, sizes: Sizes | None = None, missing: str | None = None) -> tf.data.Dataset:
    """The dataset with the same checks made on each batch, on the host, while the model is busy with the one before.

    Raises ValueError at once for what the element spec tells, InvalidArgumentError while iterating for what the
    values tell.
    """
    check_static(_first(dataset.element_spec), sizes)

    def check(*element: Any) -> Any:
        batch = with_missing(_first(element if len(element) > 1 else element[0]), missing)
        with tf.control_dependencies(value_checks(batch)):
            return tf.nest.map_structure(tf.identity, element if len(element) > 1 else element[0])

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _first(element: Any) -> Batch:
    return as_batch(element[0] if isinstance(element, tuple) else element)


def value_checks(batch: Batch) -> list[tf.Operation]:
    """Assertions on the values of a batch of tensors."""
    mask = tf.ones(tf.shape(batch.x)[:2], tf.bool) if batch.mask is None else tf.cast(batch.mask, tf.bool)
    checks = [
        tf.debugging.Assert(
            tf.reduce_all(tf.reduce_any(mask, axis=1)),
            [
                "Every sequence needs a frame that exists; shape of the mask, and frames per sequence:",
                tf.shape(mask),
                tf.math.count_nonzero(mask, 1),
            ],
        )
    ]
    for name, value in (("x", batch.x), ("u", batch.u)):
        if value is not None and value.dtype.is_floating:
            bad = ~tf.math.is_finite(value)
            if name == "x" and batch.observed is not None:
                bad &= as_observed(tf.cast(batch.observed, tf.bool), value)
            bad = mask & tf.reduce_any(bad, axis=list(range(2, value.shape.rank)))
            message = f"`{name}` holds NaN or infinity in frames that exist; (sequence, frame):"
            checks.append(tf.debugging.Assert(~tf.reduce_any(bad), [message, tf.where(bad)]))
    if batch.context is not None and batch.context.dtype.is_floating:
        finite = tf.reduce_all(tf.math.is_finite(batch.context))
        checks.append(tf.debugging.Assert(finite, ["`context` holds NaN or infinity."]))
    return checks
