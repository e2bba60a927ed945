"""KVAE: Kalman variational autoencoder (Fraccaro et al. 2017; survey chapter 6)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfdvae import families, loop, masks, observations, random, validation
from tfdvae.arguments import Only
from tfdvae.bounds import Particles
from tfdvae.bounds.filtering import Draw, repeat_rows
from tfdvae.layers.cell import concat
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.kalman import Belief, Innovation, KalmanFilter, LinearSystem, matvec
from tfdvae.layers.latent import Latent, no_state
from tfdvae.layers.mixing import MatrixBank, MixingNetwork
from tfdvae.layers.mlp import MLP
from tfdvae.layers.units import Units
from tfdvae.models.base import Packed
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.types import Batch, Gaussian, Generated, LatentPath, State, StateEstimate, StepOutput, Trajectory

__all__ = ["KVAE", "StateEstimate"]


@keras.saving.register_keras_serializable(package="tfdvae")
class KVAE(SequenceDVAE):
    """Kalman variational autoencoder: a linear-Gaussian system over what a VAE makes of each frame.

        p(x, a, z) = prod_t p(x_t | a_t) N(a_t; C_t z_t, r^2 I) N(z_t; A_{t-1} z_{t-1} + B_{t-1} u_t, q^2 I)
        q(a, z | x) = p(z_1:T | a_1:T) prod_t q(a_t | x_t),  z_1 ~ N(0, s0^2 I)

    Survey (6.1)-(6.18). A_t, B_t and C_t are means of K matrices under weights alpha_t, which an LSTM makes of a_<t:
    alpha_t mixes C_t, and the A_t and B_t that move z_t on to z_{t+1}. The noise is fixed, the first frame has no
    input, and q(a_t | x_t) sees no input but the context of the sequence, where there is one.

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
        units, mixing_cell: recurrent layer of the mixing network; "lstm", "gru" or "rnn".
        encoder_units, decoder_units: hidden layers of q(a_t | x_t) and of p(x_t | a_t).
        activation: of these layers, and of the convolutions.
        dropout: rate in them, one mask per sequence.
        scale, min_scale, scale_floor: of q(a_t | x_t), see `tfdvae.families.DiagonalGaussian`.
        posterior_flow, flow: flow layers that q(a_t | x_t) is pushed through, and of which kind.
        transition_scale, emission_scale, initial_scale: q, r and s0, standard deviations.
        observation: p(x_t | a_t), a name or an Observation.
        seed: all randomness of training and evaluation follows from it.
        **options: how frames enter and leave the model, see `DVAE`. For pictures pass frame_encoder="conv" and
            frame_decoder="conv", and leave `encoder_units` and `decoder_units` empty.

    Raises:
        ValueError: for sizes and scales that are not positive.
    """

    used_with: ClassVar[Mapping[str, Only]] = {"flow": Only("posterior_flow")}

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
        scale_floor: str = "sum",
        posterior_flow: int = 0,
        flow: str = "coupling",
        transition_scale: float = 0.08**0.5,
        emission_scale: float = 0.03**0.5,
        initial_scale: float = 20.0**0.5,
        observation: str | Mapping | observations.Observation = "gaussian",
        seed: int = 0,
        **options,
    ):
        sizes = {"encoding_dim": encoding_dim, "num_mixtures": num_mixtures, "units": units, "latent_dim": latent_dim}
        latent_dim, encoding_dim, num_mixtures, units = (
            validation.whole(name, sizes[name]) for name in ("latent_dim", "encoding_dim", "num_mixtures", "units")
        )
        encoder_units, decoder_units = map(validation.plain, (encoder_units, decoder_units))
        networks = {"activation": activation, "dropout": dropout}
        super().__init__(observation, seed, frame_networks=networks, **options)
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
        self.scale_floor = scale_floor
        self.posterior_flow = posterior_flow
        self.flow = flow
        self.transition_scale = transition_scale
        self.emission_scale = emission_scale
        self.initial_scale = initial_scale
        self.a_prior = families.DiagonalGaussian(encoding_dim, scale, min_scale, scale_floor)
        self.a_posterior = families.with_flow(self.a_prior, posterior_flow, flow)
        if posterior_flow:
            self.flow_network = self.a_posterior.network
        policy = {"dtype": self.dtype_policy}
        self.encoder = MLP(self.encoder_units, name="encoder", **networks, **policy)
        self.decoder = MLP(self.decoder_units, name="decoder", **networks, **policy)
        self.posterior_head = families.Head(self.a_posterior, name="posterior_head", **policy)
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
        evidence = x_dim + self.context_dim
        self.encoder.build((None, None, evidence))
        self.posterior_head.build((None, None, self.encoder.output_dim(evidence)))
        if self.posterior_flow:
            self.flow_network.build()
        self.mixing.build((None, None, self.encoding_dim))
        self.bank.build((None, u_dim))
        self.decoder.build((None, None, self.encoding_dim))

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.encoding_dim)

    @property
    def latents(self) -> tuple[Latent, ...]:
        """a_t. Its prior hangs on the whole path before it, which the Kalman filter knows, and so it has no loop."""
        return (Latent("a", self.a_prior, self.a_posterior, self.posterior, no_state),)

    @property
    def stepwise(self) -> bool:
        return True

    @property
    def causal(self) -> bool:
        """True: q(a_t | .) sees x_t alone."""
        return True

    # Equations.

    def posterior(self, seen: tf.Tensor, context: tf.Tensor | None = None) -> Any:
        """q(a_t | x_t), (6.14) and (6.15), of frames as the networks see them, `[..., E]`.

        The context of the sequence, `[B, C]`, joins them.
        """
        return self.posterior_head(self.encoder(concat(seen, context)))

    def prior(self, a: tf.Tensor, u: tf.Tensor | None) -> Gaussian:
        """p(a_{t,i} | a_<t, a_{t,<i}) along a path `[B, T, A]`, with z integrated out."""
        return self.kalman.conditionals(self._mix(self.mixing(a), u), a)

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None = None, u: tf.Tensor | None = None) -> tf.Tensor:
        """Features of p(x_t | a_t), (6.5) and (6.6), for a_t `[..., A]`."""
        return self.decoder(tf.cast(z, self.compute_dtype))

    def infer_packed(self, packed: Packed, noise: Mapping[str, tf.Tensor] | None) -> Trajectory:
        q, own = self.posterior(packed.seen, packed.context), None if noise is None else noise["a"]
        a = self.a_posterior.sample(q, own)
        path = LatentPath(a, q, self.prior(a, packed.u), own)
        return Trajectory({"a": path}, self.decoded(packed, a))

    def _mix(self, alpha: tf.Tensor, u: tf.Tensor | None) -> LinearSystem:
        """The system of weights alpha_1:T: A_t and C_t from alpha_t, the drift into frame t from alpha_{t-1}."""
        drift = None
        if u is not None:
            later = self.bank.drift(alpha[:, :-1], u[:, 1:])
            drift = tf.pad(later, [[0, 0], [1, 0], [0, 0]])
        return LinearSystem(self.bank.transition(alpha), self.bank.emission(alpha), drift)

    # One frame.

    def start_stream(
        self,
        batch_size: tf.Tensor | int,
        latents: Mapping[str, tf.Tensor],
        context: tf.Tensor | None = None,
        noise: Mapping[str, tf.Tensor] | None = None,
        units: Units | None = None,
    ) -> State:
        return {**self.start(batch_size), **self.remembered(batch_size, context, units)}

    def start(self, batch_size: tf.Tensor | int) -> State:
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

    def encode_frame(self, state: State, seen: tf.Tensor, u: tf.Tensor | None) -> tuple[State, Any]:
        context = u[:, -self.context_dim :] if self.context_dim else None
        return state, (u, self.posterior(seen, context))

    def meet_frame(
        self, io: Any, x: tf.Tensor, observed: tf.Tensor | None, opened: State, frame: Any, draw: Draw
    ) -> StepOutput:
        u, q = frame
        a, noise = draw(self.latents[0], q)
        state, innovation, _ = self._advance(opened, u, lambda i, _: a[:, i : i + 1])
        params = io.params(self.decode(a))
        paths = {"a": LatentPath(a, q, innovation.p, noise)}
        log_px = io.log_prob(params, x, observed)
        return StepOutput(paths, params, log_px, self.frame_kl(paths, log_px), state)

    def skip(self, state: State, u: Any = None) -> State:
        """The state after a frame that was not observed: z_t is predicted and not updated.

        Args:
            state, u: as in `step`. `generate_step` is another thing: it believes in the frame that it drew.
        """
        self._require_causal()
        return self._skip(state, None if u is None else tf.cast(u, tf.float32))

    @tf.function(reduce_retracing=True, autograph=False)
    def _skip(self, state: State, u: tf.Tensor | None) -> State:
        own, beside = self.parted(state)
        missing = tf.zeros([tf.shape(own["a"])[0]], tf.bool)
        own = self._advance(own, self.step_inputs(u, beside), lambda i, p: p.loc, missing)[0]
        return {**own, **self.passed(beside)}

    def _draw_frame(self, state: State, u: tf.Tensor | None, noise: tf.Tensor | None) -> tuple[State, tf.Tensor]:
        def value(i: int, p: Gaussian) -> tf.Tensor:
            return self.a_prior.sample(p, None if noise is None else noise[:, i : i + 1])

        state, innovation, _ = self._advance(state, u, value)
        return state, innovation.value

    def imagine_frame(
        self,
        io: Any,
        state: State,
        u: tf.Tensor | None,
        noise: Mapping[str, tf.Tensor],
        uniform: tf.Tensor | None,
    ) -> tuple[Generated, State]:
        state, a = self._draw_frame(state, u, noise.get("a"))
        params = io.params(self.decode(a))
        return Generated(self.emit(params, uniform), {"a": a}, params), state

    def particles(self, packed: Packed, num_samples: int) -> Particles:
        own = tf.nest.map_structure(lambda y: repeat_rows(y, num_samples), (packed.context, packed.units))
        io = self.frames.within(*own)

        def advance(state: State, inputs: Any, draw: Draw) -> StepOutput:
            x, observed, u, q = inputs
            return self.meet_frame(io, x, observed, state, (u, q), draw)

        state = self.start(tf.shape(packed.x)[0] * num_samples)
        scored = self.frames.scored(packed.x, packed.mask, packed.observed)
        inputs = (packed.x, scored, packed.u, self.posterior(packed.seen, packed.context))
        return Particles(state, inputs, advance, True, self.latents)

    # Sequences.

    def prior_path(self, u: tf.Tensor | None, noise: Any, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        return self._roll(self.start(size), u, noise, length)

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

        state, _ = loop.scan(frame, self.start(tf.shape(z)[0]), (z, u), hold=mask)
        return self._roll(state, future_u, noise, horizon)

    def _roll(self, state: State, u: tf.Tensor | None, noise: Any, length: tf.Tensor) -> tf.Tensor:
        """`length` frames a_t from their prior, `[B, T, A]`."""
        inputs = (u, None if noise is None else noise["a"])
        return loop.scan(lambda s, inputs: self._draw_frame(s, *inputs), state, inputs, length=length)[1]

    def _weights(self, a: tf.Tensor, u: tf.Tensor | None, seen: tf.Tensor | None) -> tf.Tensor:
        """alpha_1:T `[B, T, K]`, where missing frames feed the filter's prediction of a_t to the mixing network."""
        if seen is None:
            return self.mixing(a)

        def frame(state: State, inputs: tuple) -> tuple[State, tf.Tensor]:
            a_t, u_t, seen_t = inputs
            state, _, alpha = self._advance(state, u_t, lambda i, _: a_t[:, i : i + 1], seen_t)
            return state, alpha

        return loop.scan(frame, self.start(tf.shape(a)[0]), (a, u, seen))[1]

    def _fill(self, packed: Packed, seed: tf.Tensor, first: bool) -> tuple[tf.Tensor, tf.Tensor]:
        x, mask, u, observed = packed.x, packed.mask, packed.u, packed.observed
        size, length = tf.shape(x)[0], tf.shape(x)[1]
        noise, uniform = self.draw(seed, size, length, True)
        seen = tf.reduce_all(observed, axis=-1) if first else tf.reduce_any(observed, axis=-1)
        seen = seen if mask is None else seen & mask
        a = self.a_posterior.sample(self.posterior(packed.seen, packed.context), noise["a"])
        system = self._mix(self._weights(a, u, seen), u)
        names = ("state", "path", "encoding")
        widths = (self.latent_dim, self.encoding_dim, self.encoding_dim)
        drawn = [random.normal(random.fold_in(seed, n), [size, length, w]) for n, w in zip(names, widths, strict=True)]
        z = self.kalman.sample(system, a, seen, *drawn[:2])
        imagined = matvec(system.emission, z) + self.emission_scale * drawn[2]
        params = self.decoded(packed, tf.where(seen[..., None], a, imagined))
        return tf.where(observed, x, self.emit(params, uniform)), params

    def filter(
        self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None
    ) -> StateEstimate:
        """z_t given the frames up to t, through the modes of q(a_t | x_t).

        A frame of which nothing was observed is missing in the filter; one observed in part is encoded as it is seen.
        """
        return self._restored_estimate(self.check(x, mask, u, observed, context), False)

    def smooth(
        self, x: Any, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None
    ) -> StateEstimate:
        """z_t given all frames, (6.12), otherwise as `filter`."""
        return self._restored_estimate(self.check(x, mask, u, observed, context), True)

    def _restored_estimate(self, batch: Batch, smoothed: bool) -> StateEstimate:
        """That of `_estimate`, with its frames in the shape of x."""
        found = self._estimate(batch, smoothed)
        return found._replace(x=restore_frames(found.x, self.frame_shape))

    @tf.function(reduce_retracing=True, autograph=False)
    def _estimate(self, batch: Batch, smoothed: bool) -> StateEstimate:
        packed, how = self.pack(batch)
        seen = None if packed.observed is None else tf.reduce_any(packed.observed, axis=-1)
        a = self.a_posterior.mode(self.posterior(packed.seen, packed.context))
        alpha = self._weights(a, packed.u, seen)
        system = self._mix(alpha, packed.u)
        present = [m for m in (packed.mask, seen) if m is not None]
        filtered = self.kalman(system, a, tf.reduce_all(present, axis=0) if present else None)
        belief = self.kalman.smooth(system, filtered) if smoothed else filtered.updated
        encoding = matvec(system.emission, belief.mean)
        params = self.decoded(packed, encoding)
        found = StateEstimate(*belief, alpha, encoding, self.frames.mean(params))
        return masks.restored(found, how)

    def get_config(self) -> dict:
        names = (
            *("latent_dim", "encoding_dim", "num_mixtures", "units", "mixing_cell", "encoder_units", "decoder_units"),
            *("activation", "dropout", "scale", "min_scale", "scale_floor", "posterior_flow", "flow"),
            *("transition_scale", "emission_scale", "initial_scale"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
