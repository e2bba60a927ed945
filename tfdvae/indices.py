"""Which of the training sequences the rows of a batch are, for models that learn something of each of them.

An index is of training alone, as weights of sequences are: it travels beside the frames of a batch, and no verb asks
for it. So it reaches the equations through a scope, as dropout does, and no bound has to know of it.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

__all__ = ["index_scope", "indices_of"]

_index: contextvars.ContextVar[tf.Tensor | None] = contextvars.ContextVar("index", default=None)


@contextlib.contextmanager
def index_scope(index: tf.Tensor | None) -> Iterator[None]:
    """Within it the sequences of a batch are those of `index` `[B]`, int32; nobody knows which where that is None."""
    token = _index.set(index)
    try:
        yield
    finally:
        _index.reset(token)


def indices_of(rows: tf.Tensor) -> tf.Tensor | None:
    """The index of each row of `[B * K, ...]`, int32 `[B * K]`, where K paths of a sequence stand in adjacent rows;
    None outside of a scope."""
    index = _index.get()
    if index is None:
        return None
    copies = tf.shape(rows)[0] // tf.shape(index)[0]
    return tf.repeat(index, copies)
