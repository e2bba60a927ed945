"""SVG (Denton and Fergus 2018; survey 12.2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.arguments import Only
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["SVG", "SVGCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class SVGCell(StochasticCell):
    """Stochastic video generation: what of the next frame cannot be predicted is a latent, drawn frame by frame.

        p(x, z) = prod_t p(x_t | x_<t, z_<=t) p(z_t | x_<t)         SVG-LP
        p(x, z) = prod_t p(x_t | x_<t, z_<=t) N(z_t; 0, I)          SVG-FP, `learned_prior=False`
        q(z | x) = prod_t q(z_t | x_<=t)                            (7.19)

        p(z_t | .) from LSTM(e_<t),  q(z_t | .) from LSTM(e_<=t),  g_t = LSTM(e_{t-1}, z_t),  x_t from D(g_t, s_t)

    Denton and Fergus (2018), section 3; the survey has the densities in words. e_t = E(x_t) and D are the model's
    `frame_encoder` and `frame_decoder`, whose weights all three recurrences share as in the paper: "conv" for pictures,
    widths such as (256,) for vectors; without them e_t is the frame, and p(x_t | .) one layer on g_t. Each recurrence
    has a linear layer before it; g_t passes a tanh. e_0 is zero, so that p(z_1) is learned, too, where the paper gives
    the first frames. The paper's observation is `IdentityGaussian(scale)`, its weight of the KL `compile(beta=)`. In
    driven mode u_t joins each of the three inputs.

    s_t is there with the model's `frame_skips=True`: the pictures that the layers of E made of the newest given frame
    before x_t, each beside the picture of its size in D. From the last of `given_frames` on they stay, as the paper
    says; its published code stops one frame earlier. Given frames are seen and not scored. Before the first there are
    zeros, and where fewer frames are given to `generate` or `forecast` the model's own ones follow them.

    Example:
        conv = {"frame_encoder": "conv", "frame_decoder": "conv", "frame_skips": True}
        model = tfdvae.SVG(10, units=256, given_frames=5, **conv, observation="bernoulli")
        ahead = model.forecast(x[:, :5], horizon=10)

    Args:
        learned_prior: whether p(z_t) depends on x_<t.
        embedding_units: widths of the linear layers before each recurrence.
        predictor_layers: recurrent layers of the predictor; `num_layers` is that of the other two.
        predictor_units: widths of the tanh layers between the predictor and g_t.
        prior_units, posterior_units: hidden layers between the other two recurrences and their heads.
    """

    used_with = {"prior_units": Only("learned_prior", (True,))}
    observe_reads = ("h",)
    encode_state = ("q_h", "q_memory")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        learned_prior: bool = True,
        embedding_units: Sequence[int] = (256,),
        predictor_layers: int = 2,
        predictor_units: Sequence[int] = (128,),
        prior_units: Sequence[int] = (),
        posterior_units: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if predictor_layers < 1:
            raise ValueError(f"`predictor_layers` must be at least 1, got {predictor_layers}.")
        self.learned_prior = learned_prior
        self.embedding_units = tuple(embedding_units)
        self.predictor_layers = predictor_layers
        self.predictor_units = tuple(predictor_units)
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.predictor_input = self.mlp(self.embedding_units, "predictor_input", "linear")
        self.predictor = self.recurrent("predictor", num_layers=predictor_layers)
        self.predictor_output = self.mlp(self.predictor_units, "predictor_output", "tanh")
        self.posterior_input = self.mlp(self.embedding_units, "posterior_input", "linear")
        self.posterior_rnn = self.recurrent("posterior_rnn")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        if learned_prior:
            self.prior_input = self.mlp(self.embedding_units, "prior_input", "linear")
            self.prior_rnn = self.recurrent("prior_rnn")
            self.prior_net = self.mlp(self.prior_units, "prior")
            self.prior_head = self.head("prior_head")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        given, width = x_dim + u_dim, self.predictor_input.output_dim
        self.predictor_input.build((None, given + self.latent_dim))
        self.predictor.build((None, width(given + self.latent_dim)))
        self.predictor_output.build((None, self.units))
        self.posterior_input.build((None, given))
        self.posterior_rnn.build((None, width(given)))
        self.posterior_net.build((None, self.units))
        self.posterior_head.build((None, self.posterior_net.output_dim(self.units)))
        if self.learned_prior:
            self.prior_input.build((None, given))
            self.prior_rnn.build((None, width(given)))
            self.prior_net.build((None, self.units))
            self.prior_head.build((None, self.prior_net.output_dim(self.units)))

    @property
    def latents(self) -> tuple[Latent, ...]:
        """z_t, whose posterior sees no other latent."""
        prior, reads = (self.prior, ("p_h",)) if self.learned_prior else (None, ())
        return (self.latent("z", self.z_prior, self.z_posterior, prior=prior, reads=reads, mean_field=True),)

    @property
    def features_dim(self) -> int:
        return self.predictor_output.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        state = {
            "x": self.zeros(batch_size, self.x_dim),
            **self.rnn_state(self.predictor, batch_size),
            **self.rnn_state(self.posterior_rnn, batch_size, "q_"),
        }
        return {**state, **self.rnn_state(self.prior_rnn, batch_size, "p_")} if self.learned_prior else state

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"x": masks.shift(e)}

    def encode(self, given: Evidence) -> Any:
        """q(z_t | .) from LSTM(e_<=t), for all frames at once."""
        return self.infer(self.posterior_rnn(self.posterior_input(concat(given.e, given.c))))

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, Any]:
        state = self.step_rnn(self.posterior_rnn, state, self.posterior_input(concat(e, c)), "q_")
        return state, self.infer(state["q_h"])

    def infer(self, q: tf.Tensor) -> Any:
        """The posterior from its recurrence's state."""
        return self.posterior_head(self.posterior_net(q))

    def absorb_u(self, state: State, c: Any) -> State:
        """LSTM(e_<t) of the prior."""
        state = super().absorb_u(state, c)
        if not self.learned_prior:
            return state
        return self.step_rnn(self.prior_rnn, state, self.prior_input(concat(state["x"], c)), "p_")

    def posterior(self, state: State, g: Any) -> Any:
        return g

    def prior(self, state: State) -> Any:
        """p(z_t | .) from LSTM(e_<t)."""
        return self.prior_head(self.prior_net(state["p_h"]))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """The predictor's LSTM, from e_{t-1} and z_t."""
        return self.step_rnn(self.predictor, state, self.predictor_input(concat(state["x"], z, state.get("u"))))

    def observe(self, state: State) -> tf.Tensor:
        """g_t, from which the frame decoder makes p(x_t | .)."""
        return self.predictor_output(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "x": e}

    def get_config(self) -> dict:
        names = (
            *("learned_prior", "embedding_units", "predictor_layers"),
            *("predictor_units", "prior_units", "posterior_units"),
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class SVG(RecurrentDVAE):
    """Stochastic video generation (Denton and Fergus 2018): see `SVGCell` for equations and arguments."""

    cell_class = SVGCell
