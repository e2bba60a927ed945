"""Frames that do not exist reach neither values nor gradients, wherever they stand and whatever they hold."""

from typing import Any, NamedTuple

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


class Row(NamedTuple):
    """A sequence among masked frames: its layout, which of the sequences it is, and where its frames stand."""

    layout: str
    number: int
    where: list[int]


ROWS = [Row(layout, b, where) for layout, places in LAYOUTS.items() for b, where in enumerate(places)]
"""All layouts, which one batch holds. Their sequences are the same, so each is computed alone once."""


def check_masked(model: Any) -> None:
    """Values and gradients are those of the sequences without masked frames, in every layout."""
    found = evaluate(model, *_padded(model, ROWS))
    distinct = {(row.number, len(row.where)): row for row in ROWS}
    alone = {key: evaluate(model, *_alone(model, row)) for key, row in distinct.items()}
    expectations = [alone[row.number, len(row.where)] for row in ROWS]
    values = tf.nest.flatten((of_frames(model, found.latents), found.x, found.of_inputs))
    for b, (row, one) in enumerate(zip(ROWS, expectations, strict=True)):
        missing = np.setdiff1d(np.arange(PADDED), row.where)
        what = f"sequence {row.number} among masked frames ({row.layout})"
        expected = tf.nest.flatten((of_frames(model, one.latents), one.x, one.of_inputs))
        for y, value in zip(values, expected, strict=True):
            assert_close(y.numpy()[b, row.where], value[0], 3e-5, what=f"{what}, and alone")
            np.testing.assert_array_equal(y.numpy()[b, missing], 0.0, err_msg=f"masked frames beside {what}")
    objective = tf.add_n([one.objective for one in expectations])
    assert_close(found.objective, objective, 3e-5, what="objective with masked frames, and without")
    summed = [tf.add_n(list(g)) for g in zip(*(one.of_variables for one in expectations), strict=True)]
    assert_close(found.of_variables, summed, 3e-5, what="gradients of weights with masked frames, and without")


def check_masked_terms(model: Any) -> None:
    """The terms of training stay finite, and are zero at masked frames, in every layout."""
    batch, _ = _padded(model, ROWS)
    with tf.GradientTape() as tape:
        terms = model.sample_terms(batch, random.make_seed(0), num_samples=2)
        objective = tf.reduce_sum(terms.log_px + terms.log_ratio - terms.penalty - terms.kl)
        objective += tf.reduce_sum(terms.sequence_log_ratio - terms.sequence_kl)
    weights = model.trainable_variables
    for variable, gradient in zip(weights, tape.gradient(objective, weights), strict=True):
        require(gradient is not None, f"the terms do not hang on {variable.path}")
        require_finite(gradient, f"gradient of {variable.path}")
    lengths = np.repeat([len(row.where) for row in ROWS], 2)
    np.testing.assert_array_equal(terms.weight.numpy().sum(axis=1), lengths, err_msg="frames that exist")
    for y in tf.nest.flatten((terms.log_px, terms.of_frames(), terms.penalty)):
        require_finite(y, "terms of masked sequences")
        np.testing.assert_array_equal(y.numpy()[terms.weight.numpy() == 0.0], 0.0, err_msg="terms at masked frames")


def check_masked_verbs(model: Any) -> None:
    """The call and `encode` take masks."""
    rows = [row for row in ROWS if row.layout == "gaps"]
    places = rows[2].where
    batch, _ = _padded(model, rows)
    called, encoded = model(given(batch, model)).numpy(), model.encode(given(batch, model))
    one, _ = _alone(model, rows[2])
    assert_close(called[2, places], model(given(one, model))[0], 3e-5, what="the call among masked frames")
    alone, framed = model.encode(given(one, model)), _of_frames(model, encoded)
    found = each(lambda y: y.numpy()[2, places], framed)
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


def _spread(rows: list[Row], series: list[np.ndarray], fill: float) -> np.ndarray:
    """Puts the frames of each sequence where they belong, and `fill` elsewhere."""
    out = np.full((len(rows), PADDED, series[0].shape[-1]), fill, np.float32)
    for b, (row, values) in enumerate(zip(rows, series, strict=True)):
        out[b, row.where] = values
    return out


def _alone(model: Any, row: Row) -> tuple[Batch, Any]:
    """A sequence alone, with its noise."""
    length = len(row.where)
    return frames(model, 1, length, 10 + row.number), noise(model, 1, length, 20 + row.number)


def _padded(model: Any, rows: list[Row]) -> tuple[Batch, Any]:
    """All of them in one batch, NaN where no frame exists."""
    alone = [_alone(model, row) for row in rows]
    x = _spread(rows, [b.x[0] for b, _ in alone], np.nan)
    u = _spread(rows, [b.u[0] for b, _ in alone], np.nan) if model.u_dim else None
    context = tf.concat([b.context for b, _ in alone], axis=0) if model.context_dim else None

    def joined(*noises: tf.Tensor) -> tf.Tensor:
        if noises[0].shape.rank == 2:
            return tf.concat(noises, axis=0)
        return tf.constant(_spread(rows, [n[0] for n in noises], 0.7))

    own = tf.nest.map_structure(joined, *(n for _, n in alone))
    mask = _spread(rows, [np.ones((len(row.where), 1)) for row in rows], 0.0)[..., 0] > 0
    tensors = (None if y is None else tf.constant(y) for y in (x, mask, u))
    return Batch(*tensors, None, context), own
