"""DKF, also known as DMM (Krishnan et al. 2015, 2017; survey chapter 5), and its posterior of Archer et al. (2015)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.arguments import Only
from tfdvae.layers.cell import Hoisted, StochasticCell, concat
from tfdvae.layers.gated_transition import GatedTransition
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.linear_transition import LinearTransition
from tfdvae.layers.tridiagonal import TridiagonalPosterior
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Gaussian, State

__all__ = ["DKF", "DKFCell"]


class Inference(NamedTuple):
    """What q(z_t | .) is made of: z_{t-1} by the combiner, recurrences, neighbouring frames; or one Gaussian over z."""

    combines: bool = False
    forward: bool = False
    backward: bool = False
    neighbours: bool = False
    joint: bool = False


@keras.saving.register_keras_serializable(package="tfdvae")
class DKFCell(StochasticCell):
    """Deep Kalman filter: a state space model with neural transition and observation.

        p(x, z) = prod_t p(x_t | z_t) p(z_t | z_{t-1}, u_t)     (5.9),  p(z_1) = N(0, I)
        q(z | x) = prod_t q(z_t | .)                            with the parents of `inference`:

    "st_r" z_{t-1}, x_>=t (the deep Kalman smoother, (5.3)); "st_l" z_{t-1}, x_<=t; "st_lr" z_{t-1}, x_1:T;
    "mf_l" x_<=t; "mf_lr" x_1:T; "local" x_{t-1}, x_t, x_{t+1}; "frame" x_t. Inputs u join q wherever x does; x_t sees
    u through z_t alone, as in (5.9). z_0 is zero for the posterior.

    "tridiagonal" (Archer et al. 2015, "Black box variational inference for state space models") is one Gaussian over
    z_1:T, whose precision has blocks by networks of x_t on its diagonal and of x_{t-1}, x_t beside it: see
    `tfdvae.layers.tridiagonal.TridiagonalPosterior`. By the chain rule q(z | x) = prod_t q(z_t | z_{t-1}, x_>=t-1),
    Gaussians of full covariance. A frame of which nothing was observed adds nothing to the diagonal. With
    transition="linear" and frames linear in z it holds the exact posterior, and the bound is the likelihood.

    Args:
        transition_units: hidden layers of the gated transition.
        decoder_units: hidden layers of p(x_t | z_t).
        encoder_phi_x: hidden layers on x_t before the recurrences, or blocks, of q.
        combiner_units: hidden layers on z_{t-1} before the combiner.
        posterior_units: hidden layers between the combiner and the posterior, or before the blocks.
        inference: one of the names above.
        initial_prior: p(z_1): "standard" for N(0, I), or "transition" for p(z_1 | z_0 = 0, u_1), as in the survey's
            experiments.
        transition: "gated", Krishnan et al.'s (B.1)-(B.5), or "linear", N(A z_{t-1} + B u_t, diag(s)^2).
        parallel: of "tridiagonal": blocks and paths come from associative scans, in log2 T rounds, in place of loops.
    """

    used_with = {
        "transition_units": Only("transition", ("gated",)),
        "combiner_units": Only("inference", ("st_r", "st_l", "st_lr")),
        **dict.fromkeys(("units", "cell", "num_layers"), Only("inference", ("st_r", "st_l", "st_lr", "mf_l", "mf_lr"))),
    }
    prior_reads = ("z", "first")
    observe_reads = ("z",)
    inferences = {
        "st_r": Inference(combines=True, backward=True),
        "st_l": Inference(combines=True, forward=True),
        "st_lr": Inference(combines=True, forward=True, backward=True),
        "mf_l": Inference(forward=True),
        "mf_lr": Inference(forward=True, backward=True),
        "local": Inference(neighbours=True),
        "frame": Inference(),
        "tridiagonal": Inference(joint=True),
    }

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        transition_units: Sequence[int] = (16,),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        encoder_phi_x: Sequence[int] = (256,),
        combiner_units: Sequence[int] = (32,),
        posterior_units: Sequence[int] = (32,),
        inference: str = "st_r",
        initial_prior: str = "standard",
        transition: str = "gated",
        parallel: bool = False,
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if inference not in self.inferences:
            raise ValueError(f"`inference` must be one of {sorted(self.inferences)}, got {inference!r}.")
        if initial_prior not in ("standard", "transition"):
            raise ValueError(f"`initial_prior` must be 'standard' or 'transition', got {initial_prior!r}.")
        if transition not in ("gated", "linear"):
            raise ValueError(f"`transition` must be 'gated' or 'linear', got {transition!r}.")
        sees = self.inferences[inference]
        if parallel and not sees.joint:
            raise ValueError(f"`parallel` is for inference='tridiagonal', got inference={inference!r}.")
        self.require_gaussian("The transition of a DKF is Gaussian", flow=True)
        if sees.joint:
            self.require_gaussian("The tridiagonal posterior of a DKF is the Gaussian of its blocks")
        self.transition_units = tuple(transition_units)
        self.decoder_units = tuple(decoder_units)
        self.encoder_phi_x = tuple(encoder_phi_x)
        self.combiner_units = tuple(combiner_units)
        self.posterior_units = tuple(posterior_units)
        self.inference = inference
        self.initial_prior = initial_prior
        self.transition = transition
        self.parallel = parallel
        self.combines, forward, backward, self.neighbours, self.joint = sees
        self.transition_net = self._transition()
        self.decoder = self.mlp(self.decoder_units, "decoder")
        self.encoder_x_features = self.mlp(self.encoder_phi_x, "encoder_phi_x")
        self.forward_rnn = self.recurrent("forward_rnn") if forward else None
        self.backward_rnn = self.recurrent("backward_rnn") if backward else None
        if self.joint:
            networks = {"activation": self.activation, "dropout": self.dropout, "dtype": self.dtype_policy}
            self.blocks = TridiagonalPosterior(
                latent_dim, self.posterior_units, parallel=parallel, **networks, **self.scales, name="posterior"
            )
            self.z_posterior = self.blocks.family
            return
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        if self.combines:
            self.combiner = self.mlp(self.combiner_units, "combiner")
            self.combiner_output = keras.layers.Dense(
                self.units, "tanh", dtype=self.dtype_policy, name="combiner_output"
            )

    def _transition(self) -> keras.layers.Layer:
        if self.transition == "linear":
            return LinearTransition(self.latent_dim, **self.scales, name="transition")
        options = {"min_scale": self.min_scale, "scale_floor": self.scale_floor, "dtype": self.dtype_policy}
        return GatedTransition(self.latent_dim, self.transition_units, **options, name="transition")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.transition_net.build((None, self.latent_dim + u_dim))
        self.decoder.build((None, self.latent_dim))
        frames = (x_dim + u_dim) * (3 if self.neighbours else 1)
        self.encoder_x_features.build((None, frames))
        width = self.encoder_x_features.output_dim(frames)
        if self.joint:
            self.blocks.build((None, None, width))
            return
        recurrent = [rnn for rnn in (self.forward_rnn, self.backward_rnn) if rnn]
        for rnn in recurrent:
            rnn.build((None, width))
        width = self.units if recurrent else width
        if self.combines:
            self.combiner.build((None, self.latent_dim))
            self.combiner_output.build((None, self.combiner.output_dim(self.latent_dim)))
        self.posterior_net.build((None, width))
        self.posterior_head.build((None, self.posterior_net.output_dim(width)))

    @property
    def told_presence(self) -> bool:
        return self.joint

    @property
    def causal(self) -> bool:
        return self.backward_rnn is None and not self.neighbours and not self.joint

    @property
    def goes_on(self) -> bool:
        return not self.joint

    @property
    def encode_state(self) -> tuple[str, ...]:
        return ("g_h", "g_memory") if self.forward_rnn else ()

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        state = {"z": tf.zeros([batch_size, self.latent_dim]), "first": tf.ones([batch_size, 1], tf.bool)}
        return {**state, **self.rnn_state(self.forward_rnn, batch_size, "g_")} if self.forward_rnn else state

    @property
    def latents(self) -> tuple[Latent, ...]:
        kind = {"reads": tuple(self.prior_reads), "mean_field": not (self.combines or self.joint)}
        return (self.latent("z", self.z_prior, self.z_posterior, **kind),)

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        if "z" not in latents:
            return {}
        return {"z": masks.shift(latents["z"]), "first": masks.opening(latents["z"])}

    def encode(self, given: Evidence) -> tuple[tf.Tensor, ...]:
        """(5.4): the recurrences over x (and u), each `[B, T, .]`; without any, features of x_t or x_{t-1:t+1}. Of the
        tridiagonal posterior, z_t given z_{t-1}."""
        if self.joint:
            known = self.presence(given)
            return self.blocks(self.encoder_x_features(concat(given.e, given.c, known)), known)
        frames, mask = concat(given.e, given.c), given.mask
        if self.neighbours:
            frames = concat(masks.shift(frames), frames, masks.reverse(masks.shift(masks.reverse(frames, mask)), mask))
        features = self.encoder_x_features(frames)
        forward = () if self.forward_rnn is None else (self.forward_rnn(features),)
        backward = () if self.backward_rnn is None else (self.backward_rnn(features, exists=mask, backward=True),)
        return forward + backward or (features,)

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, tuple[tf.Tensor, ...]]:
        features = self.encoder_x_features(concat(e, c))
        if self.forward_rnn is None:
            return state, (features,)
        state = self.step_rnn(self.forward_rnn, state, features, "g_")
        return state, (state["g_h"],)

    def posterior(self, state: State, g: Any) -> Any:
        """(5.5)-(5.7): the combiner averages tanh(W z_{t-1} + b) and the recurrences, `[..., H]` each."""
        if self.joint:
            return g.given(state["z"])
        terms = (*g, self.combiner_output(self.combiner(state["z"]))) if self.combines else g
        combined = tf.add_n(list(terms)) / tf.cast(len(terms), terms[0].dtype)
        return self.posterior_head(self.posterior_net(combined))

    def prior(self, state: State) -> Gaussian:
        """(B.1)-(B.5): the gated transition, or the linear one; at the first frame N(0, I), or from z_0 = 0."""
        first = state["first"] if self.initial_prior == "standard" else None
        return self.transition_net(concat(state["z"], state.get("u")), first)

    def draw_paths(self, given: Hoisted) -> dict[str, tuple[tf.Tensor, Any]]:
        """Where `parallel`: z_1:T as an associative scan of affine maps, with the same noise as frame by frame."""
        if not self.parallel:
            return {}
        z = given.g.path(given.noise.get("z"))
        return {"z": (z, given.g.given(masks.shift(z)))}

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """(3.11): features of p(x_t | z_t)."""
        return self.decoder(state["z"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "first": tf.zeros_like(state["first"])}

    def get_config(self) -> dict:
        networks = ("transition_units", "decoder_units", "encoder_phi_x", "combiner_units", "posterior_units")
        names = (*networks, "inference", "initial_prior", "transition", "parallel")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class DKF(RecurrentDVAE):
    """Deep Kalman filter (Krishnan et al. 2015, 2017): see `DKFCell` for equations and arguments."""

    cell_class = DKFCell
