"""SV2P (Babaeizadeh et al. 2018; survey 12.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["SV2P", "SV2PCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class SV2PCell(StochasticCell):
    """Stochastic variational video prediction: one latent for all that happens in a sequence, or one per frame.

        p(x, v) = N(v; 0, I) prod_t p(x_t | x_<t, v)            `level="sequence"`, as (12.2)
        q(v | x) = q(v | x_1:T)
        p(x, z) = prod_t p(x_t | x_<t, z_t) N(z_t; 0, I)        `level="frame"`, observation as (9.7)
        q(z | x) = prod_t q(z_t | x_1:T)

        h_t = RNN(h_{t-1}, phi_x(x_{t-1}), u_t); p(x_t | .) from [h_t, v] or [h_t, z_t]

    phi_x(x_0) is zero. The survey has the densities; the networks are ours, where the paper moves pixels by
    convolutional LSTMs and infers from all frames by convolutions: q reads [x_t, u_t] by a forward and a backward
    recurrence, of which v sees the last states and z_t those at t. `frame_encoder` and `frame_decoder` of the model put
    convolutions around them.

    The paper predicts what follows a few given frames: with the model's `given_frames=c` these are seen and not scored.
    It then draws the latent from its prior, which is `forecast(x, horizon=n, latents={"v": v})`; without `latents` it
    is inferred from the given frames. It is trained in three phases, which the callback `tfdvae.callbacks.Phases` goes
    through: latents from the prior, from a posterior without a KL, and with a KL whose weight rises.

    Example:
        model = tfdvae.SV2P(8, given_frames=5, frame_encoder="conv", frame_decoder="conv", observation="bernoulli")
        model.compile("adam", beta=1e-3)
        model.fit(x, epochs=60, callbacks=[tfdvae.callbacks.Phases(10, 10, tfdvae.callbacks.KLWarmup(20))])

    Args:
        level: of the latent, "sequence" (v) or "frame" (z).
        phi_x: hidden layers of the feature extractor of x_{t-1}.
        posterior_units, decoder_units: hidden layers before the two heads.
    """

    observe_reads = ("h", "z")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        level: str = "sequence",
        phi_x: Sequence[int] = (256,),
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (256,),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if level not in ("sequence", "frame"):
            raise ValueError(f"`level` must be 'sequence' or 'frame', got {level!r}.")
        self.level = level
        self.phi_x = tuple(phi_x)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.rnn = self.recurrent("rnn")
        self.forward_rnn = self.recurrent("forward_rnn")
        self.backward_rnn = self.recurrent("backward_rnn")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.x_features.build((None, x_dim))
        self.rnn.build((None, self.x_features.output_dim(x_dim) + u_dim))
        for rnn in (self.forward_rnn, self.backward_rnn):
            rnn.build((None, x_dim + u_dim))
        self.posterior_net.build((None, 2 * self.units))
        self.posterior_head.build((None, self.posterior_net.output_dim(2 * self.units)))
        self.decoder.build((None, self.units + self.latent_dim))

    @property
    def latents(self) -> tuple[Latent, ...]:
        """v once per sequence, or z_t once per frame, with the prior N(0, I)."""
        if self.level == "frame":
            return (self.latent("z", self.z_prior, self.z_posterior, prior=None, mean_field=True),)
        return (Latent("v", self.z_prior, self.z_posterior, self.posterior_v, self.absorb_z, level="sequence"),)

    @property
    def causal(self) -> bool:
        return False

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units + self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        x = self.zeros(batch_size, self.x_features.output_dim(self.x_dim))
        return {"x": x, "z": tf.zeros([batch_size, self.latent_dim]), **self.rnn_state(self.rnn, batch_size)}

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"x": masks.shift(e)}

    def evidence(self, given: Evidence) -> tuple[tf.Tensor, tf.Tensor]:
        """What the recurrences with and against time have read up to each frame."""
        xu = concat(given.x, given.c)
        return self.forward_rnn(xu), self.backward_rnn(xu, exists=given.mask, backward=True)

    def infer(self, g: tf.Tensor) -> Any:
        """The posterior from both recurrences."""
        return self.posterior_head(self.posterior_net(g))

    def posterior_v(self, given: Evidence) -> Any:
        """q(v | x_1:T)."""
        forward, backward = self.evidence(given)
        return self.infer(concat(masks.last(forward, given.mask), backward[:, 0]))

    def encode(self, given: Evidence) -> Any:
        """q(z_t | x_1:T) for all frames at once."""
        return self.infer(concat(*self.evidence(given))) if self.level == "frame" else super().encode(given)

    def posterior(self, state: State, g: Any) -> Any:
        return g

    def absorb_u(self, state: State, c: Any) -> State:
        """h_t from phi_x(x_{t-1}), u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, state, concat(state["x"], c))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | .) from h_t and the latent."""
        return self.decoder(concat(state["h"], state["z"]))

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**state, "x": e}

    def get_config(self) -> dict:
        names = ("level", "phi_x", "posterior_units", "decoder_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class SV2P(RecurrentDVAE):
    """Stochastic variational video prediction (Babaeizadeh et al. 2018): see `SV2PCell` for equations and arguments."""

    cell_class = SV2PCell
