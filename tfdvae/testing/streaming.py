"""One frame at a time: steps are the sequence, generated steps are `generate`, or the model says why it cannot."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.testing.comparing import assert_close, drawn, require
from tfdvae.testing.sequences import BATCH, LENGTH, at, frames, given, noise
from tfdvae.types import Batch

__all__ = ["HORIZON", "check_generated_steps", "check_steps", "future", "stream"]

HORIZON = 4


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
        message = "infers latents from frames that are yet to come, so frames cannot be"
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
        message = "draws whole sequences, each frame from all latents, so `.*` has no"
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


def _require_refusal(call: Callable[[], Any], message: str) -> None:
    """The call raises ValueError with a message that matches."""
    try:
        call()
    except ValueError as error:
        require(re.search(message, str(error)), f"ValueError says {str(error)!r}, expected {message!r}")
        return
    raise AssertionError(f"no ValueError with {message!r} was raised")
