"""DKF, also known as DMM (Krishnan et al. 2015, 2017; survey chapter 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.gated_transition import GatedTransition
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Gaussian, State

__all__ = ["DKF", "DKFCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class DKFCell(StochasticCell):
    """Deep Kalman filter: a state space model with neural transition and observation.

        p(x, z) = prod_t p(x_t | z_t) p(z_t | z_{t-1}, u_t)     (5.9),  p(z_1) = N(0, I)
        q(z | x) = prod_t q(z_t | .)                            with the parents of `inference`:

    "st_r" z_{t-1}, x_>=t (the deep Kalman smoother, (5.3)); "st_l" z_{t-1}, x_<=t; "st_lr" z_{t-1}, x_1:T;
    "mf_l" x_<=t; "mf_lr" x_1:T; "local" x_{t-1}, x_t, x_{t+1}; "frame" x_t. Inputs u join q wherever x does; x_t sees
    u through z_t alone, as in (5.9). z_0 is zero for the posterior.

    Args:
        transition_units: hidden layers of the gated transition.
        decoder_units: hidden layers of p(x_t | z_t).
        encoder_phi_x: hidden layers on x_t before the recurrences of q.
        combiner_units: hidden layers on z_{t-1} before the combiner.
        posterior_units: hidden layers between the combiner and the posterior.
        inference: one of the names above.
        initial_prior: p(z_1): "standard" for N(0, I), or "transition" for p(z_1 | z_0 = 0, u_1), as in the survey's
            experiments.
    """

    prior_reads = ("z", "first")
    observe_reads = ("z",)
    inferences = {
        # name: (z_{t-1} joins, forward recurrence, backward recurrence, neighbouring frames joined)
        "st_r": (True, False, True, False),
        "st_l": (True, True, False, False),
        "st_lr": (True, True, True, False),
        "mf_l": (False, True, False, False),
        "mf_lr": (False, True, True, False),
        "local": (False, False, False, True),
        "frame": (False, False, False, False),
    }

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        transition_units: Sequence[int] = (16,),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        encoder_phi_x: Sequence[int] = (256,),
        combiner_units: Sequence[int] = (32,),
        posterior_units: Sequence[int] = (32,),
        inference: str = "st_r",
        initial_prior: str = "standard",
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if inference not in self.inferences:
            raise ValueError(f"`inference` must be one of {sorted(self.inferences)}, got {inference!r}.")
        if initial_prior not in ("standard", "transition"):
            raise ValueError(f"`initial_prior` must be 'standard' or 'transition', got {initial_prior!r}.")
        self.require_gaussian("The gated transition of a DKF is Gaussian", flow=True)
        self.transition_units = tuple(transition_units)
        self.decoder_units = tuple(decoder_units)
        self.encoder_phi_x = tuple(encoder_phi_x)
        self.combiner_units = tuple(combiner_units)
        self.posterior_units = tuple(posterior_units)
        self.inference = inference
        self.initial_prior = initial_prior
        self.structured, forward, backward, self.neighbours = self.inferences[inference]
        floor = {"min_scale": self.min_scale, "scale_floor": self.scale_floor}
        self.transition = GatedTransition(
            latent_dim, self.transition_units, **floor, dtype=self.dtype_policy, name="transition"
        )
        self.decoder = self.mlp(self.decoder_units, "decoder")
        self.encoder_x_features = self.mlp(self.encoder_phi_x, "encoder_phi_x")
        self.forward_rnn = self.recurrent("forward_rnn") if forward else None
        self.backward_rnn = self.recurrent("backward_rnn") if backward else None
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        if self.structured:
            self.combiner = self.mlp(self.combiner_units, "combiner")
            self.combiner_output = keras.layers.Dense(
                self.units, "tanh", dtype=self.dtype_policy, name="combiner_output"
            )

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.transition.build((None, self.latent_dim + u_dim))
        self.decoder.build((None, self.latent_dim))
        frames = (x_dim + u_dim) * (3 if self.neighbours else 1)
        self.encoder_x_features.build((None, frames))
        width = self.encoder_x_features.output_dim(frames)
        recurrent = [rnn for rnn in (self.forward_rnn, self.backward_rnn) if rnn]
        for rnn in recurrent:
            rnn.build((None, width))
        width = self.units if recurrent else width
        if self.structured:
            self.combiner.build((None, self.latent_dim))
            self.combiner_output.build((None, self.combiner.output_dim(self.latent_dim)))
        self.posterior_net.build((None, width))
        self.posterior_head.build((None, self.posterior_net.output_dim(width)))

    @property
    def causal(self) -> bool:
        return self.backward_rnn is None and not self.neighbours

    @property
    def encode_state(self) -> tuple[str, ...]:
        return ("g_h", "g_memory") if self.forward_rnn else ()

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        state = {"z": tf.zeros([batch_size, self.latent_dim]), "first": tf.ones([batch_size, 1], tf.bool)}
        return {**state, **self.rnn_state(self.forward_rnn, batch_size, "g_")} if self.forward_rnn else state

    @property
    def latents(self) -> tuple[Latent, ...]:
        reads = tuple(self.prior_reads)
        return (self.latent("z", self.z_prior, self.z_posterior, reads=reads, mean_field=not self.structured),)

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        if "z" not in latents:
            return {}
        return {"z": masks.shift(latents["z"]), "first": masks.opening(latents["z"])}

    def encode(self, given: Evidence) -> tuple[tf.Tensor, ...]:
        """(5.4): the recurrences over x (and u), each `[B, T, .]`; without any, features of x_t or x_{t-1:t+1}."""
        frames, mask = concat(given.e, given.c), given.mask
        if self.neighbours:
            frames = concat(masks.shift(frames), frames, masks.reverse(masks.shift(masks.reverse(frames, mask)), mask))
        features = self.encoder_x_features(frames)
        forward = () if self.forward_rnn is None else (self.forward_rnn(features),)
        backward = () if self.backward_rnn is None else (self.backward_rnn(features, exists=mask, backward=True),)
        return forward + backward or (features,)

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, tuple[tf.Tensor, ...]]:
        features = self.encoder_x_features(concat(e, c))
        if self.forward_rnn is None:
            return state, (features,)
        state = self.step_rnn(self.forward_rnn, state, features, "g_")
        return state, (state["g_h"],)

    def posterior(self, state: State, g: tuple[tf.Tensor, ...]) -> Any:
        """(5.5)-(5.7): the combiner averages tanh(W z_{t-1} + b) and the recurrences, `[..., H]` each."""
        terms = (*g, self.combiner_output(self.combiner(state["z"]))) if self.structured else g
        combined = tf.add_n(list(terms)) / tf.cast(len(terms), terms[0].dtype)
        return self.posterior_head(self.posterior_net(combined))

    def prior(self, state: State) -> Gaussian:
        """(B.1)-(B.5): the gated transition; at the first frame N(0, I), or the transition from z_0 = 0."""
        first = state["first"] if self.initial_prior == "standard" else None
        return self.transition(concat(state["z"], state.get("u")), first)

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """(3.11): features of p(x_t | z_t)."""
        return self.decoder(state["z"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "first": tf.zeros_like(state["first"])}

    def get_config(self) -> dict:
        networks = ("transition_units", "decoder_units", "encoder_phi_x", "combiner_units", "posterior_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in (*networks, "inference", "initial_prior")}}


@keras.saving.register_keras_serializable(package="tfdvae")
class DKF(RecurrentDVAE):
    """Deep Kalman filter (Krishnan et al. 2015, 2017): see `DKFCell` for equations and arguments."""

    cell_class = DKFCell
