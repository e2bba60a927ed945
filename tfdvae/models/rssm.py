"""RSSM, the recurrent state-space model (Hafner et al. 2019; survey 12.2)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import families, masks, random
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.layers.recurrent import RecurrentState
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["RSSM", "RSSMCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class RSSMCell(StochasticCell):
    """Recurrent state-space model: a state with a deterministic and a stochastic part, moved by control inputs.

        p(x, z | u) = prod_t p(x_t | h_t, z_t) p(z_t | h_t)         (4) of the paper
        q(z | x, u) = prod_t q(z_t | h_t, x_t)                      below (4)

        h_t = GRU(h_{t-1}, MLP[z_{t-1}, u_t])

    So z_t depends on z_<t, u_<=t, x_t on z_<=t, u_<=t, and q(z_t | .) adds x_t alone to what the prior knows: what is
    known of the past is in z_<t. u_t is the paper's action a_{t-1}, which leads to frame t. It is VRNN with u_t in the
    place of x_{t-1} (survey 12.2); in undriven mode it is VRNN without that link, and frames are never fed back.
    `generate(u=...)` and `forecast(future_u=...)` imagine what comes of given inputs. h_0 and z_0 are zero.

    Its latents may be groups of categoricals, `family={"class_name": "categorical", "config": {"classes": 32}}`
    (Hafner et al. 2021). Objectives of these papers that are no bounds are settings of `compile`: free nats of a frame
    as a whole are `free_bits=3.0, free_bits_per="frame"`, KL balancing is `kl_balance=0.8`.

    Latent overshooting, `overshooting=D`, adds a penalty that trains priors of more than one step: with
    p_d(z_t) = p(z_t | z_{t-d}, u) for z_{t-d} of the posterior and the latents between drawn from the prior,

        1/D sum_{d=2}^D KL(q(z_t | .) || p_d(z_t))                  (7), its terms with d > 1

    where q(z_t | .), the target, is a constant, so that long predictions learn from posteriors "but not the other way
    around"; z_{t-d}, where they start, is none, as it is none in the bound itself. d reaches back to the first frame at
    most. With `compile(beta=1 / D)` the objective is the paper's (7) with all beta_d = 1. What lies between is drawn in
    training alone, and follows the modes elsewhere.

    Args:
        phi_x: hidden layers of the encoder of a frame.
        transition_units: hidden layers on [z_{t-1}, u_t] before the recurrence.
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.
        cell: "gru" as in the paper, "lstm" or "rnn".
        min_scale: added to the standard deviations of z, which are softplus + 0.1 by default.
        overshooting: D, the longest distance of latent overshooting; 1 is none.

    Raises:
        ValueError: `overshooting` is not positive, or above 1 together with `posterior_flow`, which has no KL in closed
            form.

    Example:
        model = tfdvae.RSSM(latent_dim=30, units=200, activation="elu")
        model.compile(free_bits=3.0, free_bits_per="frame")
        model.fit({"x": frames, "u": actions})                      # [N, T, D], [N, T, U]
        imagined = model.generate(50, u=plans)                      # plans [8, 50, U]
    """

    prior_reads = ("h",)
    observe_reads = ("h", "z")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        phi_x: Sequence[int] = (256,),
        transition_units: Sequence[int] = (64,),
        prior_units: Sequence[int] = (64,),
        posterior_units: Sequence[int] = (64,),
        decoder_units: Sequence[int] = (256,),
        cell: str = "gru",
        min_scale: float = 0.1,
        overshooting: int = 1,
        **kwargs,
    ):
        super().__init__(latent_dim, cell=cell, min_scale=min_scale, **kwargs)
        if overshooting < 1:
            raise ValueError(f"`overshooting` must be a distance of at least 1, got {overshooting}.")
        if overshooting > 1 and not families.has_closed_kl(self.z_posterior, self.z_prior):
            raise ValueError(f"`overshooting` of {overshooting} needs a KL in closed form: leave out `posterior_flow`.")
        self.phi_x = tuple(phi_x)
        self.transition_units = tuple(transition_units)
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.overshooting = overshooting
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.transition_net = self.mlp(self.transition_units, "transition")
        self.rnn = self.recurrent("rnn")
        self.prior_net = self.mlp(self.prior_units, "prior")
        self.prior_head = self.head("prior_head")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        evidence = self.x_features.output_dim(x_dim) + self.units
        self.x_features.build((None, x_dim))
        self.transition_net.build((None, self.latent_dim + u_dim))
        self.rnn.build((None, self.transition_net.output_dim(self.latent_dim + u_dim)))
        self.prior_net.build((None, self.units))
        self.prior_head.build((None, self.prior_net.output_dim(self.units)))
        self.posterior_net.build((None, evidence))
        self.posterior_head.build((None, self.posterior_net.output_dim(evidence)))
        self.decoder.build((None, self.latent_dim + self.units))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim + self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"z": tf.zeros([batch_size, self.latent_dim]), **self.rnn_state(self.rnn, batch_size)}

    def absorb_u(self, state: State, c: Any) -> State:
        """h_t = GRU(h_{t-1}, MLP[z_{t-1}, u_t]). The input stays in reach of `penalties`."""
        # One step, not `step_rnn`: `penalties` opens all frames at once, each from a state of its own.
        before = RecurrentState(state["h"], state["memory"])
        h, memory = self.rnn.step(before, x=self.transition_net(concat(state["z"], c)))
        opened = {**state, "h": h, "memory": memory}
        return opened if c is None or self.overshooting == 1 else {**opened, "u": c}

    def posterior_network(self) -> SplitNetwork:
        """From [e(x_t), h_t] to q(z_t | .), in two parts: e(x_t) is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.x_features.output_dim(self.x_dim))

    def encode(self, given: Evidence) -> tf.Tensor:
        return self.posterior_network().hoist(self.x_features(given.x))

    def posterior(self, state: State, g: tf.Tensor) -> Any:
        """q(z_t | h_t, x_t)."""
        return self.posterior_network()(g, state["h"])

    def prior(self, state: State) -> Any:
        """p(z_t | h_t)."""
        return self.prior_head(self.prior_net(state["h"]))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | h_t, z_t)."""
        return self.decoder(concat(state["z"], state["h"]))

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        """Nothing of x_t is remembered beside z_t."""
        return {name: state[name] for name in ("z", "h", "memory")}

    @property
    def penalty_reads(self) -> Sequence[str]:
        return ("h", "memory") if self.overshooting > 1 else ()

    def penalties(self, state: State, g: tf.Tensor) -> dict[str, tf.Tensor]:
        """(7): KL(q(z_t | .) || p_d(z_t)) of d = 2 to D over D, for all frames at once; nats per frame."""
        if self.overshooting == 1:
            return {}
        (latent,) = self.latents
        q = tf.nest.map_structure(tf.stop_gradient, self.posterior(state, g))
        # At frame t, what the state would be had the d - 1 latents before it come from the prior.
        ahead = {"h": state["h"], "memory": state["memory"]}
        size, length, seed = tf.shape(g)[0], g.shape[1] or tf.shape(g)[1], random.dropout_seed()
        total = tf.zeros([size, length])
        for d in range(2, self.overshooting + 1):
            noise = None
            if seed is not None:
                noise = latent.draw_noise(random.fold_in(seed, f"overshooting_{d}"), size, length)
            drawn = latent.p.sample(self.prior(ahead), noise)
            before = tf.nest.map_structure(masks.shift, {**ahead, "z": drawn})
            ahead = self.absorb_u(before, state.get("u"))
            kl = tf.reduce_sum(families.kl(latent.q, q, latent.p, self.prior(ahead), None), axis=-1)
            total += tf.where(tf.range(length) >= d - 1, kl, 0.0)
        return {"overshooting": total / float(self.overshooting)}

    def get_config(self) -> dict:
        names = ("phi_x", "transition_units", "prior_units", "posterior_units", "decoder_units", "overshooting")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class RSSM(RecurrentDVAE):
    """Recurrent state-space model (Hafner et al. 2019): see `RSSMCell` for equations and arguments."""

    cell_class = RSSMCell
