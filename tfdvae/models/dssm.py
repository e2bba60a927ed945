"""DSSM, the disentangled state space model (Miladinovic et al. 2019; survey (12.1))."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks, random, validation
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.gated_transition import GatedTransition
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.models.drawing import Request, tile, untile
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Batch, Forecast, Gaussian, State

__all__ = ["DSSM", "DSSMCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class DSSMCell(StochasticCell):
    """Disentangled state space model: v holds the physics of a sequence, z_t the state that moves by it.

        p(x, z, v | u) = N(v; 0, I) prod_t p(x_t | z_t) p(z_t | z_{t-1}, v, u_t)        (12.1),  p(z_1) = N(0, I)
        q(z, v | x, u) = q(v | x_1:T, u_1:T) prod_t q(z_t | z_{t-1}, v, u_t, x_t)

    Where v of a DSAE conditions the picture, v here conditions the transition alone: it is what two sequences of the
    same objects differ in, gravity or friction, the paper's "domain" D. The transition is the gated one of the deep
    Kalman filter, (B.1)-(B.5), on [z_{t-1}, v, u_t]. The paper's z_0 is the state of the first frame here, so that v
    and u_1 take effect from the second frame on. q(v | .) reads the ends of two recurrences over features of x_t and
    u_t; q(z_t | .) is a filter, an MLP. z_0 is zero for it. The divergence of v counts once per sequence.

    The survey says of the paper's filter that it is of DVBF's kind, which infers the noise of the transition and not
    the state. With `inference="noise"` the latent of a frame is w_t, and the state follows from it by the mean mu and
    the scale sigma of the same transition:

        p(w_t) = N(0, I),  z_1 = w_1,  z_t = mu(z_{t-1}, v, u_t) + sigma(z_{t-1}, v, u_t) w_t
        q(w, v | x, u) = q(v | x_1:T, u_1:T) q(w_1 | v, x_1:T, u_1:T) prod_{t>1} q(w_t | z_{t-1}, v, u_t, x_t)

    p(x, z, v | u) is the same. But the gradient of log p(x_t | z_t) reaches the transition, and v, through every z
    before, where otherwise they learn from the divergence alone; the transition starts near z_t = z_{t-1}, so that it
    gets there. w_1 is inferred from all frames, which show how fast the first state moves. `temperature` of `compile`
    means what DVBF's paper means by it, the entropy of q(w_t | .): that of q(z_t | .) would reward a wide sigma.

    Args:
        global_dim: V, width of v, the latent "v" of the sequence.
        inference: "state" or "noise", what is inferred of a frame: the latent "z" or "w".
        transition_units: hidden layers of the gated transition.
        decoder_units: hidden layers of p(x_t | z_t).
        encoder_phi_x: hidden layers of the features of x_t that both posteriors read.
        posterior_units: hidden layers of q(z_t | .) or q(w_t | .) on those features, u_t, v and z_{t-1}; of q(w_1 | .).
    """

    prior_reads = ("z", "v", "first")
    observe_reads = ("z",)
    loop_state = ("z",)

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        global_dim: int = 16,
        inference: str = "state",
        transition_units: Sequence[int] = (16,),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        encoder_phi_x: Sequence[int] = (256,),
        posterior_units: Sequence[int] = (32,),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        for name, value in {"latent_dim": latent_dim, "global_dim": global_dim}.items():
            if value < 1:
                raise ValueError(f"`{name}` of a DSSM must be at least 1, got {value}.")
        if inference not in ("state", "noise"):
            raise ValueError(f"`inference` must be 'state' or 'noise', got {inference!r}.")
        self.require_gaussian("The gated transition of a DSSM is Gaussian", flow=True)
        self.global_dim = global_dim
        self.inference = inference
        self.transition_units = tuple(transition_units)
        self.decoder_units = tuple(decoder_units)
        self.encoder_phi_x = tuple(encoder_phi_x)
        self.posterior_units = tuple(posterior_units)
        options = {"min_scale": self.min_scale, "scale_floor": self.scale_floor, "inert": inference == "noise"}
        self.transition = GatedTransition(
            latent_dim, self.transition_units, **options, dtype=self.dtype_policy, name="transition"
        )
        self.decoder = self.mlp(self.decoder_units, "decoder")
        self.x_features = self.mlp(self.encoder_phi_x, "encoder_phi_x")
        self.v_forward_rnn = self.recurrent("v_forward_rnn")
        self.v_backward_rnn = self.recurrent("v_backward_rnn")
        self.v_prior, self.v_posterior = self.gaussians(global_dim)
        self.v_posterior_head = self.head("v_posterior_head", self.v_posterior)
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        if inference == "noise":
            self.prior_reads, self.loop_state, self.states = (), (), ("z",)
            self.initial_posterior_net = self.mlp(self.posterior_units, "initial_posterior")
            self.initial_posterior_head = self.head("initial_posterior_head", self.z_posterior)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.transition.build((None, self.latent_dim + self.global_dim + u_dim))
        self.decoder.build((None, self.latent_dim))
        self.x_features.build((None, x_dim))
        self.evidence_dim = self.x_features.output_dim(x_dim) + u_dim
        for rnn in (self.v_forward_rnn, self.v_backward_rnn):
            rnn.build((None, self.evidence_dim))
        self.v_posterior_head.build((None, 2 * self.units))
        width = self.evidence_dim + self.global_dim + self.latent_dim
        self.posterior_net.build((None, width))
        self.posterior_head.build((None, self.posterior_net.output_dim(width)))
        if self.inference == "noise":
            width = self.units + self.global_dim
            self.initial_posterior_net.build((None, width))
            self.initial_posterior_head.build((None, self.initial_posterior_net.output_dim(width)))

    @property
    def causal(self) -> bool:
        return False

    @property
    def latents(self) -> tuple[Latent, ...]:
        """v once per sequence, with the prior N(0, I); then z_t, or the noise w_t by which it moves."""
        v = Latent("v", self.v_prior, self.v_posterior, self.posterior_v, self.absorb_v, level="sequence")
        if self.inference == "noise":
            return v, Latent("w", self.z_prior, self.z_posterior, self.posterior, self.absorb_w)
        return v, self.latent("z", self.z_prior, self.z_posterior, reads=tuple(self.prior_reads))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"z": tf.zeros([batch_size, self.latent_dim]), "first": tf.ones([batch_size, 1], tf.bool)}

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        """Features of x_t, for the posteriors."""
        return self.x_features(x)

    def overview(self, given: Evidence) -> tuple[tf.Tensor, tf.Tensor]:
        """Last states of two recurrences over features of x_t and u_t, forward and backward."""
        evidence = concat(given.e, given.c)
        last = masks.last(self.v_forward_rnn(evidence), given.mask)
        return last, self.v_backward_rnn(evidence, exists=given.mask, backward=True)[:, 0]

    def posterior_v(self, given: Evidence) -> Any:
        """q(v | x_1:T, u_1:T)."""
        return self.v_posterior_head(concat(*given.overview))

    def absorb_v(self, state: State, v: tf.Tensor) -> State:
        return {**state, "v": v}

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"first": masks.opening(e), **({"z": masks.shift(latents["z"])} if "z" in latents else {})}

    def posterior_network(self) -> SplitNetwork:
        """From [x_t, u_t, v, z_{t-1}] to q(z_t | .), in two parts: all but z_{t-1} is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.evidence_dim + self.global_dim)

    def encode(self, given: Evidence) -> Any:
        """x_t, u_t and v for q(z_t | .) or q(w_t | .), t > 1; and q(w_1 | .), at the first frame, zeros at others."""
        v = given.state["v"]
        later = self.posterior_network().hoist(concat(given.e, given.c, v))
        if self.inference == "state":
            return later
        first = self.initial_posterior_head(self.initial_posterior_net(concat(given.overview[1], v)))
        return later, masks.at_opening(first, given.e)

    def posterior(self, state: State, g: Any) -> Any:
        """q(z_t | z_{t-1}, v, u_t, x_t), or q(w_t | .) of the same, at the first frame q(w_1 | v, x_1:T, u_1:T)."""
        if self.inference == "state":
            return self.posterior_network()(g, state["z"])
        return masks.select(state["first"], g[1], self.posterior_network()(g[0], state["z"]))

    def absorb_w(self, state: State, w: tf.Tensor) -> State:
        """z_t = mu + sigma w_t, where mu and sigma are those of p(z_t | z_{t-1}, v, u_t)."""
        moved = self.prior(state)
        return {**state, "z": moved.loc + moved.scale * tf.cast(w, tf.float32)}

    def prior(self, state: State) -> Gaussian:
        """p(z_t | z_{t-1}, v, u_t), the gated transition; N(0, I) at the first frame."""
        return self.transition(concat(state["z"], state["v"], state.get("u")), state["first"])

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | z_t)."""
        return self.decoder(state["z"])

    def absorb_x(self, state: State, e: Any) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "first": tf.zeros_like(state["first"])}

    def get_config(self) -> dict:
        names = ("global_dim", "inference", "transition_units", "decoder_units", "encoder_phi_x", "posterior_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class DSSM(RecurrentDVAE):
    """Disentangled state space model (Miladinovic et al. 2019): see `DSSMCell` for equations and arguments.

    Example:
        physics = model.encode(other)["v"].loc
        known = model.forecast(x, horizon=20, latents={"v": physics})  # x moved, and moves on, by these physics
        changed = model.swap(x, other, horizon=20)  # x moved by its own, and moves on by those of the other
    """

    cell_class = DSSMCell

    def swap(
        self,
        x: Any,
        x_other: Any,
        *,
        horizon: int,
        mask: Any = None,
        mask_other: Any = None,
        u: Any = None,
        u_other: Any = None,
        future_u: Any = None,
        num_samples: int = 16,
        seed: int | None = None,
    ) -> Forecast:
        """Continues sequences by the physics of others: z_T of the first, inferred with its own v; from there v of the
        second. With `x_other` equal to x it is a forecast.

        Args:
            x: the past `[B, T, D]`, or a dict with "x", "mask", "u", "observed" and "context".
            x_other: `[B, T2, D]` likewise, of which only v is used.
            horizon: frames wanted.
            mask, mask_other, u, u_other: of the two, as everywhere.
            future_u: `[B, horizon, U]`, in driven mode.
            num_samples: K; each draws v and z anew from their posteriors, and then frames.

        Raises:
            ValueError: if the two hold different numbers of sequences, or a number is not positive.
        """
        past, other = self.check(x, mask, u), self.check(x_other, mask_other, u_other)
        horizon = validation.whole("horizon", horizon, at_least=1)
        num_samples = validation.whole("num_samples", num_samples, at_least=1)
        future_u = self._inputs(future_u, horizon, "future_u")
        validation.same_rows(x=past.x, x_other=other.x, future_u=future_u)
        found = self._swap(past, other, future_u, tf.constant(horizon), num_samples, self.next_seed(seed))
        return Forecast(*(restore_frames(y, self.frame_shape) for y in found))

    @tf.function(reduce_retracing=True, autograph=False)
    def _swap(
        self,
        past: Batch,
        other: Batch,
        future_u: tf.Tensor | None,
        horizon: tf.Tensor,
        num_samples: int,
        seed: tf.Tensor,
    ) -> Forecast:
        past, other, u = tf.nest.map_structure(lambda y: tile(y, num_samples), (past, other, future_u))
        size, length = tf.shape(other.x)[0], tf.shape(other.x)[1]
        v = self.infer(*other, self.draw_noise(random.fold_in(seed, "other"), size, length)).latents["v"].z
        drawn = self._continue(Request(size, horizon, seed, True, u, past.context, past=past, replacing={"v": v}))
        samples, means = (untile(y, num_samples) for y in (drawn.x, self.frames.mean(drawn.params)))
        return Forecast(samples, tf.reduce_mean(means, axis=0))
