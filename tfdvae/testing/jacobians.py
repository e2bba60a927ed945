"""Which frames of what reach which distribution, measured: derivatives, and where NaN gets to."""

from collections.abc import Collection
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.families import Categorical, DiagonalGaussian
from tfdvae.testing.comparing import require, require_finite
from tfdvae.testing.driver import Given, draw_given, drive
from tfdvae.testing.parents import Parents, Target, check_parents, matrix, relation_of

__all__ = ["check_jacobians", "check_reach", "jacobians", "poisoned"]

LENGTH = 5
POINTS = 24


def jacobians(model: Any, given: Given) -> dict[Target, dict[str, np.ndarray]]:
    """d target_t / d source_s at each of the given points, `[points, outputs, T, S, features]` by target and source.

    Rows of a batch do not see each other, so a batch that repeats the points holds one output of one target at one
    frame per row, and a single backward pass gives all matrices. T or S is 1 for what has no frames.
    """
    points = given.x.shape[0]
    shapes = {k: _with_time(v).shape[1:] for k, v in drive(model, _rows(given, [0])).items()}
    shapes = {k: (int(rows), int(width)) for k, (rows, width) in shapes.items() if width}
    sizes = {k: rows * width for k, (rows, width) in shapes.items()}
    total = sum(sizes.values())
    tiled = _rows(given, np.repeat(np.arange(points), total))
    sources = tiled.sources()
    with tf.GradientTape() as tape:
        tape.watch(sources)
        found, chosen, start = drive(model, tiled.with_sources(sources)), 0.0, 0
        for target, (rows, width) in shapes.items():
            selected = np.zeros((total, width, rows), np.float32)
            selected[start : start + sizes[target]] = np.eye(sizes[target]).reshape(-1, width, rows)
            selected = np.tile(selected.transpose(0, 2, 1), (points, 1, 1))
            chosen += tf.reduce_sum(_with_time(found[target]) * selected)
            start += sizes[target]
    slopes = tape.gradient(chosen, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    slopes = {k: np.asarray(_with_time(v)) for k, v in slopes.items()}
    slopes = {k: v.reshape(points, total, *v.shape[1:]) for k, v in slopes.items()}
    result, start = {}, 0
    for target, (rows, width) in shapes.items():
        own = {k: v[:, start : start + sizes[target]] for k, v in slopes.items()}
        result[target] = {k: v.reshape(points, width, rows, *v.shape[2:]) for k, v in own.items()}
        start += sizes[target]
    return result


def poisoned(model: Any, given: Given) -> dict[Target, dict[str, np.ndarray]]:
    """Whether NaN in source_s turns any parameter of target_t into NaN, `[T, S]` by target and source.

    It finds what a stopped gradient would hide. `given` has one row.
    """
    sources = given.sources()
    rows = [(k, s) for k, v in sources.items() for s in range(v.shape[1] if v.shape.rank == 3 else 1)]
    tiled = {k: np.repeat(v, len(rows), axis=0) for k, v in sources.items()}
    for row, (source, s) in enumerate(rows):
        tiled[source][(row, s) if tiled[source].ndim == 3 else row] = np.nan
    whole = _rows(given, np.zeros(len(rows), int)).with_sources({k: tf.constant(v) for k, v in tiled.items()})
    hit = {k: np.isnan(_with_time(values)).any(axis=-1) for k, values in drive(model, whole).items()}
    return {
        target: {k: values[[r for r, (source, _) in enumerate(rows) if source == k]].T for k in sources}
        for target, values in hit.items()
    }


def check_jacobians(model: Any, parents: Parents, found: dict | None = None, linear: Collection[Target] = ()) -> None:
    """The Jacobians have the zeros of the graph and no others, and every output varies with every parent.

    Args:
        parents: the table of `tfdvae.testing.parents`.
        found: what `jacobians` measured; it is measured here unless given.
        linear: Gaussians whose scales do not vary with all that their means are linear in, so that for them not every
            output varies with every parent.
    """
    check_parents(parents, model)
    found = jacobians(model, draw_given(model, POINTS, LENGTH)) if found is None else found
    named = {latent.name: {"prior": latent.p, "posterior": latent.q} for latent in model.latents}
    wrong = []
    for target, sources in found.items():
        # Of other families not every parameter is free: the zeros above a triangle, the base of a flow.
        plain = target[0] == "x" or isinstance(named[target[0]][target[1]], DiagonalGaussian | Categorical)
        plain &= target not in linear
        for source, values in sources.items():
            what = _what(target, source)
            require_finite(values, f"derivatives {what}")
            expected = matrix(relation_of(parents, target, source), *values.shape[2:4])
            wrong += _other_links((values != 0.0).any(axis=(0, 1, 4)), expected, f"non-zero derivatives {what}")
            if plain:
                every_output = (np.abs(values) > 1e-8).any(axis=(0, 4)).all(axis=0)
                wrong += _other_links(every_output, expected, f"derivatives of all outputs {what}")
    require(not wrong, "\n".join(wrong))


def check_reach(model: Any, parents: Parents) -> None:
    """A value reaches what the graph says and nothing else, whether or not a gradient would show it."""
    check_parents(parents, model)
    wrong = []
    for target, sources in poisoned(model, draw_given(model, 1, LENGTH)).items():
        for source, values in sources.items():
            expected = matrix(relation_of(parents, target, source), *values.shape)
            wrong += _other_links(values, expected, f"NaN {_what(target, source)}")
    require(not wrong, "\n".join(wrong))


def _other_links(found: np.ndarray, expected: np.ndarray, what: str) -> list[str]:
    """A line that names the links that are too many or too few, if there are any."""
    links = {"not in the graph": found & ~expected, "missing": expected & ~found}
    says = {kind: ", ".join(f"{s}->{t}" for t, s in np.argwhere(where)) for kind, where in links.items()}
    told = "; ".join(f"{kind}: {pairs}" for kind, pairs in says.items() if pairs)
    return [f"{what}; links from frame s to frame t that are {told}"] if told else []


def _what(target: Target, source: str) -> str:
    name, of = target
    what = {"prior": f"p({name}_t | .)", "posterior": f"q({name}_t | .)", "observation": "p(x_t | .)"}[of]
    return f"of {what} with respect to {source}_s"


def _with_time(y: tf.Tensor) -> tf.Tensor:
    """`[B, P]` as `[B, 1, P]`."""
    return y if y.shape.rank == 3 else y[:, None]


def _rows(given: Given, rows: Any) -> Given:
    """Those rows of what is given."""
    return Given(*tf.nest.map_structure(lambda y: None if y is None else tf.gather(y, rows), tuple(given)))
