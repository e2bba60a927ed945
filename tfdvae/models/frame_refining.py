"""Variational filtering: the posterior of one frame after the other is improved, given the states of before.

Marino, Cvitkovic and Yue, A general method for amortizing variational filtering (2018). The bound of a sequence is a
sum over frames, F = sum_t F_t, and F_t is the first term that hangs on q(z_t | .):

    F_t = E_q(z_<t) E_q(z_t | .) [log p(x_t | x_<t, z_<=t) + log p(z_t | x_<t, z_<t) - log q(z_t | .)]

So at each t gradient steps raise F_t in the law of z_t, for paths z_<t from the posteriors that were found before,
which stay as they are; then the paths go on by one frame. What is found for frame t hangs on no later frame: it is what
a filter could have found while the frames came in, by the same `advance` that streams them.

Deviations: the paper trains a network that updates the parameters from their gradients, here Adam ascends, as `refine`
does for whole sequences. F_t says nothing of what z_t is worth to later frames, so F may fall where each F_t rose:
`refine` compares F with that of the networks' own posterior at the end. (No frame is judged by itself: by so few paths
F_t of the networks' posterior, whose log-weights vary more, would often be a lucky one.)
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfdvae import loop, masks, random
from tfdvae.bounds.filtering import repeat_rows
from tfdvae.layers.latent import Latent
from tfdvae.models.moves import adam, at_rest, chosen, law_change, moved_noise
from tfdvae.types import Batch, Move, State

if TYPE_CHECKING:
    from tfdvae.models import DVAE

__all__ = ["moves_by_frame"]


def moves_by_frame(
    model: "DVAE", batch: Batch, seed: tf.Tensor, count: int, steps: int, rate: tf.Tensor
) -> dict[str, Move]:
    """The moves of variational filtering, by the names of the moved latents, aligned with x: `[B, T, n]`.

    Args:
        model: one that infers frame by frame (`not_by_frames` is None).
        seed: of all noise; that of a frame follows from it and from the number of the frame alone.
        count: K, paths per sequence.
        steps: of the ascent at each frame.
        rate: of the first step, which falls to zero.
    """
    packed, how = model.pack(batch)
    size = packed.x.shape[0] or tf.shape(packed.x)[0]
    particles = model.particles(packed, count)
    still = tf.nest.map_structure(lambda y: y[:, 0], at_rest(model.moved_latents, size, 1))

    def draw_noise(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """That of one frame, `[B * K, n]`."""
        return {latent.name: latent.draw_noise(seed, size * count, 1)[:, 0] for latent in particles.latents}

    def frame(state: State, inputs: Any) -> tuple[State, dict[str, Move]]:
        inputs_t, number = inputs
        own = random.fold_in(seed, number[0])
        if particles.shared:
            inputs_t = tf.nest.map_structure(lambda y: repeat_rows(y, count), inputs_t)

        def judge(moves: Mapping[str, Move], noise: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, State]:
            """F_t of each sequence, `[B]`, and the state of each path after the frame."""
            many = tf.nest.map_structure(lambda y: repeat_rows(y, count), dict(moves))
            moved = moved_noise(noise, many)

            def draw(latent: Latent, q: Any) -> tuple[tf.Tensor, tf.Tensor]:
                return latent.q.sample(q, moved[latent.name]), moved[latent.name]

            out = particles.advance(state, inputs_t, draw)
            value = out.log_px
            for latent in particles.latents:
                path = out.latents[latent.name]
                value += latent.p.log_prob(path.p, path.z) - latent.q.log_prob(path.q, path.z, path.noise)
            for name, move in many.items():
                value -= law_change(move, moved[name])
            return tf.reduce_mean(tf.reshape(value, [-1, count]), axis=1), out.state

        def ascend(step: tf.Tensor, moves: Any, means: Any, squares: Any) -> tuple[tf.Tensor, Any, Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(moves)
                value, _ = judge(moves, draw_noise(random.fold_in(own, step)))
            slopes = tape.gradient(value, moves, unconnected_gradients="zero")
            done = tf.cast(step, tf.float32)
            new = adam(moves, slopes, means, squares, done + 1.0, rate * (1.0 - done / steps))
            return step + 1, *tf.nest.map_structure(lambda a, b: tf.ensure_shape(a, b.shape), new, (moves,) * 3)

        start = (tf.constant(0), still, still, still)
        found = tf.while_loop(lambda step, *_: step < steps, ascend, start, maximum_iterations=steps)[1]
        kept = draw_noise(random.fold_in(own, "kept"))
        moves = chosen(tf.math.is_finite(judge(found, kept)[0]), found, still)
        return judge(moves, kept)[1], moves

    length = packed.x.shape[1] or tf.shape(packed.x)[1]
    numbers = tf.range(length)[None]
    found = loop.scan(frame, particles.state, (particles.inputs, numbers))[1]
    return found if how is None else tf.nest.map_structure(lambda y: masks.unpack(y, how), found)
