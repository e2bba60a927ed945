"""Sequences as users hand them over, and what their shapes and types alone tell of them."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdvae.data.sequences import Sequences, pad
from tfdvae.layers.frame_shapes import flatten_frames
from tfdvae.types import Batch
from tfdvae.validation.ragged import padded

__all__ = [
    "Beside",
    "Sizes",
    "as_batch",
    "as_observed",
    "as_training_data",
    "check_beside_static",
    "check_static",
    "check_type",
    "flat",
    "index_allowed",
    "index_limit",
    "is_symbolic",
    "with_missing",
]

NO_TARGETS = "A DVAE models x itself: pass frames (or a dict with 'x', 'mask', 'u') and no y."


class Beside(NamedTuple):
    """What stands beside x in the dict of a batch, and is of training alone; each None where there is none.

    Attributes:
        sample_weight: of each sequence in the loss, `[B]`. It travels here since Keras drops weights without targets.
        sequence_index: which of the training sequences each is, whole numbers `[B]`, for models that learn something of
            each of them.
        continues: which sequences go on where the same row of the batch before ended, bool `[B]`; evaluation reads it
            too.
    """

    sample_weight: Any = None
    sequence_index: Any = None
    continues: Any = None


class Sizes(NamedTuple):
    """What a built model expects; None where anything goes.

    Attributes:
        frame_shape: of a frame, (D,) or (H, W, C).
        u_dim: U, 0 for no inputs.
        context_dim: C, 0 for no context.
        num_sequences: how many training sequences it learns something of by their index, 0 for none.
    """

    frame_shape: tuple[int, ...] | None = None
    u_dim: int | None = None
    context_dim: int | None = None
    num_sequences: int | None = None


def as_batch(x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> Batch:
    """A Batch from frames and what belongs to them, or from one dict of all that. Raises on any other key.

    Sequences of unequal lengths, as lists, ragged tensors or `tfdvae.data.Sequences`, are padded and masked, see
    `padded`.
    """
    if isinstance(x, Sequences):
        x = pad(x._replace(index=None))
    given = x if isinstance(x, Batch) else Batch(x, mask, u, observed, context)
    if isinstance(x, Mapping):
        known = Batch._fields[1:]
        if "x" not in x or set(x) - set(Batch._fields):
            optional, got = ", ".join(map(repr, known)), sorted(map(str, x))
            raise ValueError(f"Expected a dict with 'x' and optionally {optional}, got the keys {got}.")
        twice = [name for name in known if name in x and getattr(given, name) is not None]
        if twice:
            raise ValueError(f"Got {', '.join(twice)} twice: in the dict and as an argument.")
        given = Batch(x["x"], *(x.get(name, getattr(given, name)) for name in known))
    if given.x is None:
        raise ValueError("Expected frames of shape [batch, time, features], or a dict with 'x'; got None.")
    if hasattr(given.x, "columns"):
        raise ValueError(
            f"Expected frames of shape [batch, time, features], got a table ({type(given.x).__name__}): say by "
            "tfdvae.data.from_table(table, values, time=..., group=...) which columns are what, and pass that."
        )
    return padded(given)


def as_training_data(data: Any, sample_weight: Any = None) -> tuple[Batch, Beside]:
    """What `fit` and `evaluate` take, as a Batch and what stands beside it.

    Args:
        data: frames, or a dict with "x" and so on, which may hold "sample_weight", "sequence_index" and "continues"; or
            a tuple of that, None in place of targets, and weights: one batch of a Dataset, a generator or a PyDataset.
        sample_weight: of the sequences, where they are an argument of their own.

    Raises:
        ValueError: targets, weights that are given twice, unknown keys, or nothing at all.
    """
    x, targets, weights = data if type(data) is tuple and len(data) == 3 else (data, None, None)
    if type(data) is tuple and len(data) < 3:
        x, targets = (*data, None, None)[:2]
    elif type(data) is tuple and len(data) > 3:
        raise ValueError(f"{NO_TARGETS} Weights of sequences may follow, as (x, None, weights); got {len(data)} parts.")
    # In the element spec of a Dataset, None has a spec of its own, which is that of no tensor.
    if targets is not None and (hasattr(targets, "shape") or not isinstance(targets, tf.TypeSpec)):
        raise ValueError(NO_TARGETS)
    if isinstance(x, Sequences):
        x = pad(x)
    beside = Beside()
    if isinstance(x, Mapping):
        beside = Beside(**{name: x[name] for name in Beside._fields if name in x})
        x = {name: value for name, value in x.items() if name not in Beside._fields}
    weights = [w for w in (sample_weight, weights, beside.sample_weight) if w is not None]
    if len(weights) > 1:
        raise ValueError("Got `sample_weight` twice: the weights of sequences belong into one place.")
    return as_batch(x), beside._replace(sample_weight=weights[0] if weights else None)


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
    known = ~tf.math.is_nan(tf.cast(batch.x, tf.float32)) if symbolic else ~np.isnan(np.asarray(batch.x, np.float32))
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
    frame_shape, u_dim, context_dim, _ = sizes or Sizes()
    for name, value in batch._asdict().items():
        if value is not None:
            check_type(name, value)
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


def index_limit(sizes: Sizes | None) -> int:
    """What every "sequence_index" must be below: the number of sequences that a model has a place for, or, where that
    is not known, what int32 can hold."""
    return 2**31 if sizes is None or sizes.num_sequences is None else sizes.num_sequences


def index_allowed(index: Any, limit: int) -> Any:
    """Which entries of an array or a tensor of whole numbers are from 0 on and below the limit."""
    return (index >= 0) & (index < limit)


def check_beside_static(beside: Beside, batch: Batch, sizes: Sizes | None = None) -> None:
    """Raises ValueError where what stands beside a batch is not one number for each of its sequences, or where a model
    has no use for it."""
    for name, value in beside._asdict().items():
        if value is None:
            continue
        check_type(name, value)
        if not _agree(list(value.shape), list(batch.x.shape[:1])):
            what = {"sample_weight": "weight", "sequence_index": "index", "continues": "answer"}[name]
            raise ValueError(
                f"Expected `{name}` of shape [batch] = {list(batch.x.shape[:1])}, one {what} for each sequence; got "
                f"{list(value.shape)}."
            )
    if beside.continues is not None:
        kind = str(getattr(beside.continues.dtype, "name", beside.continues.dtype))
        if kind != "bool":
            raise ValueError(f"Expected `continues` of true and false, got {kind}.")
    index = beside.sequence_index
    if index is None:
        return
    kind = str(getattr(index.dtype, "name", index.dtype))
    if not kind.startswith(("int", "uint")):
        raise ValueError(f"Expected `sequence_index` of whole numbers, got {kind}.")
    if sizes is not None and sizes.num_sequences == 0:
        raise ValueError(
            "The model learns nothing of single training sequences: leave out `sequence_index`, or make a model that "
            "does, such as FHVAE(num_sequences=...) and FVAE(num_sequences=..., table=True)."
        )


def check_type(name: str, value: Any) -> None:
    """Raises ValueError for what is no dense array of real numbers, or of a shape that nobody knows."""
    if isinstance(value, tf.RaggedTensor | tf.RaggedTensorSpec | tf.SparseTensor | tf.SparseTensorSpec):
        raise ValueError(f"Expected `{name}` as a dense array (pad and mask ragged ones), got {type(value).__name__}.")
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise ValueError(f"Expected `{name}` as an array of numbers, got {type(value).__name__}.")
    kind = str(getattr(value.dtype, "name", value.dtype))
    if kind.startswith("complex"):
        raise ValueError(
            f"Expected `{name}` of real numbers, got {kind}, whose imaginary part would be lost: pass its absolute "
            "value, or real and imaginary part as features."
        )
    if not kind.startswith(("float", "bfloat", "int", "uint", "bool")):
        raise ValueError(f"Expected arrays of numbers, got `{name}` of type {kind}.")
    if getattr(value.shape, "rank", 0) is None:
        raise ValueError(
            f"The number of axes of `{name}` is not known: give a Dataset from a generator its `output_signature`, for "
            "frames tf.TensorSpec([None, None, features], tf.float32)."
        )


def _agree(a: list, b: list) -> bool:
    return len(a) == len(b) and all(m == n for m, n in zip(a, b, strict=True) if None not in (m, n))


def _check_width(what: str, of: str, value: Any, expected: int) -> None:
    got = 0 if value is None else value.shape[-1]
    if got != expected:
        wanted = f"{what} with {expected} {of}" if expected else f"no {what.removeprefix('a ')}"
        raise ValueError(f"The model was built for {wanted}, got {'none' if value is None else f'{got} {of}'}.")
