"""What the numbers of a data set mean, which travels with sequences, with a trained model, and with exports.

A model's file says by it which columns go in, in which units, how often, and which values the training data had, so
that a program far from here can tell when something else is fed to it.
"""

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["DataDescription", "Statistics", "observed_statistics"]

NAMES = ("features", "units", "inputs", "context")
SCALES = ("shift", "scale")
PART = 1 << 20
"""Numbers of which statistics look at once."""


class DataDescription(NamedTuple):
    """What is known of the numbers in sequences; whatever is empty or None is not known.

    Attributes:
        features: names of the D features of a frame, in their order.
        units: of the original features, one for each, or one for all.
        inputs, context: names of the U control inputs and of the C entries of the context.
        frame_period: time from one frame to the next, in `time_unit`.
        time_unit: "s", or a unit of another clock such as "quarter note".
        sampling_rate: samples per second of the signal that frames were cut from.
        shift, scale: frames are (original - shift) / scale; one number for each feature, or one for all. For data that
            were scaled before a model saw them; what the model itself does (`standardize`) is not in here.
        origin: where the data come from, for people.

    Example:
        model.data = tfdvae.DataDescription(("flow", "pressure"), ("l/s", "kPa"), frame_period=0.1)
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

    def checked(
        self, features: int | None = None, inputs: int | None = None, context: int | None = None
    ) -> "DataDescription":
        """The same with tuples of plain values, for frames of that many features, inputs and entries of the context;
        None where that is not known yet.

        Raises:
            ValueError: another number of names, the same name twice, a period, rate or scale that is not positive.
            TypeError: something else than names and numbers.
        """
        found = self._asdict()
        found |= {name: _texts(name, found[name]) for name in NAMES}
        found |= {name: tuple(_number(name, value) for value in np.ravel(found[name])) for name in SCALES}
        for name in ("frame_period", "sampling_rate"):
            found[name] = None if found[name] is None else _number(name, found[name])
        for name in ("time_unit", "origin"):
            if not isinstance(found[name], str):
                raise TypeError(f"`{name}` must be text, got {found[name]!r}.")
        for name, count in (("features", features), ("inputs", inputs), ("context", context)):
            given = found[name]
            if given and count not in (None, len(given)):
                raise ValueError(f"`{name}` must name all {count} of them, got {len(given)}: {', '.join(given)}.")
            if len(set(given)) < len(given):
                raise ValueError(f"`{name}` has the same name twice: {', '.join(given)}.")
        for name in ("units", *SCALES):
            if features is not None and len(found[name]) not in (0, 1, features):
                raise ValueError(
                    f"`{name}` must have one entry for all features, or one for each of the {features}; got "
                    f"{len(found[name])}."
                )
        return DataDescription(**found)

    def as_json(self) -> dict[str, Any]:
        """What is known, as JSON has it."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in self._asdict().items()}
        found = {name: value for name, value in found.items() if value not in (None, "", [])}
        if "frame_period" not in found:
            del found["time_unit"]
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DataDescription":
        """What `as_json` wrote; entries that this version does not know are left out."""
        return cls(
            **{
                name: tuple(content[name]) if isinstance(content[name], list | tuple) else content[name]
                for name in cls._fields
                if name in content
            }
        )


class Statistics(NamedTuple):
    """Of the training data, in the units in which a model takes frames: one number for each feature, or one for all
    entries where frames are pictures.

    Attributes:
        mean, deviation: mean and standard deviation of what was observed.
        low, high: the smallest and the largest value.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def as_json(self) -> dict[str, list[float]]:
        """As JSON has it, with the digits that float32 has."""
        return {name: [float(f"{value:.7g}") for value in values] for name, values in self._asdict().items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Iterable[float]]) -> "Statistics":
        """What `as_json` wrote."""
        return cls(*(tuple(map(float, content[name])) for name in cls._fields))


def observed_statistics(x: np.ndarray, known: np.ndarray, shared: bool) -> Statistics:
    """Of what is known of frames; of a feature that was never observed all are 0.

    Args:
        x: `[N, D]`; a part at a time is looked at, in float64.
        known: true where a value exists and was observed, `[N, D]` or `[N, 1]`.
        shared: one number for all features.
    """
    rows = max(1, PART // x.shape[1])

    def parts() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for first in range(0, len(x), rows):
            part = np.asarray(x[first : first + rows], np.float64)
            seen = np.broadcast_to(known[first : first + rows], part.shape)
            yield (part.reshape(-1, 1), seen.reshape(-1, 1)) if shared else (part, seen)

    width = 1 if shared else x.shape[1]
    count, total, square = np.zeros(width), np.zeros(width), np.zeros(width)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    for part, seen in parts():
        count += seen.sum(axis=0)
        total += np.where(seen, part, 0.0).sum(axis=0)
        low = np.minimum(low, np.where(seen, part, np.inf).min(axis=0))
        high = np.maximum(high, np.where(seen, part, -np.inf).max(axis=0))
    mean = total / np.maximum(count, 1.0)
    for part, seen in parts():
        square += (np.where(seen, part - mean, 0.0) ** 2).sum(axis=0)
    deviation = np.sqrt(square / np.maximum(count, 1.0))
    low, high = (np.where(count > 0.0, one, 0.0) for one in (low, high))
    return Statistics(*(tuple(values.tolist()) for values in (mean, deviation, low, high)))


def _number(name: str, given: Any) -> float:
    """A finite number, above 0 but for a shift."""
    if isinstance(given, bool | np.bool_) or not isinstance(given, numbers.Real):
        raise TypeError(f"`{name}` must be a number, got {given!r}.")
    value = float(given)
    if not math.isfinite(value) or (value <= 0.0 and name != "shift"):
        raise ValueError(f"`{name}` must be finite{'' if name == 'shift' else ' and positive'}, got {value}.")
    return value


def _texts(name: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | tuple | np.ndarray) or not all(isinstance(one, str) for one in given):
        raise TypeError(f"`{name}` must be names, got {given!r}.")
    return tuple(given)
