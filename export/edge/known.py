"""What an exported model says of the data that it was trained on, and the check of frames against it.

Needs numpy alone; `model.py` beside it reads both from a .tflite file, clients of a server from `signatures.json`.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Known", "Watch"]

OFF = 0.01
"""How far a period or a rate may be from that of the training data, as a part of it."""


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

    def check(
        self,
        features: Sequence[str] | None = None,
        *,
        units: Sequence[str] | None = None,
        inputs: Sequence[str] | None = None,
        frame_period: float | None = None,
        sampling_rate: float | None = None,
    ) -> None:
        """Compares what frames are with what those of training were; what is unknown on either side is not compared.

        Args:
            features, units, inputs: names of the columns of frames, their units (one for all, or one for each), and
                names of the control inputs, in the order in which they are given.
            frame_period: from one frame to the next, in `time_unit`.
            sampling_rate: of the signal that frames are cut from.

        Raises:
            ValueError: others, or the same in another order; a period or a rate that is off by more than a hundredth.
        """
        names = (("features", features, self.features), ("units", units, self.units), ("inputs", inputs, self.inputs))
        for what, found, there in names:
            if found is None or not there:
                continue
            count = max(len(found), len(there)) if what == "units" else 0
            one, other = (list(v) * count if count and len(v) == 1 else list(v) for v in (found, there))
            if one != other:
                order = ", in another order" if sorted(one) == sorted(other) else ""
                raise ValueError(
                    f"The {what} are {', '.join(map(str, found))}, and those of the model {', '.join(there)}{order}."
                )
        numbers = (("period", frame_period, self.frame_period), ("sampling rate", sampling_rate, self.sampling_rate))
        for what, found, there in numbers:
            if found is not None and there is not None and not abs(found / there - 1.0) <= OFF:
                unit = f" {self.time_unit}" if what == "period" else ""
                raise ValueError(
                    f"The {what} of the frames is {found:g}{unit}, and {there:g}{unit} in training: resample them."
                )

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

    def __call__(self, x: np.ndarray, known: np.ndarray | None = None, stacklevel: int = 4) -> None:
        """Looks at a frame, or at frames `[..., *frame_shape]` of any number of sequences, where they are `known`."""
        if self.warned or not x.size:
            return
        outside = (x < self._least) | (x > self._most)
        if known is not None:
            outside &= known
        shape = self.low.shape
        if outside.any():
            index = np.unravel_index(int(np.argmax(outside)), x.shape)
            place = index[x.ndim - len(shape) :]
            flat = int(np.ravel_multi_index(place, shape))
            name = self.names[flat] if self.names else f"feature {flat}"
            low, high = self.low[place], self.high[place]
            self._warn(f"{name} is {x[index]:.6g}, and was between {low:.6g} and {high:.6g} in training", stacklevel)
        elif self._frames < self.STILL_FRAMES and known is None:
            frames = np.reshape(x, (-1, *shape))
            below, above = self._span or (frames[0], frames[0])
            self._span = np.minimum(below, frames.min(axis=0)), np.maximum(above, frames.max(axis=0))
            self._frames += len(frames)
            if self._frames >= self.STILL_FRAMES and self._moves.any():
                span = self._span[1] - self._span[0]
                if (span < self._still)[self._moves].all():
                    self._warn(f"{self._frames} frames changed by less than a hundredth of what is usual", stacklevel)

    def _warn(self, what: str, stacklevel: int) -> None:
        self.warned = True
        warnings.warn(
            f"{what}: are frames for {self.path} in the units, the order and the scale of its training data? Scores "
            "and forecasts of others mean nothing.",
            stacklevel=stacklevel,
        )
