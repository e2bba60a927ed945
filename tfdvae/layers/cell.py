"""The contract of a stochastic RNN cell: half-steps shared by training, generation, streaming and particle filters."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from tfdvae import gaussian, recurrence
from tfdvae.layers.mlp import MLP, GaussianHead
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.layers.x_scale import check_x_scale, see
from tfdvae.types import Gaussian, Latent, State

__all__ = ["Hoisted", "StochasticCell", "concat", "split_noise"]


def concat(*parts: tf.Tensor | None) -> tf.Tensor:
    """Joins features on the last axis, in the first one's dtype; parts that are None are left out."""
    present = [p for p in parts if p is not None]
    return present[0] if len(present) == 1 else tf.concat([tf.cast(p, present[0].dtype) for p in present], axis=-1)


def split_noise(noise: tf.Tensor | Mapping | None) -> tuple[tf.Tensor | None, dict[str, tf.Tensor]]:
    """The noise of the latents of each frame, and that of the latents of the sequence by their names."""
    if not isinstance(noise, Mapping):
        return noise, {}
    return noise["z"], {name: value for name, value in noise.items() if name != "z"}


class Hoisted(NamedTuple):
    """All that is known before the loop over the frames of right-padded sequences.

    Attributes:
        x: frames `[B, T, D]`.
        e, c, g: embedded frames, embedded inputs (or None), features for q(z_t | .): nests of `[B, T, .]`.
        state: the state before the first frame, latents of the sequence included.
        noise: standard normal `[B, T, Z]` for the z_t of the loop; None follows the means.
        mask: `[B, T]`, or None.
        latents: latents that exist once per sequence, by name.
        w: sample and posterior of the latents that enter as inputs, `[B, T, W]`, or None.
    """

    x: tf.Tensor
    e: Any
    c: Any
    g: Any
    state: State
    noise: tf.Tensor | None
    mask: tf.Tensor | None
    latents: dict[str, Latent]
    w: tuple[tf.Tensor, Gaussian] | None


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

    Before the loop, for all frames at once (see `hoist`): `e = embed(x)`, `c = embed_u(u)`, and
    `g = encode(x, c, e, mask, state)`, all of q that only sees x and u. Sequences are right-padded there, and masked
    frames zero. Two kinds of latents are known before the loop as well, where a model has them:

        q = infer_globals(x, c, e, mask)           latents that exist once per sequence, named in `global_dims`
        state = absorb_globals(state, v)           they are known now, before the first frame
        q = infer_inputs(x, c, e, mask, state)     latents w_t that enter like inputs: `input_latent_dim`
        c = join_inputs(c, w)

    Args:
        latent_dim: Z; 0 makes a deterministic recurrent model.
        units: H, width of recurrent layers.
        cell: "lstm" or "gru".
        num_layers: recurrent layers in a stack.
        activation: of the hidden layers of all MLPs.
        dropout: rate in MLPs and between recurrent layers, one mask per sequence.
        scale: "softplus" or "exp" (log-variance), how Gaussians over z get their scale.
        min_scale: floor of that scale.
        x_scale: what the networks see of frames: "linear", x itself; "log", log(x + 1e-8) / 10, for the powers of
            spectra, which span twelve decades. What is explained is x in either case.
    """

    prior_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `prior` reads. The loop keeps them, so that the prior runs once for all frames."""
    observe_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `observe` reads, likewise."""
    penalty_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `penalties` reads, once z_t is known."""

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
        x_scale: str = "linear",
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
        self.x_scale = check_x_scale(x_scale)

    @property
    def causal(self) -> bool:
        """Whether q(z_t | .) sees no frame after t, so that frames can be streamed."""
        return True

    @property
    def global_dims(self) -> dict[str, int]:
        """Width of each latent that exists once per sequence, by name."""
        return {}

    @property
    def input_latent_dim(self) -> int:
        """W, width of the latents w_t that enter like inputs."""
        return 0

    @property
    def loop_latent_dim(self) -> int:
        """Width of the z_t of the loop. A model whose latents exist once per sequence alone has none."""
        return self.latent_dim

    @property
    def frame_latent_dim(self) -> int:
        """Width of all latents of a frame, w_t before z_t."""
        return self.input_latent_dim + self.loop_latent_dim

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

    def see(self, x: tf.Tensor) -> tf.Tensor:
        """Frames as the networks see them: `embed`, `encode` and the latents of sequences and inputs get these."""
        return see(x, self.x_scale, self.compute_dtype)

    def embed(self, x: tf.Tensor) -> Any:
        """What later frames need of x_t, `[..., D]` to a nest of `[..., .]`. Default: x_t itself."""
        return tf.cast(x, self.compute_dtype)

    def embed_u(self, u: tf.Tensor | None) -> Any:
        """What the model sees of u_t. Default: u_t itself."""
        return None if u is None else tf.cast(u, self.compute_dtype)

    def infer_globals(self, x: tf.Tensor, c: Any, e: Any, mask: tf.Tensor | None) -> dict[str, Gaussian]:
        """q(v | x, u) of the latents in `global_dims`, each `[B, V]`; their prior is N(0, I)."""
        return {}

    def global_shares(self) -> dict[str, float]:
        """The part of a latent's divergence that one sequence bears, where that is not all of it."""
        return {}

    def absorb_globals(self, state: State, latents: Mapping[str, tf.Tensor]) -> State:
        """The latents of the sequence are known now. Default: they join the state by their names."""
        return {**state, **latents}

    def infer_inputs(self, x: tf.Tensor, c: Any, e: Any, mask: tf.Tensor | None, state: State) -> Gaussian:
        """q(w_t | .) for all frames, `[B, T, W]`; their prior is N(0, I)."""
        raise NotImplementedError

    def join_inputs(self, c: Any, w: tf.Tensor) -> Any:
        """Embedded inputs with w_t among them. Default: side by side."""
        return concat(w, c)

    def encode(self, x: tf.Tensor, c: Any, e: Any, mask: tf.Tensor | None, state: State) -> Any:
        """What q(z_t | .) sees of all frames `[B, T, D]`: a nest of `[B, T, .]`. Default: the embedding of x_t.

        `state` is that before the first frame, for the latents of the sequence.
        """
        return e

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: Any) -> tuple[State, Any]:
        """`encode` frame by frame, for causal cells: `[B, D]` to (state, nest of `[B, .]`)."""
        return state, self.encode(x, c, e, None, state)

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

    def penalties(self, state: State, g: Any) -> dict[str, tf.Tensor]:
        """Auxiliary losses of training, nats per frame, by name, each `[...]`. Default: none."""
        return {}

    def teacher_forced(self, given: Hoisted) -> recurrence.Unrolled:
        """All frames of right-padded data; a subclass may override it by something faster that computes the same."""
        return recurrence.teacher_forced(self, given)[0]

    def hoist(
        self, x: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None, noise: tf.Tensor | Mapping | None
    ) -> Hoisted:
        """What comes before the loop, for right-padded frames; `noise` as `draw_noise` of the model makes it."""
        per_frame, per_sequence = split_noise(noise)
        frames, x = tf.cast(x, self.compute_dtype), self.see(x)
        e, c = self.embed(x), self.embed_u(u)
        latents = {}
        for name, q in self.infer_globals(x, c, e, mask).items():
            v = gaussian.sample(q, per_sequence.get(name))
            share = self.global_shares().get(name, 1.0)
            latents[name] = Latent(v, q, gaussian.standard_normal(v, self.global_dims[name]), share)
        state = self.initial_state(tf.shape(x)[0])
        if latents:
            state = self.absorb_globals(state, {name: latent.z for name, latent in latents.items()})
        w = None
        if self.input_latent_dim:
            q = self.infer_inputs(x, c, e, mask, state)
            w_noise, per_frame = self.split_frame_noise(per_frame)
            w = gaussian.sample(q, w_noise), q
            c = self.join_inputs(c, w[0])
        return Hoisted(frames, e, c, self.encode(x, c, e, mask, state), state, per_frame, mask, latents, w)

    def split_frame_noise(self, noise: tf.Tensor | None) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """The noise of w_t and that of z_t, from `[..., W + Z]`."""
        width = self.input_latent_dim
        return (None, noise) if noise is None or not width else (noise[..., :width], noise[..., width:])

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
        names = ("latent_dim", "units", "cell", "num_layers", "activation", "dropout", "scale", "min_scale", "x_scale")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}
