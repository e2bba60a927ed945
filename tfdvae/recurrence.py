"""The one recurrent loop, and the two ways through a stochastic cell that it runs: `teacher_forced` and `simulate`.

`keras.layers.RNN` takes no nested inputs and stacks tuple outputs, `keras.ops.scan` needs outputs shaped like the
carry, `tf.scan` is slow under XLA. Hence `tf.while_loop` over TensorArrays: inputs are read from them too, since
indexing `x[t]` makes the gradient's memory quadratic in T.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import gaussian
from tfdvae.types import Gaussian, State

__all__ = ["Feedback", "Frames", "Simulated", "Unrolled", "scan", "simulate", "teacher_forced", "visited"]


class Unrolled(NamedTuple):
    """A cell's path under teacher forcing: z, q, p as in Trajectory, features `[B, T, H]` for the observation, and

    auxiliary losses by name, `[B, T]` each."""

    z: tf.Tensor
    q: Gaussian
    p: Gaussian
    features: tf.Tensor
    penalties: dict[str, tf.Tensor] = {}


class Frames(NamedTuple):
    """What `simulate` needs at each frame; every entry `[B, T, ...]` or None.

    Attributes:
        x: frames to feed back where `observed`; None feeds the model its own output everywhere.
        observed: `[B, T, D]` bool, true where x holds data; elsewhere the model's own output stands in for it.
        g: what q(z_t | .) sees of x, from `encode`; None draws every z_t from the prior.
        infer: `[B, T]` bool, true where z_t comes from the posterior; None with `g` means everywhere.
        c: embedded inputs u_t.
        noise: standard normal, `[B, T, Z]`; None takes the mean of z_t.
        emission: uniform, `[B, T, N]`, for drawing x_t; None takes the mean of p(x_t | .).
    """

    x: tf.Tensor | None = None
    observed: tf.Tensor | None = None
    g: Any = None
    infer: tf.Tensor | None = None
    c: Any = None
    noise: tf.Tensor | None = None
    emission: tf.Tensor | None = None


class Feedback(NamedTuple):
    """What `teacher_forced` needs to feed a model its own output now and then (scheduled sampling).

    Attributes:
        observation: maps features to E[x_t | .], which takes the place of x_t.
        x: the data, `[B, T, D]`.
        replaced: `[B, T]` bool, true where the own output is fed back.
    """

    observation: Any
    x: tf.Tensor
    replaced: tf.Tensor


class Simulated(NamedTuple):
    """What `simulate` returns, each `[B, T, ...]`: frames (data where observed), latents, parameters of p(x_t | .)."""

    x: tf.Tensor
    z: tf.Tensor
    params: tf.Tensor


def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    inputs: Any,
    *,
    hold: tf.Tensor | None = None,
    length: tf.Tensor | int | None = None,
) -> tuple[Any, Any]:
    """Runs `body(state, inputs_t) -> (state, outputs_t)` over time, batch-major outside, time-major inside.

    Args:
        body: one frame; takes and returns nests of `[B, .]` tensors. The state keeps structure, shapes and dtypes.
        state: nest of `[B, .]` tensors.
        inputs: nest of `[B, T, .]` tensors; may be empty if `length` is given.
        hold: `[B, T]` bool; where false the state of that sequence stays as it was.
        length: number of frames, where there are no inputs to tell it.

    Returns:
        The last state, and the nest of outputs, each `[B, T, .]`.
    """
    given = [x for x in tf.nest.flatten(inputs) if x is not None]
    steps = (given[0].shape[1] or tf.shape(given[0])[1]) if given else length

    def frame(state: Any, frames: list[tf.Tensor], held_t: list[tf.Tensor]) -> tuple[Any, Any]:
        new, outputs = body(state, _restore(inputs, frames))
        if held_t:
            new = tf.nest.map_structure(lambda a, b: tf.where(_as_rank(held_t[0], a.shape.rank), a, b), new, state)
        return new, outputs

    if isinstance(steps, int) and steps == 1:
        # No loop where there is one frame: a step that is streamed on a phone would pay for it.
        state, outputs = frame(state, [x[:, 0] for x in given], [] if hold is None else [hold[:, 0]])
        return state, tf.nest.map_structure(lambda y: y[:, None], outputs)
    series = [_swap(x) for x in given]
    held = [] if hold is None else [_swap(hold)]
    if tf.executing_eagerly():
        collected = []
        for t in range(int(steps)):
            state, outputs = frame(state, [x[t] for x in series], [m[t] for m in held])
            collected.append(outputs)
        return state, tf.nest.map_structure(lambda *ys: tf.stack(ys, axis=1), *collected)

    arrays, held_arrays = [[_array(x, steps).unstack(x) for x in xs] for xs in (series, held)]
    spec = _outputs_spec(lambda s, *xs: frame(s, list(xs), [])[1], state, series)
    written = [tf.TensorArray(s.dtype, size=steps, element_shape=s.shape) for s in tf.nest.flatten(spec)]

    def step(t: tf.Tensor, state: Any, written: list[tf.TensorArray]) -> tuple[tf.Tensor, Any, list[tf.TensorArray]]:
        state, outputs = frame(state, [a.read(t) for a in arrays], [a.read(t) for a in held_arrays])
        return t + 1, state, [a.write(t, y) for a, y in zip(written, tf.nest.flatten(outputs), strict=True)]

    _, state, written = tf.while_loop(
        lambda t, *_: t < steps, step, (tf.constant(0), state, written), maximum_iterations=steps
    )
    return state, tf.nest.pack_sequence_as(spec, [_swap(a.stack()) for a in written])


def _swap(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def _as_rank(held: tf.Tensor, rank: int) -> tf.Tensor:
    """`[B]` as `[B, 1, ...]`, to choose between states."""
    return tf.reshape(held, [-1, *[1] * (rank - 1)])


def _array(x: tf.Tensor, size: tf.Tensor | int) -> tf.TensorArray:
    return tf.TensorArray(x.dtype, size=size, element_shape=x.shape[1:])


def _restore(structure: Any, tensors: list[tf.Tensor]) -> Any:
    """`structure` with its tensors replaced in order; what was None (an absent input) stays None."""
    remaining = iter(tensors)
    flat = [None if x is None else next(remaining) for x in tf.nest.flatten(structure)]
    return tf.nest.pack_sequence_as(structure, flat)


def _outputs_spec(frame: Callable, state: Any, series: list[tf.Tensor]) -> Any:
    """Structure, dtypes and static shapes of a frame's outputs, from tracing it in a graph that is thrown away."""
    found = []

    def trace(state: Any, *frames: tf.Tensor) -> None:
        outputs = frame(state, *frames)
        found.append(tf.nest.map_structure(lambda y: tf.TensorSpec(y.shape, y.dtype), outputs))

    state_spec = tf.nest.map_structure(lambda s: tf.TensorSpec(s.shape, s.dtype), state)
    tf.function(trace, autograph=False).get_concrete_function(
        state_spec, *(tf.TensorSpec(x.shape[1:], x.dtype) for x in series)
    )
    return found[-1]


def teacher_forced(
    cell: Any, given: Any, *, hold: tf.Tensor | None = None, feedback: Feedback | None = None
) -> tuple[Unrolled, State]:
    """The path on which every x_t is the data: q and its samples inside the loop, prior and features after it.

    Per frame absorb_u, posterior, sample, absorb_z, absorb_x; the parts of the state that `prior`, `observe` and
    `penalties` read are kept, and those then run once for all frames; `observe` runs in the loop where it feeds back.

    Args:
        cell: a StochasticCell.
        given: what its `hoist` returned.
        hold: `[B, T]`, where false the state is kept, so that the last state is that of the last existing frame.
        feedback: frames where what is fed back is not the data after all; gradients pass through them.
    """

    def frame(state: State, inputs: Any) -> tuple[State, Any]:
        e_t, g_t, c_t, noise_t, x_t, replaced_t = inputs
        opened = cell.absorb_u(state, c_t)
        q = cell.posterior(opened, g_t)
        z = gaussian.sample(q, noise_t)
        known = cell.absorb_z(opened, z)
        shown = cell.read(known, cell.observe_reads)
        judged = cell.read(known, cell.penalty_reads) if cell.penalty_reads else {}
        if feedback is not None:
            shown = cell.observe(known)
            own = feedback.observation.mean(feedback.observation(shown))
            e_t = cell.embed(cell.see(tf.where(replaced_t[:, None], own, x_t)))
        return cell.absorb_x(known, e_t), (z, q, cell.read(opened, cell.prior_reads), shown, judged)

    inputs = (given.e, given.g, given.c, given.noise, *((None, None) if feedback is None else feedback[1:]))
    state, (z, q, opened, shown, judged) = scan(frame, given.state, inputs, hold=hold)
    features = cell.observe(shown) if feedback is None else shown
    return Unrolled(z, q, cell.prior(opened), features, cell.penalties(judged, given.g)), state


def visited(cell: Any, given: Any) -> State:
    """What `observe` reads at each frame of the path that follows the posterior means, `[B, T, .]` by name."""

    def frame(state: State, inputs: Any) -> tuple[State, State]:
        e_t, g_t, c_t = inputs
        opened = cell.absorb_u(state, c_t)
        known = cell.absorb_z(opened, cell.posterior(opened, g_t).loc)
        return cell.absorb_x(known, e_t), {name: known[name] for name in cell.observe_reads}

    return scan(frame, given.state, (given.e, given.g, given.c))[1]


def simulate(
    cell: Any, observation: Any, frames: Frames, *, state: State, length: tf.Tensor | int | None = None
) -> tuple[Simulated, State]:
    """The path on which the model may meet its own output: generation, forecasting, generation mode, imputation.

    Per frame z_t comes from the posterior or the prior, x_t from the data or from p(x_t | .), and what x_t turned out
    to be is fed back. With everything inferred and observed it is `teacher_forced`, frame by frame.
    """

    def frame(state: State, f: Frames) -> tuple[State, Simulated]:
        opened = cell.absorb_u(state, f.c)
        dist = cell.prior(opened)
        if f.g is not None:
            q = cell.posterior(opened, f.g)
            dist = (
                q
                if f.infer is None
                else Gaussian(*(tf.where(f.infer[:, None], a, b) for a, b in zip(q, dist, strict=True)))
            )
        z = gaussian.sample(dist, f.noise)
        known = cell.absorb_z(opened, z)
        params = observation(cell.observe(known))
        x = observation.mean(params) if f.emission is None else observation.sample(params, f.emission)
        if f.x is not None:
            x = tf.where(f.observed, f.x, x)
        return cell.absorb_x(known, cell.embed(cell.see(x))), Simulated(x, z, params)

    state, simulated = scan(frame, state, frames, length=length)
    return simulated, state
