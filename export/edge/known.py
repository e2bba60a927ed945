"""What a .tflite file says of the data that its model was trained on, and the check of frames against it.

Needs numpy alone; `model.py` beside it reads both from a file.
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Known", "Watch"]


class Known(NamedTuple):
    """What is known of the training data; whatever is empty or None is not known.

    Attributes:
        features, units, inputs, context: names of the features of a frame and their units, of the control inputs, and
            of the entries of the context.
        frame_period, time_unit: time from one frame to the next, and its unit.
        sampling_rate: samples per second of the signal that frames were cut from.
        shift, scale: the model's frames are (original - shift) / scale.
        origin: where the data come from.
    """

    features: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    frame_period: float | None = None
    time_unit: str = "s"
    sampling_rate: float | None = None
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    origin: str = ""

    @classmethod
    def read(cls, content: Mapping[str, Any], features: int) -> "Known":
        """From a description; raises an error where it is damaged."""
        given = {name: content[name] for name in cls._fields if name in content}
        found = cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})
        names = (*found.features, *found.units, *found.inputs, *found.context, found.time_unit, found.origin)
        positive = [v for v in (found.frame_period, found.sampling_rate, *found.scale) if v is not None]
        numbers = np.array([*positive, *found.shift], np.float64)
        right = (
            all(isinstance(one, str) for one in names) and np.isfinite(numbers).all() and all(v > 0 for v in positive)
        )
        counts = [len(values) for values in (found.features, found.units, found.shift, found.scale)]
        if not right or len(found.features) not in (0, features) or any(n not in (0, 1, features) for n in counts):
            raise ValueError(f"{content} says nothing of data with {features} features")
        return found

    @property
    def seconds(self) -> float | None:
        """From one frame to the next, where their clock is one of seconds."""
        return self.frame_period if self.time_unit == "s" else None


class Watch:
    """Warns, once, of frames that can hardly be in the units of the training data.

    That is a value further outside of the range of the training data than this is wide, or frames that for a while all
    but stand still beside them: another unit, another sensor, columns in another order, or a scaling that is missing.

    Args:
        path: of the model, for the message.
        statistics: "mean", "deviation", "low" and "high" of the training data, numbers for each feature or for all.
        frame_shape: of a frame.
        names: of the features, where they are known.
    """

    STILL_FRAMES, STILL = 100, 0.01

    def __init__(self, path: str, statistics: Mapping[str, Any], frame_shape: tuple[int, ...], names: tuple[str, ...]):
        self.path, self.names = path, names
        low, high, deviation = (
            np.broadcast_to(np.asarray(statistics[name], np.float32), frame_shape).astype(np.float32)
            for name in ("low", "high", "deviation")
        )
        width = high - low
        if not (np.isfinite(width).all() and (width >= 0).all() and np.isfinite(deviation).all()):
            raise ValueError(f"{statistics} are no statistics")
        self.low, self.high = low, high
        # What never changed in training has no scale to be compared with.
        self._least = np.where(width > 0, low - width, -np.inf).astype(np.float32)
        self._most = np.where(width > 0, high + width, np.inf).astype(np.float32)
        self._moves, self._still = deviation > 0, self.STILL * deviation
        self._span: tuple[np.ndarray, np.ndarray] | None = None
        self._frames, self.warned = 0, False

    def __call__(self, x: np.ndarray, known: np.ndarray | None = None) -> None:
        """Looks at a frame, where it is `known`."""
        if self.warned:
            return
        outside = (x < self._least) | (x > self._most)
        if known is not None:
            outside &= known
        if outside.any():
            place = np.unravel_index(int(np.argmax(outside)), x.shape)
            flat = int(np.ravel_multi_index(place, x.shape))
            name = self.names[flat] if self.names else f"feature {flat}"
            low, high = self.low[place], self.high[place]
            self._warn(f"{name} is {x[place]:.6g}, and was between {low:.6g} and {high:.6g} in training")
        elif self._frames < self.STILL_FRAMES and known is None:
            below, above = self._span or (x, x)
            self._span, self._frames = (np.minimum(below, x), np.maximum(above, x)), self._frames + 1
            if self._frames == self.STILL_FRAMES and self._moves.any():
                span = self._span[1] - self._span[0]
                if (span < self._still)[self._moves].all():
                    self._warn(f"{self.STILL_FRAMES} frames changed by less than a hundredth of what is usual")

    def _warn(self, what: str) -> None:
        self.warned = True
        warnings.warn(
            f"{what}: are frames for {self.path} in the units, the order and the scale of its training data? Scores "
            "and forecasts of others mean nothing.",
            stacklevel=4,
        )
