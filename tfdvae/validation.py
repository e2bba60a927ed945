"""Checks of what users hand in: one clear exception each, before any work is lost."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae.types import Batch

__all__ = ["as_batch", "check_arrays", "check_dataset", "check_static", "is_symbolic"]

_KEYS = ("x", "mask", "u")


def as_batch(inputs: Any) -> Batch:
    """A Batch from frames alone, or from a dict with "x" and perhaps "mask" and "u". Raises on any other key."""
    if isinstance(inputs, Batch):
        return inputs
    if not isinstance(inputs, Mapping):
        return Batch(inputs)
    unknown = sorted(set(inputs) - set(_KEYS))
    if unknown or "x" not in inputs:
        raise ValueError(f"Expected a dict with 'x' and optionally 'mask' and 'u', got the keys {sorted(inputs)}.")
    return Batch(*(inputs.get(k) for k in _KEYS))


def is_symbolic(*values: Any) -> bool:
    """Whether any of the values is a tensor without a value yet (inside a tf.function or a Keras graph)."""
    return any(isinstance(v, keras.KerasTensor) or (tf.is_tensor(v) and not hasattr(v, "numpy")) for v in values)


def check_static(x: Any, mask: Any, u: Any, x_dim: int | None = None, u_dim: int | None = None) -> None:
    """Ranks and sizes, as far as shapes tell; `x_dim`, `u_dim`: what a built model expects (u_dim 0: no inputs)."""
    shape = list(x.shape)
    if len(shape) != 3:
        raise ValueError(
            f"Expected frames of shape [batch, time, features], got shape {shape}. One sequence needs x[None]."
        )
    if shape[1] == 0 or shape[0] == 0 or shape[2] == 0:
        raise ValueError(f"Expected at least one sequence, one frame and one feature, got shape {shape}.")
    if x_dim is not None and shape[2] is not None and shape[2] != x_dim:
        raise ValueError(f"The model was built for frames of {x_dim} features, got {shape[2]} (shape {shape}).")
    for name, value, rank in (("mask", mask, 2), ("u", u, 3)):
        if value is None:
            continue
        other = list(value.shape)
        clash = len(other) != rank or any(
            a != b for a, b in zip(other[:2], shape[:2], strict=True) if None not in (a, b)
        )
        if clash:
            expected = "[batch, time]" if rank == 2 else "[batch, time, inputs]"
            raise ValueError(
                f"Expected `{name}` of shape {expected} = {shape[:2]} to fit x of shape {shape}, got {other}."
            )
    if u_dim is not None:
        got = 0 if u is None else u.shape[-1]
        if got != u_dim:
            wanted = f"inputs `u` with {u_dim} features" if u_dim else "no inputs `u`"
            raise ValueError(f"The model was built for {wanted}, got {'none' if u is None else f'{got} features'}.")


def check_arrays(x: Any, mask: Any = None, u: Any = None, x_dim: int | None = None, u_dim: int | None = None) -> Batch:
    """Checks arrays by value as well, and returns them as numpy arrays (float32, bool, float32).

    Raises:
        ValueError: wrong rank or size, no frame at all in some sequence, NaN or infinity where a frame exists.
    """
    try:
        x = np.asarray(x, np.float32)
        u = None if u is None else np.asarray(u, np.float32)
        mask = None if mask is None else np.asarray(mask)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"Expected arrays of numbers with equal lengths (pad and mask ragged ones): {error}"
        ) from error
    check_static(x, mask, u, x_dim, u_dim)
    if mask is not None:
        if not np.isin(mask, (0, 1)).all():
            raise ValueError("Expected a mask of booleans (or 0 and 1), got other values.")
        mask = mask.astype(bool)
        empty = np.flatnonzero(~mask.any(axis=1))
        if empty.size:
            raise ValueError(
                f"Every sequence needs a frame that exists; the mask is false everywhere in sequence {empty[0]}."
            )
    for name, value in (("x", x), ("u", u)):
        if value is None:
            continue
        bad = ~np.isfinite(value).all(axis=-1)
        bad = bad if mask is None else bad & mask
        if bad.any():
            b, t = np.argwhere(bad)[0]
            raise ValueError(
                f"`{name}` holds NaN or infinity at sequence {b}, frame {t} ({bad.sum()} such frames). "
                "Mask frames that do not exist; use `impute` for values that are missing."
            )
    return Batch(x, mask, u)


def check_dataset(dataset: tf.data.Dataset, x_dim: int | None = None, u_dim: int | None = None) -> tf.data.Dataset:
    """The dataset with the same checks made on each batch, on the host, while the model is busy with the one before.

    Raises ValueError at once for what the element spec tells, InvalidArgumentError while iterating for what the
    values tell.
    """
    check_static(*_first(dataset.element_spec), x_dim=x_dim, u_dim=u_dim)

    def check(*element: Any) -> Any:
        batch = _first(element if len(element) > 1 else element[0])
        with tf.control_dependencies(_value_checks(batch)):
            return tf.nest.map_structure(tf.identity, element if len(element) > 1 else element[0])

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _first(element: Any) -> Batch:
    return as_batch(element[0] if isinstance(element, tuple) else element)


def _value_checks(batch: Batch) -> list[tf.Operation]:
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
            bad = mask & ~tf.reduce_all(tf.math.is_finite(value), axis=-1)
            message = f"`{name}` holds NaN or infinity in frames that exist; (sequence, frame):"
            checks.append(tf.debugging.Assert(~tf.reduce_any(bad), [message, tf.where(bad)]))
    return checks
