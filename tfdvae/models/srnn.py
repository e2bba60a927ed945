"""SRNN (Fraccaro et al. 2016; survey chapter 9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.first_features import before_first, check_first_features
from tfdvae.layers.latent import Evidence
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Gaussian, State

__all__ = ["SRNN", "SRNNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class SRNNCell(StochasticCell):
    """Stochastic recurrent neural network: a state space model stacked on a deterministic recurrent network.

        p(x, z) = prod_t p(x_t | z_t, x_<t) p(z_t | z_{t-1}, x_<t)      (9.7)
        q(z | x) = prod_t q(z_t | z_{t-1}, x_1:T)                       (9.13), `inference="smooth"`
        q(z | x) = prod_t q(z_t | z_{t-1}, x_<=t)                       `inference="filter"`

    h_t(x_<t, u_<=t) is deterministic and shared by prior, posterior and observation; z_0 is zero, and so is what
    stands for phi_x(x_0) unless told otherwise. The backward network of the smoother sees h_t of the data, also where
    the decoder runs on its own output.

    Args:
        phi_x: hidden layers of the feature extractor of x_{t-1}, before h.
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.
        smoother_units: hidden layers on [h_t, x_t] before the backward recurrence (before the posterior, when
            filtering).
        inference: "smooth" or "filter".
        first_features: what h_1 sees in place of phi_x(x_0): "zeros", or "phi_x" for phi_x(0), features of a frame of
            zeros as in the survey's experiments.
        residual_posterior: the paper's ResQ: the network's mean is added to the prior's mean.
    """

    prior_reads = ("h", "z")
    observe_reads = ("h", "z")
    loop_state = ("z",)

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        phi_x: Sequence[int] = (256,),
        prior_units: Sequence[int] = (64, 32),
        smoother_units: Sequence[int] = (256,),
        posterior_units: Sequence[int] = (64, 32),
        decoder_units: Sequence[int] = (256,),
        inference: str = "smooth",
        first_features: str = "zeros",
        residual_posterior: bool = False,
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if inference not in ("smooth", "filter"):
            raise ValueError(f"`inference` must be 'smooth' or 'filter', got {inference!r}.")
        if residual_posterior:
            self.require_gaussian("residual_posterior=True adds two means")
        self.phi_x = tuple(phi_x)
        self.prior_units = tuple(prior_units)
        self.smoother_units = tuple(smoother_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.inference = inference
        self.residual_posterior = residual_posterior
        self.first_features = check_first_features(first_features)
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.rnn = self.recurrent("rnn")
        self.prior_net = self.mlp(self.prior_units, "prior")
        self.prior_head = self.head("prior_head")
        self.smoother = self.mlp(self.smoother_units, "smoother")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")
        if inference == "smooth":
            self.backward_rnn = self.recurrent("backward_rnn")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        zh = self.latent_dim + self.units
        self.x_features.build((None, x_dim))
        self.rnn.build((None, self.x_features.output_dim(x_dim) + u_dim))
        self.prior_net.build((None, zh))
        self.prior_head.build((None, self.prior_net.output_dim(zh)))
        self.smoother.build((None, self.units + x_dim))
        evidence = self.smoother.output_dim(self.units + x_dim)
        if self.inference == "smooth":
            self.backward_rnn.build((None, evidence))
            evidence = self.units
        self.posterior_net.build((None, self.latent_dim + evidence))
        self.posterior_head.build((None, self.posterior_net.output_dim(self.latent_dim + evidence)))
        self.decoder.build((None, zh))

    @property
    def causal(self) -> bool:
        return self.inference == "filter"

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim + self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        x = self.before_first(batch_size)
        return {"x": x, "z": tf.zeros([batch_size, self.latent_dim]), **self.rnn_state(self.rnn, batch_size)}

    def before_first(self, batch_size: tf.Tensor | int) -> tf.Tensor:
        """Stands for phi_x(x_0), `[B, F]`."""
        return before_first(self.first_features, self.x_features, self.zeros(batch_size, self.x_dim))

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def absorb_u(self, state: State, c: Any) -> State:
        """(9.1): h_t from phi_x(x_{t-1}), u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, state, concat(state["x"], c))

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        first = self.before_first(tf.shape(e)[0])
        return {"x": masks.shift(e, first), **{name: masks.shift(z) for name, z in latents.items()}}

    def encode(self, given: Evidence) -> tf.Tensor:
        """(9.10): the backward recurrence over [h_t, x_t]; when filtering, [h_t, x_t] itself."""
        g = self.smoother(concat(given.opened["h"], given.x))
        return self.backward_rnn(g, exists=given.mask, backward=True) if self.inference == "smooth" else g

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, tf.Tensor]:
        return state, self.smoother(concat(state["h"], x))

    def posterior(self, state: State, g: tf.Tensor) -> Any:
        """(9.11): q(z_t | .) from z_{t-1} and g_t."""
        q = self.posterior_head(self.posterior_net(concat(state["z"], g)))
        return Gaussian(self.prior(state).loc + q.loc, q.scale) if self.residual_posterior else q

    def prior(self, state: State) -> Any:
        """(9.4): p(z_t | .) from z_{t-1} and h_t."""
        return self.prior_head(self.prior_net(concat(state["z"], state["h"])))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """(9.2): features of p(x_t | .) from z_t and h_t."""
        return self.decoder(concat(state["z"], state["h"]))

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**state, "x": e}

    def get_config(self) -> dict:
        names = (
            "phi_x",
            "prior_units",
            "smoother_units",
            "posterior_units",
            "decoder_units",
            "inference",
            "first_features",
            "residual_posterior",
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class SRNN(RecurrentDVAE):
    """Stochastic recurrent neural network (Fraccaro et al. 2016): see `SRNNCell` for equations and arguments."""

    cell_class = SRNNCell
