"""Distributions of whole numbers as an entropy coder takes them, in fixed point, and the stack that holds the code.

A coder's distributions must be the same integers where a file is read as where it was written. So every law here ends
in fixed point: probabilities are rounded to multiples of 2^-20 in float64 before the coder sees them, and masses of
bins are differences of a distribution function that the coder evaluates in float64 and rounds to multiples of 2^-24.
Equal float32 parameters then give equal integers, unless one of these numbers lies within float64's rounding of the
middle between two, which happens about once in a billion and where implementations of `exp` and `erf` differ alone.
That the parameters are equal is a matter of the model's arithmetic, see `tfdvae.codec`.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from tfdvae.data.files import import_extra

__all__ = ["Bins", "Classes", "Coins", "Law", "Stack", "Writer", "sigmoid", "softmax"]

FIXED_POINT = 1 << 20
"""Probabilities are multiples of one over this, and none is 0 or 1."""


class Coins(NamedTuple):
    """Independent numbers 0 and 1 by the probabilities of 1, `[N, D]`."""

    probability: np.ndarray

    def rows(self, index: np.ndarray) -> "Coins":
        """That of some of the N rows."""
        return Coins(self.probability[index])


class Classes(NamedTuple):
    """Independent numbers 0 to K - 1 by their probabilities, `[N, D, K]`; those of one number need not sum to one."""

    probability: np.ndarray

    def rows(self, index: np.ndarray) -> "Classes":
        """That of some of the N rows."""
        return Classes(self.probability[index])


class Bins(NamedTuple):
    """Independent whole numbers k by the mass of a normal distribution between k - 1/2 and k + 1/2.

    Attributes:
        mean, scale: `[N, D]`, in bins.
        most: `[D]`; k is at least -most and at most `most`, and the mass beyond is shared by all.
    """

    mean: np.ndarray
    scale: np.ndarray
    most: np.ndarray

    def rows(self, index: np.ndarray) -> "Bins":
        """That of some of the N rows."""
        return Bins(self.mean[index], self.scale[index], self.most)


Law = Coins | Classes | Bins


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)) in float64, without overflow."""
    small = np.exp(-np.abs(np.asarray(logits, np.float64)))
    return np.where(np.asarray(logits) >= 0.0, 1.0, small) / (1.0 + small)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities `[.., K]` in float64 of unnormalised logarithms `[.., K]`."""
    logits = np.asarray(logits, np.float64)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


class Stack:
    """Whole numbers on a stack of bits (asymmetric numeral systems, Duda 2013): the last one in is the first one out.

    Args:
        words: what lies on the stack at first, uint32 `[n]`, the top last; none by default.

    Raises:
        ImportError: the package `constriction` is not installed.
        ValueError: words that end in 0, as no stack does.
    """

    def __init__(self, words: np.ndarray | None = None) -> None:
        self._stream: ModuleType = import_extra("constriction", "Compressing sequences", "codec").stream
        words = np.zeros(0, np.uint32) if words is None else words
        self._coder = self._stream.stack.AnsCoder(np.ascontiguousarray(words, np.uint32))
        self.low = len(words)

    @property
    def words(self) -> np.ndarray:
        """All of it, uint32 `[n]`, the top last."""
        return self._coder.get_compressed()

    @property
    def bits(self) -> int:
        """How many bits lie on it."""
        return self._coder.num_valid_bits()

    def push(self, law: Law, values: np.ndarray) -> None:
        """Puts numbers `[N, D]` on the stack, so that `pop` of the same law gives them back."""
        given = np.asarray(values).astype(np.int32)
        if not given.size:
            return
        for columns, model, parameters in reversed(self._parts(law)):
            self._coder.encode_reverse(np.ascontiguousarray(given[:, columns]).reshape(-1), model, *parameters)

    def pop(self, law: Law) -> np.ndarray:
        """Takes numbers off the stack, int32 `[N, D]`; off bits that were not put there by this law they are a sample
        of it. What lies below the bottom is 0."""
        found = np.zeros(law[0].shape[:2], np.int32)
        if not found.size:
            return found
        for columns, model, parameters in self._parts(law):
            found[:, columns] = self._coder.decode(model, *parameters).reshape(len(found), -1)
        self.low = min(self.low, self._coder.num_words())
        return found

    def _parts(self, law: Law) -> list[tuple]:
        """What the coder takes at once: columns, its model, and parameters for each number."""
        kinds = self._stream.model
        if isinstance(law, Coins):
            fixed = np.clip(np.rint(law.probability * FIXED_POINT), 1, FIXED_POINT - 1) / FIXED_POINT
            return [(slice(None), kinds.Bernoulli(perfect=False), (fixed.reshape(-1),))]
        if isinstance(law, Classes):
            fixed = np.maximum(np.rint(law.probability * FIXED_POINT), 1.0)
            return [(slice(None), kinds.Categorical(perfect=False), (fixed.reshape(-1, fixed.shape[-1]),))]
        parts = []
        for most in np.unique(law.most).tolist():
            columns = np.flatnonzero(law.most == most)
            parameters = (np.asarray(p, np.float64)[:, columns].reshape(-1) for p in (law.mean, law.scale))
            parts.append((columns, kinds.QuantizedGaussian(-int(most), int(most)), tuple(parameters)))
        return parts


class Writer:
    """Numbers in the order in which a reader will want them, until they are put on a stack the other way round."""

    def __init__(self) -> None:
        self._kept: list[tuple[Law, np.ndarray]] = []

    def add(self, law: Law, values: np.ndarray) -> np.ndarray:
        """Keeps numbers `[N, D]`, and returns them."""
        self._kept.append((law, values))
        return values

    def flush(self, stack: Stack) -> None:
        """Puts all of them on the stack: the first that was added will be the first to come off it."""
        while self._kept:
            stack.push(*self._kept.pop())
