"""A model as a codec runs it: frame by frame, by the same few functions where sequences are written and where they are
read, so that both find the same numbers.

The model's own half-steps are called in their order (see `tfdvae.layers.StochasticCell`). Each of them is one graph
that both sides call with tensors of the same shapes: what a sum is made of, and in which order, then follows from the
program and the machine alone. Posteriors see whole sequences (`hoist`), which the reader has once all frames are
known.
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.families import Categorical, DiagonalGaussian
from tfdvae.models import DVAE
from tfdvae.types import Batch, State

__all__ = ["HalfSteps", "check_model"]

PROBE_FRAMES = 3


def check_model(model: DVAE) -> None:
    """Raises ValueError where sequences of this model cannot be coded frame by frame, TypeError where it is none."""
    if not isinstance(model, DVAE):
        raise TypeError(f"Expected a DVAE to code by, got {type(model).__name__}.")
    name, reason = type(model).__name__, None
    if not model.built:
        raise ValueError(f"The {name} was never built: call `build_for`, or fit it.")
    if not (model.stepwise and hasattr(model, "cell")):
        reason = "decodes sequences as a whole, and a codec needs p(x_t | .) frame by frame"
    elif model.u_dim or model.context_dim:
        reason = "was built for inputs or a context, which would have to travel beside the frames"
    elif model.given_frames:
        reason = "has `given_frames`, of which no p(x_t | .) is told"
    elif not all(latent.in_loop for latent in model.latents):
        reason = "has latents that exist once per sequence or are drawn ahead of the frames"
    elif not all(type(f) in (DiagonalGaussian, Categorical) for z in model.latents for f in (z.p, z.q)):
        reason = "has latents that are neither diagonal Gaussians nor categorical"
    if reason is not None:
        raise ValueError(
            f"{name} as configured {reason}. Choose a model without latents (RNN), or one with latents of frames "
            "alone, such as a VAE, VRNN, STORN, SRNN, DKF or RSSM."
        )


class HalfSteps:
    """The half-steps of a model for `rows` sequences at a time.

    Args:
        model: one that `check_model` lets through.
        rows: N. It is part of the arithmetic: a reader needs that of the writer.

    Attributes:
        model, rows, latents: of the model.
    """

    def __init__(self, model: DVAE, rows: int) -> None:
        check_model(model)
        self.model, self.rows, self.latents = model, rows, model.latents
        cell, io = model.cell, model.frames

        def met(state: State) -> tuple[State, Any]:
            """What comes next once `len(self.latents)` of them are known: parameters of p(x_t | .)."""
            return state, io.params(cell.observe(state))

        def ask(index: int, state: State) -> tuple[State, Any]:
            """Parameters of the prior of latent number `index`, or of p(x_t | .) after the last."""
            if index == len(self.latents):
                return met(state)
            latent = self.latents[index]
            return state, latent.prior_of(state, tf.zeros([rows, latent.latent_dim]))

        def absorbed(index: int) -> Callable[[State, tf.Tensor], tuple[State, Any]]:
            return lambda state, z: ask(index + 1, self.latents[index].absorb(state, z))

        def encoded(x: tf.Tensor, mask: tf.Tensor) -> Any:
            packed, _ = model.pack(Batch(x, mask))
            return model.hoist(packed, None).g

        graph = {"autograph": False, "reduce_retracing": True}
        self.open = tf.function(lambda state: ask(0, cell.absorb_u(state, None)), **graph)
        self.absorb = [tf.function(absorbed(i), **graph) for i in range(len(self.latents))]
        self.posterior = [tf.function(latent.posterior, **graph) for latent in self.latents]
        self.close = tf.function(lambda state, x: cell.absorb_x(state, cell.embed(io.see(x))), **graph)
        # One graph for all lengths: writers and readers meet blocks in other orders, and a graph of one length may be
        # optimised into other sums than that of all.
        sizes = [rows, None, model.x_dim]
        signature = [tf.TensorSpec(sizes, tf.float32), tf.TensorSpec(sizes[:2], tf.bool)]
        self._encode = tf.function(encoded, autograph=False, input_signature=signature)

    def encode(self, x: np.ndarray, mask: np.ndarray) -> Any:
        """What posteriors see of sequences `[N, T, D]` with a mask `[N, T]`, a nest of `[N, T, .]`."""
        return self._encode(tf.constant(x, tf.float32), tf.constant(mask))

    def start(self) -> State:
        """The state before the first frame."""
        return self.model.cell.start(self.rows)

    def walk(
        self,
        length: int,
        latent: Callable[[int, int, State, Any], np.ndarray],
        frame: Callable[[int, tf.Tensor], np.ndarray],
    ) -> None:
        """Goes through `length` frames.

        Args:
            latent: `(t, number of the latent, state, parameters of its prior) -> z [N, Z]`, what it turned out to be.
            frame: `(t, parameters of p(x_t | .)) -> x_t [N, D]`, likewise; it is what the next frame hears.
        """
        state = self.start()
        for t in range(length):
            state, law = self.open(state)
            for i, absorb in enumerate(self.absorb):
                state, law = absorb(state, tf.constant(latent(t, i, state, law), tf.float32))
            state = self.close(state, tf.constant(frame(t, law), tf.float32))

    def probe(self) -> int:
        """CRC-32 of all numbers of a few frames that hear their own means, with latents half a deviation off.

        It changes with the weights, with what the model does with them, and with the arithmetic of the machine.
        """
        found = 0

        def seen(law: Any) -> None:
            nonlocal found
            for y in tf.nest.flatten(law):
                found = zlib.crc32(np.ascontiguousarray(y, "<f4").tobytes(), found)

        def latent(t: int, index: int, state: State, law: Any) -> np.ndarray:
            seen(law)
            family = self.latents[index].p
            return (family.mode(law) + 0.5 * family.scale(law)).numpy()

        def frame(t: int, law: tf.Tensor) -> np.ndarray:
            seen(law)
            return self.model.frames.mean(law).numpy()

        self.walk(PROBE_FRAMES, latent, frame)
        return found
