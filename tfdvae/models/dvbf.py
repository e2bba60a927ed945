"""DVBF, the deep variational Bayes filter with locally linear transitions (Karl et al. 2017; survey 12.1)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae import masks
from tfdvae.arguments import Only
from tfdvae.families.numerics import linear, reshape_last
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.mlp import SplitNetwork, flat_call
from tfdvae.loop import before_loop
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Gaussian, State

__all__ = ["DVBF", "DVBFCell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class DVBFCell(StochasticCell):
    """Deep variational Bayes filter: what is inferred is the noise of the transition, and the state follows from it.

        p(x, w | u) = prod_t p(x_t | z_t) N(w_t; 0, I)
        q(w | x, u) = q(w_1 | x_1:T, u_1:T) prod_{t>1} q(w_t | z_{t-1}, u_t, x_t)

        z_1 = MLP(w_1)
        z_t = A_t z_{t-1} + B_t u_t + C_t w_t,  A_t = sum_i alpha_i(z_{t-1}, u_t) A^(i), and so B_t and C_t

    No z is drawn, so the gradient of log p(x_t | z_t) reaches the transition through every z before: that is the point
    of the paper. Where z_t itself is inferred (DKF), the transition learns from the divergence alone.

    alpha is a softmax over M triples of matrices; every A^(i) starts at the identity. The paper's
    z_{t+1} = A_t z_t + B_t u_t + C_t w_t counts inputs and noise one frame earlier: here u_t leads to frame t, as in
    the other models, and u_1 moves nothing. q(w_1 | .) reads a recurrence from the last frame to the first.

    The paper trains on E[c log p(x | z) + c log p(w) - log q(w)] with c from 0.01 to 1: `temperature` of `compile`,
    such as `tfdvae.schedules.LinearWarmup(5000, 0.01)`. The bound has c = 1.

    With `bayesian=True` the matrices are random (the paper's beta = (w, v)): "v", a latent of the data set, holds all
    of A^(i) - I, B^(i) and C^(i), with the prior N(0, I) and a learned Gaussian posterior, drawn anew for each
    sequence, each of which bears 1 / `num_sequences` of its divergence (see `VSSNCell`).

    Args:
        latent_dim: Z, width of the state z_t.
        noise_dim: W, width of w_t, the latent "w".
        num_matrices: M.
        bayesian: whether the matrices are random.
        num_sequences: how many sequences share their divergence.
        initial: "smooth": w_1 is inferred from all frames; "filter": from the first alone, so that frames can be
            streamed.
        mixing_units: hidden layers of alpha on [z_{t-1}, u_t].
        initial_units: hidden layers of z_1 = MLP(w_1).
        encoder_phi_x: hidden layers of the features of x_t that the posteriors read.
        posterior_units: hidden layers of q(w_t | .), t > 1, on those features, u_t and z_{t-1}; and of q(w_1 | .).
        decoder_units: hidden layers of p(x_t | z_t).
    """

    used_with = {
        "num_sequences": Only("bayesian"),
        **dict.fromkeys(("units", "cell", "num_layers"), Only("initial", ("smooth",))),
    }
    observe_reads = ("z",)
    states = ("z",)

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        noise_dim: int = 8,
        num_matrices: int = 16,
        bayesian: bool = False,
        num_sequences: int = 1,
        initial: str = "smooth",
        mixing_units: Sequence[int] = (32,),
        initial_units: Sequence[int] = (32,),
        encoder_phi_x: Sequence[int] = (256,),
        posterior_units: Sequence[int] = (64,),
        decoder_units: Sequence[int] = (256,),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        sizes = {"latent_dim": latent_dim, "noise_dim": noise_dim, "num_matrices": num_matrices}
        for name, value in {**sizes, "num_sequences": num_sequences}.items():
            if value < 1:
                raise ValueError(f"`{name}` of a DVBF must be at least 1, got {value}.")
        if initial not in ("smooth", "filter"):
            raise ValueError(f"`initial` must be 'smooth' or 'filter', got {initial!r}.")
        self.require_gaussian("The noise of a DVBF's transition is Gaussian", flow=True)
        self.noise_dim = noise_dim
        self.num_matrices = num_matrices
        self.bayesian = bayesian
        self.num_sequences = num_sequences
        self.initial = initial
        self.mixing_units = tuple(mixing_units)
        self.initial_units = tuple(initial_units)
        self.encoder_phi_x = tuple(encoder_phi_x)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.w_prior, self.w_posterior = self.gaussians(noise_dim)
        self.mixing_net = self.mlp(self.mixing_units, "mixing")
        self.mixing_output = keras.layers.Dense(num_matrices, dtype=self.dtype_policy, name="mixing_output")
        self.initial_net = self.mlp(self.initial_units, "initial")
        self.initial_output = keras.layers.Dense(latent_dim, dtype=self.dtype_policy, name="initial_output")
        self.x_features = self.mlp(self.encoder_phi_x, "encoder_phi_x")
        self.backward_rnn = self.recurrent("backward_rnn") if initial == "smooth" else None
        self.initial_posterior_net = self.mlp(self.posterior_units, "initial_posterior")
        self.initial_posterior_head = self.head("initial_posterior_head", self.w_posterior)
        self.posterior_net = self.mlp(self.posterior_units, "posterior")
        self.posterior_head = self.head("posterior_head", self.w_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.mixing_net.build((None, self.latent_dim + u_dim))
        self.mixing_output.build((None, self.mixing_net.output_dim(self.latent_dim + u_dim)))
        self.initial_net.build((None, self.noise_dim))
        self.initial_output.build((None, self.initial_net.output_dim(self.noise_dim)))
        self.x_features.build((None, x_dim))
        width = self.evidence_dim = self.x_features.output_dim(x_dim) + u_dim
        if self.backward_rnn is not None:
            self.backward_rnn.build((None, width))
            width = self.units
        self.initial_posterior_net.build((None, width))
        self.initial_posterior_head.build((None, self.initial_posterior_net.output_dim(width)))
        width = self.evidence_dim + self.latent_dim
        self.posterior_net.build((None, width))
        self.posterior_head.build((None, self.posterior_net.output_dim(width)))
        self.decoder.build((None, self.latent_dim))
        self._build_matrices(self.latent_dim + u_dim + self.noise_dim)

    def _build_matrices(self, rows: int) -> None:
        """[A^(i) - I, B^(i), C^(i)], transposed and side by side: `[Z + U + W, M Z]`. B^(i) and C^(i) start at a scale
        of 1 / sqrt(rows): their mean, under equal weights, moves a state by less than its own size, where one of that
        scale lets it run away within a sequence."""
        columns = self.num_matrices * self.latent_dim
        spread = keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(rows))
        start = tf.concat([tf.zeros([self.latent_dim, columns]), spread((rows - self.latent_dim, columns))], axis=0)
        if not self.bayesian:
            self.matrices = self.add_weight(name="matrices", shape=(rows, columns), dtype="float32", autocast=False)
            self.matrices.assign(start)
            return
        self.v_prior, _ = self.gaussians(rows * columns, flow=False)
        self.matrices = self.add_weight(
            name="matrices_posterior", shape=(2 * rows * columns,), dtype="float32", autocast=False
        )
        # Scales of a tenth: with those of the prior, no transition would be found among the noise.
        narrow = math.log(math.expm1(0.1)) if self.scale == "softplus" else 2.0 * math.log(0.1)
        self.matrices.assign(np.concatenate([np.ravel(start), np.full(rows * columns, narrow)]))

    @property
    def causal(self) -> bool:
        return self.initial == "filter"

    @property
    def latents(self) -> tuple[Latent, ...]:
        """w_t, with the prior N(0, I); before it, where they are random, the matrices."""
        w = Latent("w", self.w_prior, self.w_posterior, self.posterior, self.absorb_w)
        if not self.bayesian:
            return (w,)
        v, share = self.v_prior, 1.0 / self.num_sequences
        return (Latent("v", v, v, self.posterior_v, self.absorb_v, level="dataset", share=share), w)

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"z": tf.zeros([batch_size, self.latent_dim]), "first": tf.ones([batch_size, 1], tf.bool)}

    def embed(self, x: tf.Tensor) -> tf.Tensor:
        """Features of x_t, for the posteriors."""
        return self.x_features(x)

    def posterior_v(self, batch_size: tf.Tensor | int) -> Gaussian:
        """q(v), the same for every sequence: `[B, V]`."""
        q = self.v_prior.parameters(tf.convert_to_tensor(self.matrices))
        return Gaussian(*(tf.broadcast_to(y, [batch_size, self.v_prior.latent_dim]) for y in q))

    def absorb_v(self, state: State, v: tf.Tensor) -> State:
        return {**state, "v": v}

    def posterior_network(self) -> SplitNetwork:
        """From [x_t, u_t, z_{t-1}] to q(w_t | .), in two parts: x_t and u_t are known before the loop."""
        return SplitNetwork(self.posterior_net, self.posterior_head, self.evidence_dim)

    def encode(self, given: Evidence) -> tuple[tf.Tensor, Any]:
        """x_t and u_t for q(w_t | .); and q(w_1 | .), at the first frame, zeros at the others."""
        evidence = concat(given.e, given.c)
        hoisted, alone = self.posterior_network().hoist(evidence), evidence.shape.rank == 2
        if self.backward_rnn is not None:
            evidence = self.backward_rnn(evidence, exists=given.mask, backward=True)
        first = self.initial_posterior_head(self.initial_posterior_net(evidence if alone else evidence[:, 0]))
        return hoisted, first if alone else masks.at_opening(first, evidence)

    def posterior(self, state: State, g: tuple[tf.Tensor, Any]) -> Any:
        """q(w_t | z_{t-1}, u_t, x_t), and q(w_1 | .) at the first frame."""
        later = self.posterior_network()(g[0], state["z"])
        return masks.select(state["first"], g[1], later)

    def absorb_w(self, state: State, w: tf.Tensor) -> State:
        """z_t: the transition of z_{t-1}, or MLP(w_1) at the first frame."""
        first = tf.cast(flat_call(self.initial_output, self.initial_net(w)), tf.float32)
        return {**state, "z": tf.where(state["first"], first, self.transition(state, w))}

    def transition(self, state: State, w: tf.Tensor) -> tf.Tensor:
        """A_t z_{t-1} + B_t u_t + C_t w_t, `[..., Z]`, in float32."""
        z, u = state["z"], state.get("u")
        logits = flat_call(self.mixing_output, self.mixing_net(concat(z, u)))
        alpha = tf.nn.softmax(tf.cast(logits, tf.float32), axis=-1)
        moved = self._by_each(concat(z, u, w), state.get("v"))
        return z + tf.reduce_sum(alpha[..., None] * moved, axis=-2)

    def _by_each(self, zuw: tf.Tensor, v: tf.Tensor | None) -> tf.Tensor:
        """What each of the M triples makes of [z, u, w], less z: `[..., M, Z]`."""
        columns = self.num_matrices * self.latent_dim
        if v is None:
            kernel = before_loop((id(self), "matrices"), lambda: tf.convert_to_tensor(self.matrices))
            flat = linear(zuw, kernel)
        else:
            matrices = tf.reshape(v, [-1, zuw.shape[-1], columns])
            flat = tf.matmul(zuw[:, None] if zuw.shape.rank == 2 else zuw, matrices)
            flat = flat[:, 0] if zuw.shape.rank == 2 else flat
        return reshape_last(flat, self.num_matrices, self.latent_dim)

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | z_t)."""
        return self.decoder(state["z"])

    def absorb_x(self, state: State, e: Any) -> State:
        return {**{k: v for k, v in state.items() if k != "u"}, "first": tf.zeros_like(state["first"])}

    def get_config(self) -> dict:
        names = (
            *("noise_dim", "num_matrices", "bayesian", "num_sequences", "initial", "mixing_units", "initial_units"),
            *("encoder_phi_x", "posterior_units", "decoder_units"),
        )
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class DVBF(RecurrentDVAE):
    """Deep variational Bayes filter (Karl et al. 2017): see `DVBFCell` for equations and arguments.

    Example:
        model = tfdvae.DVBF(latent_dim=3, noise_dim=3, observation="identity_gaussian")
        model.compile(keras.optimizers.Adam(), temperature=tfdvae.schedules.LinearWarmup(5000, 0.01))
        model.fit({"x": x, "u": u})
        found = model.encode(x, u=u)  # "w": q(w_t | .) by loc and scale; "z": the state, [B, T, Z]
    """

    cell_class = DVBFCell
