"""What a server does that merges requests, by TensorFlow Serving's batching_session.cc: tensors of one name are joined
along their first axis, those that are shorter along others are padded with the first of their entries, and outputs are
cut along their first axis."""

from collections.abc import Sequence

import numpy as np

__all__ = ["merged", "parted"]

Arrays = dict[str, np.ndarray]


def merged(requests: Sequence[Arrays], size: int | None = None) -> Arrays:
    """Requests as one; `size` is an allowed batch size, up to which the first row is repeated."""
    found = {}
    for name in requests[0]:
        tensors = [np.asarray(request[name]) for request in requests]
        if any(tensor.ndim == 0 for tensor in tensors):
            raise ValueError(f"Batching Run() input tensors must have at least one dimension; {name} has none")
        shape = np.max([tensor.shape[1:] for tensor in tensors], axis=0).astype(int) if tensors[0].ndim > 1 else ()
        joined = np.concatenate([_padded(tensor, shape) for tensor in tensors])
        missing = max(0, (size or 0) - len(joined))
        found[name] = np.concatenate([joined, np.repeat(joined[:1], missing, axis=0)])
    rows = {name: len(value) for name, value in found.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"Batching Run() input tensors must have equal 0th-dimension size, got {rows}")
    return found


def parted(outputs: Arrays, sizes: Sequence[int]) -> list[Arrays]:
    """What each request gets, which had so many rows."""
    ends = np.cumsum(sizes)
    return [
        {name: value[end - size : end] for name, value in outputs.items()}
        for end, size in zip(ends, sizes, strict=True)
    ]


def _padded(tensor: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    full = np.full((len(tensor), *shape), tensor.flat[0], tensor.dtype)
    full[tuple(slice(n) for n in tensor.shape)] = tensor
    return full
