"""LV-RNN, the model of NASMC (Gu et al. 2015; survey 12.2)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae.arguments import Only
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["LVRNN", "LVRNNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class LVRNNCell(StochasticCell):
    """Latent variable recurrent neural network, the model that neural adaptive sequential Monte Carlo was made for.

        p(x, z) = prod_t p(x_t | z_<=t, x_<t) p(z_t | z_<t)     prior as (11.1), observation as (8.8)
        q(z | x) = prod_t q(z_t | x_<=t, z_<t)                  (8.14)

        d_t = RNN(d_{t-1}, phi_z(z_{t-1}), u_t)                     over latents alone, for p(z_t | .)
        h_t = RNN(h_{t-1}, phi_x(x_{t-1}), phi_z(z_t), u_t)         for p(x_t | .)
        g_t = RNN(g_{t-1}, phi_x(x_{t-1}), phi_z(z_{t-1}), u_t)     for q(z_t | .), beside phi_x(x_t)

    q is the proposal of a particle filter: `compile(bound="nasmc")` trains as the paper does (`tfdvae.bounds.NASMC`),
    and every other bound works as well. `conditional_prior=False` is the paper's variant with independent latents,
    p(z_t) = N(0, I), STORN's generative model. The survey says which variables a density hangs on, and that recurrent
    networks carry them; the feature extractors, shared by the three recurrences, and the inputs u_t are as in VRNN.
    phi_x(x_0) and phi_z(z_0) are zero.

    Example:
        model = tfdvae.LVRNN(latent_dim=16, observation="bernoulli")
        model.compile("adam", bound=tfdvae.bounds.NASMC(10))

    Args:
        phi_x, phi_z: hidden layers of the feature extractors.
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.
        conditional_prior: whether p(z_t) depends on d_t.
    """

    used_with = {"prior_units": Only("conditional_prior", (True,))}
    prior_reads = ("d_h",)
    observe_reads = ("h",)

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        phi_x: Sequence[int] = (256,),
        phi_z: Sequence[int] = (32, 64),
        prior_units: Sequence[int] = (),
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (),
        conditional_prior: bool = True,
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        self.phi_x = tuple(phi_x)
        self.phi_z = tuple(phi_z)
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.conditional_prior = conditional_prior
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.z_features = self.mlp(self.phi_z, "phi_z")
        self.rnn = self.recurrent("rnn")
        self.posterior_rnn = self.recurrent("posterior_rnn")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")
        if conditional_prior:
            self.prior_rnn = self.recurrent("prior_rnn")
            self.prior_net = self.mlp(self.prior_units, "prior")
            self.prior_head = self.head("prior_head")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        x_width, z_width = self.x_features.output_dim(x_dim), self.z_features.output_dim(self.latent_dim)
        self.x_features.build((None, x_dim))
        self.z_features.build((None, self.latent_dim))
        for rnn in (self.rnn, self.posterior_rnn):
            rnn.build((None, x_width + z_width + u_dim))
        self.posterior_net.build((None, x_width + self.units))
        self.posterior_head.build((None, self.posterior_net.output_dim(x_width + self.units)))
        self.decoder.build((None, self.units))
        if self.conditional_prior:
            self.prior_rnn.build((None, z_width + u_dim))
            self.prior_net.build((None, self.units))
            self.prior_head.build((None, self.prior_net.output_dim(self.units)))

    @property
    def latents(self) -> tuple[Latent, ...]:
        """p(z_t | z_<t), or N(0, I)."""
        prior = self.prior if self.conditional_prior else None
        return (self.latent("z", self.z_prior, self.z_posterior, prior=prior, reads=self.prior_reads),)

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        state = {
            "x": self.zeros(batch_size, self.x_features.output_dim(self.x_dim)),
            "z": self.zeros(batch_size, self.z_features.output_dim(self.latent_dim)),
            **self.rnn_state(self.rnn, batch_size),
            **self.rnn_state(self.posterior_rnn, batch_size, "g_"),
        }
        return {**state, **self.rnn_state(self.prior_rnn, batch_size, "d_")} if self.conditional_prior else state

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def posterior_network(self) -> SplitNetwork:
        """From [phi_x(x_t), g_t] to q(z_t | .), in two parts: phi_x(x_t) is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.x_features.output_dim(self.x_dim))

    def encode(self, given: Evidence) -> tf.Tensor:
        return self.posterior_network().hoist(given.e)

    def absorb_u(self, state: State, c: Any) -> State:
        """d_t and g_t, from the frame before, its latent, and u_t."""
        state = super().absorb_u(state, c)
        state = self.step_rnn(self.posterior_rnn, state, concat(state["x"], state["z"], c), "g_")
        if not self.conditional_prior:
            return state
        return self.step_rnn(self.prior_rnn, state, concat(state["z"], c), "d_")

    def posterior(self, state: State, g: tf.Tensor) -> Any:
        """q(z_t | .) from phi_x(x_t) and g_t."""
        return self.posterior_network()(g, state["g_h"])

    def prior(self, state: State) -> Any:
        """p(z_t | .) from d_t."""
        return self.prior_head(self.prior_net(state["d_h"]))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """(7.4): h_t from phi_x(x_{t-1}), phi_z(z_t), u_t and h_{t-1}."""
        phi_z = self.z_features(z)
        return self.step_rnn(self.rnn, {**state, "z": phi_z}, concat(state["x"], phi_z, state.get("u")))

    def observe(self, state: State) -> tf.Tensor:
        """(7.5): features of p(x_t | .) from h_t."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "x": e}

    def get_config(self) -> dict:
        names = ("phi_x", "phi_z", "prior_units", "posterior_units", "decoder_units", "conditional_prior")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class LVRNN(RecurrentDVAE):
    """Latent variable recurrent neural network (Gu et al. 2015): see `LVRNNCell` for equations and arguments."""

    cell_class = LVRNNCell
