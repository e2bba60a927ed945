"""The contract of a stochastic RNN cell: half-steps shared by training, generation, streaming and particle filters."""

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfdvae import recurrence
from tfdvae.layers.mlp import MLP, GaussianHead
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.types import Gaussian, State

__all__ = ["StochasticCell", "concat"]


def concat(*parts: tf.Tensor | None) -> tf.Tensor:
    """Joins features on the last axis, in the first one's dtype; parts that are None are left out."""
    present = [p for p in parts if p is not None]
    return present[0] if len(present) == 1 else tf.concat([tf.cast(p, present[0].dtype) for p in present], axis=-1)


class StochasticCell(keras.layers.Layer):
    """A recurrent cell with a random latent vector z_t at each frame.

    A subclass writes each equation of its paper once, over `[..., features]`. Per frame they are called in this
    order, on a state that is a dict of tensors `[B, .]`; between them the state may gain entries, from frame to frame
    its structure is fixed:

        state = absorb_u(state, c_t)      the frame opens: u_t is known now (None in undriven mode)
        q = posterior(state, g_t)         q(z_t | .)
        p = prior(state)                  p(z_t | .)
        state = absorb_z(state, z_t)      z_t is known now
        features = observe(state)         what p(x_t | .) depends on; an Observation maps it to parameters
        state = absorb_x(state, e_t)      x_t is known now, the frame closes

    Before the loop, for all frames at once: `e = embed(x)`, `c = embed_u(u)`, `g = encode(x, c, e, mask)` (all of q
    that only sees x and u). Sequences are right-padded there, and masked frames zero.

    Args:
        latent_dim: Z; 0 makes a deterministic recurrent model.
        units: H, width of recurrent layers.
        cell: "lstm" or "gru".
        num_layers: recurrent layers in a stack.
        activation: of the hidden layers of all MLPs.
        dropout: rate in MLPs and between recurrent layers, one mask per sequence.
        scale: "softplus" or "exp" (log-variance), how Gaussians over z get their scale.
        min_scale: floor of that scale.
    """

    prior_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `prior` reads. The loop keeps them, so that the prior runs once for all frames."""
    observe_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `observe` reads, likewise."""

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        units: int = 128,
        cell: str = "lstm",
        num_layers: int = 1,
        activation: str = "tanh",
        dropout: float = 0.0,
        scale: str = "softplus",
        min_scale: float = 1e-4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if latent_dim < 0:
            raise ValueError(f"`latent_dim` must not be negative, got {latent_dim}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}.")
        self.latent_dim = latent_dim
        self.units = units
        self.cell = cell
        self.num_layers = num_layers
        self.activation = activation
        self.dropout = dropout
        self.scale = scale
        self.min_scale = min_scale

    @property
    def causal(self) -> bool:
        """Whether q(z_t | .) sees no frame after t, so that frames can be streamed."""
        return True

    @property
    def features_dim(self) -> int:
        """Width of what `observe` returns; known once built."""
        raise NotImplementedError

    def build(self, x_shape: Sequence[int | None], u_shape: Sequence[int | None] | None = None) -> None:
        """Creates all weights for frames `[..., D]` and, in driven mode, inputs `[..., U]`."""
        self.x_dim = x_shape[-1]
        self.u_dim = u_shape[-1] if u_shape is not None else 0
        self.build_parts(self.x_dim, self.u_dim)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        """Builds the sublayers for D features and U inputs (0 in undriven mode)."""
        raise NotImplementedError

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        """The state before the first frame."""
        raise NotImplementedError

    def embed(self, x: tf.Tensor) -> Any:
        """What later frames need of x_t, `[..., D]` to a nest of `[..., .]`. Default: x_t itself."""
        return tf.cast(x, self.compute_dtype)

    def embed_u(self, u: tf.Tensor | None) -> Any:
        """What the model sees of u_t. Default: u_t itself."""
        return None if u is None else tf.cast(u, self.compute_dtype)

    def encode(self, x: tf.Tensor, c: Any, e: Any, mask: tf.Tensor | None) -> Any:
        """What q(z_t | .) sees of all frames `[B, T, D]`: a nest of `[B, T, .]`. Default: the embedding of x_t."""
        return e

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: Any) -> tuple[State, Any]:
        """`encode` frame by frame, for causal cells: `[B, D]` to (state, nest of `[B, .]`)."""
        return state, self.encode(x, c, e, None)

    def absorb_u(self, state: State, c: Any) -> State:
        """The frame opens. Default: u_t joins the state as "u" until the frame closes."""
        return state if c is None else {**state, "u": c}

    def posterior(self, state: State, g: Any) -> Gaussian:
        """q(z_t | .)."""
        raise NotImplementedError

    def prior(self, state: State) -> Gaussian:
        """p(z_t | .), from the entries named in `prior_reads`."""
        raise NotImplementedError

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """z_t joins the state."""
        raise NotImplementedError

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | .), from the entries named in `observe_reads`."""
        raise NotImplementedError

    def absorb_x(self, state: State, e: Any) -> State:
        """x_t joins the state, and the frame closes."""
        raise NotImplementedError

    def teacher_forced(
        self, x: tf.Tensor, e: Any, c: Any, g: Any, noise: tf.Tensor | None, mask: tf.Tensor | None
    ) -> recurrence.Unrolled:
        """All frames of right-padded data; a subclass may override it by something faster that computes the same."""
        state = self.initial_state(tf.shape(x)[0])
        return recurrence.teacher_forced(self, e, g, c, noise, state=state)[0]

    def read(self, state: State, names: Sequence[str]) -> State:
        """The named entries, and u_t where there is one."""
        return {k: state[k] for k in (*names, "u") if k in state}

    def mlp(self, units: Sequence[int], name: str) -> MLP:
        """An MLP with this cell's activation and dropout."""
        return MLP(units, self.activation, self.dropout, dtype=self.dtype_policy, name=name)

    def recurrent(self, name: str) -> Recurrent:
        """A recurrent stack with this cell's width, kind, height and dropout."""
        return Recurrent(self.units, self.cell, self.num_layers, self.dropout, dtype=self.dtype_policy, name=name)

    def head(self, name: str) -> GaussianHead:
        """A Gaussian over z."""
        return GaussianHead(self.latent_dim, self.scale, self.min_scale, dtype=self.dtype_policy, name=name)

    def step_rnn(self, rnn: Recurrent, state: State, x: tf.Tensor, prefix: str = "") -> State:
        """Advances the state's entries `prefix + "h"` and `prefix + "memory"` by one frame with input `[B, F]`."""
        h, memory = rnn.step(rnn.project(x), RecurrentState(state[f"{prefix}h"], state[f"{prefix}memory"]))
        return {**state, f"{prefix}h": h, f"{prefix}memory": memory}

    def rnn_state(self, rnn: Recurrent, batch_size: tf.Tensor | int, prefix: str = "") -> State:
        """Those two entries before the first frame."""
        h, memory = rnn.initial_state(batch_size)
        return {f"{prefix}h": h, f"{prefix}memory": memory}

    def zeros(self, batch_size: tf.Tensor | int, width: int) -> tf.Tensor:
        """Stands for what precedes the first frame."""
        return tf.zeros([batch_size, width], self.compute_dtype)

    def get_build_config(self) -> dict:
        return (
            {"x_shape": (None, self.x_dim), "u_shape": (None, self.u_dim) if self.u_dim else None} if self.built else {}
        )

    def build_from_config(self, config: dict) -> None:
        if config:
            self.build(**config)

    def get_config(self) -> dict:
        names = ("latent_dim", "units", "cell", "num_layers", "activation", "dropout", "scale", "min_scale")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}
