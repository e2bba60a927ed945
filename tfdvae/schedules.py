"""Weights of the KL as functions of the optimizer's step, for `model.compile(beta=...)`.

They are Keras schedules, run inside the train step, and are saved with the model. `tfdvae.callbacks.KLWarmup` does
the same per epoch.
"""

import math
from typing import Any

import keras
import tensorflow as tf

__all__ = ["LinearWarmup", "StaircaseWarmup"]


@keras.saving.register_keras_serializable(package="tfdvae")
class LinearWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """From `start` at step 0 in a straight line to `end` at step `steps`, `end` from then on.

    Args:
        steps: length of the warm-up in updates of the optimizer.
        start, end: values before and after it, not negative.

    Raises:
        ValueError: `steps` below 1, or a negative value.
    """

    def __init__(self, steps: int, start: float = 0.0, end: float = 1.0):
        check_warmup("steps", steps, start, end)
        self.steps = steps
        self.start = start
        self.end = end

    def __call__(self, step: Any) -> tf.Tensor:
        """Scalar float32 at `step`, a number or an integer tensor."""
        return self.start + (self.end - self.start) * self._progress(step)

    def _progress(self, step: Any) -> tf.Tensor:
        return tf.minimum(tf.cast(step, tf.float32) / self.steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "start": self.start, "end": self.end}


@keras.saving.register_keras_serializable(package="tfdvae")
class StaircaseWarmup(LinearWarmup):
    """From `start` to `end` in `stairs` equal jumps, one after each `steps` / `stairs` steps.

    Args:
        steps: length of the warm-up in updates of the optimizer; `end` is reached then.
        stairs: number of jumps.
        start, end: values before the first and after the last jump, not negative.

    Raises:
        ValueError: `steps` or `stairs` below 1, more stairs than steps, or a negative value.
    """

    def __init__(self, steps: int, stairs: int, start: float = 0.0, end: float = 1.0):
        super().__init__(steps, start, end)
        check_stairs("steps", steps, stairs)
        self.stairs = stairs

    def _progress(self, step: Any) -> tf.Tensor:
        # Whole numbers: in float32 a third of three steps may fall short of the first stair.
        jumps = tf.cast(step, tf.int64) * self.stairs // self.steps
        return tf.cast(tf.minimum(jumps, self.stairs), tf.float32) / self.stairs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stairs": self.stairs}


def check_warmup(unit: str, length: int, start: float, end: float) -> None:
    """Raises ValueError for a warm-up that takes no time or passes a negative weight."""
    if length < 1:
        raise ValueError(f"`{unit}` of a warm-up must be at least 1, got {length}.")
    if not (0.0 <= start < math.inf and 0.0 <= end < math.inf):
        raise ValueError(
            f"A weight of the KL must be finite and must not be negative, got start={start} and end={end}."
        )


def check_stairs(unit: str, length: int, stairs: int) -> None:
    """Raises ValueError unless 1 <= stairs <= length."""
    if not 1 <= stairs <= length:
        raise ValueError(f"`stairs` must be from 1 to `{unit}`={length}, got {stairs}.")
