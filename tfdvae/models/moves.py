"""Moves: another law N(m, s^2) of the normal noise that latents are made of, and what all who look for one need."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdvae.layers.latent import Latent
from tfdvae.types import Move

__all__ = ["adam", "at_rest", "chosen", "law_change", "moved_noise"]

_DECAY, _SQUARED_DECAY = 0.9, 0.999


def at_rest(latents: Sequence[Latent], size: tf.Tensor | int, length: tf.Tensor | int) -> dict[str, Move]:
    """Moves of no effect, by the names of the latents: `[B, T, n]`, or `[B, n]`.

    Both zeros are tensors of their own: the gradient in one that stood for both would be the sum of theirs.
    """
    return {y.name: Move(*(tf.zeros(y.noise_shape(size, length)) for _ in Move._fields)) for y in latents}


def adam(
    moves: dict[str, Move],
    slopes: dict[str, Move],
    means: dict[str, Move],
    squares: dict[str, Move],
    step: tf.Tensor,
    rate: tf.Tensor,
) -> tuple[dict[str, Move], dict[str, Move], dict[str, Move]]:
    """Moves, and Adam's moments of each, after one step uphill (Kingma and Ba 2015); slopes that are not finite count
    as 0. `step` counts from 1."""
    slopes = tf.nest.map_structure(lambda g: tf.where(tf.math.is_finite(g), g, 0.0), slopes)

    def blend(decay: float, old: Any, new: Any) -> Any:
        return tf.nest.map_structure(lambda a, b: decay * a + (1.0 - decay) * b, old, new)

    means = blend(_DECAY, means, slopes)
    squares = blend(_SQUARED_DECAY, squares, tf.nest.map_structure(tf.square, slopes))
    factor = rate * tf.sqrt(1.0 - _SQUARED_DECAY**step) / (1.0 - _DECAY**step)

    def moved(a: tf.Tensor, mean: tf.Tensor, square: tf.Tensor) -> tf.Tensor:
        return a + factor * mean / (tf.sqrt(square) + 1e-8)

    return tf.nest.map_structure(moved, moves, means, squares), means, squares


def chosen(where: tf.Tensor, one: Any, other: Any) -> Any:
    """Of two nests of `[B, ...]` the one for sequences where that is true."""
    return tf.nest.map_structure(
        lambda a, b: tf.where(tf.reshape(where, [-1, *[1] * (a.shape.rank - 1)]), a, b), one, other
    )


def moved_noise(noise: Mapping[str, tf.Tensor], moves: Mapping[str, Move]) -> dict[str, tf.Tensor]:
    """Noise of the moved law, by the names of the latents."""
    return {**noise, **{name: shift + tf.exp(log_scale) * noise[name] for name, (shift, log_scale) in moves.items()}}


def law_change(move: Move, moved: tf.Tensor) -> tf.Tensor:
    """What a move adds to log q at the moved noise `[..., n]`: `[...]`.

    The density of what a function makes of noise changes as that of the noise does. Its law is held fixed in the
    gradient, whose expectation stays, and whose variance vanishes as q becomes exact (Roeder et al. 2017).
    """
    shift, log_scale = map(tf.stop_gradient, move)
    own = tf.square((moved - shift) * tf.exp(-log_scale))
    return tf.reduce_sum(0.5 * (tf.square(moved) - own) - log_scale, axis=-1)
