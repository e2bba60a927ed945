"""What stands in frames for what was not observed of them."""

import tensorflow as tf

from tfdvae import loop

__all__ = ["between_neighbours", "last_observed"]


def last_observed(x: tf.Tensor, observed: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """Each entry of `[B, T, D]`, or where it was not observed the last that was; `before` `[B, D]` where none was."""

    def frame(last: tf.Tensor, inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        x_t, observed_t = inputs
        last = tf.where(observed_t, x_t, last)
        return last, last

    return loop.scan(frame, before, (x, observed))[1]


def between_neighbours(x: tf.Tensor, observed: tf.Tensor, blank: tf.Tensor) -> tf.Tensor:
    """Each entry of `[B, T, D]`, or where it was not observed the point at its time on the straight line between the
    nearest ones before and after it that were. Where there is one on one side alone it holds; `blank` `[B, T, D]` where
    there is none at all."""
    before, since = _nearest(x, observed, blank[:, 0])
    backward = [tf.reverse(y, [1]) for y in (x, observed)]
    after, until = (tf.reverse(y, [1]) for y in _nearest(*backward, blank[:, 0]))
    line = before + since / tf.maximum(since + until, 1.0) * (after - before)
    return tf.where(since < 0.0, tf.where(until < 0.0, blank, after), tf.where(until < 0.0, before, line))


def _nearest(x: tf.Tensor, observed: tf.Tensor, before: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The newest entry that was observed, and how many frames ago that was; `before` and -1 where none was yet."""

    def frame(state: tuple[tf.Tensor, tf.Tensor], inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple:
        (last, since), (x_t, observed_t) = state, inputs
        since = tf.where(observed_t, 0.0, tf.where(since < 0.0, since, since + 1.0))
        state = tf.where(observed_t, x_t, last), since
        return state, state

    return loop.scan(frame, (before, tf.zeros_like(before) - 1.0), (x, observed))[1]
