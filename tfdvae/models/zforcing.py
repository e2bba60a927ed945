"""VRNN with Z-forcing (Goyal et al. 2017; survey 8.4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks, observations
from tfdvae.arguments import Only
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence
from tfdvae.layers.mlp import SplitNetwork
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["ZForcingVRNN", "ZForcingVRNNCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class ZForcingVRNNCell(StochasticCell):
    """VRNN whose latents must tell of the future: a backward posterior, and a loss that asks z_t for its state.

        p(x, z) = prod_t p(x_t | h_t) p(z_t | h_{t-1}, x_{t-1})         (8.8) with (7.5) for (8.2)
        q(z | x) = prod_t q(z_t | h_{t-1}, x_{t-1}, b_t)                survey 8.4

        h_t = RNN(h_{t-1}, phi_x(x_{t-1}), phi_z(z_t))
        b_t = RNN(b_{t+1}, phi_x(x_t))

    So z_t depends on x_<t, z_<t a priori and on x_1:T, z_<t a posteriori; it reaches x_t through h_t alone, "avoiding
    the latent variables from directly producing the next output". Training adds the penalty -log p(b_t | z_t, h_{t-1}),
    a Gaussian with b_t as a constant, and optionally -log p(x_t | b_t), which b_t learns from; weigh both, or ramp
    them, with `compile(penalty_weight=)`. The bound holds neither.

    The authors predict x_{t+1} from h_t(x_<=t, z_<=t); their x_{t+1} is x_t here, and x_0 is zero. In driven mode u_t
    stands beside x_{t-1} wherever that is read, and beside x_t for b_t.

    Args:
        phi_x, phi_z: hidden layers of the feature extractors.
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.
        auxiliary_units: hidden layers on [z_t, h_{t-1}] before p(b_t | .).
        reconstruct_backward: an observation by name or config adds -log p(x_t | b_t), None leaves it out.
        backward_weight: weight of that term relative to the other penalty.
    """

    used_with = {"backward_weight": Only("reconstruct_backward")}
    prior_reads = ("h", "x")
    observe_reads = ("h",)
    penalty_reads = ("z", "before")

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        phi_x: Sequence[int] = (256,),
        phi_z: Sequence[int] = (32, 64),
        prior_units: Sequence[int] = (),
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (),
        auxiliary_units: Sequence[int] = (64,),
        reconstruct_backward: str | Mapping | None = None,
        backward_weight: float = 1.0,
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if backward_weight < 0.0:
            raise ValueError(f"`backward_weight` must not be negative, got {backward_weight}.")
        if isinstance(reconstruct_backward, observations.Observation):
            reconstruct_backward = keras.saving.serialize_keras_object(reconstruct_backward)
        self.phi_x = tuple(phi_x)
        self.phi_z = tuple(phi_z)
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.auxiliary_units = tuple(auxiliary_units)
        self.reconstruct_backward = reconstruct_backward
        self.backward_weight = backward_weight
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.z_features = self.mlp(self.phi_z, "phi_z")
        self.rnn = self.recurrent("rnn")
        self.backward_rnn = self.recurrent("backward_rnn")
        self.prior_net = self.mlp(self.prior_units, "prior")
        self.prior_head = self.head("prior_head")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")
        self.auxiliary_net = self.mlp(self.auxiliary_units, "auxiliary")
        self.state_family, _ = self.gaussians(self.units, flow=False)
        self.auxiliary_head = self.head("auxiliary_head", self.state_family)
        if reconstruct_backward is not None:
            self.backward_observation = observations.get(reconstruct_backward)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        z_width = self.z_features.output_dim(self.latent_dim)
        given = self.x_features.output_dim(x_dim) + u_dim
        zh = self.latent_dim + self.units
        self.x_features.build((None, x_dim))
        self.z_features.build((None, self.latent_dim))
        self.rnn.build((None, given + z_width))
        self.backward_rnn.build((None, given))
        self.prior_net.build((None, given + self.units))
        self.prior_head.build((None, self.prior_net.output_dim(given + self.units)))
        self.posterior_net.build((None, self.units + given + self.units))
        self.posterior_head.build((None, self.posterior_net.output_dim(self.units + given + self.units)))
        self.decoder.build((None, self.units))
        self.auxiliary_net.build((None, zh))
        self.auxiliary_head.build((None, self.auxiliary_net.output_dim(zh)))
        if self.reconstruct_backward is not None:
            self.backward_observation.build((None, self.units), (None, x_dim))

    @property
    def causal(self) -> bool:
        return False

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        x = self.zeros(batch_size, self.x_features.output_dim(self.x_dim))
        return {"x": x, **self.rnn_state(self.rnn, batch_size)}

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"x": masks.shift(e)}

    def encode(self, given: Evidence) -> dict[str, tf.Tensor]:
        """b_t for all frames, and what it adds to q(z_t | .); x_t as the target of p(x_t | b_t)."""
        b = self.backward_rnn(concat(given.e, given.c), exists=given.mask, backward=True)
        g = {"b": b, "q": self.posterior_network().hoist(b)}
        return g if self.reconstruct_backward is None else {**g, "x": given.x}

    def posterior_network(self) -> SplitNetwork:
        """From [b_t, phi_x(x_{t-1}), u_t, h_{t-1}] to q(z_t | .), in two parts: b_t is known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.units)

    def posterior(self, state: State, g: dict[str, tf.Tensor]) -> Any:
        """q(z_t | .) from b_t, phi_x(x_{t-1}) and h_{t-1}."""
        return self.posterior_network()(g["q"], concat(state["x"], state.get("u"), state["h"]))

    def prior(self, state: State) -> Any:
        """(8.4): p(z_t | .) from phi_x(x_{t-1}) and h_{t-1}."""
        return self.prior_head(self.prior_net(concat(state["x"], state.get("u"), state["h"])))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """(7.4): h_t from phi_x(x_{t-1}), u_t, phi_z(z_t) and h_{t-1}."""
        inputs = concat(state["x"], state.get("u"), self.z_features(z))
        return {**self.step_rnn(self.rnn, state, inputs), "before": state["h"], "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """(7.5): features of p(x_t | .) from h_t."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {"x": e, "h": state["h"], "memory": state["memory"]}

    def penalties(self, state: State, g: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """-log p(b_t | z_t, h_{t-1}), and -log p(x_t | b_t) where asked for; nats per frame."""
        p = self.auxiliary_head(self.auxiliary_net(concat(state["z"], state["before"])))
        b = tf.stop_gradient(tf.cast(g["b"], tf.float32))
        found = {"backward_state": -self.state_family.log_prob(p, b)}
        if self.reconstruct_backward is not None:
            log_px = self.backward_observation.log_prob(self.backward_observation(g["b"]), tf.cast(g["x"], tf.float32))
            found["backward_reconstruction"] = -self.backward_weight * log_px
        return found

    def get_config(self) -> dict:
        names = (
            "phi_x",
            "phi_z",
            "prior_units",
            "posterior_units",
            "decoder_units",
            "auxiliary_units",
            "reconstruct_backward",
            "backward_weight",
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class ZForcingVRNN(RecurrentDVAE):
    """VRNN with Z-forcing (Goyal et al. 2017): see `ZForcingVRNNCell` for equations and arguments."""

    cell_class = ZForcingVRNNCell
