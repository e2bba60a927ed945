"""Warm-up of the KL by epochs (Bowman et al. 2016; Sonderby et al. 2016; survey 4.5)."""

import keras

from tfdvae.schedules import check_stairs, check_warmup

__all__ = ["KLWarmup"]


class KLWarmup(keras.callbacks.Callback):
    """Moves the weight of the KL from `start` in epoch 0 to `end` in epoch `epochs`, where it stays.

    The weight, `model.kl_weight`, follows from the number of the epoch alone, so a resumed run has the one that an
    uninterrupted run has. It multiplies `beta` of `compile`.

    Args:
        epochs: length of the warm-up; epoch e has start + (end - start) min(e / epochs, 1).
        start, end: weights before and after it, not negative.
        stairs: None rises every epoch; a number rises in that many equal jumps instead.

    Raises:
        ValueError: `epochs` below 1, a negative weight, or `stairs` outside of 1 to `epochs`; and by `fit`, where the
            bound has no KL (NASMC).
    """

    def __init__(self, epochs: int, start: float = 0.0, end: float = 1.0, stairs: int | None = None):
        super().__init__()
        check_warmup("epochs", epochs, start, end)
        if stairs is not None:
            check_stairs("epochs", epochs, stairs)
        self.epochs = epochs
        self.start = start
        self.end = end
        self.stairs = stairs

    def weight(self, epoch: int) -> float:
        """The weight of the KL in epoch `epoch`, counted from 0."""
        progress = min(epoch / self.epochs, 1.0)
        if self.stairs is not None:
            progress = min(epoch * self.stairs // self.epochs, self.stairs) / self.stairs
        return self.start + (self.end - self.start) * progress

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.model.bound.tempered:
            raise ValueError(f"KLWarmup has nothing to weigh: {type(self.model.bound).__name__} has no KL.")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.model.kl_weight.assign(self.weight(epoch))
