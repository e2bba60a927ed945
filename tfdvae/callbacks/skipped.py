"""A word about epochs in which nothing was learned."""

import math
import warnings

import keras

__all__ = ["SkippedBatches"]


class SkippedBatches(keras.callbacks.Callback):
    """Warns after an epoch all of whose batches were skipped, since no gradient was finite; `fit` always has one."""

    resumable = ()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        skipped = logs.get("skipped_batches", 0.0)
        if skipped and math.isnan(logs.get("loss", 0.0)):
            warnings.warn(
                f"All {skipped:.0f} batches of epoch {epoch} were skipped, since their loss or gradient was not "
                "finite: the loss is NaN, and no weight has moved. Look for values far outside of the scale of the "
                "others (`standardize` and `adapt` help), and lower the learning rate.",
                stacklevel=2,
            )
