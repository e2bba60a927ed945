"""VRNN (Chung et al. 2015; survey chapter 8)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae.arguments import Only
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.layers.recurrent import RecurrentState
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["VRNN", "VRNNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class VRNNCell(StochasticCell):
    """Variational recurrent neural network.

        p(x, z) = prod_t p(x_t | z_<=t, x_<t) p(z_t | x_<t, z_<t)       (8.8)
        q(z | x) = prod_t q(z_t | x_<=t, z_<t)                          (8.14)

    One recurrent state h_t(x_<t, z_<t) serves prior, posterior and observation. h_t here is the survey's; it is
    h_{t-1} in the paper. In driven mode u_t joins h_t wherever h_t is read. `conditional_prior=False` is the paper's
    VRNN-I, p(z_t) = N(0, I). As in the authors' code the networks see h alone, not the carry of an LSTM.

    Args:
        phi_x, phi_z: hidden layers of the feature extractors.
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.
        conditional_prior: whether p(z_t) depends on h_t.
    """

    used_with = {"prior_units": Only("conditional_prior", (True,))}
    prior_reads = ("h",)
    observe_reads = ("h", "phi_z")

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
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")
        if conditional_prior:
            self.prior_net = self.mlp(self.prior_units, "prior")
            self.prior_head = self.head("prior_head")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        x_width, z_width = self.x_features.output_dim(x_dim), self.z_features.output_dim(self.latent_dim)
        context = self.units + u_dim
        self.x_features.build((None, x_dim))
        self.z_features.build((None, self.latent_dim))
        self.rnn.build((None, x_width + z_width + u_dim))
        self.posterior_net.build((None, x_width + context))
        self.posterior_head.build((None, self.posterior_net.output_dim(x_width + context)))
        self.decoder.build((None, z_width + context))
        if self.conditional_prior:
            self.prior_net.build((None, context))
            self.prior_head.build((None, self.prior_net.output_dim(context)))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.z_features.output_dim(self.latent_dim) + self.units + self.u_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return self.rnn_state(self.rnn, batch_size)

    def embed(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """phi_x(x_t), and its part of the recurrent input, which does not depend on z."""
        features = self.x_features(x)
        return {"phi_x": features, "projected": self.rnn.project(features)}

    def posterior_network(self) -> SplitNetwork:
        """From [phi_x(x_t), h_t, u_t] to q(z_t | .), in two parts: phi_x(x_t) is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.x_features.output_dim(self.x_dim))

    def encode(self, given: Evidence) -> tf.Tensor:
        return self.posterior_network().hoist(given.e["phi_x"])

    def posterior(self, state: State, g: tf.Tensor) -> Any:
        """(8.11), paper's (9): q(z_t | .) from phi_x(x_t) and h_t."""
        return self.posterior_network()(g, concat(state["h"], state.get("u")))

    def prior(self, state: State) -> Any:
        """(8.4), paper's (5): p(z_t | .) from h_t."""
        if not self.conditional_prior:
            return self.z_prior.standard(state["h"])
        return self.prior_head(self.prior_net(concat(state["h"], state.get("u"))))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "phi_z": self.z_features(z)}

    def observe(self, state: State) -> tf.Tensor:
        """(8.2), paper's (6): features of p(x_t | .) from phi_z(z_t) and h_t."""
        return self.decoder(concat(state["phi_z"], state["h"], state.get("u")))

    def absorb_x(self, state: State, e: dict[str, tf.Tensor]) -> State:
        """(8.1), paper's (7): h_{t+1} from phi_x(x_t), phi_z(z_t), u_t and h_t."""
        before = RecurrentState(state["h"], state["memory"])
        rest, start = concat(state["phi_z"], state.get("u")), e["phi_x"].shape[-1]
        h, memory = self.rnn.step(before, x=rest, projected=e["projected"], start=start)
        return {"h": h, "memory": memory}

    def get_config(self) -> dict:
        names = ("phi_x", "phi_z", "prior_units", "posterior_units", "decoder_units", "conditional_prior")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class VRNN(RecurrentDVAE):
    """Variational recurrent neural network (Chung et al. 2015): see `VRNNCell` for equations and arguments."""

    cell_class = VRNNCell
