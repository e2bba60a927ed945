"""KVAE: Kalman variational autoencoder (Fraccaro et al. 2017; survey chapter 6)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae import gaussian, masks, observations, random, recurrence
from tfdvae.bounds import Particles
from tfdvae.layers.frames import ConvDecoder, ConvEncoder
from tfdvae.layers.kalman import Belief, Innovation, KalmanFilter, LinearSystem, matvec
from tfdvae.layers.mixing import MatrixBank, MixingNetwork
from tfdvae.layers.mlp import MLP, GaussianHead
from tfdvae.layers.x_scale import check_x_scale, see
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.types import Batch, Gaussian, Generated, State, StepOutput, Trajectory

__all__ = ["KVAE", "StateEstimate"]


class StateEstimate(NamedTuple):
    """What the Kalman filter or smoother says about each frame; zeros at frames that do not exist.

    Attributes:
        mean: of z_t, `[B, T, Z]`.
        covariance: of z_t, `[B, T, Z, Z]`.
        weights: alpha_t of the mixture, `[B, T, K]`.
        encoding: mean of a_t, C_t times that of z_t, `[B, T, A]`.
        x: mean of p(x_t | a_t) at that a_t, `[B, T, D]`.
    """

    mean: tf.Tensor
    covariance: tf.Tensor
    weights: tf.Tensor
    encoding: tf.Tensor
    x: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class KVAE(SequenceDVAE):
    """Kalman variational autoencoder: a linear-Gaussian system over what a VAE makes of each frame.

        p(x, a, z) = prod_t p(x_t | a_t) N(a_t; C_t z_t, r^2 I) N(z_t; A_{t-1} z_{t-1} + B_{t-1} u_t, q^2 I)
        q(a, z | x) = p(z_1:T | a_1:T) prod_t q(a_t | x_t),  z_1 ~ N(0, s0^2 I)

    Survey (6.1)-(6.18). A_t, B_t and C_t are means of K matrices under weights alpha_t, which an LSTM makes of a_<t:
    alpha_t mixes C_t, and the A_t and B_t that move z_t on to z_{t+1}. The noise is fixed, the first frame has no
    input, and q(a_t | x_t) sees no input.

    z is integrated out. Since alpha_t is a function of a_<t, the Kalman filter gives log p(a_1:T) exactly, as a
    product of Gaussians p(a_{t,i} | a_<t, a_{t,<i}), and whatever smoothed z one draws,
    log p(a, z) - log p(z | a) = log p(a). The bound (6.16)-(6.18) on a sample of z is therefore the same number as
    the one on a alone, log p(x | a) + log p(a) - log q(a | x), which is what this model computes. So its latent
    vectors, in a Trajectory and wherever [B, T, Z] is asked for elsewhere, are the a_t, of width `encoding_dim`;
    `filter` and `smooth` tell about z. Trajectories carry p(a_{t,i} | a_<t, a_{t,<i}) as their prior, which makes new
    frames, too: drawing from it is drawing z_t and then a_t.

    Frames that were not observed are missing in the filter: no gain, and alpha sees C_t times the predicted z_t. In
    `impute` the z of missing frames come from the simulation smoother given all observed frames. Frames observed in
    part are missing in the first sweep, and encoded as the sweep before completed them in later ones. With the
    weights alpha_t along the filter held fixed the draws are exact.

    The authors weight the reconstruction by 0.3 in training (`compile(reconstruction_weight=0.3)`) and hold the mixing
    network still for some epochs (`tfdvae.callbacks.FreezeLayers("mixing", epochs)`).

    Args:
        latent_dim: Z, width of z_t.
        encoding_dim: A, width of a_t.
        num_mixtures: K.
        units, mixing_cell: recurrent layer of the mixing network; "lstm" or "gru".
        encoder_units, decoder_units: hidden layers of q(a_t | x_t) and of p(x_t | a_t).
        activation: of these layers, and of the convolutions.
        dropout: rate in them, one mask per sequence.
        scale, min_scale: of q(a_t | x_t), see `GaussianHead`.
        x_scale: "linear" or "log", what q(a_t | x_t) sees of x_t, see `StochasticCell`.
        frame_shape: (height, width, channels) of frames that are pictures, flattened: convolutions take the place of
            `encoder_units` and `decoder_units`, and make the parameters of p(x_t | a_t) themselves.
        filters: of these convolutions, from fine to coarse; each halves the picture.
        transition_scale, emission_scale, initial_scale: q, r and s0, standard deviations.
        observation: p(x_t | a_t), a name or an Observation.
        seed: all randomness of training and evaluation follows from it.

    Raises:
        ValueError: for sizes and scales that are not positive, and for a `frame_shape` that does not fit the frames,
            or that meets an observation with a number of parameters other than so many per pixel.
    """

    def __init__(
        self,
        latent_dim: int = 4,
        *,
        encoding_dim: int = 2,
        num_mixtures: int = 3,
        units: int = 50,
        mixing_cell: str = "lstm",
        encoder_units: Sequence[int] = (128, 64),
        decoder_units: Sequence[int] = (64, 128),
        activation: str = "tanh",
        dropout: float = 0.0,
        scale: str = "softplus",
        min_scale: float = 1e-4,
        x_scale: str = "linear",
        frame_shape: Sequence[int] | None = None,
        filters: Sequence[int] = (32, 32, 32),
        transition_scale: float = 0.08**0.5,
        emission_scale: float = 0.03**0.5,
        initial_scale: float = 20.0**0.5,
        observation: str | Mapping | observations.Observation = "gaussian",
        seed: int = 0,
        **kwargs,
    ):
        observation = observations.get(observation)
        if frame_shape is not None and observation.projection:
            observation = type(observation).from_config({**observation.get_config(), "projection": False})
        super().__init__(observation, seed, **kwargs)
        if encoding_dim < 1:
            raise ValueError(f"`encoding_dim` must be at least 1, got {encoding_dim}.")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}.")
        self.latent_dim = latent_dim
        self.encoding_dim = encoding_dim
        self.num_mixtures = num_mixtures
        self.units = units
        self.mixing_cell = mixing_cell
        self.encoder_units = tuple(encoder_units)
        self.decoder_units = tuple(decoder_units)
        self.activation = activation
        self.dropout = dropout
        self.scale = scale
        self.min_scale = min_scale
        self.x_scale = check_x_scale(x_scale)
        self.frame_shape = None if frame_shape is None else tuple(frame_shape)
        self.filters = tuple(filters)
        self.transition_scale = transition_scale
        self.emission_scale = emission_scale
        self.initial_scale = initial_scale
        policy = {"dtype": self.dtype_policy}
        networks = {"activation": activation, "dropout": dropout, **policy}
        if self.frame_shape is None:
            self.encoder = MLP(self.encoder_units, name="encoder", **networks)
        else:
            self.encoder = ConvEncoder(self.frame_shape, self.filters, name="encoder", **networks)
        self.posterior_head = GaussianHead(encoding_dim, scale, min_scale, name="posterior_head", **policy)
        self.mixing = MixingNetwork(num_mixtures, units, mixing_cell, name="mixing", **policy)
        self.bank = MatrixBank(num_mixtures, latent_dim, encoding_dim, name="bank")
        self.kalman = KalmanFilter(
            latent_dim,
            transition_scale=transition_scale,
            emission_scale=emission_scale,
            initial_scale=initial_scale,
            name="kalman",
        )

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.encoder.build((None, x_dim))
        self.posterior_head.build((None, self.encoder.output_dim(x_dim)))
        self.mixing.build((None, self.encoding_dim))
        self.bank.build((None, u_dim))
        self.decoder = self._make_decoder(x_dim)
        self.decoder.build((None, self.encoding_dim))
        if not self.observation.built:
            self.observation.build((None, self.decoder.output_dim(self.encoding_dim)), (None, x_dim))

    def _make_decoder(self, x_dim: int) -> MLP | ConvDecoder:
        options = {"activation": self.activation, "dropout": self.dropout, "dtype": self.dtype_policy}
        if self.frame_shape is None:
            return MLP(self.decoder_units, name="decoder", **options)
        maps, rest = divmod(self.observation.params_dim_for(x_dim), x_dim)
        if rest:
            raise ValueError(
                f"Pictures need an observation with the same number of parameters for every pixel, which "
                f"{type(self.observation).__name__} is not. Choose another, or leave out `frame_shape`."
            )
        return ConvDecoder(self.frame_shape, self.filters[::-1], maps, name="decoder", **options)

    @property
    def frame_latent_dim(self) -> int:
        return self.encoding_dim

    @property
    def causal(self) -> bool:
        """True: q(a_t | .) sees x_t alone."""
        return True

    # Equations.

    def posterior(self, x: tf.Tensor) -> Gaussian:
        """q(a_t | x_t), (6.14) and (6.15), for frames `[..., D]`."""
        return self.posterior_head(self.encoder(see(x, self.x_scale, self.compute_dtype)))

    def prior(self, a: tf.Tensor, u: tf.Tensor | None) -> Gaussian:
        """p(a_{t,i} | a_<t, a_{t,<i}) along a path `[B, T, A]`, with z integrated out."""
        return self.kalman.conditionals(self._mix(self.mixing(a), u), a)

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None = None, u: tf.Tensor | None = None) -> tf.Tensor:
        """Parameters of p(x_t | a_t), (6.5) and (6.6), for a_t `[..., A]`."""
        return self.observation(self.decoder(tf.cast(z, self.compute_dtype)))

    def infer_packed(
        self, x: tf.Tensor, mask: tf.Tensor | None, u: tf.Tensor | None, noise: tf.Tensor | None
    ) -> Trajectory:
        q = self.posterior(x)
        a = gaussian.sample(q, noise)
        return Trajectory(a, q, self.prior(a, u), self.decode(a))

    def _mix(self, alpha: tf.Tensor, u: tf.Tensor | None) -> LinearSystem:
        """The system of weights alpha_1:T: A_t and C_t from alpha_t, the drift into frame t from alpha_{t-1}."""
        drift = None
        if u is not None:
            later = self.bank.drift(alpha[:, :-1], u[:, 1:])
            drift = tf.pad(later, [[0, 0], [1, 0], [0, 0]])
        return LinearSystem(self.bank.transition(alpha), self.bank.emission(alpha), drift)

    # One frame.

    def _initial_state(self, batch_size: tf.Tensor | int, latents: Mapping[str, tf.Tensor]) -> State:
        """The predicted z_t without its drift, the alpha_{t-1} of that drift, a_{t-1}, and the mixing network's."""
        belief = self.kalman.initial(batch_size)
        before, memory = self.mixing.initial(batch_size)
        alpha = tf.zeros([batch_size, self.num_mixtures])
        return {**belief._asdict(), "alpha": alpha, "a": before, "memory": memory}

    def _advance(
        self, state: State, u: tf.Tensor | None, value: Any, seen: tf.Tensor | None = None
    ) -> tuple[State, Innovation, tf.Tensor]:
        """Past one frame; `value` and `seen` as in `KalmanFilter.update`. Also what the frame taught, and alpha_t."""
        drift = self.bank.drift(state["alpha"], u)
        belief = Belief(state["mean"] if drift is None else state["mean"] + drift, state["covariance"])
        alpha, memory = self.mixing.step(state["a"], state["memory"])
        emission = self.bank.emission(alpha)
        updated, innovation = self.kalman.update(belief, emission, value, seen)
        a = innovation.value
        if seen is not None:
            a = tf.where(seen[:, None], a, matvec(emission, belief.mean))
        moved = self.kalman.predict(updated, self.bank.transition(alpha))
        return {**moved._asdict(), "alpha": alpha, "a": a, "memory": memory}, innovation, alpha

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(self, state: State, x: tf.Tensor, u: tf.Tensor | None, noise: tf.Tensor | None) -> StepOutput:
        return self._meet(state, x, u, self.posterior(x), lambda q: gaussian.sample(q, noise))

    def _meet(
        self, state: State, x: tf.Tensor, u: tf.Tensor | None, q: Gaussian, draw: Callable[[Gaussian], tf.Tensor]
    ) -> StepOutput:
        """One frame; `draw` makes a_t of q(a_t | x_t)."""
        a = draw(q)
        state, innovation, _ = self._advance(state, u, lambda i, _: a[:, i : i + 1])
        params = self.decode(a)
        kl = tf.reduce_sum(gaussian.kl_per_dimension(q, innovation.p), axis=-1)
        return StepOutput(a, q, innovation.p, params, self.observation.log_prob(params, x), kl, state)

    def skip(self, state: State, u: Any = None) -> State:
        """The state after a frame that was not observed: z_t is predicted and not updated.

        Args:
            state, u: as in `step`. `generate_step` is another thing: it believes in the frame that it drew.
        """
        self._require_causal()
        return self._skip(state, None if u is None else tf.cast(u, tf.float32))

    @tf.function(reduce_retracing=True, autograph=False)
    def _skip(self, state: State, u: tf.Tensor | None) -> State:
        missing = tf.zeros([tf.shape(state["a"])[0]], tf.bool)
        return self._advance(state, u, lambda i, p: p.loc, missing)[0]

    def _draw_frame(self, state: State, u: tf.Tensor | None, noise: tf.Tensor | None) -> tuple[State, tf.Tensor]:
        def value(i: int, p: Gaussian) -> tf.Tensor:
            return gaussian.sample(p, None if noise is None else noise[:, i : i + 1])

        state, innovation, _ = self._advance(state, u, value)
        return state, innovation.value

    @tf.function(reduce_retracing=True, autograph=False)
    def _generate_step(self, state: State, u: Any, noise: Any, emission: Any) -> tuple[Generated, State]:
        state, a = self._draw_frame(state, u, noise)
        params = self.decode(a)
        return Generated(self.emit(params, emission), a, params), state

    def particles(self, packed: Batch, num_samples: int) -> Particles:
        state = self._initial_state(tf.shape(packed.x)[0] * num_samples, {})
        inputs = (packed.x, packed.u, self.posterior(packed.x))
        return Particles(state, inputs, lambda state, inputs, draw: self._meet(state, *inputs, draw), shared=True)

    # Sequences.

    def prior_path(self, u: tf.Tensor | None, noise: Any, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        return self._roll(self._initial_state(size, {}), u, noise, length)

    def continue_path(
        self,
        z: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        future_u: tf.Tensor | None,
        noise: Any,
        horizon: tf.Tensor,
    ) -> tf.Tensor:
        def frame(state: State, inputs: tuple) -> tuple[State, tuple]:
            a, u_t = inputs
            return self._advance(state, u_t, lambda i, _: a[:, i : i + 1])[0], ()

        state, _ = recurrence.scan(frame, self._initial_state(tf.shape(z)[0], {}), (z, u), hold=mask)
        return self._roll(state, future_u, noise, horizon)

    def _roll(self, state: State, u: tf.Tensor | None, noise: Any, length: tf.Tensor) -> tf.Tensor:
        """`length` frames a_t from their prior, `[B, T, A]`."""
        return recurrence.scan(lambda s, inputs: self._draw_frame(s, *inputs), state, (u, noise), length=length)[1]

    def _weights(self, a: tf.Tensor, u: tf.Tensor | None, seen: tf.Tensor | None) -> tf.Tensor:
        """alpha_1:T `[B, T, K]`, where missing frames feed the filter's prediction of a_t to the mixing network."""
        if seen is None:
            return self.mixing(a)

        def frame(state: State, inputs: tuple) -> tuple[State, tf.Tensor]:
            a_t, u_t, seen_t = inputs
            state, _, alpha = self._advance(state, u_t, lambda i, _: a_t[:, i : i + 1], seen_t)
            return state, alpha

        return recurrence.scan(frame, self._initial_state(tf.shape(a)[0], {}), (a, u, seen))[1]

    @tf.function(reduce_retracing=True, autograph=False)
    def _fill(self, packed: Batch, observed: tf.Tensor, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        x, mask, u = packed
        size, length = tf.shape(x)[0], tf.shape(x)[1]
        noise, emission = self.draw(seed, size, length, True)
        seen = tf.reduce_all(observed, axis=-1) if first else tf.reduce_any(observed, axis=-1)
        seen = seen if mask is None else seen & mask
        a = gaussian.sample(self.posterior(x), noise)
        system = self._mix(self._weights(a, u, seen), u)
        names = ("state", "path", "encoding")
        widths = (self.latent_dim, self.encoding_dim, self.encoding_dim)
        drawn = [random.normal(random.fold_in(seed, n), [size, length, w]) for n, w in zip(names, widths, strict=True)]
        z = self.kalman.sample(system, a, seen, *drawn[:2])
        imagined = matvec(system.emission, z) + self.emission_scale * drawn[2]
        params = self.decode(tf.where(seen[..., None], a, imagined))
        return tf.where(observed, x, self.emit(params, emission)), params

    def filter(self, x: Any, mask: Any = None, u: Any = None, *, observed: Any = None) -> StateEstimate:
        """z_t given the frames up to t, through the means of q(a_t | x_t).

        Args:
            x, mask, u: as everywhere.
            observed: `[B, T]` bool, false where a frame exists but was not observed; x may hold anything there.
        """
        return self._estimate(*self._observed(x, mask, u, observed), False)

    def smooth(self, x: Any, mask: Any = None, u: Any = None, *, observed: Any = None) -> StateEstimate:
        """z_t given all frames, (6.12), otherwise as `filter`."""
        return self._estimate(*self._observed(x, mask, u, observed), True)

    def _observed(self, x: Any, mask: Any, u: Any, observed: Any) -> tuple[Batch, tf.Tensor | None]:
        if observed is None:
            return self.check(x, mask, u), None
        x = tf.convert_to_tensor(x)
        observed = tf.cast(tf.convert_to_tensor(observed), tf.bool)
        if not observed.shape.is_compatible_with(x.shape[:2]):
            raise ValueError(f"Expected `observed` of shape {x.shape[:2]}, one for each frame, got {observed.shape}.")
        return self.check(masks.zero_masked(x, observed), mask, u), observed

    @tf.function(reduce_retracing=True, autograph=False)
    def _estimate(self, batch: Batch, observed: tf.Tensor | None, smoothed: bool) -> StateEstimate:
        (x, mask, u), how = masks.pack_batch(batch)
        observed = observed if observed is None or how is None else masks.pack(observed, how)
        a = self.posterior(x).loc
        alpha = self._weights(a, u, observed)
        system = self._mix(alpha, u)
        present = [m for m in (mask, observed) if m is not None]
        filtered = self.kalman(system, a, tf.reduce_all(present, axis=0) if present else None)
        belief = self.kalman.smooth(system, filtered) if smoothed else filtered.updated
        encoding = matvec(system.emission, belief.mean)
        found = StateEstimate(*belief, alpha, encoding, self.observation.mean(self.decode(encoding)))
        return found if how is None else tf.nest.map_structure(lambda y: masks.unpack(y, how), found)

    def get_config(self) -> dict:
        names = (
            "latent_dim",
            "encoding_dim",
            "num_mixtures",
            "units",
            "mixing_cell",
            "encoder_units",
            "decoder_units",
            "activation",
            "dropout",
            "scale",
            "min_scale",
            "x_scale",
            "frame_shape",
            "filters",
            "transition_scale",
            "emission_scale",
            "initial_scale",
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
