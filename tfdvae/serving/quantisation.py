"""What integer precisions need beside the model: examples of all inputs, from which ranges of values are measured."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import validation
from tfdvae.models.verbs import VerbsDVAE
from tfdvae.serving.fields import Signature

__all__ = ["INTEGER", "MOST_FRAMES", "check_representative", "samples"]

INTEGER = ("int16x8", "int8_full")
"""Precisions whose activations are integers, on scales that representative data set."""

MOST_FRAMES = 2000
"""Frames that are looked at; the sequences are spread evenly over longer data."""

Arrays = dict[str, np.ndarray]


def check_representative(representative: Any, model: VerbsDVAE) -> tuple[np.ndarray, np.ndarray | None]:
    """x `[N, T, D]` and u `[N, T, U]` (or None) from x, or from a pair or a dict of both, at most `MOST_FRAMES` frames.

    Raises:
        ValueError: there is none, it does not fit the model, or holds NaN or infinity.
    """
    shapes = f"x [N, T, {model.x_dim}]" + (f" and u [N, T, {model.u_dim}], as a pair" if model.u_dim else "")
    if isinstance(representative, Mapping):
        representative = representative.get("x"), representative.get("u")
    x, u = representative if isinstance(representative, tuple) else (representative, None)
    if x is None:
        raise ValueError(
            "Integer activations need `representative` sequences like those of use, since the range of each tensor is "
            f"measured on them: {shapes}."
        )
    try:
        batch = validation.check_arrays(x, None, u, model.x_dim, model.u_dim)
    except ValueError as error:
        raise ValueError(f"`representative` must be {shapes}. {error}") from error
    x, u = batch.x, batch.u
    length = min(x.shape[1], MOST_FRAMES)
    chosen = np.linspace(0, len(x) - 1, min(len(x), max(1, MOST_FRAMES // length))).astype(int)
    return x[chosen, :length], None if u is None else u[chosen, :length]


def samples(
    declared: Mapping[str, Signature], names: list[str], x: np.ndarray, u: np.ndarray | None
) -> dict[str, Arrays]:
    """Inputs of the named signatures with a leading axis of calls, by signature.

    States are those that a stream along each sequence visits, its latents drawn from q; for `generate_step` also those
    that it visits itself. Noise is standard normal; what draws x_t is uniform.

    Args:
        declared: all signatures of the model, for one sequence at a time.
        names: of those whose inputs are wanted.
        x, u: `[N, T, .]`; u in driven mode alone.
    """
    rng = np.random.default_rng(0)
    calls: dict[str, list[Arrays]] = {name: [] for name in names}
    framewise = {name: declared[name].trace() for name in ("reset", "step", "generate_step") if name in declared}
    for i in range(len(x)):
        series = {"x": x[i : i + 1]} if u is None else {"x": x[i : i + 1], "u": u[i : i + 1]}
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
        rows = {name: value[:, t] for name, value in series.items()}
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
        drawn = rng.uniform(size=shape) if field.name == "emission" else rng.normal(size=shape)
        found[field.name] = drawn.astype("float32")
    return found
