"""One frame at a time: steps are the sequence, generated steps are `generate`, the two mix, or the model says why it
cannot."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.bounds.filtering import Draw
from tfdvae.layers.frame_shapes import flatten_frames
from tfdvae.layers.latent import Latent
from tfdvae.testing.comparing import assert_close, drawn, require
from tfdvae.testing.sequences import BATCH, LENGTH, at, frames, given, noise
from tfdvae.types import Batch

__all__ = [
    "HORIZON",
    "MIXTURE",
    "check_generated_steps",
    "check_mixtures",
    "check_steps",
    "following",
    "future",
    "stream",
]

HORIZON = 4

MIXTURE = (True, False, True, True, False)
"""Whether each frame of a sequence is drawn: before any was given, between those that are, and two in a row."""


def future(model: Any, batch: int, length: int = HORIZON) -> tf.Tensor | None:
    """Inputs for frames to come, where the model has inputs."""
    rng = np.random.default_rng(8)
    return tf.constant(rng.normal(size=(batch, length, model.u_dim)), tf.float32) if model.u_dim else None


def stream(model: Any, batch: Batch, noise: dict[str, tf.Tensor] | None = None) -> list[Any]:
    """What `step` returns for each frame of a batch."""
    state, outputs = model.initial_state(batch.x.shape[0], context=batch.context), []
    for t in range(batch.x.shape[1]):
        own = None if noise is None else {latent.name: noise[latent.name][:, t] for latent in model.frame_latents}
        outputs.append(model.step(state, *at(batch, t, model), noise=own))
        state = outputs[-1].state
    return outputs


def check_steps(model: Any) -> None:
    """`step`, frame by frame, gives the path and the terms of the sequence.

    Latents of the sequence follow their modes in both. A model that infers latents from frames that are yet to come
    refuses.
    """
    batch, own = frames(model), noise(model)
    if not model.causal:
        state = model.initial_state(BATCH, context=batch.context) if model.stepwise else {}
        message = f"{model.not_causal}, so frames cannot be"
        _require_refusal(lambda: model.step(state, *at(batch, 0, model)), message)
        return
    own = {latent.name: own[latent.name] for latent in model.frame_latents}
    outputs = stream(model, batch, own)
    path = model.infer(*batch, own)
    terms = model.terms(path, batch)
    found = [(drawn(o), *o[1:-1]) for o in outputs]
    stacked = tf.nest.map_structure(lambda *y: tf.stack(y, axis=1), *found)
    latents = {latent.name: drawn(path)[latent.name] for latent in model.frame_latents}
    expected = (latents, path.x, terms.log_px, terms.kl)
    for name, a, b in zip(("latents", "p(x_t | .)", "log_px", "kl"), stacked, expected, strict=True):
        assert_close(a, b, 3e-5, what=f"{name} of `step`, and of the sequence")


def check_generated_steps(model: Any) -> None:
    """`generate_step` continues an empty and a given prefix as `generate` does."""
    batch = frames(model)
    u = future(model, BATCH)
    if not model.stepwise:
        message = "draws whole sequences, whose frames or latents come together, so `.*` has no"
        _require_refusal(lambda: model.initial_state(BATCH), message)
        _require_refusal(lambda: model.generate_step({}), message)
        return
    for prefix in (None, batch) if model.causal else (None,):
        if prefix is None:
            state, options = model.initial_state(BATCH, context=batch.context), {"context": batch.context}
        else:
            state, options = stream(model, prefix)[-1].state, {"prefix": given(prefix, model)}
        options = {k: v for k, v in options.items() if v is not None}
        drawn_frames = []
        for t in range(HORIZON):
            frame, state = model.generate_step(state, None if u is None else u[:, t])
            drawn_frames.append(frame)
        stacked = tf.nest.map_structure(lambda *y: tf.stack(y, axis=1), *drawn_frames)
        generated = model.generate(HORIZON, BATCH, u=u, sample=False, **options)
        after = "the start" if prefix is None else f"{LENGTH} given frames"
        assert_close(stacked, generated, 3e-5, what=f"`generate_step` after {after}, and `generate`")


def check_mixtures(model: Any, batch: Batch | None = None, state: Any = None) -> None:
    """A drawn frame leaves what `step` leaves that is given this frame, so `step` and `generate_step` mix in any order.

    The frames of a mixture are taken in once more, none of them drawn, with the same latents; by `check_steps` that is
    one call on the sequence. Every number has to agree, and every entry of the state after each frame: whatever comes
    next then agrees as well. It runs eagerly: the other checks have these verbs as graphs. Models that cannot infer or
    draw frame by frame are left to them as well.

    Args:
        batch: frames of a stream without a mask, some of which are replaced by drawn ones; by default random ones.
        state: from `initial_state`, for this batch; by default without anything that is given.
    """
    if not (model.causal and model.stepwise):
        return
    with _eagerly():
        batch = frames(model) if batch is None else batch
        size, length = batch.x.shape[:2]
        own, rng = noise(model, size, length), np.random.default_rng(9)
        mixed = model.initial_state(size, context=batch.context) if state is None else state
        taken = mixed
        for t, draws in zip(range(length), MIXTURE, strict=False):
            x, u, observed = at(batch, t, model)
            noise_t = {latent.name: own[latent.name][:, t] for latent in model.frame_latents}
            if draws:
                uniform = tf.constant(rng.uniform(0.1, 0.9, (size, model.observation.noise_dim)), tf.float32)
                frame, mixed = model.generate_step(mixed, u, noise_t, uniform)
                x, observed, latents, found = frame.x, None, frame.latents, frame.params
            else:
                out = model.step(mixed, x, u, observed, noise_t)
                mixed, latents = out.state, {name: path.z for name, path in out.latents.items()}
                found = (drawn(out), *out[1:-1])
            x, observed = (None if y is None else flatten_frames(y, model.frame_shape) for y in (x, observed))
            again = model.take_frame_with(following(latents), taken, x, u, observed)
            taken = again.state
            what = f"frame {t} of a mixture, which was {'drawn' if draws else 'given'}, and the same frames given"
            assert_close(found, again.x if draws else (drawn(again), *again[1:-1]), what=what)
            require(mixed.keys() == taken.keys(), f"states with {sorted(mixed)} and {sorted(taken)} after {what}")
            for name, value in mixed.items():
                states = (tf.nest.map_structure(lambda y: tf.cast(y, tf.float32), s) for s in (value, taken[name]))
                assert_close(*states, what=f"the state's {name!r} after {what}")


@contextlib.contextmanager
def _eagerly() -> Iterator[None]:
    """Verbs are not traced within it."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def following(latents: dict[str, tf.Tensor]) -> Draw:
    """What makes `take_frame_with` follow values of the latents that are known, `[B, Z]` by name."""

    def draw(latent: Latent, q: Any) -> tuple[tf.Tensor, None]:
        return latents[latent.name], None

    return draw


def _require_refusal(call: Callable[[], Any], message: str) -> None:
    """The call raises ValueError with a message that matches."""
    try:
        call()
    except ValueError as error:
        require(re.search(message, str(error)), f"ValueError says {str(error)!r}, expected {message!r}")
        return
    raise AssertionError(f"no ValueError with {message!r} was raised")
