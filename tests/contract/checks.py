"""What several modules of the contract suite compute and compare."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import tfdvae
from tfdvae.types import Batch, Gaussian


class Evaluated(NamedTuple):
    """A path, its objective, and the gradients of that: of each trainable variable, of x, and of u."""

    z: tf.Tensor
    q: Gaussian
    p: Gaussian
    x: tf.Tensor
    objective: tf.Tensor
    of_variables: list[tf.Tensor]
    of_inputs: list[tf.Tensor]


def gradients(tape: tf.GradientTape, target: tf.Tensor, sources: list) -> list[tf.Tensor]:
    """The gradient of a scalar for each variable or tensor; zeros where nothing connects the two."""
    found = tape.gradient(target, sources)
    return [tf.zeros(s.shape, s.dtype) if g is None else g for g, s in zip(found, sources, strict=True)]


def evaluate(model: tfdvae.DVAE, batch: Batch, noise: Any) -> Evaluated:
    """The ELBO of a path, less its auxiliary losses, and its gradients."""
    inputs = [y for y in (batch.x, batch.u) if y is not None]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        path = model.infer(*batch, noise)
        terms = model.terms(path, batch.x, batch.mask)
        objective = tf.reduce_sum(terms.log_px) - tf.reduce_sum(terms.kl) - tf.reduce_sum(terms.global_kl)
        objective -= tf.reduce_sum(terms.penalty)
    found = gradients(tape, objective, [*model.trainable_variables, *inputs])
    count = len(model.trainable_variables)
    return Evaluated(path.z, path.q, path.p, path.x, objective, found[:count], found[count:])


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Nests of tensors agree up to `tolerance`, relative to the largest entry of each tensor."""
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


def assert_equal(actual: Any, expected: Any) -> None:
    """Nests of tensors agree in every bit."""
    for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def differs(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape differ anywhere by more than rounding."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    return not np.allclose(a, b, rtol=1e-4, atol=1e-5)
