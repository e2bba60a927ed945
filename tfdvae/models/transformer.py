"""Transformer DVAE: causal attention in the place of recurrences (survey 14.2.4)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.causal_attention import AttentionMemory, CausalAttention
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import flat_call
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["TransformerDVAE", "TransformerDVAECell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class TransformerDVAECell(StochasticCell):
    """Dynamical VAE on causal attention, a design of our own that the survey asks for in section 14.2.4.

        p(x, z) = prod_t p(x_t | x_<t, z_<=t) p(z_t | x_<t)
        q(z | x) = prod_t q(z_t | x_<=t)

        f_t = attention over phi_x(x_s), s <= t                 one stack for prior and posterior; f_0 is zero
        h_t = attention over [f_{s-1}, phi_z(z_s)], s <= t      a second one for the observation

    The prior reads f_{t-1}, the posterior f_t, the observation h_t. A frame's latent sees none of an earlier one, so
    under teacher forcing everything runs for all frames at once. Every block sees `window` frames, in training as where
    frames are streamed, and a stack of them num_layers * (window - 1) frames before the present one; "x_<=t" is to be
    read so. The state holds keys and values of the window. In driven mode u_t joins the inputs of both stacks and the
    prior.

    Args:
        units: width of f_t and h_t.
        num_layers: blocks of each stack.
        num_heads, head_dim: of the attention; `head_dim` even.
        window: frames that a block sees, the present one included; at least 2.
        phi_x, phi_z: hidden layers of the feature extractors.
        prior_units, posterior_units, decoder_units: hidden layers before the three heads.

    Raises:
        ValueError: `cell`, since there are no recurrent layers; `latent_dim` or `num_layers` below 1; an odd `head_dim`
            or a window of one frame.

    Example:
        model = tfdvae.TransformerDVAE(latent_dim=16, units=64, window=32)
        model.compile("adam")
        model.fit(x)
        model.forecast(x, horizon=25)
    """

    prior_reads = ("f",)
    observe_reads = ("h",)
    unused = {"cell": "since it has no recurrent layers"}

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        num_layers: int = 2,
        num_heads: int = 4,
        head_dim: int = 32,
        window: int = 64,
        phi_x: Sequence[int] = (256,),
        phi_z: Sequence[int] = (),
        prior_units: Sequence[int] = (),
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(latent_dim, num_layers=num_layers, **kwargs)
        for name, value in {"latent_dim": latent_dim, "num_layers": num_layers, "num_heads": num_heads}.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.window = window
        self.phi_x = tuple(phi_x)
        self.phi_z = tuple(phi_z)
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.x_channels = keras.layers.Dense(self.units, dtype=self.dtype_policy, name="x_channels")
        self.x_attention = self.attention("x_attention")
        self.prior_net = self.mlp(self.prior_units, "prior")
        self.prior_head = self.head("prior_head")
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.z_features = self.mlp(self.phi_z, "phi_z")
        self.z_channels = keras.layers.Dense(self.units, dtype=self.dtype_policy, name="z_channels")
        self.z_attention = self.attention("z_attention")
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def attention(self, name: str) -> CausalAttention:
        """A stack of blocks."""
        sizes = (self.units, self.num_layers, self.num_heads, self.head_dim, self.window, self.dropout)
        return CausalAttention(*sizes, dtype=self.dtype_policy, name=name)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        fu = self.units + u_dim
        self.x_features.build((None, x_dim))
        self.x_channels.build((None, self.x_features.output_dim(x_dim) + u_dim))
        self.x_attention.build((None, self.units))
        self.prior_net.build((None, fu))
        self.prior_head.build((None, self.prior_net.output_dim(fu)))
        self.posterior_net.build((None, self.units))
        self.posterior_head.build((None, self.posterior_net.output_dim(self.units)))
        self.z_features.build((None, self.latent_dim))
        self.z_channels.build((None, fu + self.z_features.output_dim(self.latent_dim)))
        self.z_attention.build((None, self.units))
        self.decoder.build((None, self.units))

    @property
    def latents(self) -> tuple[Latent, ...]:
        return (self.latent("z", self.z_prior, self.z_posterior, reads=("f",), mean_field=True),)

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {
            "f": self.zeros(batch_size, self.units),
            "memory": self.x_attention.initial_memory(batch_size),
            "h_memory": self.z_attention.initial_memory(batch_size),
        }

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def attend(
        self, memory: AttentionMemory | None, e: tf.Tensor, c: tf.Tensor | None
    ) -> tuple[tf.Tensor, AttentionMemory | None]:
        """f_t from x_<=t and u_<=t."""
        return self.x_attention(flat_call(self.x_channels, concat(e, c)), memory)

    def encode(self, given: Evidence) -> dict[str, Any]:
        """f_t and q(z_t | x_<=t) for all frames at once."""
        f, _ = self.attend(None, given.e, given.c)
        return {"f": f, "q": self.infer(f)}

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, dict[str, Any]]:
        f, memory = self.attend(state["memory"], e, c)
        return {**state, "now": (f, memory)}, {"f": f, "q": self.infer(f)}

    def infer(self, f: tf.Tensor) -> Any:
        """q(z_t | x_<=t) from f_t."""
        return self.posterior_head(self.posterior_net(f))

    def recall(self, g: dict[str, Any]) -> State:
        return {"f": masks.shift(g["f"])}

    def posterior(self, state: State, g: dict[str, Any]) -> Any:
        return g["q"]

    def prior(self, state: State) -> Any:
        """p(z_t | x_<t) from f_{t-1}."""
        return self.prior_head(self.prior_net(concat(state["f"], state.get("u"))))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        """h_t from x_<t and z_<=t."""
        tokens = flat_call(self.z_channels, concat(state["f"], self.z_features(z), state.get("u")))
        h, memory = self.z_attention(tokens, None if z.shape.rank == 3 else state["h_memory"])
        return {**state, "h": h, "h_memory": memory}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | x_<t, z_<=t)."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        """The next frame's f_{t-1}, which a step has found already on the way to its posterior."""
        f, memory = state["now"] if "now" in state else self.attend(state["memory"], e, state.get("u"))
        return {"f": f, "memory": memory, "h_memory": state["h_memory"]}

    def get_config(self) -> dict:
        names = (
            *("num_heads", "head_dim", "window", "phi_x", "phi_z"),
            *("prior_units", "posterior_units", "decoder_units"),
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class TransformerDVAE(RecurrentDVAE):
    """Dynamical VAE on causal attention: see `TransformerDVAECell` for equations and arguments."""

    cell_class = TransformerDVAECell
