"""What integer precisions need beside the model: examples of all inputs, from which ranges of values are measured."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import validation
from tfdvae.models import DVAE
from tfdvae.serving.fields import Signature, Target
from tfdvae.types import Batch

__all__ = ["INTEGER", "MOST_FRAMES", "check_representative", "samples", "series_for"]

INTEGER = ("int16x8", "int8_full")
"""Precisions whose activations are integers, on scales that representative data set."""

MOST_FRAMES = 2000
"""Frames that are looked at; the sequences are spread evenly over longer data."""

Arrays = dict[str, np.ndarray]


def check_representative(representative: Any, model: DVAE) -> Batch:
    """Arrays of at most `MOST_FRAMES` frames, from x, from a pair of x and u, or from a Batch or dict without a mask.

    Raises:
        ValueError: there is none, it does not fit the model, or holds NaN or infinity.
    """
    shapes = f"x [N, T, {', '.join(map(str, model.frame_shape))}]" + (
        f" and u [N, T, {model.u_dim}], as a pair" if model.u_dim else ""
    )
    if isinstance(representative, Mapping):
        given = Batch(*(representative.get(name) for name in Batch._fields))
    elif isinstance(representative, Batch):
        given = representative
    else:
        x, u = representative if isinstance(representative, tuple) else (representative, None)
        given = Batch(x, u=u)
    if given.x is None:
        raise ValueError(
            "Integer activations need `representative` sequences like those of use, since the range of each tensor is "
            f"measured on them: {shapes}."
        )
    try:
        batch = validation.check_arrays(given._replace(mask=None), model.built_sizes, support=model.frames)
    except ValueError as error:
        raise ValueError(f"`representative` must be {shapes}. {error}") from error
    if model.partly_observed and batch.observed is None:
        batch = batch._replace(observed=np.ones(batch.x.shape, bool))
    count, length = len(batch.x), min(batch.x.shape[1], MOST_FRAMES)
    chosen = np.linspace(0, count - 1, min(count, max(1, MOST_FRAMES // length))).astype(int)
    found = Batch(*(None if y is None else y[chosen] for y in batch))
    return Batch(*(None if y is None else y[:, :length] for y in found[:4]), found.context)


def series_for(batch: Batch, target: Target) -> Iterator[Arrays]:
    """Sequences as a target takes them in one call: as many at once, and as long, as it has to have; of a last group
    that is not full the first are repeated.

    Raises:
        ValueError: they are shorter.
    """
    rows, time = target.batch or 1, batch.x.shape[1] if target.time is None else target.time
    if batch.x.shape[1] < time:
        raise ValueError(f"Expected sequences of at least {time} frames, as the file has them; got {batch.x.shape[1]}.")
    for first in range(0, len(batch.x), rows):
        chosen = np.arange(first, first + rows) % len(batch.x)
        given = {name: value[chosen] for name, value in batch._asdict().items() if value is not None}
        yield {name: value if name == "context" else value[:, :time] for name, value in given.items()}


def samples(
    declared: Mapping[str, Signature], names: list[str], batch: Batch, target: Target | None = None
) -> dict[str, Arrays]:
    """Inputs of the named signatures with a leading axis of calls, by signature.

    States are those that a stream along each sequence visits, its latents drawn from q; for `generate_step` also those
    that it visits itself. Noise is drawn as its field says. Where `observed` is not given, everything was.

    Args:
        declared: all signatures of the model, for one sequence at a time.
        names: of those whose inputs are wanted.
        batch: N sequences of T frames that all exist.
        target: that they were declared for; by default one for a sequence at a time.
    """
    rng = np.random.default_rng(0)
    calls: dict[str, list[Arrays]] = {name: [] for name in names}
    framewise = {name: declared[name].trace() for name in ("reset", "step", "generate_step") if name in declared}
    for series in series_for(batch, target or Target(batch=1)):
        for name in (name for name in names if name not in ("step", "generate_step")):
            calls[name].append(_inputs(declared[name], rng, series))
        for moving in (name for name in ("step", "generate_step") if name in framewise and set(names) & set(framewise)):
            for name, given in _stream(declared, framewise, moving, rng, series):
                if name in names:
                    calls[name].append(given)
    return {name: {key: np.stack([one[key] for one in given]) for key in given[0]} for name, given in calls.items()}


def _stream(
    declared: Mapping[str, Signature], run: Mapping[str, Any], moving: str, rng: np.random.Generator, series: Arrays
) -> Iterator[tuple[str, Arrays]]:
    """Inputs of the signatures at every state of a stream that `moving` carries on."""

    def call(name: str, given: Arrays) -> dict[str, tf.Tensor]:
        return run[name](**{key: tf.constant(value) for key, value in given.items()})

    state = call("reset", _inputs(declared["reset"], rng, series))
    length = series["x"].shape[1]
    for t in range(length):
        rows = {name: value[:, t] for name, value in series.items() if name != "context"}
        if "u" in series:
            rows["next_u"] = series["u"][:, min(t + 1, length - 1)]
        visited = {**rows, **{name: np.asarray(value) for name, value in state.items()}}
        given = {name: _inputs(declared[name], rng, visited) for name in dict.fromkeys((moving, "generate_step"))}
        yield from given.items()
        out = call(moving, given[moving])
        state = {name: out[name] for name in state}


def _inputs(signature: Signature, rng: np.random.Generator, known: Arrays) -> Arrays:
    """All inputs of a call: what is known, and random numbers."""
    found = {}
    for field in signature.inputs:
        if field.name in known:
            found[field.name] = known[field.name]
            continue
        shape = [known["x"].shape[1] if n == "time" else n for n in field.shape]
        drawn = rng.uniform(size=shape) if field.random == "uniform" else rng.normal(size=shape)
        found[field.name] = drawn.astype("float32")
    return found
