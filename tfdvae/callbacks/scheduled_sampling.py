"""Scheduled sampling by epochs (Bengio et al. 2015; survey 13.3.3)."""

import math

import keras

__all__ = ["ScheduledSampling"]


class ScheduledSampling(keras.callbacks.Callback):
    """Moves `model.own_output` by epochs: the part of the frames in whose place a model is fed its own output.

    It multiplies `scheduled_sampling` of `compile`, which must not be 0; 1.0 leaves all to this callback. The part
    follows from the number of the epoch alone, so a resumed run has the one that an uninterrupted run has. To turn a
    teacher-forced model into one for generation mode, train as usual, compile anew, and fit on with this callback: the
    survey takes `ScheduledSampling(250)`, 20% more every 50 epochs, and 300 epochs after the last stair.

    Args:
        epochs: length of the transition; for "inverse_sigmoid" the epoch at which one half is reached.
        curve: "staircase": 1 / `stairs` in the first epochs, all from the last stair on; "linear": from nothing in
            epoch 0 to all in epoch `epochs`; "inverse_sigmoid": all but k / (k + exp(epoch / k)).
        stairs: number of equal stairs.

    Raises:
        ValueError: `epochs` below 1, an unknown curve, `stairs` outside of 1 to `epochs`; when training begins, a model
            that was compiled without scheduled sampling.
    """

    def __init__(self, epochs: int, curve: str = "staircase", stairs: int = 5):
        super().__init__()
        if epochs < 1:
            raise ValueError(f"`epochs` of scheduled sampling must be at least 1, got {epochs}.")
        if curve not in _CURVES:
            raise ValueError(f"`curve` must be one of {', '.join(_CURVES)}, got {curve!r}.")
        if curve == "staircase" and not 1 <= stairs <= epochs:
            raise ValueError(f"`stairs` must be from 1 to `epochs`={epochs}, got {stairs}.")
        self.epochs = epochs
        self.curve = curve
        self.stairs = stairs

    def part(self, epoch: int) -> float:
        """The part of the frames in epoch `epoch`, counted from 0."""
        return _CURVES[self.curve](self, epoch)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self.model.scheduled_sampling == 0.0:
            raise ValueError("ScheduledSampling has nothing to move: compile with scheduled_sampling=1.0.")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.model.own_output.assign(self.part(epoch))

    def _staircase(self, epoch: int) -> float:
        return min(epoch * self.stairs // self.epochs + 1, self.stairs) / self.stairs

    def _linear(self, epoch: int) -> float:
        return min(epoch / self.epochs, 1.0)

    def _inverse_sigmoid(self, epoch: int) -> float:
        log_k = math.log1p(self.epochs)
        for _ in range(100):  # k log k = epochs, by Newton's method
            log_k -= (log_k - self.epochs * math.exp(-log_k)) / (log_k + 1.0)
        return 1.0 / (1.0 + math.exp(min(log_k - epoch * math.exp(-log_k), 700.0)))


_CURVES = {
    "staircase": ScheduledSampling._staircase,
    "linear": ScheduledSampling._linear,
    "inverse_sigmoid": ScheduledSampling._inverse_sigmoid,
}
