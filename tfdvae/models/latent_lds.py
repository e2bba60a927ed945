"""Latent linear dynamical system, a structured VAE (Johnson et al. 2016)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import families, masks
from tfdvae.families import numerics
from tfdvae.families.triangular import Triangular
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.information import (
    Chain,
    Potential,
    diagonal,
    factor_of_inverse,
    marginals,
    messages,
    messages_in_parallel,
    transposed_matvec,
)
from tfdvae.layers.kalman import Belief, matvec
from tfdvae.layers.latent import Evidence
from tfdvae.layers.mlp import flat_call
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.scales import scale_inverse
from tfdvae.types import Batch, Gaussian, State

__all__ = ["LatentLDS", "LatentLDSCell"]

_RECURRENCES = dict.fromkeys(("units", "cell", "num_layers"), "since it has no recurrent layers")
_FAMILIES = dict.fromkeys(("family", "posterior_flow", "flow"), "since its posterior is the Gaussian of its potentials")


@keras.saving.register_keras_serializable(package="tfdvae")
class LatentLDSCell(StochasticCell):
    """Latent linear dynamical system: linear-Gaussian dynamics, frames by a network, and exact inference between.

        p(x, z) = prod_t p(x_t | z_t) N(z_t; A z_{t-1} + B u_t, diag(s)^2),   z_1 ~ N(m_1 + B u_1, diag(s_1)^2)
        q(z | x) = p(z) prod_t psi_t(z_t) / Z(x),   psi_t(z) = exp(h_t' z - z' diag(J_t) z / 2)

    Johnson et al. (2016), section 4.2 and figure 4: a network maps x_t to the node potential (h_t, J_t), which is
    conjugate to the dynamics, so that q is the exact posterior under the potentials, correlated over time. It is taken
    apart by the chain rule, q(z | x) = prod_t q(z_t | z_{t-1}, x_t:T): messages run against time in information form
    (`tfdvae.layers.information`), and each factor is a Gaussian with a full covariance that does not hang on z_{t-1}.
    The bound's divergence is then sum_t KL(q(z_t | z_{t-1}, x_t:T) || p(z_t | z_{t-1})), which is sum_t E_q log psi_t -
    log Z. Where frames are linear in z and the network knows it, the bound is the likelihood.

    A frame of which nothing was observed has psi_t = 1. The context of a sequence joins x_t in the network. Deviation:
    A, B, s, m_1 and s_1 are point estimates; the paper has a matrix-normal inverse-Wishart posterior over them, and
    natural gradients. A starts at the identity.

    Args:
        encoder_units, decoder_units: hidden layers of the potentials and of p(x_t | z_t).
        inference: "smooth", as above; or "filter", q(z_t | z_{t-1}, x_t) proportional to p(z_t | z_{t-1}) psi_t(z_t), a
            causal form, which can be streamed.
        parallel: whether messages and paths come from associative scans, in log2 T rounds (Saerkkae and Garcia-
            Fernandez 2021), in place of loops over time. It multiplies more and waits less: for accelerators.
        transition_scale, initial_scale: where s and s_1 start.
    """

    prior_reads = ("z", "first")
    observe_reads = ("z",)
    told_presence = True
    unused = {**_RECURRENCES, **_FAMILIES}

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        encoder_units: Sequence[int] = (256, 128, 64, 32),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        inference: str = "smooth",
        parallel: bool = False,
        transition_scale: float = 0.3,
        initial_scale: float = 1.0,
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        if latent_dim < 1:
            raise ValueError(f"`latent_dim` must be at least 1, got {latent_dim}.")
        if inference not in ("smooth", "filter"):
            raise ValueError(f"`inference` must be 'smooth' or 'filter', got {inference!r}.")
        for name, value in (("transition_scale", transition_scale), ("initial_scale", initial_scale)):
            if not value > self.min_scale:
                raise ValueError(f"`{name}` must be above `min_scale`, which is {self.min_scale}; got {value}.")
        self.encoder_units = tuple(encoder_units)
        self.decoder_units = tuple(decoder_units)
        self.inference = inference
        self.parallel = parallel
        self.transition_scale = transition_scale
        self.initial_scale = initial_scale
        self.encoder = self.mlp(self.encoder_units, "encoder")
        self.potentials = keras.layers.Dense(2 * latent_dim, dtype=self.dtype_policy, name="posterior_head")
        self.decoder = self.mlp(self.decoder_units, "decoder")
        if self.smoothing:
            self.z_posterior = families.TriangularGaussian(latent_dim, **self.scales)

    @property
    def smoothing(self) -> bool:
        """Whether frames yet to come are seen."""
        return self.inference == "smooth"

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        width = x_dim - 1 + self.context_dim
        self.encoder.build((None, width))
        self.potentials.build((None, self.encoder.output_dim(width)))
        self.decoder.build((None, self.latent_dim))
        self.build_dynamics(u_dim)

    def build_dynamics(self, u_dim: int) -> None:
        """A, B, m_1, s and s_1."""
        size, options = self.latent_dim, {"dtype": "float32", "autocast": False}
        self.transition = self.add_transition(**options)
        if u_dim:
            self.drift = self.add_weight(name="drift", shape=(u_dim, size), initializer="glorot_uniform", **options)
        self.initial_loc = self.add_weight(name="initial_loc", shape=(size,), initializer="zeros", **options)
        starts = {
            "raw_scale": (self.transition_scale, self.noise_shape),
            "raw_initial_scale": (self.initial_scale, (size,)),
        }
        for name, (value, shape) in starts.items():
            raw = float(scale_inverse(value, self.scale, self.min_scale, self.scale_floor))
            initializer = keras.initializers.Constant(raw)
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer=initializer, **options))

    def add_transition(self, **options: Any) -> keras.Variable:
        """A, which starts at the identity."""
        shape = (self.latent_dim, self.latent_dim)
        return self.add_weight(name="transition", shape=shape, initializer="identity", **options)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of s."""
        return (self.latent_dim,)

    @property
    def causal(self) -> bool:
        return not self.smoothing

    @property
    def goes_on(self) -> bool:
        return not self.smoothing

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"z": tf.zeros([batch_size, self.latent_dim]), "first": tf.ones([batch_size, 1], tf.bool)}

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        if "z" not in latents:
            return {}
        return {"z": masks.shift(latents["z"]), "first": masks.opening(latents["z"])}

    def noise_scales(self) -> tuple[tf.Tensor, tf.Tensor]:
        """s and s_1, each `[Z]`."""
        raw = (tf.convert_to_tensor(y) for y in (self.raw_scale, self.raw_initial_scale))
        return tuple(numerics.positive_scale(y, self.scale, self.min_scale, self.scale_floor) for y in raw)

    def prior(self, state: State) -> Gaussian:
        """p(z_t | z_{t-1}, u_t), or p(z_1 | u_1)."""
        moved = numerics.linear(state["z"], tf.transpose(tf.convert_to_tensor(self.transition)))
        loc = tf.where(state["first"], tf.convert_to_tensor(self.initial_loc), moved)
        scale, initial = self.noise_scales()
        drift = self.driven_by(state.get("u"))
        return Gaussian(loc if drift is None else loc + drift, tf.where(state["first"], initial, scale))

    def driven_by(self, u: tf.Tensor | None) -> tf.Tensor | None:
        """B u_t, `[..., Z]`."""
        return None if u is None else numerics.linear(tf.cast(u, tf.float32), tf.convert_to_tensor(self.drift))

    def nodes(self, given: Evidence) -> Potential:
        """h_t and J_t, each `[..., Z]`: zero where nothing was observed, and where no frame exists."""
        known = self.presence(given)
        context = given.c[..., given.c.shape[-1] - self.context_dim :] if self.context_dim else None
        raw = tf.cast(flat_call(self.potentials, self.encoder(concat(given.e, context))), tf.float32)
        vector, raw = tf.split(raw, 2, axis=-1)
        return Potential(known * vector, known * tf.nn.softplus(raw))

    def encode(self, given: Evidence) -> Potential:
        """What q(z_t | z_{t-1}, .) knows beside the dynamics. "filter": the potential of x_t. "smooth": h of the
        message from x_t:T, and L_t with L_t L_t' the covariance of z_t given z_{t-1} and x_t:T."""
        nodes = self.nodes(given)
        if not self.smoothing:
            return nodes
        run = messages_in_parallel if self.parallel else messages
        variance, initial = (tf.square(y) for y in self.noise_scales())
        found = run(nodes, tf.convert_to_tensor(self.transition), variance, self.driven_by(given.c))
        own = tf.where(masks.opening(found.vector), 1.0 / initial, 1.0 / variance)
        return Potential(found.vector, factor_of_inverse(found.precision + diagonal(own)))

    def posterior(self, state: State, g: Potential) -> Any:
        """q(z_t | z_{t-1}, .): the Gaussian proportional to the prior times the potential or message."""
        p = self.prior(state)
        weight = 1.0 / tf.square(p.scale)
        right = weight * p.loc + g.vector
        if self.smoothing:
            return Triangular(matvec(g.precision, transposed_matvec(g.precision, right)), g.precision)
        precision = weight + g.precision
        return Gaussian(right / precision, tf.math.rsqrt(precision))

    def chain(self, given: Any) -> Chain:
        """q(z_1:T | x) as a chain, of what `hoist` returned."""
        g, opening = given.g, masks.opening(given.g.vector)
        scale, initial = self.noise_scales()
        factor = g.precision
        if not self.smoothing:
            first = tf.where(opening, initial, scale)
            factor = diagonal(tf.math.rsqrt(1.0 / tf.square(first) + g.precision))
        pulled = tf.matmul(factor, factor, transpose_b=True) / tf.square(scale)
        moves = tf.matmul(pulled, tf.convert_to_tensor(self.transition) + tf.zeros_like(pulled))
        at_zero = self.absorb_u({"z": tf.zeros_like(g.vector), "first": opening}, given.c)
        shift = self.z_posterior.mean(self.posterior(at_zero, g))
        return Chain(tf.where(opening[..., None], 0.0, moves), shift, factor)

    def draw_paths(self, given: Any) -> dict[str, tuple[tf.Tensor, Any]]:
        """Where `parallel`: z_1:T as an associative scan of affine maps, with the same noise as frame by frame."""
        if not self.parallel:
            return {}
        z = self.chain(given).path(given.noise.get("z"))
        state = self.absorb_u({"z": masks.shift(z), "first": masks.opening(z)}, given.c)
        return {"z": (z, self.posterior(state, given.g))}

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | z_t)."""
        return self.decoder(state["z"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {"z": state["z"], "first": tf.zeros_like(state["first"])}

    def get_config(self) -> dict:
        names = ("encoder_units", "decoder_units", "inference", "parallel", "transition_scale", "initial_scale")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class LatentLDS(RecurrentDVAE):
    """Latent linear dynamical system (Johnson et al. 2016): see `LatentLDSCell` for equations and arguments."""

    cell_class = LatentLDSCell

    def smooth(self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> Belief:
        """q(z_t | x), of each frame by itself: mean `[B, T, Z]` and covariance `[B, T, Z, Z]`; zeros at frames that do
        not exist. `encode` tells the factors q(z_t | z_{t-1}, x) along the path of these means.

        With inference="filter" it is the same of prod_t q(z_t | z_{t-1}, x_t).
        """
        return self._smooth(self.check(x, mask, u, observed, context))

    @tf.function(reduce_retracing=True, autograph=False)
    def _smooth(self, batch: Batch) -> Belief:
        packed, how = self.pack(batch)
        found = marginals(self.cell.chain(self.hoist(packed, None)))
        return masks.restored(found, how)
