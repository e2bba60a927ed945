"""Checks of what verbs take beside sequences: inputs of one frame, noise, latents, contexts, states."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae.layers.frame_shapes import flatten_frames
from tfdvae.validation.batches import as_observed, check_type, is_symbolic
from tfdvae.validation.graphs import after, finite_check
from tfdvae.validation.values import Support

__all__ = ["as_rows", "check_state", "check_state_values", "finite", "one_frame", "same_rows"]


def as_rows(
    name: str, value: Any, shape: Sequence[int | None], batch: int | None = None, *, uniform: bool = False
) -> tf.Tensor:
    """A tensor of one row for each sequence, float32 `[B, *shape]`.

    Args:
        name: of the argument, for the message.
        value: an array or a tensor.
        shape: of a row, None for a size that is free.
        batch: B, where it is known.
        uniform: whether numbers must be from 0 to 1.

    Raises:
        ValueError: another type or shape, NaN, infinity, or uniform noise outside of its range.
    """
    value = _checked_type(name, value)
    got = list(value.shape)
    fits = len(got) == 1 + len(shape) and all(None in (m, n) or m == n for m, n in zip(got[1:], shape, strict=True))
    if not fits:
        wanted = ", ".join(["batch", *("any" if n is None else str(n) for n in shape)])
        raise ValueError(f"Expected `{name}` of shape [{wanted}], got {got}.")
    if None not in (batch, got[0]) and got[0] != batch:
        raise ValueError(f"Expected `{name}` for {batch} sequences, got {got[0]} rows.")
    return finite(name, tf.cast(value, tf.float32), uniform=uniform)


def finite(name: str, value: tf.Tensor, *, uniform: bool = False) -> tf.Tensor:
    """The tensor, float32 of any shape, once it is known to hold neither NaN nor infinity; within a graph by assertion.

    Args:
        uniform: whether numbers must be from 0 to 1 as well.

    Raises:
        ValueError: it does.
    """
    if isinstance(value, keras.KerasTensor):
        return value
    if is_symbolic(value):
        return after([finite_check(name, value)], value)
    numbers = value.numpy()
    if not np.isfinite(numbers).all():
        raise ValueError(f"`{name}` holds NaN or infinity.")
    if uniform and numbers.size and (numbers.min() < 0.0 or numbers.max() > 1.0):
        raise ValueError(
            f"`{name}` is uniform noise from 0 to 1, got values between {numbers.min():.6g} and {numbers.max():.6g}."
        )
    return value


def same_rows(**given: Any) -> int | None:
    """B of tensors by name, None where there are none or it is not known.

    Raises:
        ValueError: they are for different numbers of sequences.
    """
    sizes = {name: value.shape[0] for name, value in given.items() if value is not None}
    known = {name: size for name, size in sizes.items() if size is not None}
    if len(set(known.values())) > 1:
        told = ", ".join(f"`{name}` for {size}" for name, size in known.items())
        raise ValueError(f"Expected all arguments for the same number of sequences, got {told}.")
    return next(iter(known.values()), None)


def one_frame(
    x: Any, observed: Any, frame_shape: tuple[int, ...], missing: str | None, support: Support
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """One frame of each sequence and what of it was observed, as vectors `[B, D]`; zero where nothing was.

    Args:
        x: `[B, *frame_shape]`.
        observed: `[B]` or as x, None where everything was.
        missing: "nan" lets NaN in x mean a value that was not observed.
        support: says which values x may have.

    Raises:
        ValueError: another shape or type, NaN, infinity, or a value that the observation cannot explain.
    """
    x = tf.cast(_checked_type("x", x), tf.float32)
    if x.shape.rank != 1 + len(frame_shape) or tuple(x.shape[1:]) != frame_shape:
        shape = ", ".join(map(str, frame_shape))
        raise ValueError(f"Expected one frame [batch, {shape}] per step, got shape {x.shape}.")
    if observed is not None:
        observed = _checked_type("observed", observed)
        if not is_symbolic(observed) and not np.isin(observed.numpy(), (0, 1)).all():
            raise ValueError("Expected `observed` of booleans (or 0 and 1), got other values.")
        observed = as_observed(tf.cast(observed, tf.bool), x, 1)
    if missing == "nan":
        known = ~tf.math.is_nan(x)
        observed = known if observed is None else observed & known
    if observed is not None:
        x, observed = tf.where(observed, x, 0.0), flatten_frames(observed, frame_shape)
    x = flatten_frames(x, frame_shape)
    if is_symbolic(x, observed):
        wrong = ~(tf.math.is_finite(x) & support.supported(x))
        wrong = tf.reduce_any(wrong if observed is None else wrong & observed)
        message = f"The frame holds NaN or infinity, or values that cannot be: {support.support}."
        return after([tf.debugging.Assert(~wrong, [message])], x), observed
    values = x.numpy()
    if not np.isfinite(values).all():
        raise ValueError(
            "The frame holds NaN or infinity. Where values are missing, say so by `observed`; where a whole frame "
            "is, `generate_step` moves time on without it."
        )
    support.validate(values, None if observed is None else observed.numpy())
    return x, observed


def check_state(state: Any, template: Any, batch: int | None = None) -> tuple[Any, int | None]:
    """A streaming state as tensors of the model's own types, and its B.

    Args:
        state: a nest of tensors or arrays `[B, .]`.
        template: a state of the same model for one sequence.
        batch: B of what comes with the state, where it is known.

    Raises:
        ValueError: other entries, an entry of another shape, of no real numbers, or of NaN.
    """
    try:
        tf.nest.assert_same_structure(state, template, check_types=False)
    except (ValueError, TypeError):
        got = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"Expected a state of this model, from `initial_state`, `step` or `generate_step`, with the entries "
            f"{sorted(template)}; got {got}."
        ) from None
    sizes, tensors = {}, []
    for expected, (path, value) in zip(tf.nest.flatten(template), keras.tree.flatten_with_path(state), strict=True):
        name = f"state[{']['.join(map(repr, path))}]"
        if not hasattr(value, "shape") or list(value.shape)[1:] != list(expected.shape)[1:]:
            wanted = ", ".join(["batch", *map(str, expected.shape[1:])])
            raise ValueError(f"Expected `{name}` of shape [{wanted}], got {list(getattr(value, 'shape', ()))}.")
        sizes[name] = value.shape[0]
        value = _checked_type(name, value)
        tensors.append(tf.cast(value, expected.dtype))
        check_state_values(name, value if expected.dtype.is_bool else tensors[-1])  # NaN is true as a boolean
    if batch is not None:
        sizes = {"what comes with the state": batch, **sizes}
    known = {name: size for name, size in sizes.items() if size is not None}
    if len(set(known.values())) > 1:
        first, *rest = known.items()
        name, size = next(item for item in rest if item[1] != first[1])
        raise ValueError(f"Expected a state for the {first[1]} sequences of {first[0]}, got {size} rows in `{name}`.")
    return tf.nest.pack_sequence_as(template, tensors), next(iter(known.values()), None)


def check_state_values(name: str, value: Any) -> None:
    """Raises ValueError for NaN or infinity in an entry of a state, where it has values."""
    if is_symbolic(value):
        return
    numbers = np.asarray(value)
    if numbers.dtype.kind == "V":  # bfloat16
        numbers = numbers.astype(np.float32)
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise ValueError(
            f"`{name}` holds NaN or infinity: the state was spoiled before this step. Begin again with `initial_state`."
        )


def _checked_type(name: str, value: Any) -> tf.Tensor:
    """The value as a tensor of its own type, which must be one of real numbers."""
    if not hasattr(value, "dtype"):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"Expected `{name}` as an array of numbers: {error}") from error
    check_type(name, value)
    return tf.convert_to_tensor(value)
