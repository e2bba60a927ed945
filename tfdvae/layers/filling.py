"""What stands in frames for what was not observed of them."""

import tensorflow as tf

from tfdvae import loop

__all__ = ["last_observed"]


def last_observed(x: tf.Tensor, observed: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """Each entry of `[B, T, D]`, or where it was not observed the last that was; `before` `[B, D]` where none was."""

    def frame(last: tf.Tensor, inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        x_t, observed_t = inputs
        last = tf.where(observed_t, x_t, last)
        return last, last

    return loop.scan(frame, before, (x, observed))[1]
