"""The same values and gradients eagerly, in one graph for all sizes, and under XLA; and gradients everywhere."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.testing.comparing import assert_close, evaluate, require, require_finite
from tfdvae.testing.sequences import each, frames, noise
from tfdvae.types import Batch

__all__ = ["check_compiled", "check_gradients", "check_graph"]


def check_graph(model: Any) -> None:
    """One graph serves every batch size and every length."""
    x = tf.TensorSpec([None, None, model.x_dim])
    u = tf.TensorSpec([None, None, model.u_dim]) if model.u_dim else None
    context = tf.TensorSpec([None, model.context_dim]) if model.context_dim else None
    graph = tf.function(functools.partial(evaluate, model), autograph=False)
    specs = each(lambda n: tf.TensorSpec([*[None] * (n.shape.rank - 1), n.shape[-1]]), noise(model))
    concrete = graph.get_concrete_function(Batch(x, None, u, None, context), specs)
    for size, length in ((3, 5), (1, 1), (2, 7)):
        batch, own = frames(model, size, length), noise(model, size, length)
        what = f"the graph on {size} sequences of {length} frames, and eager execution"
        assert_close(concrete(batch, own), evaluate(model, batch, own), 3e-5, what=what)


def check_compiled(model: Any) -> None:
    """XLA gives the eager values and gradients."""
    batch, own = frames(model), noise(model)
    compiled = tf.function(functools.partial(evaluate, model), autograph=False, jit_compile=True)
    assert_close(compiled(batch, own), evaluate(model, batch, own), 1e-4, what="XLA, and eager execution")


def check_gradients(model: Any) -> None:
    """Every weight gets a gradient that is finite and not zero."""
    require(model.trainable_variables, "the model has no trainable variables")
    found = evaluate(model, frames(model), noise(model)).of_variables
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        require_finite(gradient, f"gradient of {variable.path}")
        require(np.any(gradient.numpy() != 0.0), f"gradient of {variable.path} is zero everywhere")
