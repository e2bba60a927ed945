"""Frames of which a part was measured: what was not observed reaches neither values nor gradients."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.testing.comparing import assert_close, assert_equal, drawn, require_finite
from tfdvae.testing.sequences import LENGTH, frames, noise
from tfdvae.types import Batch

__all__ = ["FILLS", "check_all_observed", "check_junk", "check_missing_and_masked", "partly"]

FILLS: dict[str, dict[str, Any]] = {"zero": {}, "last": {"fill": "last"}, "indicator": {"indicator": True}}
"""What stands for values that were not observed: options of a model, by what to call them."""


JUNK = (np.nan, np.inf, -np.inf, 1e30)
"""What may stand at unobserved places."""


def partly(model: Any, junk: float | np.ndarray, seed: int = 3) -> Batch:
    """Frames half of which was measured, one whole frame not at all; `junk` stands at the rest."""
    batch = frames(model)
    observed = np.random.default_rng(seed).random(batch.x.shape) < 0.5
    observed[1, 2] = False
    return batch._replace(x=tf.where(observed, batch.x, junk), observed=tf.constant(observed))


def check_junk(model: Any) -> None:
    """Values and gradients do not hang on what stands at unobserved places: zeros, or all kinds of JUNK."""
    own, found, shape = noise(model), [], frames(model).x.shape
    for junk in (np.zeros(shape), np.random.default_rng(4).choice(JUNK, shape)):
        batch = partly(model, junk.astype("float32"))
        with tf.GradientTape() as tape:
            tape.watch(batch.x)
            path = model.infer(*batch, own)
            terms = model.terms(path, batch)
            loss = tf.reduce_sum(terms.log_px - terms.kl - terms.penalty) - tf.reduce_sum(terms.sequence_kl)
        weights = model.trainable_variables
        gradients = tape.gradient(loss, [*weights, batch.x], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        unseen = gradients[-1].numpy()[~batch.observed.numpy()]
        np.testing.assert_array_equal(unseen, 0.0, err_msg="gradients of values that were not observed")
        found.append((drawn(path), path.x, terms, gradients))
    assert_equal(*found, what="zeros at unobserved places, and junk")
    require_finite(found[0], "a path of partly observed frames")


def check_all_observed(model: Any) -> None:
    """To have observed everything is to say nothing."""
    batch = frames(model)
    whole = batch._replace(observed=tf.ones_like(batch.x, tf.bool))
    found, expected = model.infer(*whole), model.infer(*batch)
    what = "all observed, and no `observed`"
    assert_close([drawn(found), found.x], [drawn(expected), expected.x], 1e-6, what=what)
    assert_close(model.terms(found, whole), model.terms(expected, batch), 1e-5, what=what)


def check_missing_and_masked(model: Any) -> None:
    """Padding and missing values go together."""
    lengths = [5, 2, 3]
    mask = tf.sequence_mask(lengths, LENGTH)
    batch = partly(model, np.nan)
    together = batch._replace(x=tf.where(mask[..., None], batch.x, np.nan), mask=mask)
    found = model.terms(model.infer(*together), together)
    for b, n in enumerate(lengths):
        alone = Batch(*(None if y is None else y[b : b + 1, :n] for y in batch[:4]))
        alone = alone._replace(context=None if batch.context is None else batch.context[b : b + 1])
        expected = model.terms(model.infer(*alone), alone)
        what = f"partly observed sequence {b} in padding, and alone"
        assert_close(found.log_px[b, :n], expected.log_px[0], 3e-5, what=what)
        assert_close(found.kl[b, :n], expected.kl[0], 3e-5, what=what)
