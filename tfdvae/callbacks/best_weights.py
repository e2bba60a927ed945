"""The weights of the best epoch, and an end to training that no longer improves."""

import math
import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfdvae import replicas
from tfdvae.data.unfinished import reserve, unfinished

__all__ = ["BestWeights"]


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the best epoch and puts them back when training ends, however it ends.

    Keras' EarlyStopping does that only together with a patience, keeps nothing on disk, and only warns where the
    monitored value does not exist. A value that is NaN is never the best.

    Args:
        monitor: name in the logs of an epoch.
        mode: "max" or "min", which values are better.
        patience: epochs without improvement after which training stops; None never stops it.
        min_delta: least difference that counts as improvement.
        path: also writes the best weights there, a file `*.weights.h5` for `model.load_weights`, complete or not at
            all. What writers that were killed left beside it is removed (see `tfdvae.data.unfinished`).

    Attributes:
        best: best value so far, None before the first epoch.
        best_epoch: its epoch, counted from 0.

    Raises:
        ValueError: for a mode, patience or path as above, and after the first epoch where `monitor` is not in the
            logs.
    """

    resumable = ("best", "best_epoch", "wait", "best_weights")

    def __init__(
        self,
        monitor: str = "val_elbo_nats_per_frame",
        mode: str = "max",
        patience: int | None = None,
        min_delta: float = 0.0,
        path: str | os.PathLike | None = None,
    ):
        super().__init__()
        if mode not in ("max", "min"):
            raise ValueError(f"`mode` must be 'max' or 'min', got {mode!r}.")
        if patience is not None and patience < 1:
            raise ValueError(f"`patience` must be at least 1 epoch, or None, got {patience}.")
        if path is not None and not str(path).endswith(".weights.h5"):
            raise ValueError(f"`path` must end in '.weights.h5', the format of Keras' save_weights, got {path}.")
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.min_delta = abs(min_delta)
        self.path = None if path is None else Path(path)
        self.on_train_begin()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.wait = 0
        self.best_weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"There is no {self.monitor!r} to choose the best epoch by; the logs have {sorted(logs)}. "
                "Values of validation data need `validation_data` in fit."
            )
        value = float(logs[self.monitor])
        if self._improves(value):
            self.best, self.best_epoch, self.wait = value, epoch, 0
            self.best_weights = self.model.get_weights()
            self._write()
            return
        self.wait += 1
        if self.patience is not None and self.wait >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)

    def _improves(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if self.mode == "max" else self.best - value
        return gain > self.min_delta

    def _write(self) -> None:
        if self.path is None:
            return
        with unfinished(self.path) as temporary:
            # Where the disk is full, HDF5 crashes the process instead of raising an error.
            reserve(temporary, _size_in_hdf5(self.model))
            # Several workers meet wherever metrics are read, which Keras saves with weights: all write, one file stays.
            self.model.save_weights(temporary)
            if replicas.writes(self.model.distribute_strategy):
                os.replace(temporary, self.path)


def _size_in_hdf5(model: keras.Model) -> int:
    """More bytes than a file of the model's weights and its optimizer's variables can have."""
    variables = [*model.variables, *(model.optimizer.variables if model.compiled else ())]
    sizes = (tf.as_dtype(v.dtype).size * math.prod(v.shape) for v in variables)
    return sum(size + 4096 for size in sizes) + 2**16
