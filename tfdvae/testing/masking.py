"""Frames that do not exist reach neither values nor gradients, wherever they stand and whatever they hold."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import random
from tfdvae.testing.comparing import assert_close, evaluate, of_frames, require, require_finite
from tfdvae.testing.sequences import each, frames, given, noise
from tfdvae.types import Batch

__all__ = ["LAYOUTS", "Places", "check_masked", "check_masked_terms", "check_masked_verbs"]

Places = list[list[int]]
"""Where the frames of each sequence stand."""

PADDED = 7
LAYOUTS: dict[str, Places] = {
    "right": [[0, 1, 2, 3, 4], [0, 1], [0, 1, 2]],
    "left": [[2, 3, 4, 5, 6], [5, 6], [4, 5, 6]],
    "gaps": [[0, 2, 3, 5, 6], [1, 6], [0, 3, 4]],
    "one frame": [[0, 1, 2, 3, 4, 5, 6], [3], [6]],
}


def check_masked(model: Any, layout: str) -> None:
    """Values and gradients are those of the sequences without masked frames."""
    places = LAYOUTS[layout]
    batch, own = _padded(model, places)
    found = evaluate(model, batch, own)
    alone = [evaluate(model, *one) for one in _sequences(model, places)]
    for b, (where, one) in enumerate(zip(places, alone, strict=True)):
        missing = np.setdiff1d(np.arange(PADDED), where)
        values, expectations = (tf.nest.flatten((of_frames(model, e.latents), e.x, e.of_inputs)) for e in (found, one))
        for y, expected in zip(values, expectations, strict=True):
            assert_close(y.numpy()[b, where], expected[0], 3e-5, what=f"sequence {b} among masked frames, and alone")
            np.testing.assert_array_equal(y.numpy()[b, missing], 0.0, err_msg="what masked frames hold or receive")
    objective = tf.add_n([one.objective for one in alone])
    assert_close(found.objective, objective, 3e-5, what="objective with masked frames, and without")
    summed = [tf.add_n(list(g)) for g in zip(*(one.of_variables for one in alone), strict=True)]
    assert_close(found.of_variables, summed, 3e-5, what="gradients of weights with masked frames, and without")


def check_masked_terms(model: Any, layout: str) -> None:
    """The terms of training stay finite, and are zero at masked frames."""
    places = LAYOUTS[layout]
    batch, _ = _padded(model, places)
    with tf.GradientTape() as tape:
        terms = model.sample_terms(batch, random.make_seed(0), num_samples=2)
        objective = tf.reduce_sum(terms.log_px + terms.log_ratio - terms.penalty - terms.kl)
        objective += tf.reduce_sum(terms.sequence_log_ratio - terms.sequence_kl)
    weights = model.trainable_variables
    for variable, gradient in zip(weights, tape.gradient(objective, weights), strict=True):
        require(gradient is not None, f"the terms do not hang on {variable.path}")
        require_finite(gradient, f"gradient of {variable.path}")
    lengths = np.repeat([len(w) for w in places], 2)
    np.testing.assert_array_equal(terms.weight.numpy().sum(axis=1), lengths, err_msg="frames that exist")
    for y in tf.nest.flatten((terms.log_px, terms.of_frames(), terms.penalty)):
        require_finite(y, "terms of masked sequences")
        np.testing.assert_array_equal(y.numpy()[terms.weight.numpy() == 0.0], 0.0, err_msg="terms at masked frames")


def check_masked_verbs(model: Any) -> None:
    """The call and `encode` take masks."""
    places = LAYOUTS["gaps"]
    batch, _ = _padded(model, places)
    called, encoded = model(given(batch, model)).numpy(), model.encode(given(batch, model))
    one, _ = _sequences(model, places)[2]
    assert_close(called[2, places[2]], model(given(one, model))[0], 3e-5, what="the call among masked frames")
    alone, framed = model.encode(given(one, model)), _of_frames(model, encoded)
    found = each(lambda y: y.numpy()[2, places[2]], framed)
    assert_close(found, each(lambda y: y[0], _of_frames(model, alone)), 3e-5, what="`encode` among masked frames")
    for latent in model.sequence_latents:
        own, expected = list(encoded[latent.name]), list(alone[latent.name])
        assert_close([y[2:3] for y in own], expected, 3e-5, what=f"`encode` of {latent.name!r} among masked frames")
    for y in (called, *tf.nest.flatten(framed)):
        np.testing.assert_array_equal(np.asarray(y)[~batch.mask.numpy()], 0.0, err_msg="masked frames of a verb")
    require(called.shape[:2] == (3, PADDED), f"the call gives shape {called.shape}, not (3, {PADDED}, ...)")


def _of_frames(model: Any, encoded: dict[str, Any]) -> dict[str, Any]:
    """What `encode` tells of each frame: posteriors and states."""
    return {**of_frames(model, encoded), **{name: encoded[name] for name in model.states}}


def _spread(places: Places, series: list[np.ndarray], fill: float) -> np.ndarray:
    """Puts the frames of each sequence where they belong, and `fill` elsewhere."""
    out = np.full((len(places), PADDED, series[0].shape[-1]), fill, np.float32)
    for b, (where, values) in enumerate(zip(places, series, strict=True)):
        out[b, where] = values
    return out


def _sequences(model: Any, places: Places) -> list[tuple[Batch, Any]]:
    """Each sequence alone, with its noise."""
    return [(frames(model, 1, len(w), 10 + b), noise(model, 1, len(w), 20 + b)) for b, w in enumerate(places)]


def _padded(model: Any, places: Places) -> tuple[Batch, Any]:
    """All of them in one batch, NaN where no frame exists."""
    alone = _sequences(model, places)
    x = _spread(places, [b.x[0] for b, _ in alone], np.nan)
    u = _spread(places, [b.u[0] for b, _ in alone], np.nan) if model.u_dim else None
    context = tf.concat([b.context for b, _ in alone], axis=0) if model.context_dim else None

    def joined(*noises: tf.Tensor) -> tf.Tensor:
        if noises[0].shape.rank == 2:
            return tf.concat(noises, axis=0)
        return tf.constant(_spread(places, [n[0] for n in noises], 0.7))

    own = tf.nest.map_structure(joined, *(n for _, n in alone))
    mask = _spread(places, [np.ones((len(w), 1)) for w in places], 0.0)[..., 0] > 0
    tensors = (None if y is None else tf.constant(y) for y in (x, mask, u))
    return Batch(*tensors, None, context), own
