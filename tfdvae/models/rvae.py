"""RVAE, causal and non-causal (Leglaive et al. 2020; survey chapter 10)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.types import State

__all__ = ["NonCausalRVAE", "NonCausalRVAECell", "RVAE", "RVAECell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class RVAECell(StochasticCell):
    """Recurrent variational autoencoder, causal.

        p(x, z) = prod_t p(x_t | z_<=t) N(z_t; 0, I)        (10.8), (10.3)
        q(z | x) = prod_t q(z_t | z_<t, x_t:T)              (10.23)

    The latents are independent; h over z_<=t gives the frames their dynamics. q joins a forward recurrence over
    z_{t-1} with a backward one over x, and one layer maps both to the Gaussian. z_0 is zero. Inputs, which the paper
    has none of: u_t joins x_t in the backward recurrence and z_t in h, so q(z_t | .) sees u_t:T and x_t is driven by
    u_<=t. The paper's p(x_t | .) is a complex Gaussian on Fourier coefficients: observation="gamma" on their power.

    Args:
        posterior_units: hidden layers between the two recurrences and q(z_t | .).
        decoder_units: hidden layers between h_t and p(x_t | .).
    """

    observe_reads = ("h",)
    draws_at_once = True

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.rnn = self.recurrent("rnn")
        self.decoder = self.mlp(self.decoder_units, "decoder")
        self.posterior_rnn = self.recurrent("posterior_rnn")
        self.backward_rnn = self.recurrent("backward_rnn")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)

    @property
    def evidence_dim(self) -> int:
        """Width of what q(z_t | .) sees of x."""
        return self.units

    @property
    def decoder_state_dim(self) -> int:
        """Width of h_t."""
        return self.units

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.rnn.build((None, self.latent_dim + u_dim))
        self.decoder.build((None, self.decoder_state_dim))
        self.posterior_rnn.build((None, self.latent_dim))
        self.backward_rnn.build((None, x_dim + u_dim))
        joint = self.evidence_dim + self.units
        self.posterior_net.build((None, joint))
        self.posterior_head.build((None, self.posterior_net.output_dim(joint)))

    @property
    def causal(self) -> bool:
        return False

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.decoder_state_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        inference = self.rnn_state(self.posterior_rnn, batch_size, "g_")
        return {"z": tf.zeros([batch_size, self.latent_dim]), **inference, **self.rnn_state(self.rnn, batch_size)}

    @property
    def latents(self) -> tuple[Latent, ...]:
        """(10.3): the prior is N(0, I), independent of everything."""
        return (self.latent("z", self.z_prior, self.z_posterior, prior=None),)

    def evidence(self, given: Evidence) -> tf.Tensor:
        """(10.19): the backward recurrence over [x_t, u_t]."""
        return self.backward_rnn(concat(given.x, given.c), exists=given.mask, backward=True)

    def posterior_network(self) -> SplitNetwork:
        """From both recurrences to q(z_t | .), in two parts: that over x is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.evidence_dim)

    def encode(self, given: Evidence) -> tf.Tensor:
        return self.posterior_network().hoist(self.evidence(given))

    def absorb_u(self, state: State, c: Any) -> State:
        """(10.18): the recurrence of q over z_{t-1}."""
        return self.step_rnn(self.posterior_rnn, super().absorb_u(state, c), state["z"], "g_")

    def posterior(self, state: State, g: tf.Tensor) -> Any:
        """(10.20)-(10.22): q(z_t | .) from both recurrences."""
        return self.posterior_network()(g, state["g_h"])

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """(10.4): h_t from z_t, u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, {**state, "z": z}, concat(z, state.get("u")))

    def observe(self, state: State) -> tf.Tensor:
        """(10.5): features of p(x_t | .) from h_t."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {k: v for k, v in state.items() if k != "u"}

    def get_config(self) -> dict:
        names = ("posterior_units", "decoder_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class NonCausalRVAECell(RVAECell):
    """Recurrent variational autoencoder, non-causal.

        p(x, z) = prod_t p(x_t | z_1:T) N(z_t; 0, I)        (10.15), (10.3)
        q(z | x) = prod_t q(z_t | z_<t, x_1:T)              (10.30)

    As `RVAECell`, with both recurrences over x in q, and both over z in h: every frame hangs on all latents, so
    `observe` takes whole sequences only. With inputs, q(z_t | .) and x_t see u_1:T.
    """

    observe_reads = ("z",)

    def __init__(self, latent_dim: int = 16, **kwargs):
        super().__init__(latent_dim, **kwargs)
        self.reverse_rnn = self.recurrent("reverse_rnn")
        self.forward_rnn = self.recurrent("forward_rnn")

    @property
    def evidence_dim(self) -> int:
        return 2 * self.units

    @property
    def decoder_state_dim(self) -> int:
        return 2 * self.units

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        super().build_parts(x_dim, u_dim)
        self.reverse_rnn.build((None, self.latent_dim + u_dim))
        self.forward_rnn.build((None, x_dim + u_dim))

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        inference = self.rnn_state(self.posterior_rnn, batch_size, "g_")
        return {"z": tf.zeros([batch_size, self.latent_dim]), **inference}

    def evidence(self, given: Evidence) -> tf.Tensor:
        """(10.25), (10.26): both recurrences over [x_t, u_t]."""
        return concat(self.forward_rnn(concat(given.x, given.c)), super().evidence(given))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """(10.9)-(10.12) from "z" `[B, T, Z]`, and "u" in driven mode, of whole sequences without padding.

        Raises:
            ValueError: for a single frame.
        """
        if state["z"].shape.rank != 3:
            raise ValueError(
                f"p(x_t | z_1:T) needs all latents of a sequence, [batch, time, {self.latent_dim}]; got shape "
                f"{state['z'].shape}. Frame by frame only the causal RVAECell can be decoded."
            )
        return self.observe_all(state, None)

    def observe_all(self, state: State, mask: tf.Tensor | None) -> tf.Tensor:
        return self.decode(state["z"], state.get("u"), mask)

    def decode(self, z: tf.Tensor, c: Any, mask: tf.Tensor | None) -> tf.Tensor:
        """(10.9)-(10.12) for right-padded latents `[B, T, Z]`: features `[B, T, H]`."""
        zu = concat(z, c)
        return self.decoder(concat(self.rnn(zu), self.reverse_rnn(zu, exists=mask, backward=True)))


@keras.saving.register_keras_serializable(package="tfdvae")
class RVAE(RecurrentDVAE):
    """Recurrent variational autoencoder, causal (Leglaive et al. 2020): see `RVAECell` for equations and arguments."""

    cell_class = RVAECell


@keras.saving.register_keras_serializable(package="tfdvae")
class NonCausalRVAE(SequenceDVAE, RecurrentDVAE):
    """Recurrent variational autoencoder, non-causal (Leglaive et al. 2020): see `NonCausalRVAECell`.

    Sequences are drawn as a whole: there is no `initial_state`, `step` or `generate_step`. A continuation takes new
    latents from the prior behind those inferred from the past, and decodes both together.
    """

    cell_class = NonCausalRVAECell

    @property
    def stepwise(self) -> bool:
        return False

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None) -> tf.Tensor:
        return self.cell.decode(z, self.cell.embed_u(u), mask)

    def prior_path(self, u: tf.Tensor | None, noise: Any, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        z = self.cell.z_prior
        return z.sample(z.standard(tf.zeros([size, length, 1])), None if noise is None else noise["z"])

    def continue_path(
        self,
        z: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        future_u: tf.Tensor | None,
        noise: Any,
        horizon: tf.Tensor,
    ) -> tf.Tensor:
        """The prior has no memory: N(0, I) anew."""
        return self.prior_path(future_u, noise, tf.shape(z)[0], horizon)
