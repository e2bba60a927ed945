"""Sequences of unequal lengths, as lists or as a `tf.RaggedTensor`: padded behind their last frame and masked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.types import Batch

__all__ = ["padded"]

SERIES = {"x": 0.0, "mask": False, "u": 0.0, "observed": False}
"""What has a time axis, and what stands in the padding."""


def padded(batch: Batch) -> Batch:
    """The batch as arrays `[B, T, ...]` of the longest sequence, with a mask, where x has unequal lengths.

    Everything else of the batch that has a time axis must have the lengths of x, in the same form. A batch of equal
    lengths comes back as it is, ragged tensors as arrays.

    Raises:
        ValueError: lengths that are not those of x, or frames of different shapes.
    """
    lengths = _lengths(batch.x)
    if lengths is None:
        return batch
    if len(set(lengths)) == 1:
        ragged = {name: y for name in SERIES if isinstance(y := getattr(batch, name), tf.RaggedTensor)}
        return batch._replace(**{name: _padded(name, y, lengths, SERIES[name]) for name, y in ragged.items()})
    found = {name: _padded(name, getattr(batch, name), lengths, fill) for name, fill in SERIES.items()}
    exists = np.arange(max(lengths)) < np.array(lengths)[:, None]
    mask = exists if found["mask"] is None else exists & (found["mask"] != 0)
    return batch._replace(**{**found, "mask": mask})


def _lengths(value: Any) -> list[int] | None:
    """The length of each sequence, where they are given one by one; None where they are one array or tensor."""
    if isinstance(value, tf.RaggedTensor):
        return value.row_lengths().numpy().tolist() if tf.executing_eagerly() else None
    try:
        alone = isinstance(value, list | tuple) and value and all(np.ndim(one) >= 2 for one in value)
    except ValueError:  # frames of several widths, which are no array
        return None
    return [len(one) for one in value] if alone else None


def _padded(name: str, value: Any, lengths: Sequence[int], fill: float | bool) -> np.ndarray | None:
    """One entry of a batch as an array `[B, T, ...]`."""
    if value is None:
        return None
    try:
        rows = [np.asarray(row.to_tensor() if isinstance(row, tf.RaggedTensor) else row) for row in value]
    except ValueError:
        raise ValueError(f"Expected frames of one shape in every sequence; `{name}` has several in one.") from None
    got = [len(row) if row.ndim else 0 for row in rows]
    if got != list(lengths):
        raise ValueError(f"Expected `{name}` of the lengths of the sequences in x, {list(lengths)}; got {got}.")
    shapes = sorted({row.shape[1:] for row in rows})
    if len(shapes) > 1:
        raise ValueError(f"Expected frames of one shape in every sequence; `{name}` has {', '.join(map(str, shapes))}.")
    found = np.full((len(rows), max(lengths), *shapes[0]), fill, np.result_type(*rows))
    for place, row in zip(found, rows, strict=True):
        place[: len(row)] = row
    return found
