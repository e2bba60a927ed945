"""Comparing nests of tensors, and evaluating a model in a form that can be compared.

Everything here raises AssertionError by itself: Python's `assert` says nothing outside of pytest, and is left out by
`python -O`.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.types import Batch, Trajectory

__all__ = [
    "Drawn",
    "Evaluated",
    "assert_close",
    "assert_equal",
    "differs",
    "drawn",
    "evaluate",
    "gradients",
    "of_frames",
    "require",
    "require_finite",
]

Drawn = dict[str, tuple]
"""Of each latent by name: the sample, and the parameters of its posterior and of its prior."""


class Evaluated(NamedTuple):
    """A path, its objective, and the gradients of that: of each trainable variable, of x, and of u."""

    latents: Drawn
    x: tf.Tensor
    objective: tf.Tensor
    of_variables: list[tf.Tensor]
    of_inputs: list[tf.Tensor]


def drawn(path: Trajectory) -> Drawn:
    """What a path says of its latents."""
    return {name: (latent.z, latent.q, latent.p) for name, latent in path.latents.items()}


def of_frames(model: Any, latents: dict[str, Any]) -> dict[str, Any]:
    """Those that every frame has a value of."""
    return {latent.name: latents[latent.name] for latent in model.frame_latents}


def gradients(tape: tf.GradientTape, target: tf.Tensor, sources: Sequence) -> list[tf.Tensor]:
    """The gradient of a scalar for each variable or tensor; zeros where nothing connects the two."""
    found = tape.gradient(target, sources)
    return [tf.zeros(s.shape, s.dtype) if g is None else g for g, s in zip(found, sources, strict=True)]


def evaluate(model: Any, batch: Batch, noise: Any) -> Evaluated:
    """The ELBO of a path, less its auxiliary losses, and its gradients."""
    inputs = [y for y in (batch.x, batch.u) if y is not None]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        path = model.infer(*batch, noise)
        terms = model.terms(path, batch)
        objective = tf.reduce_sum(terms.log_px) - tf.reduce_sum(terms.kl) - tf.reduce_sum(terms.sequence_kl)
        objective -= tf.reduce_sum(terms.penalty)
    found = gradients(tape, objective, [*model.trainable_variables, *inputs])
    count = len(model.trainable_variables)
    return Evaluated(drawn(path), path.x, objective, found[:count], found[count:])


def require(condition: Any, message: str) -> None:
    """Raises AssertionError with the message where the condition does not hold."""
    if not condition:
        raise AssertionError(message)


def require_finite(structure: Any, what: str) -> None:
    """Raises AssertionError where a nest of tensors holds NaN or infinity."""
    for y in tf.nest.flatten(structure):
        y = np.asarray(y)
        bad = int(np.size(y) - np.isfinite(y).sum())
        require(bad == 0, f"{what}: {bad} of {y.size} values of a tensor {list(y.shape)} are not finite")


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Puts what was compared before what differed."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{what}: {str(error).strip()}" if what else str(error)) from None


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5, what: str = "") -> None:
    """Nests of tensors agree up to `tolerance`, relative to the largest entry of each tensor."""
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    require(len(actual) == len(expected), f"{what}: {len(actual)} tensors where {len(expected)} were expected")
    for a, b in zip(actual, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        require(a.shape == b.shape, f"{what}: shape {a.shape} where {b.shape} was expected")
        require(a.dtype == b.dtype, f"{what}: dtype {a.dtype} where {b.dtype} was expected")
        bound = tolerance * max(1.0, np.abs(b).max(initial=0.0))
        with _named(what):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=bound)


def assert_equal(actual: Any, expected: Any, what: str = "") -> None:
    """Nests of tensors agree in every bit."""
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        with _named(what):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def differs(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape differ anywhere by more than rounding."""
    a, b = np.asarray(a), np.asarray(b)
    require(a.shape == b.shape, f"shapes {a.shape} and {b.shape} cannot be compared")
    return not np.allclose(a, b, rtol=1e-4, atol=1e-5)
