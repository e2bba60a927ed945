"""A model that somebody else wrote: a recurrent state-space model (Hafner et al. 2019)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

import tfdvae
from tfdvae import masks
from tfdvae.layers.cell import concat


@keras.saving.register_keras_serializable(package="outside")
class StateSpaceCell(tfdvae.StochasticCell):
    """p(x, z) = prod_t p(x_t | h_t, z_t) p(z_t | h_t) and q(z | x) = prod_t q(z_t | h_t, x_t), where
    h_t = f(h_{t-1}, z_{t-1}, u_t).

    Args:
        hidden: hidden layers before each of the three heads.
    """

    prior_reads = ("h",)
    observe_reads = ("h", "z")

    def __init__(self, latent_dim: int = 4, *, hidden: Sequence[int] = (), **kwargs: Any):
        super().__init__(latent_dim, **kwargs)
        self.hidden = tuple(hidden)
        self.rnn = self.recurrent("rnn")
        self.prior_net, self.posterior_net, self.decoder = (self.mlp(hidden, n) for n in ("prior", "posterior", "out"))
        self.prior_head = self.head("prior_head")
        self.posterior_head = self.head("posterior_head", self.z_posterior)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.rnn.build((None, self.latent_dim + u_dim))
        for net, width in ((self.prior_net, 0), (self.posterior_net, x_dim), (self.decoder, self.latent_dim)):
            net.build((None, self.units + width))
        self.prior_head.build((None, self.prior_net.output_dim(self.units)))
        self.posterior_head.build((None, self.posterior_net.output_dim(self.units + x_dim)))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units + self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> dict:
        return {"z": tf.zeros([batch_size, self.latent_dim]), **self.rnn_state(self.rnn, batch_size)}

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> dict:
        return {"z": masks.shift(latents["z"])} if "z" in latents else {}

    def absorb_u(self, state: dict, c: tf.Tensor | None) -> dict:
        return self.step_rnn(self.rnn, state, concat(state["z"], c))

    def posterior(self, state: dict, g: tf.Tensor) -> Any:
        return self.posterior_head(self.posterior_net(concat(g, state["h"])))

    def prior(self, state: dict) -> Any:
        return self.prior_head(self.prior_net(state["h"]))

    def absorb_z(self, state: dict, z: tf.Tensor) -> dict:
        return {**state, "z": z}

    def observe(self, state: dict) -> tf.Tensor:
        return self.decoder(concat(state["h"], state["z"]))

    def absorb_x(self, state: dict, e: tf.Tensor) -> dict:
        return state

    def get_config(self) -> dict:
        return {**super().get_config(), "hidden": self.hidden}


@keras.saving.register_keras_serializable(package="outside")
class StateSpaceModel(tfdvae.RecurrentDVAE):
    """See `StateSpaceCell`."""

    cell_class = StateSpaceCell


SIZES = {"latent_dim": 2, "units": 5, "hidden": (6,), "dropout": 0.2}

PARENTS = {
    "z": {
        "prior": {"z": "earlier", "u": "up_to_now"},
        "posterior": {"x": "now", "z": "earlier", "u": "up_to_now"},
    },
    "x": {"z": "up_to_now", "u": "up_to_now"},
}
