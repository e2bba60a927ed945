"""The contract of a stochastic RNN cell: half-steps shared by training, generation, streaming and particle filters."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from tfdvae import segments
from tfdvae.arguments import CheckedArguments, Only
from tfdvae.families import Family
from tfdvae.layers.cell_parts import CellParts
from tfdvae.layers.latent import DeclaresLatents, Evidence, Latent, check_latents, check_state, hold_over_segments
from tfdvae.types import LatentPath, State

__all__ = ["Hoisted", "StochasticCell", "concat"]


def concat(*parts: tf.Tensor | None) -> tf.Tensor:
    """Joins features on the last axis, in the first one's dtype; parts that are None are left out.

    A part without time, `[B, F]`, among parts with it, `[B, T, F]`, joins every frame.
    """
    present = [p for p in parts if p is not None]
    if len(present) == 1:
        return present[0]
    longest = max(present, key=lambda p: p.shape.rank)
    if longest.shape.rank == 3:
        present = [p if p.shape.rank == 3 else _along(p, longest) for p in present]
    return tf.concat([tf.cast(p, present[0].dtype) for p in present], axis=-1)


def _along(v: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """`v` `[B, V]` at every frame of `like` `[B, T, .]`: `[B, T, V]`."""
    tiled = tf.tile(v[:, None], [1, tf.shape(like)[1], 1])
    return tf.ensure_shape(tiled, like.shape[:-1].concatenate(v.shape[-1:]))


class Hoisted(NamedTuple):
    """All that is known before the loop over the frames of right-padded sequences.

    Attributes:
        e, c, g: embedded frames, embedded inputs (or None), features for the posteriors of the loop: nests of
            `[B, T, .]`.
        state: the state before the first frame, latents of the sequence included.
        noise: `[B, T, n]` for each latent of the loop, by name; empty follows the means.
        mask: `[B, T]`, or None.
        latents: the paths of latents that were drawn before the loop, by name.
        opened: the state at the opening of every frame, see `Evidence`.
    """

    e: Any
    c: Any
    g: Any
    state: State
    noise: dict[str, tf.Tensor]
    mask: tf.Tensor | None
    latents: dict[str, LatentPath]
    opened: State | None = None

    def samples(self) -> dict[str, tf.Tensor]:
        """Samples `[B, T, Z]`, by name, of the latents of frames and segments that were drawn before the loop."""
        return {name: path.z for name, path in self.latents.items() if path.z.shape.rank == 3}


class StochasticCell(CheckedArguments, CellParts, DeclaresLatents, keras.layers.Layer):
    """A recurrent cell with random latent vectors at each frame.

    A subclass writes each equation of its paper once, over `[..., features]`. Per frame they are called in this
    order, on a state that is a dict of tensors `[B, .]`; between them the state may gain entries, from frame to frame
    its structure is fixed:

        state = absorb_u(state, c_t)      the frame opens: u_t is known now (None in undriven mode)
        q = posterior(state, g_t)         q(z_t | .)
        p = prior(state)                  p(z_t | .)
        state = absorb_z(state, z_t)      z_t is known now
        features = observe(state)         what p(x_t | .) depends on; an Observation maps it to parameters
        state = absorb_x(state, e_t)      x_t is known now, the frame closes

    `latents` declares the latent variables: their names, levels, families and the three functions `posterior`, `prior`
    and `absorb` of each. By default there is one per frame, "z", with the functions above. Several latents of a frame
    are drawn in the order in which they are declared, each after the one before has been absorbed.

    Before the loop, for all frames at once (see `hoist`): `e = embed(x)`, `c = embed_u(u)`, the latents of the data
    set, of the sequence and of segments, and those of frames that are `ahead`; then `g = encode(evidence)`, all that
    the posteriors of the loop see of x and u. Sequences are right-padded there, and masked frames zero.

    The loop keeps out of itself what it can: weights are cut and cast before it (`loop.before_loop`), and where no
    posterior sees a latent of an earlier frame (`Latent.mean_field`, `within_frame`), or where the frames open without
    a latent of the loop (`loop_state`), recurrent layers run over whole sequences. `previous` says which entries of
    the state are copies of x or z of the frame before, `recall` which are of what `encode` found there. Equations need
    not know.

    Args:
        latent_dim: Z of "z"; 0 makes a deterministic recurrent model.
        units: H, width of recurrent layers.
        cell: "lstm", "gru", or "rnn" for a plain tanh recurrence.
        num_layers: recurrent layers in a stack.
        activation: of the hidden layers of all MLPs.
        dropout: rate in MLPs and between recurrent layers, one mask per sequence.
        scale: "softplus" or "exp" (log-variance), how Gaussians over z get their scale.
        min_scale: floor of that scale.
        scale_floor: "sum" adds `min_scale` to it, "clip" holds it above (see `tfdvae.scales`).
        family: of z: "gaussian", "triangular", "categorical", or a dict of "class_name" and "config" (see
            `tfdvae.families`).
        posterior_flow: flow layers that Gaussian posteriors are pushed through (Kingma et al. 2016); 0 for none.
        flow: "coupling" or "autoregressive".
    """

    used_with: ClassVar[Mapping[str, Only]] = {"flow": Only("posterior_flow")}

    prior_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `prior` reads. The loop keeps them, so that the prior runs once for all frames."""
    observe_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `observe` reads, likewise."""
    penalty_reads: ClassVar[Sequence[str]] = ()
    """Entries of the state that `penalties` reads, once z_t is known."""
    states: ClassVar[Sequence[str]] = ()
    """Those of `observe_reads` that follow from the latents and that `encode` tells all the same (z_t of a DVBF)."""
    loop_state: ClassVar[Sequence[str]] = ()
    """Where frames open without any latent of the loop: the entries of the state that hang on one (SRNN: z alone).
    All others are then known for all frames beforehand. Empty: the whole state is carried frame by frame."""
    told_presence: ClassVar[bool] = False
    """Whether the cell is told, in one more column of x, which frames hold anything that was observed, 1, and which do
    not. It is built for that column, and does without where x comes without: then all frames do."""
    encode_state: ClassVar[Sequence[str]] = ()
    """Entries of the state that `encode_step` advances, such as a recurrence of q over frames. Generation reads none of
    them; a stream that draws a frame moves them on, for the posteriors of frames that are given after it."""

    goes_on: ClassVar[bool] = True
    """Whether posteriors can start from a state after other frames, those of a batch before, as priors do."""

    draws_at_once: ClassVar[bool] = False
    """Whether `absorb_u` and `absorb_z` take all frames `[B, T, .]` at once where every prior is fixed and no x_t is
    heard: generation then has no loop. Recurrent layers do (`step_rnn`); what reads z of the frame before does not."""

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
        scale_floor: str = "sum",
        family: str | Mapping = "gaussian",
        posterior_flow: int = 0,
        flow: str = "coupling",
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
        self.scale_floor = scale_floor
        self.family = family
        self.posterior_flow = posterior_flow
        self.flow = flow
        self.flow_networks: list[keras.layers.Layer] = []
        self.z_prior, self.z_posterior = self.families(latent_dim)

    @property
    def latents(self) -> tuple[Latent, ...]:
        """The latent variables, in the order in which they are drawn. Default: "z", once per frame."""
        return (self.latent("z", self.z_prior, self.z_posterior, reads=tuple(self.prior_reads)),)

    def latent(self, name: str, p: Family, q: Family, **options: Any) -> Latent:
        """A declaration with the cell's own functions `posterior`, `prior` and `absorb_z` where none are given."""
        functions = {"posterior": self.posterior, "prior": self.prior, "absorb": self.absorb_z}
        return Latent(name, p, q, **{**functions, **options})

    @property
    def causal(self) -> bool:
        """Whether no posterior sees a frame after t, so that frames can be streamed."""
        return True

    @property
    def at_once(self) -> bool:
        """Whether frames under teacher forcing need nothing of the model's own output before them."""
        return True

    @property
    def features_dim(self) -> int:
        """Width of what `observe` returns; known once built."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `features_dim`.")

    @property
    def encodes_along(self) -> bool:
        """Whether `encode` reads a state that earlier frames have made, which `encode_step` knows and moves on."""
        return self.causal and type(self).encode_step is not StochasticCell.encode_step

    @property
    def driven(self) -> bool:
        """Whether there are inputs beside the context of a sequence; known once built."""
        return self.u_dim > self.context_dim

    def build(
        self, x_shape: Sequence[int | None], u_shape: Sequence[int | None] | None = None, context_dim: int = 0
    ) -> None:
        """Creates all weights.

        Args:
            x_shape: of frames as the networks see them, `[..., E]`.
            u_shape: of inputs `[..., U]`, in driven mode; the context of a sequence stands in their last columns.
            context_dim: how many columns those are.
        """
        self.x_dim = x_shape[-1]
        self.u_dim = u_shape[-1] if u_shape is not None else 0
        self.context_dim = context_dim
        for network in self.flow_networks:
            network.build()
        self.build_parts(self.x_dim, self.u_dim)
        check_latents(self.latents, type(self).__name__, self.states)
        check_state(self.initial_state(1), type(self).__name__)

    def compute_output_shape(self, x_shape: Sequence[int | None], *_: Any, **__: Any) -> tuple[int | None, ...]:
        """That of the features of p(x_t | .)."""
        return (*x_shape[:-1], self.features_dim)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        """Builds the sublayers for E features of a frame and U inputs (0 in undriven mode)."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `build_parts`.")

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        """The state before the first frame."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `initial_state`.")

    def start(self, batch_size: tf.Tensor | int) -> State:
        """The same, with what the loop itself remembers of latents of segments."""
        return {**self.initial_state(batch_size), **segments.start_segments(self, batch_size)}

    def embed(self, x: tf.Tensor) -> Any:
        """What later frames need of x_t, `[..., E]` to a nest of `[..., .]`. Default: x_t itself, without the column
        that tells cells which are `told_presence` whether there is one."""
        return tf.cast(x[..., : self.x_dim - 1] if self.told_presence else x, self.compute_dtype)

    def embed_u(self, u: tf.Tensor | None) -> Any:
        """What the model sees of u_t. Default: u_t itself."""
        return None if u is None else tf.cast(u, self.compute_dtype)

    def overview(self, given: Evidence) -> Any:
        """What several posteriors of latents that are drawn before the loop read, and `encode`, made before the first
        of them; each finds it in its evidence. Default: nothing."""
        return None

    def encode(self, given: Evidence) -> Any:
        """What the posteriors of the loop see of all frames: a nest of `[B, T, .]`. Default: the embedding of x_t."""
        return given.e

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: Any) -> tuple[State, Any]:
        """`encode` frame by frame, for causal cells: `[B, E]` to (state, nest of `[B, .]`); see `encode_state`."""
        return state, self.encode(Evidence(x, e, c, None, state))

    def previous(self, e: Any, latents: Mapping[str, tf.Tensor]) -> State:
        """Entries of the state before each frame that are x or z of the frame before, `[B, T, .]`: see `masks.shift`.

        `latents` holds samples `[B, T, Z]` of the latents of frames, as far as they are known. Default: none.
        """
        return {}

    def recall(self, g: Any) -> State:
        """Entries of the state before each frame, `[B, T, .]`, that `encode` has found for all frames already, such as
        the features of a causal network over frames that priors read one frame later than posteriors. Default: none."""
        return {}

    def draw_paths(self, given: Hoisted) -> dict[str, tuple[tf.Tensor, Any]]:
        """Samples `[B, T, Z]` and posteriors along them of all latents of the loop, by name, where the cell knows a way
        to draw them for all frames at once though posteriors see earlier ones, such as a scan. Default: none."""
        return {}

    def absorb_u(self, state: State, c: Any) -> State:
        """The frame opens. Default: u_t joins the state as "u" until the frame closes."""
        return state if c is None else {**state, "u": c}

    def posterior(self, state: State, g: Any) -> Any:
        """q(z_t | .)."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `posterior`.")

    def prior(self, state: State) -> Any:
        """p(z_t | .), from the entries named in `prior_reads`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `prior`.")

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """z_t joins the state."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `absorb_z`.")

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | .), from the entries named in `observe_reads`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `observe`.")

    def observe_all(self, state: State, mask: tf.Tensor | None) -> tf.Tensor:
        """`observe` for right-padded sequences as a whole. Override it where a frame hangs on later latents."""
        return self.observe(state)

    def absorb_x(self, state: State, e: Any) -> State:
        """x_t joins the state, and the frame closes."""
        raise NotImplementedError(f"{type(self).__name__} does not implement `absorb_x`.")

    def penalties(self, state: State, g: Any) -> dict[str, tf.Tensor]:
        """Auxiliary losses of training, nats per frame, by name, each `[...]`. Default: none."""
        return {}

    def hoist(
        self,
        x: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        noise: Mapping[str, tf.Tensor] | None,
        known: Mapping[str, tf.Tensor] | None = None,
        state: State | None = None,
    ) -> Hoisted:
        """What comes before the loop, for right-padded frames as the networks see them, `[B, T, E]`.

        `noise` is that of every latent by name, as `draw_noise` of the model makes it; None follows the means. `known`
        values, by name, stand in for those of latents of the sequence. `state` is that before the first frame, where
        the sequences go on from frames that are not among these.
        """
        noise = noise or {}
        goes_on = state is not None
        state = state if goes_on else self.start(tf.shape(x)[0])
        given = Evidence(x, self.embed(x), self.embed_u(u), mask, state)
        given = given._replace(overview=self.overview(given))
        drawn: dict[str, LatentPath] = {}
        for latent in self.latents:
            if known and latent.name in known:
                given = given._replace(state=latent.absorb(given.state, known[latent.name]))
            elif not latent.in_loop:
                drawn[latent.name] = path = self._draw_ahead(latent, given, noise.get(latent.name))
                if latent.of_frame:
                    given = given._replace(latents={**given.latents, latent.name: path.z})
                else:
                    given = given._replace(state=latent.absorb(given.state, path.z))
        if self.loop_state:
            given = given._replace(opened=self._open_all(given, goes_on))
        own = {latent.name: noise[latent.name] for latent in self.loop_latents if latent.name in noise}
        return Hoisted(given.e, given.c, self.encode(given), given.state, own, mask, drawn, given.opened)

    def _open_all(self, given: Evidence, goes_on: bool) -> State:
        """Every frame opens, and the latents that were drawn before the loop are known."""
        before = self.previous(given.e, given.latents)
        if goes_on:
            # `previous` has there what precedes a sequence.
            before = {k: tf.concat([tf.cast(given.state[k], y.dtype)[:, None], y[:, 1:]], 1) for k, y in before.items()}
        state = self.absorb_u({**given.state, **before}, given.c)
        for latent in self.frame_latents:
            if not latent.in_loop:
                state = latent.absorb(state, given.latents[latent.name])
        return state

    def _draw_ahead(self, latent: Latent, given: Evidence, noise: tf.Tensor | None) -> LatentPath:
        """A latent that is drawn before the loop."""
        q = latent.posterior(tf.shape(given.x)[0] if latent.level == "dataset" else given)
        if latent.level == "segment":
            length = given.x.shape[1] or tf.shape(given.x)[1]
            noise = None if noise is None else hold_over_segments(noise[:, :: latent.segment], latent.segment, length)
            q = tf.nest.map_structure(lambda y: hold_over_segments(y, latent.segment, length), q)
        z = latent.q.sample(q, noise)
        p = latent.prior_of(given.state, z)
        if latent.of_frame and latent.prior is not None:
            p = tf.nest.map_structure(lambda y: _along(y, z) if y.shape.rank < z.shape.rank else y, p)
        return LatentPath(z, q, p, noise)

    def read(self, state: State, names: Sequence[str]) -> State:
        """The named entries, and u_t where there is one."""
        return {k: state[k] for k in (*names, "u") if k in state}

    def get_build_config(self) -> dict:
        if not self.built:
            return {}
        u_shape = (None, self.u_dim) if self.u_dim else None
        return {"x_shape": (None, self.x_dim), "u_shape": u_shape, "context_dim": self.context_dim}

    def build_from_config(self, config: dict) -> None:
        if config:
            self.build(**config)

    def get_config(self) -> dict:
        names = ("latent_dim", "units", "cell", "num_layers", "activation", "dropout", *self.scales)
        return {**super().get_config(), **{k: getattr(self, k) for k in (*names, "family", "posterior_flow", "flow")}}
