"""The ways through a cell are the same function: the fast one, the loop over whole frames, and the simulation."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae import random, recurrence, simulation
from tfdvae.layers.latent import latent_terms
from tfdvae.testing.comparing import assert_close, differs, gradients, require
from tfdvae.testing.sequences import BATCH, LENGTH, frames, noise
from tfdvae.types import Batch, LatentPath

__all__ = ["check_dropout", "check_generation", "check_states", "check_ways"]


def check_ways(model: Any, dropout: bool = False) -> None:
    """`teacher_forced`, the same frame by frame, and `simulate` give the same values and the same gradients."""
    found = _ways(model, random.make_seed(3) if dropout else None)
    hooks = "`previous`, `recall`, `loop_state`, `mean_field`, `within_frame`"
    fast = f"the fast way through the cell ({hooks}), and frame by frame"
    assert_close(found["fast"], found["generic"], 3e-5, what=fast)
    z, params, _, _, slopes, *_ = found["generic"]
    if model.stepwise:
        assert_close(found["frame_by_frame"], [z, params, slopes], 3e-5, what="teacher forcing, and `simulate`")


def _ways(model: Any, seed: tf.Tensor | None) -> dict[str, list]:
    """For each way through the cell: values, and gradients of one scalar that hangs on all of z and p(x_t | .)."""
    batch, own = frames(model), noise(model)
    cell, inputs = model.cell, [y for y in (batch.x, batch.u) if y is not None]
    rng = np.random.default_rng(9)
    weights = {
        latent.name: tf.constant(rng.normal(size=(BATCH, LENGTH, latent.latent_dim)), tf.float32)
        for latent in cell.loop_latents
    }

    def hoist() -> tuple[Any, Any]:
        packed = model.pack(batch)[0]
        return model.hoist(packed, own), packed.within(model.frames)

    def told(path: Any, io: Any) -> list:
        latents = {k: (v.z, v.q, v.p, v.average or ()) for k, v in path.latents.items()}
        return [{k: latents[k][0] for k in weights}, io.params(path.features), latents, path.penalties]

    def fast() -> list:
        given, io = hoist()
        return told(recurrence.teacher_forced(cell, given)[0], io)

    def generic() -> list:
        given, io = hoist()
        path, state = recurrence.teacher_forced(cell, given, last=True)
        what = "entries of the state after the last frame are"
        require(set(state) == set(given.state), f"{what} {sorted(state)}, before the first {sorted(given.state)}")
        return told(path, io)

    def frame_by_frame() -> list:
        given, io = hoist()
        everything = tf.ones_like(batch.x, tf.bool)
        given_frames = simulation.Frames(batch.x, everything, given.g, None, given.c, given.noise, given.samples())
        path, _ = simulation.simulate(cell, io, given_frames, state=given.state, length=LENGTH)
        return [{k: path.latents[k] for k in weights}, path.params]

    results = {}
    for way in (fast, generic, frame_by_frame) if model.stepwise else (fast, generic):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            with random.dropout_scope(seed):
                values = way()
            z, params, *dists = values
            scalars = [tf.reduce_sum(model.frames.log_prob(params, batch.x))]
            scalars[0] += sum(tf.reduce_sum(weights[k] * z[k]) for k in weights)
            if dists:
                paths = {k: LatentPath(*v[:3], noise=own[k], average=v[3] or None) for k, v in dists[0].items()}
                scalars += [tf.reduce_sum(latent_terms(v, paths[v.name]).kl) for v in cell.loop_latents]
                scalars += [tf.reduce_sum(y) for y in dists[1].values()]
        sources = [*model.trainable_variables, *inputs]
        results[way.__name__] = [*values, *(gradients(tape, s, sources) for s in scalars)]
    return results


def check_generation(model: Any) -> None:
    """New frames, and frames that are filled in, are the same from a graph, which leaves out of its loop what it can,
    and eagerly, frame by frame."""
    if not model.stepwise:
        return
    batch, own, rng = frames(model), noise(model), np.random.default_rng(7)
    uniform = tf.constant(rng.uniform(0.05, 0.95, (BATCH, LENGTH, model.observation.noise_dim)), tf.float32)
    seen = tf.constant(rng.random((BATCH, LENGTH, 1)) < 0.5)

    def draw(batch: Batch, own: dict, uniform: tf.Tensor) -> list:
        mine, beside = model.parted(model.start_stream(BATCH, {}, batch.context, own))
        per_frame = {latent.name: own[latent.name] for latent in model.frame_latents}
        c = model.cell.embed_u(model.inputs(batch.u, beside.get("context"), LENGTH))
        new = simulation.Frames(c=c, noise=per_frame, uniform=uniform)
        drawn_frames, _ = simulation.simulate(model.cell, model.io_beside(beside), new, state=mine, length=LENGTH)
        given = model.hoist(model.pack(batch)[0], own)
        observed = tf.broadcast_to(seen, tf.shape(batch.x))
        holes = (batch.x, observed, given.g, seen[..., 0], given.c, per_frame, given.samples(), uniform)
        io = model.pack(batch)[0].within(model.frames)
        filled, _ = simulation.simulate(model.cell, io, simulation.Frames(*holes), state=given.state)
        return [drawn_frames, filled]

    found = tf.function(draw, autograph=False)(batch, own, uniform)
    for what, a, b in zip(("drawn", "filled in"), found, draw(batch, own, uniform), strict=True):
        assert_close(a, b, 3e-5, what=f"frames {what} in a graph, and eagerly")


def check_dropout(model: Any) -> None:
    """Dropout drops only within its scope, and by its seed."""
    batch, own = frames(model), noise(model)
    plain = model.infer(*batch, own).x
    with random.dropout_scope(random.make_seed(3)):
        first, again = model.infer(*batch, own).x, model.infer(*batch, own).x
    with random.dropout_scope(random.make_seed(4)):
        other = model.infer(*batch, own).x
    assert_close(first, again, what="dropout twice from one seed")
    require(differs(first, plain), "dropout changes nothing: it acts nowhere on the way to p(x_t | .)")
    require(differs(first, other), "dropout is the same whatever its seed")
    assert_close(model.infer(*batch, own).x, plain, what="without dropout, before and after")


def check_states(model: Any) -> None:
    """`encode_states` gives what `observe` reads, and that gives the parameters of p(x_t | .)."""
    batch = frames(model)
    found, reads = model.encode_states(*batch), set(model.cell.observe_reads)
    require(set(found) == reads, f"`encode_states` gives {sorted(found)}, `observe_reads` names {sorted(reads)}")
    mask = tf.constant([[True] * 5, [True, False] * 2 + [True], [False] * 3 + [True] * 2])
    for y in model.encode_states(*batch._replace(mask=mask)).values():
        np.testing.assert_array_equal(y.numpy()[~mask.numpy()], 0.0, err_msg="states at masked frames")
    if batch.u is None and batch.context is None:
        params = model.frames.params(model.cell.observe_all(found, None))
        assert_close(params, model.infer(*batch).x, 3e-5, what="`observe` of `encode_states`, and the path")
