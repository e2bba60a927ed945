"""VAE applied to each frame on its own (Kingma and Welling 2014; survey chapter 2)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["VAE", "VAECell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class VAECell(StochasticCell):
    """Variational autoencoder without time, the floor of every comparison.

        p(x, z) = prod_t p(x_t | z_t) N(z_t; 0, I)
        q(z | x) = prod_t q(z_t | x_t)

    In driven mode u_t joins both p(x_t | .) and q(z_t | .) (a conditional VAE).

    Args:
        encoder_units, decoder_units: hidden layers of the two networks.

    Raises:
        ValueError: `units`, `cell` or `num_layers`, since there are no recurrent layers.
    """

    observe_reads = ("z",)
    draws_at_once = True
    unused = dict.fromkeys(("units", "cell", "num_layers"), "since it has no recurrent layers")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        encoder_units: Sequence[int] = (256, 128, 64, 32),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        self.encoder_units = tuple(encoder_units)
        self.decoder_units = tuple(decoder_units)
        self.encoder = self.mlp(self.encoder_units, "encoder")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.encoder.build((None, x_dim + u_dim))
        self.posterior_head.build((None, self.encoder.output_dim(x_dim + u_dim)))
        self.decoder.build((None, self.latent_dim + u_dim))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim + self.u_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"z": tf.zeros([batch_size, self.latent_dim])}

    @property
    def latents(self) -> tuple[Latent, ...]:
        return (self.latent("z", self.z_prior, self.z_posterior, prior=None, mean_field=True),)

    def encode(self, given: Evidence) -> Any:
        """q(z_t | x_t) for all frames at once."""
        return self.posterior_head(self.encoder(concat(given.e, given.c)))

    def posterior(self, state: State, g: Any) -> Any:
        return g

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | z_t)."""
        return self.decoder(concat(state["z"], state.get("u")))

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {"z": state["z"]}

    def get_config(self) -> dict:
        return {**super().get_config(), "encoder_units": self.encoder_units, "decoder_units": self.decoder_units}


@keras.saving.register_keras_serializable(package="tfdvae")
class VAE(RecurrentDVAE):
    """Frame-wise variational autoencoder: see `VAECell` for equations and arguments."""

    cell_class = VAECell
