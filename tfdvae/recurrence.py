"""The two ways through a stochastic cell that the loop runs: `teacher_forced` and `simulate`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae.loop import scan
from tfdvae.types import LatentPath, State

__all__ = [
    "Feedback",
    "Frames",
    "Simulated",
    "Unrolled",
    "simulate",
    "start_segments",
    "teacher_forced",
    "visited",
]


class Unrolled(NamedTuple):
    """A cell's path under teacher forcing.

    Attributes:
        latents: the paths of the latents of the loop, by name.
        features: `[B, T, H]`, for the observation.
        penalties: auxiliary losses by name, `[B, T]` each.
        states: the entries of the cell's `states`, `[B, T, .]` each.
    """

    latents: dict[str, LatentPath]
    features: tf.Tensor
    penalties: dict[str, tf.Tensor] = {}
    states: dict[str, tf.Tensor] = {}


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


class Feedback(NamedTuple):
    """What `teacher_forced` needs to feed a model its own output now and then (scheduled sampling).

    Attributes:
        frames: the model's `FrameIO`; E[x_t | .] takes the place of x_t.
        x: the data, `[B, T, D]`, with what was not observed filled in.
        replaced: `[B, T]` bool, true where the own output is fed back.
        observed: `[B, T, D]` bool, or None.
    """

    frames: Any
    x: tf.Tensor
    replaced: tf.Tensor
    observed: tf.Tensor | None = None


class Simulated(NamedTuple):
    """What `simulate` returns, each `[B, T, ...]`: frames (data where observed), latents by name, parameters of

    p(x_t | .)."""

    x: tf.Tensor
    latents: dict[str, tf.Tensor]
    params: tf.Tensor


def teacher_forced(
    cell: Any,
    given: Any,
    *,
    hold: tf.Tensor | None = None,
    feedback: Feedback | None = None,
    last: bool = False,
) -> tuple[Unrolled, State | None]:
    """The path on which every x_t is the data: posteriors and their samples first, priors and features after them.

    There are three ways, with the same equations. Where no posterior of the loop sees a latent of an earlier frame
    (`mean_field`, `within_frame`), each latent is drawn for all frames at once and recurrent layers run over whole
    sequences. Where frames open without a latent of the loop (`loop_state`), they open all at once, and the loop
    carries what is left. Otherwise the loop takes a frame from its opening to its close. Priors, `observe` and
    `penalties` run once for all frames, on what they read of the state; `observe` runs in the loop where it feeds back.

    Args:
        cell: a StochasticCell.
        given: what its `hoist` returned.
        hold: `[B, T]`, where false the state is kept, so that the last state is that of the last existing frame.
        feedback: frames where what is fed back is not the data after all; gradients pass through them.
        last: whether the state after the last frame is wanted, which takes the third way.

    Returns:
        The path, and the state after the last frame where the third way was taken, else None.
    """
    if feedback is None and not last:
        if cell.at_once and all(latent.mean_field or latent.within_frame for latent in cell.loop_latents):
            return _at_once(cell, given), None
        if cell.loop_state:
            return _opened_at_once(cell, given), None
    return _frame_by_frame(cell, given, hold, feedback)


def _at_once(cell: Any, given: Any) -> Unrolled:
    """No loop: every latent is known for all frames before anything reads it, those of a mean field before the frames
    open."""
    known, q = given.samples(), {}

    def draw(latent: Any, state: State) -> None:
        q[latent.name] = latent.posterior(state, given.g)
        known[latent.name] = latent.q.sample(q[latent.name], given.noise.get(latent.name))

    for latent in cell.loop_latents:
        if latent.mean_field:
            draw(latent, {})
    state = cell.absorb_u({**given.state, **cell.previous(given.e, known), **cell.recall(given.g)}, given.c)
    paths = {}
    for latent in cell.frame_latents:
        if latent.in_loop:
            if not latent.mean_field:
                draw(latent, state)
            p = latent.prior_of(state, known[latent.name])
            paths[latent.name] = LatentPath(known[latent.name], q[latent.name], p, given.noise.get(latent.name))
        state = latent.absorb(state, known[latent.name])
    return _unrolled(cell, given, paths, state)


def _opened_at_once(cell: Any, given: Any) -> Unrolled:
    """The loop carries `loop_state` alone; all else of the state is known when it starts."""
    known, opened = given.samples(), given.opened
    fixed = {k: v for k, v in opened.items() if k not in cell.loop_state and tf.is_tensor(v)}
    constant = {k: v for k, v in fixed.items() if v.shape.rank == 2}
    fixed = {k: v for k, v in fixed.items() if v.shape.rank == 3}

    def frame(carried: State, inputs: Any) -> tuple[State, Any]:
        fixed_t, g_t, noise_t = inputs
        state, drawn = {**constant, **fixed_t, **carried}, {}
        for latent in cell.loop_latents:
            q = latent.posterior(state, g_t)
            z = latent.q.sample(q, noise_t.get(latent.name))
            state = latent.absorb(state, z)
            drawn[latent.name] = (z, q)
        return {k: state[k] for k in cell.loop_state}, drawn

    carried = {k: given.state[k] for k in cell.loop_state}
    _, drawn = scan(frame, carried, (fixed, given.g, given.noise))
    known |= {name: z for name, (z, _) in drawn.items()}
    state = {**opened, **cell.previous(given.e, known)}
    paths = {}
    for latent in cell.loop_latents:
        z, q = drawn[latent.name]
        paths[latent.name] = LatentPath(z, q, latent.prior_of(state, z), given.noise.get(latent.name))
        state = latent.absorb(state, z)
    return _unrolled(cell, given, paths, state)


def _unrolled(cell: Any, given: Any, paths: dict[str, LatentPath], state: State) -> Unrolled:
    """What follows from the state of all frames, once their latents are known."""
    told = {name: state[name] for name in cell.states}
    return Unrolled(paths, cell.observe_all(state, given.mask), cell.penalties(state, given.g), told)


def _frame_by_frame(cell: Any, given: Any, hold: tf.Tensor | None, feedback: Feedback | None) -> tuple[Unrolled, State]:
    """The loop over whole frames."""
    known = given.samples()
    copies = () if feedback is not None else (*cell.previous(given.e, known), *cell.recall(given.g))

    def frame(state: State, inputs: Any) -> tuple[State, Any]:
        e_t, g_t, c_t, noise_t, known_t, x_t, replaced_t, observed_t = inputs
        state, held = _parted(state)
        state = cell.absorb_u(state, c_t)
        drawn = {}
        for latent in cell.frame_latents:
            if latent.name in known_t:
                state = latent.absorb(state, known_t[latent.name])
                continue
            opened = cell.read(state, [name for name in latent.reads if name not in copies])
            q = latent.posterior(state, g_t)
            z = latent.q.sample(q, noise_t.get(latent.name))
            state = latent.absorb(state, z)
            drawn[latent.name] = (z, q, opened)
        shown = cell.read(state, cell.observe_reads)
        told = {name: state[name] for name in cell.states} if feedback is not None else {}
        judged = cell.read(state, cell.penalty_reads) if cell.penalty_reads else {}
        if feedback is not None:
            shown = cell.observe(state)
            own = feedback.frames.mean(feedback.frames.params(shown))
            fed = tf.where(replaced_t[:, None], own, x_t)
            known_x = None if observed_t is None else observed_t | replaced_t[:, None]
            e_t = cell.embed(feedback.frames.see(fed, known_x, fed))
        return {**cell.absorb_x(state, e_t), **_held_on(held, known_t)}, (drawn, shown, judged, told)

    fed = (None, None, None) if feedback is None else feedback[1:]
    inputs = (given.e, given.g, given.c, given.noise, known, *fed)
    state, (drawn, shown, judged, told) = scan(frame, given.state, inputs, hold=hold)
    known |= {name: z for name, (z, _, _) in drawn.items()}
    before = {} if feedback is not None else {**cell.previous(given.e, known), **cell.recall(given.g)}
    paths = {}
    for latent in cell.loop_latents:
        z, q, opened = drawn[latent.name]
        paths[latent.name] = LatentPath(z, q, latent.prior_of({**before, **opened}, z), given.noise.get(latent.name))
    penalties = cell.penalties(judged, given.g)
    if feedback is not None:
        return Unrolled(paths, shown, penalties, told), state
    told = {name: shown[name] for name in cell.states}
    return Unrolled(paths, cell.observe_all(shown, given.mask), penalties, told), state


def visited(cell: Any, given: Any) -> State:
    """What `observe` reads at each frame of the path that follows the posterior modes, `[B, T, .]` by name."""

    def frame(state: State, inputs: Any) -> tuple[State, State]:
        e_t, g_t, c_t, known_t = inputs
        state, held = _parted(state)
        state = cell.absorb_u(state, c_t)
        for latent in cell.frame_latents:
            z = known_t.get(latent.name)
            state = latent.absorb(state, latent.q.sample(latent.posterior(state, g_t)) if z is None else z)
        closed = {**cell.absorb_x(state, e_t), **_held_on(held, known_t)}
        return closed, {name: state[name] for name in cell.observe_reads}

    return scan(frame, given.state, (given.e, given.g, given.c, given.samples()))[1]


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

    Args:
        encoding: whether what x_t turned out to be also moves the recurrences of the posteriors on (`encode_state`).
            It costs a pass of the inference network per frame, and is for those who go on to infer from the last state.
    """

    def frame(state: State, f: Frames) -> tuple[State, Simulated]:
        state, held = _parted(state)
        state = opened = cell.absorb_u(state, f.c)
        drawn = {}
        for latent in cell.frame_latents:
            z = _draw(latent, state, f, held)
            state = latent.absorb(state, z)
            drawn[latent.name] = z
        params = frame_io.params(cell.observe(state))
        x = frame_io.mean(params) if f.uniform is None else frame_io.sample(params, f.uniform)
        if f.x is not None:
            x = tf.where(f.observed, f.x, x)
        seen = frame_io.see(x)
        e = cell.embed(seen)
        if encoding and cell.encode_state:
            # From where the frame opened, as in `step`; no half-step of generation touches these entries.
            encoded, _ = cell.encode_step(opened, seen, f.c, e)
            state = {**state, **{name: encoded[name] for name in cell.encode_state}}
        closed = cell.absorb_x(state, e)
        return {**closed, **_held_on(held, drawn)}, Simulated(x, drawn, params)

    state, simulated = scan(frame, state, frames, length=length)
    return simulated, state


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
        begins = held["clock"] % latent.segment == 0
        drawn = tf.where(begins[:, None], drawn, held[latent.name])
    return drawn if inferred is None else tf.where(f.infer[:, None], inferred, drawn)


def start_segments(cell: Any, batch_size: tf.Tensor | int) -> State:
    """What a state holds beside the cell's own entries where there are latents of segments: how many frames have
    passed, and the present value of each. It stands under "segments"; no equation sees it."""
    own = [latent for latent in cell.frame_latents if latent.level == "segment"]
    if not own:
        return {}
    values = {latent.name: tf.zeros([batch_size, latent.latent_dim]) for latent in own}
    return {"segments": {"clock": tf.zeros([batch_size], tf.int32), **values}}


def _parted(state: State) -> tuple[State, State | None]:
    """The cell's own entries, and those of segments."""
    return {k: v for k, v in state.items() if k != "segments"}, state.get("segments")


def _held_on(held: State | None, drawn: Mapping[str, tf.Tensor]) -> State:
    """The entries of segments after a frame in which these values were in use."""
    if held is None:
        return {}
    return {"segments": {k: v + 1 if k == "clock" else drawn[k] for k, v in held.items()}}
