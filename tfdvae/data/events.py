"""Irregular events on a regular grid, with an indicator of what was observed.

An event is one measurement: at a time, of a variable, with a value. Clinical records, sensor logs and the like are
sequences of them. A model over frames needs one value per interval and variable instead, and needs to know which of
these values were measured at all.

Axes: E events of all sequences, N sequences, T frames, D variables.
"""

import operator

import numpy as np

__all__ = ["AGGREGATES", "events_to_grid"]

AGGREGATES = ("last", "mean")
"""How several events of one variable in one interval become one value."""


def events_to_grid(
    times: np.ndarray,
    variables: np.ndarray,
    values: np.ndarray,
    lengths: np.ndarray,
    *,
    num_variables: int,
    interval: float,
    num_frames: int,
    aggregate: str = "last",
    outside: str = "refuse",
    limits: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of `interval` each, in which every variable has a value or is marked as not observed.

    Frame t holds the events of t * interval <= time < (t + 1) * interval. The last frame also holds those at its very
    end, as the last bin of `numpy.histogram` does, so that a record of 48 hours may end with an event at 48:00.

    Args:
        times: [E], from the beginning of each sequence, integers or floats in the unit of `interval`; in any order.
        variables: [E], integers from 0 to `num_variables` - 1.
        values: [E], integers or floats.
        lengths: [N], events of each sequence, whose events follow each other; 0 is allowed and gives frames
            without an observation.
        num_variables: D.
        interval: time per frame, above 0.
        num_frames: T.
        aggregate: "last" takes the latest event (of simultaneous ones the one that comes last), "mean" the average.
        outside: of events later than T * interval: "refuse" raises ValueError, "drop" leaves them out.
        limits: [D, 2], the lowest and highest plausible value of each variable; may be infinite. Events beyond are
            left out, as if they had not been measured.

    Returns:
        x: float32 [N, T, D], 0 where nothing was observed.
        observed: bool [N, T, D].

    Raises:
        ValueError: arrays of other dtypes or shapes, lengths that are negative or do not add up to E, negative times,
            values or times that are not finite (values in float32), a variable that does not exist, an event outside
            with outside="refuse", an option out of range.

    Example:
        Two records, two variables, hours in minutes; the second record has no event::

            x, observed = events_to_grid(
                [5, 70, 80], [0, 1, 1], [36.6, 90.0, 94.0], [3, 0], num_variables=2, interval=60, num_frames=2
            )
            x[0]         # [[36.6, 0.0], [0.0, 94.0]]
            observed[0]  # [[True, False], [False, True]]
    """
    _check_options(num_variables, interval, num_frames, aggregate, outside)
    times, variables, values, lengths = _checked_events(times, variables, values, lengths, num_variables)
    end = interval * num_frames
    late = np.flatnonzero(times > end)
    if len(late) and outside == "refuse":
        raise ValueError(
            f"times must not exceed num_frames * interval = {end:g}; event {late[0]} is at {times[late[0]]:g} "
            f'({len(late)} such events). Give more frames, or outside="drop".'
        )
    kept = times <= end
    if limits is not None:
        low, high = _checked_limits(limits, num_variables).T
        kept &= (values >= low[variables]) & (values <= high[variables])
    frames = np.minimum(times // interval, num_frames - 1).astype(np.int64)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    cells = ((rows * num_frames + frames) * num_variables + variables)[kept]
    values = values[kept]
    shape = (len(lengths), num_frames, num_variables)
    counts = np.bincount(cells, minlength=np.prod(shape))
    if aggregate == "mean":
        x = (np.bincount(cells, values, minlength=len(counts)) / np.maximum(counts, 1)).astype(np.float32)
    else:
        x = np.zeros(len(counts), np.float32)
        # Of assignments to one place the last one holds, which numpy guarantees.
        order = np.argsort(times[kept], kind="stable")
        x[cells[order]] = values[order]
    return x.reshape(shape), (counts > 0).reshape(shape)


def _check_options(num_variables: int, interval: float, num_frames: int, aggregate: str, outside: str) -> None:
    for name, value in (("num_variables", num_variables), ("num_frames", num_frames)):
        if operator.index(value) < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    if not (np.isfinite(interval) and interval > 0):
        raise ValueError(f"interval must be a time above 0; got {interval}.")
    for name, value, choices in (("aggregate", aggregate, AGGREGATES), ("outside", outside, ("refuse", "drop"))):
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def _checked_events(times, variables, values, lengths, num_variables: int) -> tuple[np.ndarray, ...]:
    """times float64, variables int64, values float64 that are finite in float32, lengths int64."""
    lengths = _vector("lengths", lengths, "iu", np.int64)
    if (lengths < 0).any():
        raise ValueError(f"lengths must not be negative; got {lengths.min()}.")
    if not len(lengths):
        raise ValueError("lengths holds no sequence; at least one is needed.")
    times = _vector("times", times, "iuf", np.float64)
    variables = _vector("variables", variables, "iu", np.int64)
    values = _vector("values", values, "iuf", np.float64)
    # Python's integers do not wrap around, as a sum of large int64 would.
    total = sum(lengths.tolist())
    sizes = {"times": len(times), "variables": len(variables), "values": len(values)}
    if set(sizes.values()) != {total}:
        found = ", ".join(f"{size} {name}" for name, size in sizes.items())
        raise ValueError(f"lengths adds up to {total} events, but there are {found}.")
    with np.errstate(over="ignore"):
        rules = (
            (times, np.isfinite(times) & (times >= 0), "times must be finite and not negative"),
            (variables, (variables >= 0) & (variables < num_variables), f"variables must be 0 to {num_variables - 1}"),
            (values, np.isfinite(values.astype(np.float32)), "values must be finite in float32"),
        )
    for array, fits, rule in rules:
        if not fits.all():
            event = int(np.argmin(fits))
            sequence = int(np.searchsorted(np.cumsum(lengths), event, side="right"))
            raise ValueError(
                f"{rule}; event {event}, of sequence {sequence}, has {array[event]:g} "
                f"({np.count_nonzero(~fits)} such events)."
            )
    return times, variables, values, lengths


def _checked_limits(limits, num_variables: int) -> np.ndarray:
    limits = np.asarray(limits, dtype=np.float64)
    if limits.shape != (num_variables, 2):
        raise ValueError(f"limits must be [{num_variables}, 2], a row per variable; got shape {list(limits.shape)}.")
    wrong = np.flatnonzero(~(limits[:, 0] <= limits[:, 1]))
    if len(wrong):
        raise ValueError(
            f"limits must hold a lowest value and a highest that is not below it; variable {wrong[0]} has "
            f"{limits[wrong[0]].tolist()}."
        )
    return limits


def _vector(name: str, value, kinds: str, dtype: type) -> np.ndarray:
    array = np.asarray(value)
    if not array.size and array.ndim == 1:
        return np.zeros(0, dtype)  # An empty list has a dtype of its own.
    if array.ndim != 1 or array.dtype.kind not in kinds:
        numbers = "integers" if kinds == "iu" else "integers or floats"
        raise ValueError(f"{name} must be a vector of {numbers}; got {array.dtype} of shape {list(array.shape)}.")
    if dtype is np.int64 and array.dtype.kind == "u" and array.max() > np.iinfo(dtype).max:
        raise ValueError(f"{name} must be at most {np.iinfo(dtype).max}; got {array.max()}.")
    return array.astype(dtype)
