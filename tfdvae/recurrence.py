"""The way through a stochastic cell on which every x_t is the data: `teacher_forced`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import segments
from tfdvae.layers.frame_skips import Newest
from tfdvae.loop import scan
from tfdvae.types import LatentPath, State

__all__ = ["Feedback", "Unrolled", "teacher_forced", "visited"]


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


class Feedback(NamedTuple):
    """What `teacher_forced` needs to feed a model its own output now and then (scheduled sampling).

    Attributes:
        frames: the model's `FrameIO`; E[x_t | .] takes the place of x_t.
        x: the data, `[B, T, D]`, with what was not observed filled in.
        replaced: `[B, T]` bool, true where the own output is fed back.
        observed: `[B, T, D]` bool, or None.
        pictures: of the newest given frame before each, `[B, T, S]`, where the frame decoder takes them.
    """

    frames: Any
    x: tf.Tensor
    replaced: tf.Tensor
    observed: tf.Tensor | None = None
    pictures: tf.Tensor | None = None


def teacher_forced(
    cell: Any,
    given: Any,
    *,
    hold: tf.Tensor | None = None,
    feedback: Feedback | None = None,
    last: bool = False,
    seen: tf.Tensor | None = None,
) -> tuple[Unrolled, State | None]:
    """The path on which every x_t is the data: posteriors and their samples first, priors and features after them.

    There are three ways, with the same equations. Where no posterior of the loop sees a latent of an earlier frame
    (`mean_field`, `within_frame`), each latent is drawn for all frames at once and recurrent layers run over whole
    sequences; a cell may know another way to draw paths at once (`draw_paths`). Where frames open without a latent of
    the loop (`loop_state`), they open all at once, and the loop carries what is left. Otherwise the loop takes a frame
    from its opening to its close. Priors, `observe` and `penalties` run once for all frames, on what they read of the
    state; `observe` runs in the loop where it feeds back.

    Args:
        cell: a StochasticCell.
        given: what its `hoist` returned.
        hold: `[B, T]`, where false the state is kept, so that the last state is that of the last existing frame.
        feedback: frames where what is fed back is not the data after all; gradients pass through them.
        last: whether the state after the last frame is wanted, which takes the third way.
        seen: frames as the networks see them, `[B, T, E]`, where the sequences go on from the states of frames before
            them (`tfdvae.passages`), as a stream does: the posteriors of a causal cell then follow on those states
            too, while others know of the frames that are here.

    Returns:
        The path, and the state after the last frame where the third way was taken, else None.
    """
    if feedback is None and not last:
        paths = cell.draw_paths(given)
        if paths or (cell.at_once and all(latent.mean_field or latent.within_frame for latent in cell.loop_latents)):
            return _at_once(cell, given, paths), None
        if cell.loop_state:
            return _opened_at_once(cell, given), None
    return _frame_by_frame(cell, given, hold, feedback, seen)


def _at_once(cell: Any, given: Any, drawn: Mapping[str, tuple[tf.Tensor, Any]]) -> Unrolled:
    """No loop: every latent is known for all frames before anything reads it, those of a mean field before the frames
    open, as are those that were `drawn`."""
    known = given.samples() | {name: z for name, (z, _) in drawn.items()}
    q = {name: posterior for name, (_, posterior) in drawn.items()}

    def draw(latent: Any, state: State) -> None:
        q[latent.name] = latent.posterior(state, given.g)
        known[latent.name] = latent.q.sample(q[latent.name], given.noise.get(latent.name))

    for latent in cell.loop_latents:
        if latent.mean_field and latent.name not in drawn:
            draw(latent, {})
    state = cell.absorb_u({**given.state, **cell.previous(given.e, known), **cell.recall(given.g)}, given.c)
    paths = {}
    for latent in cell.frame_latents:
        if latent.in_loop:
            if latent.name not in q:
                draw(latent, state)
            z, noise = known[latent.name], given.noise.get(latent.name)
            paths[latent.name] = latent.path(state, given.g, z, q[latent.name], noise)
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
        paths[latent.name] = latent.path(state, given.g, z, q, given.noise.get(latent.name))
        state = latent.absorb(state, z)
    return _unrolled(cell, given, paths, state)


def _unrolled(cell: Any, given: Any, paths: dict[str, LatentPath], state: State) -> Unrolled:
    """What follows from the state of all frames, once their latents are known."""
    told = {name: state[name] for name in cell.states}
    return Unrolled(paths, cell.observe_all(state, given.mask), cell.penalties(state, given.g), told)


def _frame_by_frame(
    cell: Any, given: Any, hold: tf.Tensor | None, feedback: Feedback | None, seen: tf.Tensor | None
) -> tuple[Unrolled, State]:
    """The loop over whole frames."""
    known = given.samples()
    # What frames before these have left in the state, and a model's own output, are in no copies of the data.
    copied = feedback is None and seen is None
    copies = (*cell.previous(given.e, known), *cell.recall(given.g)) if copied else ()
    along = seen is not None and cell.encodes_along

    def frame(state: State, inputs: Any) -> tuple[State, Any]:
        e_t, g_t, c_t, seen_t, noise_t, known_t, x_t, replaced_t, observed_t, pictures_t = inputs
        state, held = segments.parted(state)
        state = cell.absorb_u(state, c_t)
        if along:
            state, g_t = cell.encode_step(state, seen_t, c_t, e_t)
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
            io = feedback.frames if pictures_t is None else feedback.frames.at(Newest(pictures_t))
            own = io.mean(io.params(shown))
            fed = tf.where(replaced_t[:, None], own, x_t)
            known_x = None if observed_t is None else observed_t | replaced_t[:, None]
            e_t = cell.embed(io.see(fed, known_x, fed))
        found = (drawn, shown, judged, told, [g_t] if along else [])
        return {**cell.absorb_x(state, e_t), **segments.held_on(held, known_t)}, found

    fed = (None, None, None, None) if feedback is None else feedback[1:]
    g, seen = (None, seen) if along else (given.g, None)
    inputs = (given.e, g, given.c, seen, given.noise, known, *fed)
    state, (drawn, shown, judged, told, gs) = scan(frame, given.state, inputs, hold=hold)
    g = gs[0] if along else g
    known |= {name: z for name, (z, _, _) in drawn.items()}
    before = {**cell.previous(given.e, known), **cell.recall(given.g)} if copied else {}
    paths = {}
    for latent in cell.loop_latents:
        z, q, opened = drawn[latent.name]
        paths[latent.name] = latent.path({**before, **opened}, g, z, q, given.noise.get(latent.name))
    penalties = cell.penalties(judged, g)
    if feedback is not None:
        return Unrolled(paths, shown, penalties, told), state
    told = {name: shown[name] for name in cell.states}
    return Unrolled(paths, cell.observe_all(shown, given.mask), penalties, told), state


def visited(cell: Any, given: Any) -> State:
    """What `observe` reads at each frame of the path that follows the posterior modes, `[B, T, .]` by name."""

    def frame(state: State, inputs: Any) -> tuple[State, State]:
        e_t, g_t, c_t, known_t = inputs
        state, held = segments.parted(state)
        state = cell.absorb_u(state, c_t)
        for latent in cell.frame_latents:
            z = known_t.get(latent.name)
            state = latent.absorb(state, latent.q.sample(latent.posterior(state, g_t)) if z is None else z)
        closed = {**cell.absorb_x(state, e_t), **segments.held_on(held, known_t)}
        return closed, {name: state[name] for name in cell.observe_reads}

    return scan(frame, given.state, (given.e, given.g, given.c, given.samples()))[1]
