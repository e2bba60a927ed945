"""What stands in frames for what was not observed of them."""

from collections.abc import Callable

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
    length = tf.shape(x)[1]
    times = tf.zeros_like(x) + tf.cast(tf.range(length), x.dtype)[:, None]

    def newest(none: tf.Tensor, turn: Callable[[tf.Tensor], tf.Tensor]) -> list[tf.Tensor]:
        """The newest entry that was observed, and its time; `none` before the first."""
        both, known = (turn(tf.concat(pair, axis=-1)) for pair in ((x, times), (observed, observed)))
        before = tf.concat([blank[:, 0], tf.zeros_like(x[:, 0]) + none], axis=-1)
        return tf.split(turn(last_observed(both, known, before)), 2, axis=-1)

    end = tf.cast(length, x.dtype)
    before, since = newest(-1.0, tf.identity)
    after, until = newest(end, lambda y: tf.reverse(y, [1]))
    line = before + (times - since) / tf.maximum(until - since, 1.0) * (after - before)
    return tf.where(since < 0.0, tf.where(until < end, after, blank), tf.where(until < end, line, before))
