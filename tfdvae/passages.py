"""Sequences that go on from batch to batch: the state after one window of frames, for the window that follows on it.

A day of audio fits into no graph. Cut into windows, it is trained by backpropagation that is truncated at their borders
(Williams and Peng 1990): the state passes from one batch to the next, its gradient does not. A carried state is of
training and evaluation alone, so it reaches the equations through a scope, as dropout does, and no bound knows of it.
"""

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf

from tfdvae.types import State

__all__ = ["Carried", "Passage", "passage_scope", "present_passage"]


class Passage:
    """The way of one batch from the states before its frames to those after them.

    Args:
        before: the states after the batch before, `[P, .]` each, P at least 1.
        known: how many of these rows are of that batch, int32 [].
        continues: which rows follow on the same row of that batch, bool `[B]`; the others begin anew.

    Attributes:
        after: the states after the frames of this batch, once a model has told them.
    """

    def __init__(self, before: State, known: tf.Tensor, continues: tf.Tensor) -> None:
        self.before = before
        self.known = known
        self.continues = continues
        self.after: State | None = None
        self._anew: State | None = None

    def start(self, state: State) -> State:
        """The state before the first frame of each row, of which `state` is that of a new sequence."""
        self._anew = state
        rows = tf.range(tf.shape(self.continues)[0])
        lost = self.continues & (rows >= self.known)
        told = "`continues` is true for rows that the batch before did not have, which had"
        check = tf.debugging.Assert(~tf.reduce_any(lost), [told, self.known, self.continues])
        # Eagerly it has run already, and is no operation.
        with tf.control_dependencies([] if check is None else [check]):
            places = tf.minimum(rows, tf.maximum(self.known, 1) - 1)
        follows = self.continues & ~lost  # XLA drops assertions

        def choose(before: tf.Tensor, anew: tf.Tensor) -> tf.Tensor:
            goes_on = tf.reshape(follows, [-1, *[1] * (anew.shape.rank - 1)])
            return tf.ensure_shape(tf.where(goes_on, tf.gather(before, places), anew), anew.shape)

        return tf.nest.map_structure(choose, self.before, state)

    def sound_after(self) -> State:
        """`after`, where it is finite; rows that are not begin anew."""

        def finite(y: tf.Tensor) -> tf.Tensor:
            if not y.dtype.is_floating:
                return tf.ones(tf.shape(y)[:1], tf.bool)
            return tf.reduce_all(tf.math.is_finite(y), axis=list(range(1, y.shape.rank)))

        sound = tf.reduce_all(tf.stack([finite(y) for y in tf.nest.flatten(self.after)]), axis=0)
        return tf.nest.map_structure(
            lambda y, anew: tf.where(tf.reshape(sound, [-1, *[1] * (y.shape.rank - 1)]), y, anew),
            self.after,
            self._anew,
        )


class Carried:
    """Variables for the states after the last batch; kept out of a model's saved state, since a file knows no data to
    go on with.

    Args:
        state: that of P new sequences, `[P, .]` each: as many as a batch may have that is followed on.
    """

    def __init__(self, state: State) -> None:
        self.size = int(tf.nest.flatten(state)[0].shape[0])
        self.rows = tf.Variable(0, trainable=False, name="carried_rows")
        self.states = tf.nest.map_structure(lambda y: tf.Variable(y, trainable=False, name="carried"), state)

    def reset(self) -> None:
        """Forgets them, so that no row can go on."""
        self.rows.assign(0)

    def take(self, other: "Carried") -> None:
        """Remembers what another one does that is not larger."""
        tf.nest.map_structure(lambda mine, y: mine[: other.size].assign(y), self.states, other.states)
        self.rows.assign(other.rows)

    def passage(self, continues: tf.Tensor) -> Passage:
        """The way on from here."""
        before = tf.nest.map_structure(tf.convert_to_tensor, self.states)
        return Passage(before, tf.convert_to_tensor(self.rows), continues)

    def keep(self, passage: Passage) -> None:
        """Remembers the states after a batch: those of its first P rows, if it has more."""
        rows = tf.shape(passage.continues)[0]
        places = tf.minimum(tf.range(self.size), rows - 1)
        after = passage.sound_after()
        tf.nest.map_structure(lambda variable, y: variable.assign(tf.gather(y, places)), self.states, after)
        self.rows.assign(tf.minimum(rows, self.size))


_passage: contextvars.ContextVar[Passage | None] = contextvars.ContextVar("passage", default=None)


@contextlib.contextmanager
def passage_scope(passage: Passage | None) -> Iterator[None]:
    """Within it the rows of a batch go on where the passage says so; all begin anew where that is None."""
    token = _passage.set(passage)
    try:
        yield
    finally:
        _passage.reset(token)


def present_passage() -> Passage | None:
    """That of the scope around this call; None outside of one."""
    return _passage.get()
