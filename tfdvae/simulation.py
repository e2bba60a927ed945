"""The ways through a stochastic cell on which latents may come from their priors: `simulate`, on which it may meet its
own output, and `by_priors`, on which every x_t is the data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import segments
from tfdvae.loop import depends, scan
from tfdvae.types import State

__all__ = ["Frames", "Simulated", "by_priors", "hears", "simulate"]


class Frames(NamedTuple):
    """What `simulate` needs at each frame; every entry `[B, T, ...]` or None.

    Attributes:
        x: frames to feed back where `observed`; None feeds the model its own output everywhere.
        observed: `[B, T, D]` bool, true where x holds data; elsewhere the model's own output stands in for it.
        g: what the posteriors of the loop see of x, from `encode`; None draws every latent from its prior.
        infer: `[B, T]` bool, true where latents come from their posterior; None with `g` means everywhere.
        c: embedded inputs u_t.
        noise: of the latents of frames, by name; a missing name follows its mode.
        latents: samples, by name, of latents that were inferred before the loop.
        uniform: `[B, T, N]`, for drawing x_t; None takes the mean of p(x_t | .).
    """

    x: tf.Tensor | None = None
    observed: tf.Tensor | None = None
    g: Any = None
    infer: tf.Tensor | None = None
    c: Any = None
    noise: Mapping[str, tf.Tensor] = {}
    latents: Mapping[str, tf.Tensor] = {}
    uniform: tf.Tensor | None = None


class Simulated(NamedTuple):
    """What `simulate` returns, each `[B, T, ...]`: frames (data where observed), latents by name, and parameters of
    p(x_t | .)."""

    x: tf.Tensor
    latents: dict[str, tf.Tensor]
    params: tf.Tensor


def simulate(
    cell: Any,
    frame_io: Any,
    frames: Frames,
    *,
    state: State,
    length: tf.Tensor | int | None = None,
    encoding: bool = False,
) -> tuple[Simulated, State]:
    """The path on which the model may meet its own output: generation, forecasting, generation mode, imputation.

    Per frame latents come from their posterior or their prior, x_t from the data or from p(x_t | .), and what x_t
    turned out to be is fed back. With everything inferred and observed it is `teacher_forced`, frame by frame.

    In a graph, what a cell does not hear is not made in the loop: where x_t does not reach the next state, p(x_t | .)
    follows for all frames at once after it, and where nothing else of the loop is left (`draws_at_once`), there is
    none.

    Args:
        encoding: whether what x_t turned out to be also moves the recurrences of the posteriors on (`encode_state`).
            It costs a pass of the inference network per frame, and is for those who go on to infer from the last state.

    Returns:
        The path, and the state after the last frame; None for that where there was no loop. Where the frame decoder
        takes pictures of given frames, the state holds those of the next one under "given".
    """
    # Of one frame there is nothing to gain, and eagerly it would cost a trace.
    newest = frame_io.newest(tf.shape(tf.nest.flatten(state)[0])[0])
    state = state if newest is None else {**state, "given": newest}
    steps = _length(frames, length)
    single = isinstance(steps, int) and steps == 1
    if not (single or tf.executing_eagerly() or (encoding and cell.encode_state)):
        if not hears(cell, frame_io, frames, state):
            return _unheard(cell, frame_io, frames, state, length)

    def frame(state: State, f: Frames) -> tuple[State, Simulated]:
        state, held = segments.parted(state)
        newest = state.get("given")
        io = frame_io if newest is None else frame_io.at(newest)
        state = opened = cell.absorb_u({k: v for k, v in state.items() if k != "given"}, f.c)
        drawn = {}
        for latent in cell.frame_latents:
            z = _draw(latent, state, f, held)
            state = latent.absorb(state, z)
            drawn[latent.name] = z
        params = io.params(cell.observe(state))
        x = io.mean(params) if f.uniform is None else io.sample(params, f.uniform)
        if f.x is not None:
            x = tf.where(f.observed, f.x, x)
        seen, pictures = io.look(x)
        e = cell.embed(seen)
        if encoding and cell.encode_state:
            # From where the frame opened, as in `step`; no half-step of generation touches these entries.
            encoded, _ = cell.encode_step(opened, seen, f.c, e)
            state = {**state, **{name: encoded[name] for name in cell.encode_state}}
        closed = cell.absorb_x(state, e)
        if newest is not None:
            closed = {**closed, "given": newest.after(pictures, frame_io.given_frames)}
        return {**closed, **segments.held_on(held, drawn)}, Simulated(x, drawn, params)

    state, simulated = scan(frame, state, frames, length=length)
    return simulated, state


def hears(cell: Any, frame_io: Any, frames: Frames, state: State) -> bool:
    """Whether x_t reaches the state after its frame, or the frame decoder at later ones, so that it must be known when
    the next one begins."""
    if frame_io.frame_skips:
        return True
    size = tf.nest.flatten(state)[0].shape[0]

    def closed(x: tf.Tensor, state: State, c: Any) -> State:
        state = cell.absorb_u(state, c)
        for latent in cell.frame_latents:
            state = latent.absorb(state, tf.zeros([tf.shape(tf.nest.flatten(state)[0])[0], latent.latent_dim]))
        return cell.absorb_x(state, cell.embed(frame_io.see(x)))

    first = tf.nest.map_structure(
        lambda y: None if y is None else tf.TensorSpec([size, *y.shape[2:]], y.dtype), frames.c
    )
    return depends(closed, tf.TensorSpec([size, frame_io.x_dim]), segments.parted(state)[0], first)


def _unheard(
    cell: Any, frame_io: Any, frames: Frames, state: State, length: tf.Tensor | int | None
) -> tuple[Simulated, State | None]:
    """The path of a cell that hears no frame: latents first, then all frames."""
    latents = cell.frame_latents
    free = all(latent.prior is None and latent.level == "frame" for latent in latents)
    if cell.draws_at_once and free and frames.g is None and frames.infer is None:
        state, shown, drawn = None, *_imagined_at_once(cell, frames, state, length)
    else:
        # Stands for what no equation reads.
        blank = cell.embed(frame_io.see(tf.zeros([tf.shape(tf.nest.flatten(state)[0])[0], frame_io.x_dim])))

        def frame(state: State, f: Frames) -> tuple[State, Any]:
            state, held = segments.parted(state)
            state, drawn = cell.absorb_u(state, f.c), {}
            for latent in latents:
                drawn[latent.name] = z = _draw(latent, state, f, held)
                state = latent.absorb(state, z)
            shown = cell.read(state, cell.observe_reads)
            return {**cell.absorb_x(state, blank), **segments.held_on(held, drawn)}, (shown, drawn)

        inner = frames._replace(x=None, observed=None, uniform=None)
        state, (shown, drawn) = scan(frame, state, inner, length=_length(frames, length))
    params = frame_io.params(cell.observe(shown))
    x = frame_io.mean(params) if frames.uniform is None else frame_io.sample(params, frames.uniform)
    if frames.x is not None:
        x = tf.where(frames.observed, frames.x, x)
    return Simulated(x, drawn, params), state


def _imagined_at_once(
    cell: Any, frames: Frames, state: State, length: tf.Tensor | int | None
) -> tuple[State, dict[str, tf.Tensor]]:
    """Latents that hang on nothing, and what `observe` reads once they are known."""
    size, steps = tf.shape(tf.nest.flatten(state)[0])[0], _length(frames, length)
    like, drawn = tf.zeros([size, steps, 1]), {}
    state = cell.absorb_u(state, frames.c)
    for latent in cell.frame_latents:
        z = frames.latents.get(latent.name)
        if z is None:
            z = latent.p.sample(latent.p.standard(like), frames.noise.get(latent.name))
        drawn[latent.name] = z
        state = latent.absorb(state, z)
    return cell.read(state, cell.observe_reads), drawn


def by_priors(cell: Any, given: Any, noise: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Features `[B, T, H]` of the path on which every x_t is the data, and latents of frames come from their priors.

    There is no loop where these are fixed and no frame has to wait for the one before (`mean_field`, `within_frame`).

    Args:
        cell: a StochasticCell.
        given: what its `hoist` returned, with values of the latents of the sequence.
        noise: of the latents of frames and segments, by name, `[B, T, n]`.
    """
    latents = cell.frame_latents
    free = all(latent.prior is None and latent.level == "frame" for latent in latents)
    if cell.at_once and free and all(latent.mean_field or latent.within_frame for latent in cell.loop_latents):
        like = tf.nest.flatten(given.e)[0]
        known = {latent.name: latent.p.sample(latent.p.standard(like), noise[latent.name]) for latent in latents}
        state = cell.absorb_u({**given.state, **cell.previous(given.e, known), **cell.recall(given.g)}, given.c)
        for latent in latents:
            state = latent.absorb(state, known[latent.name])
        return cell.observe_all(state, given.mask)

    def frame(state: State, inputs: Any) -> tuple[State, State]:
        e_t, c_t, noise_t = inputs
        state, held = segments.parted(state)
        state, drawn = cell.absorb_u(state, c_t), {}
        for latent in latents:
            drawn[latent.name] = z = _draw(latent, state, Frames(noise=noise_t), held)
            state = latent.absorb(state, z)
        return {**cell.absorb_x(state, e_t), **segments.held_on(held, drawn)}, cell.read(state, cell.observe_reads)

    shown = scan(frame, given.state, (given.e, given.c, dict(noise)))[1]
    return cell.observe_all(shown, given.mask)


def _length(frames: Frames, length: tf.Tensor | int | None) -> tf.Tensor | int | None:
    """T, as the frames tell it or as it was told."""
    given = [y for y in tf.nest.flatten(frames) if y is not None]
    return (given[0].shape[1] or tf.shape(given[0])[1]) if given else length


def _draw(latent: Any, state: State, f: Frames, held: State | None) -> tf.Tensor:
    """One latent of one frame: inferred, from the prior, or each where `infer` says so."""
    noise = f.noise.get(latent.name)
    inferred = f.latents.get(latent.name)
    if inferred is None and f.g is not None and latent.in_loop:
        inferred = latent.q.sample(latent.posterior(state, f.g), noise)
    if inferred is not None and f.infer is None:
        return inferred
    like = tf.nest.flatten(state)[0] if inferred is None else inferred
    drawn = latent.p.sample(latent.prior_of(state, like), noise)
    if latent.level == "segment":
        begins = segments.begins(held["clock"], latent.segment)
        drawn = tf.where(begins[:, None], drawn, held[latent.name])
    return drawn if inferred is None else tf.where(f.infer[:, None], inferred, drawn)
