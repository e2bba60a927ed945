"""Adam's eager update of a variable by the one operation that TensorFlow has for it.

Keras writes it as two dozen, each of which costs as much as one when it runs eagerly: a third of an eager train step.
The formula is the same (`tests/contract/test_training.py` compares them), and graphs have Keras' own operations, so
tests of what we train need not wait for it.
"""

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["original", "replace", "update_step"]

original = keras.optimizers.Adam.update_step
"""Keras' own."""


def replace() -> None:
    """Optimizers of type Adam update variables so from now on, in this process."""
    keras.optimizers.Adam.update_step = update_step


@functools.lru_cache(maxsize=64)
def _constants(beta_1: float, beta_2: float, epsilon: float, step: int) -> dict[str, tf.Tensor]:
    one, two = np.float32(beta_1), np.float32(beta_2)
    powers = {"beta1_power": one ** np.float32(step), "beta2_power": two ** np.float32(step)}
    given = {**powers, "beta1": one, "beta2": two, "epsilon": epsilon}
    return {name: tf.constant(value, tf.float32) for name, value in given.items()}


def update_step(self: keras.optimizers.Adam, gradient: Any, variable: Any, learning_rate: Any) -> None:
    """Keras' own where there is a graph, replicas, or what the one operation does not know."""
    plain = tf.executing_eagerly() and not tf.distribute.has_strategy() and not self.amsgrad
    if not plain or isinstance(gradient, tf.IndexedSlices) or variable.dtype != tf.float32:
        original(self, gradient, variable, learning_rate)
        return
    index = self._get_variable_index(variable)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=self._momentums[index].value.handle,
        v=self._velocities[index].value.handle,
        lr=tf.cast(learning_rate, tf.float32),
        grad=tf.cast(gradient, tf.float32),
        **_constants(self.beta_1, self.beta_2, self.epsilon, int(self.iterations.value) + 1),
    )
