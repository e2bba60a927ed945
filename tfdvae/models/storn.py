"""STORN (Bayer and Osendorfer 2014; survey chapter 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.first_features import before_first, check_first_features
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["STORN", "STORNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class STORNCell(StochasticCell):
    """Stochastic recurrent network.

        p(x, z) = prod_t p(x_t | x_<t, z_<=t) N(z_t; 0, I)      (7.10), (7.7)
        q(z | x) = prod_t q(z_t | x_<=t)                        (7.19)

    Two recurrent networks that share nothing: h over [x_{t-1}, z_t, u_t] generates, g over [x_t, u_t] infers. Indices
    are the survey's, which removes the one-step lag between generation and inference of the original paper.
    What stands for phi_x(x_0) at the first frame is zero unless told otherwise.

    Args:
        phi_x, phi_z: hidden layers of the feature extractors of the generative network.
        encoder_phi_x: hidden layers before the inference network's recurrence.
        encoder_units: hidden layers after it.
        decoder_units: hidden layers between h_t and p(x_t | .).
        first_features: what h_1 sees in place of phi_x(x_0): "zeros", or "phi_x" for phi_x(0), features of a frame of
            zeros as in the survey's experiments.
    """

    observe_reads = ("h",)
    encode_state = ("g_h", "g_memory")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        phi_x: Sequence[int] = (256,),
        phi_z: Sequence[int] = (32, 64),
        encoder_phi_x: Sequence[int] = (256,),
        encoder_units: Sequence[int] = (64, 32),
        decoder_units: Sequence[int] = (256,),
        first_features: str = "zeros",
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        self.phi_x = tuple(phi_x)
        self.phi_z = tuple(phi_z)
        self.encoder_phi_x = tuple(encoder_phi_x)
        self.encoder_units = tuple(encoder_units)
        self.decoder_units = tuple(decoder_units)
        self.first_features = check_first_features(first_features)
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.z_features = self.mlp(self.phi_z, "phi_z")
        self.rnn = self.recurrent("rnn")
        self.decoder = self.mlp(self.decoder_units, "decoder")
        self.encoder_x_features = self.mlp(self.encoder_phi_x, "encoder_phi_x")
        self.encoder_rnn = self.recurrent("encoder_rnn")
        self.encoder = self.mlp(self.encoder_units, "encoder")
        self.posterior_head = self.head("posterior_head", self.z_posterior)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.x_features.build((None, x_dim))
        self.z_features.build((None, self.latent_dim))
        self.rnn.build((None, self.x_features.output_dim(x_dim) + self.z_features.output_dim(self.latent_dim) + u_dim))
        self.decoder.build((None, self.units))
        self.encoder_x_features.build((None, x_dim))
        self.encoder_rnn.build((None, self.encoder_x_features.output_dim(x_dim) + u_dim))
        self.encoder.build((None, self.units))
        self.posterior_head.build((None, self.encoder.output_dim(self.units)))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        x = self.before_first(batch_size)
        generation, inference = self.rnn_state(self.rnn, batch_size), self.rnn_state(self.encoder_rnn, batch_size, "g_")
        return {"x": x, **generation, **inference}

    def before_first(self, batch_size: tf.Tensor | int) -> tf.Tensor:
        """Stands for phi_x(x_0), `[B, F]`."""
        return before_first(self.first_features, self.x_features, self.zeros(batch_size, self.x_dim))

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"x": masks.shift(e, self.before_first(tf.shape(e)[0]))}

    def encode(self, given: Evidence) -> Any:
        """(7.15)-(7.18): q(z_t | x_<=t) for all frames at once."""
        return self.infer(self.encoder_rnn(concat(self.encoder_x_features(given.x), given.c)))

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, Any]:
        state = self.step_rnn(self.encoder_rnn, state, concat(self.encoder_x_features(x), c), "g_")
        return state, self.infer(state["g_h"])

    def infer(self, g: tf.Tensor) -> Any:
        """(7.16): the posterior from the state of the inference network."""
        return self.posterior_head(self.encoder(g))

    @property
    def latents(self) -> tuple[Latent, ...]:
        """(7.7): the prior is N(0, I), independent of everything."""
        return (self.latent("z", self.z_prior, self.z_posterior, prior=None, mean_field=True),)

    def posterior(self, state: State, g: Any) -> Any:
        return g

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """(7.4): h_t from phi_x(x_{t-1}), phi_z(z_t), u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, state, concat(state["x"], self.z_features(z), state.get("u")))

    def observe(self, state: State) -> tf.Tensor:
        """(7.5): features of p(x_t | .) from h_t."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "x": e}

    def get_config(self) -> dict:
        names = ("phi_x", "phi_z", "encoder_phi_x", "encoder_units", "decoder_units", "first_features")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class STORN(RecurrentDVAE):
    """Stochastic recurrent network (Bayer and Osendorfer 2014): see `STORNCell` for equations and arguments."""

    cell_class = STORNCell
