"""TCN-DVAE, a stochastic temporal convolutional network (Aksan and Hilliges 2019)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks
from tfdvae.layers.causal_convolutions import CausalConvolutions, ConvolutionMemory, dilations
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import flat_call
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Gaussian, State

__all__ = ["TCNDVAE", "TCNDVAECell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class TCNDVAECell(StochasticCell):
    """Stochastic temporal convolutional network: a hierarchy of L latents of each frame on dilated convolutions.

        p(x, z) = prod_t p(x_t | z_<=t^1:L) prod_l p(z_t^l | z_t^{l+1}, d_{t-1}^l)
        q(z | x) = prod_t prod_l q(z_t^l | z_t^{l+1}, d_{t-1}^l, d_t^l)

    d_t^l(x_<=t) is the output of the l-th level of a stack of causal convolutions, whose upper levels see further back;
    d_0 is zero. The posterior is the product of the prior and of a Gaussian of z_t^l that is read off d_t^l, so it adds
    precisions (the ladder of Sønderby et al. 2016). A second, small stack over the latents leads to p(x_t | .).

    Latents are called "z1" (the lowest) to "zL" and drawn from the top. Those of a frame see none of an earlier one, so
    under teacher forcing everything runs for all frames at once; frame by frame, the state holds the last inputs of
    every convolution. x_<=t and z_<=t reach as far back as the stacks do: 1 + (kernel_size - 1) * (sum of the dilations
    up to level l) frames, 64 of them for x at the default's top. In driven mode u_t joins the inputs of both stacks and
    the prior. Where the survey has one latent, "z1" has `latent_dim`.

    Args:
        latent_dim: width of z^1.
        upper_dims: widths of z^2 and so on, upwards; () for one level.
        units: channels of all convolutions.
        num_layers: convolutions of each level. Their dilations double from one to the next, through all levels.
        kernel_size: frames under a kernel, at least 2.
        max_dilation: after the layer whose dilation reaches it they start again from 1.
        phi_x: hidden layers of the feature extractor of x_t, before the convolutions.
        prior_units, posterior_units: hidden layers before the Gaussians that are read off d_{t-1}^l and d_t^l.
        output_layers: convolutions of the second stack.
        decoder_units: hidden layers behind it.
        dense: whether that stack sees all latents (the paper's STCN-dense), or z^1 alone.

    Raises:
        ValueError: `cell`, since there are no recurrent layers; a family that is no diagonal Gaussian, a kernel of one
            frame, or `latent_dim`, `num_layers`, `output_layers` or `max_dilation` below 1.

    Example:
        model = tfdvae.TCNDVAE(latent_dim=16, upper_dims=(8, 4), units=64)
        model.compile("adam")
        model.fit(x)
        model.encode(x)["z3"].loc       # [B, T, 4], the top of the hierarchy
    """

    observe_reads = ("h",)
    unused = {"cell": "since it has no recurrent layers"}

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        upper_dims: Sequence[int] = (8, 4),
        num_layers: int = 2,
        kernel_size: int = 2,
        max_dilation: int = 512,
        phi_x: Sequence[int] = (256,),
        prior_units: Sequence[int] = (),
        posterior_units: Sequence[int] = (),
        output_layers: int = 2,
        decoder_units: Sequence[int] = (),
        dense: bool = True,
        **kwargs,
    ):
        super().__init__(latent_dim, num_layers=num_layers, **kwargs)
        self.require_gaussian("TCNDVAE adds the precisions of its posteriors")
        sizes = {"latent_dim": latent_dim, "num_layers": num_layers, "output_layers": output_layers}
        for name, value in {**sizes, "max_dilation": max_dilation}.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        self.upper_dims = tuple(upper_dims)
        self.kernel_size = kernel_size
        self.max_dilation = max_dilation
        self.phi_x = tuple(phi_x)
        self.prior_units = tuple(prior_units)
        self.posterior_units = tuple(posterior_units)
        self.output_layers = output_layers
        self.decoder_units = tuple(decoder_units)
        self.dense = dense
        self.z_dims = (latent_dim, *self.upper_dims)
        self.z_families = [self.gaussians(width)[0] for width in self.z_dims]
        self.x_features = self.mlp(self.phi_x, "phi_x")
        self.x_channels = keras.layers.Dense(self.units, dtype=self.dtype_policy, name="x_channels")
        self.levels, self.prior_nets, self.prior_heads, self.posterior_nets, self.posterior_heads = [], [], [], [], []
        for i, family in enumerate(self.z_families):
            self.levels.append(self.convolutions(f"level_{i + 1}", num_layers, i * num_layers))
            self.prior_nets.append(self.mlp(self.prior_units, f"prior_{i + 1}"))
            self.prior_heads.append(self.head(f"prior_head_{i + 1}", family))
            self.posterior_nets.append(self.mlp(self.posterior_units, f"posterior_{i + 1}"))
            self.posterior_heads.append(self.head(f"posterior_head_{i + 1}", family))
        self.z_channels = keras.layers.Dense(self.units, dtype=self.dtype_policy, name="z_channels")
        self.output_convolutions = self.convolutions("output", output_layers)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def convolutions(self, name: str, num_layers: int, first: int = 0) -> CausalConvolutions:
        """A stack, whose dilations are those of layers from number `first` on."""
        own = dilations(num_layers, self.max_dilation, first)
        return CausalConvolutions(self.units, own, self.kernel_size, self.dropout, dtype=self.dtype_policy, name=name)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.x_features.build((None, x_dim))
        self.x_channels.build((None, self.x_features.output_dim(x_dim) + u_dim))
        for i in range(len(self.z_dims)):
            given = self.units + sum(self.z_dims[i + 1 : i + 2]) + u_dim
            self.levels[i].build((None, self.units))
            self.prior_nets[i].build((None, given))
            self.prior_heads[i].build((None, self.prior_nets[i].output_dim(given)))
            self.posterior_nets[i].build((None, self.units))
            self.posterior_heads[i].build((None, self.posterior_nets[i].output_dim(self.units)))
        self.z_channels.build((None, (sum(self.z_dims) if self.dense else self.latent_dim) + u_dim))
        self.output_convolutions.build((None, self.units))
        self.decoder.build((None, self.units))

    @property
    def latents(self) -> tuple[Latent, ...]:
        """z^L first, z^1 last; each sees the one above it."""
        found = []
        for level in range(len(self.z_dims), 0, -1):
            family = self.z_families[level - 1]
            found.append(
                Latent(
                    f"z{level}",
                    family,
                    family,
                    partial(self.posterior_at, level),
                    partial(self.absorb_at, level),
                    partial(self.prior_at, level),
                    within_frame=True,
                    reads=("d", f"z{level + 1}") if level < len(self.z_dims) else ("d",),
                )
            )
        return tuple(found)

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {
            "d": tuple(self.zeros(batch_size, self.units) for _ in self.levels),
            "memory": tuple(level.initial_memory(batch_size) for level in self.levels),
            "h_memory": self.output_convolutions.initial_memory(batch_size),
        }

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        return self.x_features(x)

    def convolve(
        self, memory: tuple[ConvolutionMemory, ...], e: tf.Tensor, c: tf.Tensor | None
    ) -> tuple[tuple[tf.Tensor, ...], tuple[ConvolutionMemory, ...]]:
        """d_t^1 to d_t^L, from x_<=t and u_<=t."""
        d, found, after = flat_call(self.x_channels, concat(e, c)), [], []
        for level, own in zip(self.levels, memory, strict=True):
            d, kept = level(d, own)
            found.append(d)
            after.append(kept)
        return tuple(found), tuple(after)

    def encode(self, given: Evidence) -> tuple[tf.Tensor, ...]:
        return self.convolve(given.state["memory"], given.e, given.c)[0]

    def encode_step(self, state: State, x: tf.Tensor, c: Any, e: tf.Tensor) -> tuple[State, tuple[tf.Tensor, ...]]:
        d, memory = self.convolve(state["memory"], e, c)
        return {**state, "now": (d, memory)}, d

    def recall(self, g: tuple[tf.Tensor, ...]) -> State:
        return {"d": tuple(masks.shift(d) for d in g)}

    def prior_at(self, level: int, state: State) -> Gaussian:
        """p(z_t^l | z_t^{l+1}, d_{t-1}^l)."""
        given = concat(state["d"][level - 1], state.get(f"z{level + 1}"), state.get("u"))
        return self.prior_heads[level - 1](self.prior_nets[level - 1](given))

    def posterior_at(self, level: int, state: State, g: tuple[tf.Tensor, ...]) -> Gaussian:
        """q(z_t^l | .), the prior times what d_t^l says of z_t^l."""
        p, features = self.prior_at(level, state), self.posterior_nets[level - 1](g[level - 1])
        return product(p, self.posterior_heads[level - 1](features))

    def absorb_at(self, level: int, state: State, z: tf.Tensor) -> State:
        """z_t^l is known; with the lowest, the second stack takes in those of the frame."""
        state = {**state, f"z{level}": z}
        if level > 1:
            return state
        seen = [state[f"z{i + 1}"] for i in range(len(self.z_dims) if self.dense else 1)]
        features = flat_call(self.z_channels, concat(*seen, state.get("u")))
        h, memory = self.output_convolutions(features, state["h_memory"])
        return {**state, "h": h, "h_memory": memory}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | z_<=t)."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        """The next frame's d_{t-1}^1:L, which a step has found already on the way to its posteriors."""
        d, memory = state["now"] if "now" in state else self.convolve(state["memory"], e, state.get("u"))
        return {"d": d, "memory": memory, "h_memory": state["h_memory"]}

    def get_config(self) -> dict:
        names = (
            *("upper_dims", "kernel_size", "max_dilation", "phi_x", "prior_units", "posterior_units"),
            *("output_layers", "decoder_units", "dense"),
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


def product(p: Gaussian, other: Gaussian) -> Gaussian:
    """The normalised product of two diagonal Gaussians: precisions add, means are weighed by them."""
    total = p.scale**2 + other.scale**2
    loc = (p.loc * other.scale**2 + other.loc * p.scale**2) / total
    return Gaussian(loc, p.scale * other.scale * tf.math.rsqrt(total))


@keras.saving.register_keras_serializable(package="tfdvae")
class TCNDVAE(RecurrentDVAE):
    """Stochastic temporal convolutional network (Aksan and Hilliges 2019): see `TCNDVAECell` for equations and
    arguments."""

    cell_class = TCNDVAECell
