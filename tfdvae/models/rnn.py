"""The deterministic recurrent baseline (RNN-Gauss, RNN-GMM of Chung et al. 2015)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["RNN", "RNNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class RNNCell(StochasticCell):
    """Recurrent network without latent variables.

        p(x) = prod_t p(x_t | x_<t),  h_t = RNN(phi_x(x_{t-1}), u_t, h_{t-1}),  p(x_t | x_<t) = d_x(h_t)

    the standard RNN of the VRNN paper (its equations 1 and 2). The log-likelihood is exact: z has no dimension, every
    KL is 0 and every bound equals the log-likelihood. phi_x(x_0) is zero.

    Args:
        phi_x: hidden layers of the feature extractor of x_{t-1}.
        decoder_units: hidden layers between h_t and p(x_t | .).
    """

    observe_reads = ("h",)
    unused = dict.fromkeys(
        ("scale", "min_scale", "scale_floor", "family", "posterior_flow", "flow"), "since it has no latent variables"
    )

    def __init__(
        self, latent_dim: int = 0, *, phi_x: Sequence[int] = (256,), decoder_units: Sequence[int] = (), **kwargs
    ):
        super().__init__(latent_dim, **kwargs)
        if latent_dim != 0:
            raise ValueError(f"RNN has no latent variables: `latent_dim` must be 0, got {latent_dim}.")
        self.phi_x = tuple(phi_x)
        self.decoder_units = tuple(decoder_units)
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.rnn = self.recurrent("rnn")
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.x_features.build((None, x_dim))
        self.rnn.build((None, self.x_features.output_dim(x_dim) + u_dim))
        self.decoder.build((None, self.units))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        x = self.zeros(batch_size, self.x_features.output_dim(self.x_dim))
        return {"x": x, **self.rnn_state(self.rnn, batch_size)}

    @property
    def latents(self) -> tuple[Latent, ...]:
        return ()

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"x": masks.shift(e)}

    def absorb_u(self, state: State, c: Any) -> State:
        """h_t from phi_x(x_{t-1}), u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, state, concat(state["x"], c))

    def observe(self, state: State) -> tf.Tensor:
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**state, "x": e}

    def get_config(self) -> dict:
        return {**super().get_config(), "phi_x": self.phi_x, "decoder_units": self.decoder_units}


@keras.saving.register_keras_serializable(package="tfdvae")
class RNN(RecurrentDVAE):
    """Deterministic recurrent baseline: see `RNNCell` for equations and arguments."""

    cell_class = RNNCell
