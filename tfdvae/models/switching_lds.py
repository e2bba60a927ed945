"""Switching linear dynamical system, a structured VAE with regimes (Johnson et al. 2016)."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdvae import families, masks
from tfdvae.arguments import Only
from tfdvae.families import CategoricalGroups, numerics
from tfdvae.families.triangular import Triangular
from tfdvae.layers import switching
from tfdvae.layers.information import Chain, Potential, diagonal, factor_of_inverse, marginals, messages
from tfdvae.layers.kalman import Belief, matvec
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.switching import Dynamics
from tfdvae.models.latent_lds import LatentLDS, LatentLDSCell
from tfdvae.types import Averaged, Batch, Gaussian, Segmentation, State

__all__ = ["SwitchingLDS", "SwitchingLDSCell"]

_SPREAD = 0.02
"""Of the first A_k about the identity."""


class Inferred(NamedTuple):
    """The mean field.

    Attributes:
        chain: q(z).
        told: what the frames from t on say of s_t, as logarithms, `[B, T, K]`.
        weights: q(s_t), `[B, T, K]`.
        before: q(s_{t-1}) of each frame; at the first, where there is none, some weights that add up to one.
    """

    chain: Chain
    told: tf.Tensor
    weights: tf.Tensor
    before: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class SwitchingLDSCell(LatentLDSCell):
    """Switching linear dynamical system: a latent LDS whose dynamics a Markov chain of regimes chooses.

        p(x, z, s) = prod_t p(x_t | z_t) N(z_t; A_k z_{t-1} + b_k + B u_t, diag(v_k)) p(s_t | s_{t-1}),   k = s_t
        q(z, s | x) = q(z) q(s),   z_1 ~ N(m_1 + B u_1, diag(v_1)) in every regime

    Johnson et al. (2016), sections 2 and 4: node potentials psi_t(z_t) from a network of x_t, as in `LatentLDSCell`,
    and a structured mean field, which keeps all that either half has over time and drops what ties them. Each half is
    the best one given the other, by turns, `rounds` times, from q(s_t) = 1 / K on:

        q(z) ~ prod_t psi_t(z_t) exp(E_q(s) log p(z_t | z_{t-1}, s_t))      messages in information form
        q(s) ~ prod_t p(s_t | s_{t-1}) exp(E_q(z) log p(z_t | z_{t-1}, s_t))    forward-backward

    Both are chains, q(s_t | s_{t-1}, x) and q(z_t | z_{t-1}, x), so s and z are two latents of each frame. Gradients
    pass through all rounds. In the bound s is integrated out, as in the paper: of each frame it has the means of
    KL(q(s_t | s_{t-1}) || p(s_t | s_{t-1})) over q(s_{t-1}) and of KL(q(z_t | z_{t-1}) || p(z_t | z_{t-1}, s_t)) over
    q(s_t), along a drawn z. Log-weights of paths (IWAE, `log_prob`) are those of drawn s and z together; gradients of
    bounds that are made of them pass straight through a drawn s, and are biased.

    A frame of which nothing was observed has psi_t = 1. Deviations: A, b, B, v and the chain are point estimates, where
    the paper has posteriors over them and natural gradients; b_k and B are ours; the paper iterates until nothing
    changes. (It was not at hand; its sections are cited from memory.)

    Args:
        num_regimes: K.
        rounds: of the mean field, each of which passes twice over the frames for z and twice for s.
        persistence: where the probability of staying in a regime starts.
        inference: "smooth", as above; or "filter", a causal form, which can be streamed: q(s_t, z_t | s_{t-1}, z_{t-1},
            x_t) proportional to p(s_t | s_{t-1}) p(z_t | z_{t-1}, s_t) psi_t(z_t), which is exact for one frame. It
            goes on from drawn regimes, through which gradients pass straight.
        **options: of `LatentLDSCell`, but for `parallel`; `transition_scale` is also the length of b_k at the start.
    """

    used_with = {"rounds": Only("inference", ("smooth",))}
    unused = {**LatentLDSCell.unused, "parallel": "since its rounds run frame by frame"}

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        num_regimes: int = 4,
        rounds: int = 3,
        persistence: float = 0.9,
        **options,
    ):
        super().__init__(latent_dim, **options)
        if num_regimes < 2:
            raise ValueError(f"`num_regimes` must be at least 2, got {num_regimes}: with one it is a LatentLDS.")
        if rounds < 1:
            raise ValueError(f"`rounds` must be at least 1, got {rounds}.")
        if not 0.0 < persistence < 1.0:
            raise ValueError(f"`persistence` must be in (0, 1), got {persistence}.")
        self.num_regimes = num_regimes
        self.rounds = rounds
        self.persistence = persistence
        self.regimes = families.Categorical(num_regimes, classes=num_regimes, uniform_share=0.0)

    @property
    def latents(self) -> tuple[Latent, ...]:
        """s_t, one-hot, and then z_t."""
        means = (self.average_regime, self.average) if self.smoothing else (None, None)
        functions = {"posterior": self.posterior_regime, "prior": self.prior_regime, "absorb": self.absorb_regime}
        regime = ("regime", "first")
        return (
            self.latent("s", self.regimes, self.regimes, reads=regime, average=means[0], **functions),
            self.latent("z", self.z_prior, self.z_posterior, reads=("z", "s", "first"), average=means[1]),
        )

    def build_dynamics(self, u_dim: int) -> None:
        count, size = self.num_regimes, self.latent_dim
        super().build_dynamics(u_dim)
        options = {"dtype": "float32", "autocast": False}
        stay = np.log(self.persistence) * np.eye(count)
        leave = np.log((1.0 - self.persistence) / (count - 1)) * (1.0 - np.eye(count))
        self.offset = self.add_weight(name="offset", shape=(count, size), initializer="zeros", **options)
        self.offset.assign(self.transition_scale * self.first_ways())
        self.regime_logits = self.add_weight(name="regime_logits", shape=(count, count), initializer="zeros", **options)
        self.regime_logits.assign(stay + leave)
        self.initial_regime = self.add_weight(name="initial_regime", shape=(count,), initializer="zeros", **options)

    def add_transition(self, **options: Any) -> keras.Variable:
        shape = (self.num_regimes, self.latent_dim, self.latent_dim)
        normal = keras.initializers.RandomNormal(stddev=_SPREAD)
        transition = self.add_weight(name="transition", shape=shape, initializer=normal, **options)
        transition.assign_add(tf.eye(self.latent_dim, batch_shape=[self.num_regimes]))
        return transition

    def first_ways(self) -> tf.Tensor:
        """Where the regimes start to go, `[K, Z]`, since equal ones would stay equal: along random axes that are
        orthogonal, both ways, and anywhere where there are more regimes than that."""
        axes = keras.initializers.Orthogonal()((self.latent_dim, self.latent_dim))
        more = keras.initializers.RandomNormal(stddev=1.0)((self.num_regimes, self.latent_dim))
        return tf.concat([axes, -axes, more], axis=0)[: self.num_regimes]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        return (self.num_regimes, self.latent_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {**super().initial_state(batch_size), "regime": tf.zeros([batch_size, self.num_regimes])}

    def previous(self, e: tf.Tensor, latents: Any) -> State:
        known = super().previous(e, latents)
        return {**known, "regime": masks.shift(latents["s"])} if "s" in latents else known

    # The chain of regimes.

    def regime_chain(self) -> tuple[tf.Tensor, tf.Tensor]:
        """log p(s_t | s_{t-1}) `[K, K]`, a row for each s_{t-1}, and log p(s_1) `[K]`."""
        logits = (tf.convert_to_tensor(y) for y in (self.regime_logits, self.initial_regime))
        return tuple(tf.nn.log_softmax(y) for y in logits)

    def prior_regime(self, state: State) -> CategoricalGroups:
        """p(s_t | s_{t-1}), or p(s_1)."""
        chain, initial = self.regime_chain()
        return CategoricalGroups(tf.where(state["first"], initial, numerics.linear(state["regime"], chain)))

    def posterior_regime(self, state: State, g: Any) -> CategoricalGroups:
        """q(s_t | s_{t-1}, .): the prior times what is told, "filter" by x_t alone."""
        told = g.told if self.smoothing else tf.where(state["first"], 0.0, self.evidence(self.moves(state), g))
        return CategoricalGroups(tf.nn.log_softmax(self.prior_regime(state).logits + told))

    def absorb_regime(self, state: State, s: tf.Tensor) -> State:
        """s_t joins the state."""
        return {**state, "s": s}

    def average_regime(self, state: State, g: Inferred) -> Averaged:
        """All s_{t-1} that there might have been."""
        chain, initial = self.regime_chain()
        p = tf.where(tf.expand_dims(state["first"], -1), initial + tf.zeros_like(chain), chain)
        return Averaged(
            g.before, CategoricalGroups(tf.nn.log_softmax(p + tf.expand_dims(g.told, -2))), CategoricalGroups(p)
        )

    # Dynamics.

    def dynamics(self) -> Dynamics:
        """A, b and v of all regimes."""
        transition, offset = (tf.convert_to_tensor(y) for y in (self.transition, self.offset))
        return Dynamics(transition, offset, tf.square(self.noise_scales()[0]))

    def moves(self, state: State) -> Gaussian:
        """p(z_t | z_{t-1}, s_t, u_t) of every regime, t > 1: `[..., K, Z]`, and scales `[K, Z]`."""
        count, size = self.num_regimes, self.latent_dim
        rows = tf.reshape(tf.convert_to_tensor(self.transition), [count * size, size])
        loc = numerics.reshape_last(numerics.linear(state["z"], tf.transpose(rows)), count, size)
        loc, drift = loc + tf.convert_to_tensor(self.offset), self.driven_by(state.get("u"))
        return Gaussian(loc if drift is None else loc + tf.expand_dims(drift, -2), self.noise_scales()[0])

    def first_prior(self, state: State) -> Gaussian:
        """p(z_1 | u_1): `[..., Z]`, or `[Z]` where there are no inputs, and scales `[Z]`."""
        loc, drift = tf.convert_to_tensor(self.initial_loc), self.driven_by(state.get("u"))
        return Gaussian(loc if drift is None else loc + drift, self.noise_scales()[1])

    def prior(self, state: State) -> Gaussian:
        """p(z_t | z_{t-1}, s_t, u_t), or p(z_1 | u_1)."""
        moved, start = self.moves(state), self.first_prior(state)
        loc = tf.reduce_sum(tf.expand_dims(state["s"], -1) * moved.loc, axis=-2)
        scale = numerics.linear(state["s"], moved.scale)
        return Gaussian(*(tf.where(state["first"], a, b) for a, b in zip(start, (loc, scale), strict=True)))

    @staticmethod
    def evidence(p: Gaussian, g: Potential) -> tf.Tensor:
        """log of the integral of psi_t(z) p(z | z_{t-1}, s_t), `[..., K]`."""
        vector, precision = (tf.expand_dims(y, -2) for y in g)
        variance = tf.square(p.scale)
        gained = 1.0 + variance * precision
        exponent = vector * p.loc + 0.5 * (variance * tf.square(vector) - precision * tf.square(p.loc))
        return tf.reduce_sum(exponent / gained - 0.5 * tf.math.log(gained), axis=-1)

    # Inference.

    def encode(self, given: Evidence) -> Potential | Inferred:
        """What posteriors know beside the dynamics. "filter": the potential of x_t. "smooth": the mean field."""
        nodes = self.nodes(given)
        if not self.smoothing:
            return nodes
        drift, opening = self.driven_by(given.c), masks.opening(nodes.vector)
        moved = ~opening if given.mask is None else ~opening & given.mask[..., None]
        return self.mean_field(nodes, drift, tf.cast(moved, tf.float32))

    def mean_field(self, nodes: Potential, drift: tf.Tensor | None, moved: tf.Tensor) -> Inferred:
        """q(z) and q(s) after all rounds; `moved` `[B, T, 1]` is 1 at frames that a regime has led to, else 0."""
        chain, initial = self.regime_chain()
        dynamics = self.dynamics()
        weights = tf.zeros_like(moved) + tf.fill([self.num_regimes], 1.0 / self.num_regimes)
        for _ in range(self.rounds):
            z = self.smoothed(nodes, weights, dynamics, drift, moved)
            told = moved * switching.expected_log_densities(z, marginals(z), dynamics, drift)
            told = switching.regime_messages(told, chain)
            weights = switching.regime_marginals(switching.regime_conditionals(told, chain, initial))
        before = masks.shift(weights, weights[:, 0])
        return Inferred(z, told, weights, before)

    def smoothed(
        self,
        nodes: Potential,
        weights: tf.Tensor,
        dynamics: Dynamics,
        drift: tf.Tensor | None,
        moved: tf.Tensor,
    ) -> Chain:
        """q(z) given q(s): a linear system whose matrices are means under q(s)."""
        expected = switching.expected_dynamics(weights, dynamics)
        arriving = expected.offset if drift is None else expected.offset + drift
        beside = Potential(moved * expected.beside.vector, tf.expand_dims(moved, -1) * expected.beside.precision)
        found = messages(nodes, expected.transition, expected.variance, arriving, beside=beside)
        opening = masks.opening(nodes.vector)
        initial = tf.convert_to_tensor(self.initial_loc)
        first = initial + tf.zeros_like(arriving) if drift is None else initial + drift
        own = 1.0 / tf.where(opening, tf.square(self.noise_scales()[1]), expected.variance)
        factor = factor_of_inverse(found.precision + diagonal(own))
        covariance = tf.matmul(factor, factor, transpose_b=True)
        moves = tf.matmul(covariance * tf.expand_dims(own, -2), expected.transition)
        shift = matvec(covariance, found.vector + own * tf.where(opening, first, arriving))
        return Chain(tf.where(tf.expand_dims(opening, -1), 0.0, moves), shift, factor)

    def posterior(self, state: State, g: Any) -> Any:
        """q(z_t | z_{t-1}, .); "filter": q(z_t | z_{t-1}, s_t, x_t)."""
        if not self.smoothing:
            return super().posterior(state, g)
        return Triangular(matvec(g.chain.moves, state["z"]) + g.chain.shifts, g.chain.factor)

    def average(self, state: State, g: Inferred) -> Averaged:
        """All s_t that there might be."""
        loc, factor = self.posterior(state, g)
        q = Triangular(tf.expand_dims(loc, -2), tf.expand_dims(factor, -3) + tf.zeros([self.num_regimes, 1, 1]))
        first, moved, start = tf.expand_dims(state["first"], -1), self.moves(state), self.first_prior(state)
        loc = tf.where(first, start.loc if start.loc.shape.rank == 1 else tf.expand_dims(start.loc, -2), moved.loc)
        return Averaged(g.weights, q, Gaussian(loc, tf.where(first, start.scale, moved.scale)))

    def chain(self, given: Any) -> Chain:
        return given.g.chain

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**super().absorb_x(state, e), "regime": state["s"]}

    def get_config(self) -> dict:
        names = ("num_regimes", "rounds", "persistence")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class SwitchingLDS(LatentLDS):
    """Switching linear dynamical system (Johnson et al. 2016): see `SwitchingLDSCell` for equations and arguments.

    Example:
        model = tfdvae.SwitchingLDS(latent_dim=2, num_regimes=4)
        model.compile(keras.optimizers.Adam(0.003), clip_norm=1.0)
        model.fit(x, epochs=100)
        probabilities, path = model.segment(x)
    """

    cell_class = SwitchingLDSCell

    def smooth(self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None) -> Belief:
        """q(z_t) of each frame by itself: mean `[B, T, Z]` and covariance `[B, T, Z, Z]`; zeros at frames that do not
        exist. ValueError with inference="filter"."""
        self._require_mean_field("smooth")
        return super().smooth(x, mask, u, observed, context)

    def segment(
        self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None
    ) -> Segmentation:
        """Which regime each frame is in: q(s_t) `[B, T, K]`, and the path s_1:T that is most likely under q(s)
        (Viterbi), `[B, T]`.

        Regimes have no order and no names: labels of two models, or of a model and of data, must be matched. s_1 has
        moved nothing, so that only s_2 tells of it. At frames that do not exist probabilities are 0 and the path is -1.

        Raises:
            ValueError: with inference="filter", whose regimes hang on drawn ones; `encode` and `step` tell q(s_t | .).
        """
        self._require_mean_field("segment")
        return self._segment(self.check(x, mask, u, observed, context))

    def _require_mean_field(self, verb: str) -> None:
        if not self.cell.smoothing:
            raise ValueError(
                f"`{verb}` needs inference='smooth', a mean field over whole sequences. With 'filter' regimes hang on "
                "drawn ones: `encode` and `step` tell q(s_t | .) and q(z_t | .) along a path."
            )

    @tf.function(reduce_retracing=True, autograph=False)
    def _segment(self, batch: Batch) -> Segmentation:
        packed, how = self.pack(batch)
        g = self.hoist(packed, None).g
        conditionals = switching.regime_conditionals(g.told, *self.cell.regime_chain())
        path = switching.most_likely_path(conditionals, packed.mask)
        if how is None:
            return Segmentation(g.weights, path)
        return Segmentation(masks.unpack(g.weights, how), masks.unpack(path + 1, how) - 1)
