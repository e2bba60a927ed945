"""FVAE, the factorised variational autoencoder of many individuals seen at the same times (Deng et al. 2017)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdvae import indices, validation
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.loop import before_loop
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Batch, Gaussian, State

__all__ = ["FVAE", "FVAECell", "Factors"]


class Factors(NamedTuple):
    """What the latents of all individuals and times are made of.

    Attributes:
        individuals: U, of each individual, `[I, Z]`.
        times: V, of each time, `[num_times, Z]`, above 0.
    """

    individuals: tf.Tensor
    times: tf.Tensor


class _Seen(NamedTuple):
    """q(z_it | x_it) where anything was observed, `[B, T, Z]`, and where that is, 0 or 1, `[B, T, 1]`."""

    z: Gaussian
    known: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class FVAECell(StochasticCell):
    """Factorised VAE: z of individual i at time t is the product of what i is like and of what happens at t, and noise.

        p(x, z, U | V) = prod_i N(U_i; 0, I) prod_t N(z_it; U_i * V_t, I) p(x_it | z_it),   log V_t ~ N(0, I)
        q(z, U | x)    = prod_i q(U_i | x_i) prod_t q(z_it | x_it)

    Deng et al., "Factorized variational autoencoders for modeling audience reactions to movies" (CVPR 2017): x_it is
    the face of person i of an audience at frame t of a movie, `*` goes by components, and a network maps x_it to
    q(z_it | x_it). A sequence is an individual, and frame t of each is of the same time: values that were not measured
    are told by "observed", since frames that a mask leaves out do not pass time. The equations are from memory.

    The factors U and V are no outputs of a network but variables, whose log-priors count once in all: of V_t, by the
    auxiliary loss "times", -log p(log V_t) / `num_sequences` at each frame t of each of the I individuals; of U_i, by
    its divergence, once per sequence. Frames past the `num_times` rows of V have log V_t = 0, where that prior is
    highest. What is reported is a bound of log p(x | V).

    Where the paper has a point U_i, U_i is here a latent "individual" of the sequence, with the Gaussian that is best
    beside q(z | x), a ridge regression of the means m_it of q(z_it | x_it) on V_t:

        q(U_i | x_i) = N(sum_t V_t m_it / c_i, 1 / c_i),   c_i = 1 + sum_t V_t^2   over the frames that hold anything.

    So new individuals need no training, `generate` draws them from N(0, I), and reports are bounds. Its mean is the MAP
    of U_i given the means of z. With `table=True`, that mean is in training the row of the sequence's "sequence_index",
    as in the paper, whose weight has the gradient of the paper's point estimate but for the spread 1 / c_i. Where
    training has converged, the two agree. All else has the closed form, for training sequences as well.

    Nothing is known of z_it where nothing of x_it was observed: q(z_it | .) is the prior N(U_i * V_t, I) there, so
    that `impute` predicts individuals at times at which they were not seen. Inputs and context, which the paper has
    none of, join x_it in the encoder and z_it in the decoder.

    Args:
        latent_dim: Z, the number of factors.
        num_times: rows of V: frames of the longest training sequence.
        num_sequences: I, training individuals, who share the log-prior of V, and rows of the table of U.
        table: whether training looks up U by "sequence_index".
        encoder_units, decoder_units: hidden layers of q(z_it | x_it) and of p(x_it | z_it).

    Raises:
        ValueError: a size that is not positive.

    Example:
        model = tfdvae.FVAE(8, num_times=100, num_sequences=len(faces), table=True)
        model.fit({"x": faces, "observed": seen, "sequence_index": np.arange(len(faces))})     # [I, T, D], [I]
        individuals, times = model.factors()                                                   # [I, 8], [100, 8]
        faces_missed = model.impute(faces, observed=seen).mean                                 # [I, T, D]
    """

    prior_reads = ("individual", "time")
    observe_reads = ("z",)
    penalty_reads = ("log_time",)
    told_presence = True
    unused = {
        **dict.fromkeys(("units", "cell", "num_layers"), "since it has no recurrent layers"),
        **dict.fromkeys(("family", "posterior_flow", "flow"), "since q(U | .) needs the means of Gaussians"),
    }

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        num_times: int = 100,
        num_sequences: int = 1,
        table: bool = False,
        encoder_units: Sequence[int] = (256, 128, 64, 32),
        decoder_units: Sequence[int] = (32, 64, 128, 256),
        **kwargs,
    ):
        super().__init__(latent_dim, **kwargs)
        for name, value in (("latent_dim", latent_dim), ("num_times", num_times), ("num_sequences", num_sequences)):
            if value < 1:
                raise ValueError(f"`{name}` of an FVAE must be at least 1, got {value}.")
        self.num_times = num_times
        self.num_sequences = num_sequences
        self.table = table
        self.encoder_units = tuple(encoder_units)
        self.decoder_units = tuple(decoder_units)
        self.encoder = self.mlp(self.encoder_units, "encoder")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        width = x_dim - 1 + u_dim
        self.encoder.build((None, width))
        self.posterior_head.build((None, self.encoder.output_dim(width)))
        self.decoder.build((None, self.latent_dim + u_dim))
        options = {"initializer": "zeros", "dtype": "float32", "autocast": False}
        # From zeros, so that neither times nor individuals are told apart by where they started.
        self.log_times = self.add_weight(name="log_times", shape=(self.num_times, self.latent_dim), **options)
        if self.table:
            shape = (self.num_sequences, self.latent_dim)
            self.individuals = self.add_weight(name="individuals", shape=shape, **options)

    @property
    def causal(self) -> bool:
        return False

    @property
    def latents(self) -> tuple[Latent, ...]:
        """U of the sequence, then z of each frame, which sees no z of another frame."""
        p, q = self.z_prior, self.z_posterior
        return (
            Latent("individual", p, q, self.posterior_individual, self.absorb_individual, level="sequence"),
            self.latent("z", p, q, reads=self.prior_reads, within_frame=True),
        )

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.latent_dim + self.u_dim)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        """`place` counts the frames that have passed."""
        return {"place": tf.zeros([batch_size, 1], tf.int32)}

    def previous(self, e: tf.Tensor, latents: Any) -> State:
        size, length = tf.shape(e)[0], tf.shape(e)[1]
        place = tf.broadcast_to(tf.range(length)[:, None], [size, length, 1])
        return {"place": tf.ensure_shape(place, [*e.shape[:2], 1])}

    def log_time(self, place: tf.Tensor) -> tf.Tensor:
        """log V_t, by the numbers of frames from 0 on `[..., 1]`: `[..., Z]`."""
        rows = before_loop(
            (id(self), "log_times"), lambda: tf.pad(tf.convert_to_tensor(self.log_times), [[0, 1], [0, 0]])
        )
        return tf.gather(rows, tf.minimum(place[..., 0], self.num_times))

    def overview(self, given: Evidence) -> _Seen:
        """q(z_it | x_it) for all frames at once."""
        return _Seen(self.posterior_head(self.encoder(concat(given.e, given.c))), self.presence(given))

    def posterior_individual(self, given: Evidence) -> Gaussian:
        """q(U_i | .): the ridge regression; or, in training with a table, around its row."""
        seen, time = given.overview, tf.exp(self.log_time(self.previous(given.e, {})["place"]))
        precision = 1.0 + tf.reduce_sum(seen.known * tf.square(time), axis=1)
        loc = tf.reduce_sum(seen.known * time * seen.z.loc, axis=1) / precision
        index = indices.indices_of(given.x) if self.table else None
        if index is not None:
            loc = tf.gather(tf.convert_to_tensor(self.individuals), index)
        return Gaussian(loc, tf.math.rsqrt(precision))

    def absorb_individual(self, state: State, individual: tf.Tensor) -> State:
        return {**state, "individual": individual}

    def encode(self, given: Evidence) -> _Seen:
        return given.overview

    def absorb_u(self, state: State, c: Any) -> State:
        """The frame opens, and its time is known."""
        log_time = self.log_time(state["place"])
        return {**super().absorb_u(state, c), "log_time": log_time, "time": tf.exp(log_time)}

    def prior(self, state: State) -> Gaussian:
        """N(U_i * V_t, I)."""
        individual, time = state["individual"], state["time"]
        loc = time * (individual[:, None] if individual.shape.rank < time.shape.rank else individual)
        return Gaussian(loc, tf.ones_like(loc))

    def posterior(self, state: State, g: _Seen) -> Gaussian:
        """q(z_it | x_it); the prior where nothing was observed."""
        known = tf.cast(g.known, tf.bool)
        return Gaussian(*(tf.where(known, q, p) for q, p in zip(g.z, self.prior(state), strict=True)))

    def absorb_z(self, state: State, z: tf.Tensor) -> State:
        return {**state, "z": z}

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_it | z_it)."""
        return self.decoder(concat(state["z"], state.get("u")))

    def penalties(self, state: State, g: Any) -> dict[str, tf.Tensor]:
        """What one of I individuals bears of -log p(log V_t), nats."""
        nats = 0.5 * tf.reduce_sum(tf.square(state["log_time"]) + np.log(2.0 * np.pi), axis=-1)
        return {"times": nats / self.num_sequences}

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {"individual": state["individual"], "place": state["place"] + 1}

    def get_config(self) -> dict:
        names = ("num_times", "num_sequences", "table", "encoder_units", "decoder_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class FVAE(RecurrentDVAE):
    """Factorised VAE (Deng et al. 2017): see `FVAECell` for equations and arguments.

    Its latents are "individual" of the sequence (U) and "z" of each frame. Frames cannot be streamed, as U is inferred
    from all of them.
    """

    cell_class = FVAECell
    takes_frame_skips = False

    @property
    def indexed_sequences(self) -> int:
        return self.cell.num_sequences if self.cell.table else 0

    def factors(
        self, x: Any = None, mask: Any = None, u: Any = None, observed: Any = None, context: Any = None
    ) -> Factors:
        """U and V: V as training has left it, and U of the individuals that are given, the mean of q(U | x), or of the
        training sequences as the table has it.

        The order of the factors means nothing, and their sizes follow from the priors of U and V.

        Args:
            x, mask, u, observed, context: individuals, as everywhere; None for those of the table.

        Raises:
            ValueError: neither individuals nor a table, or what belongs to individuals without them.
        """
        self._require_built("factors")
        parts = {"mask": mask, "u": u, "observed": observed, "context": context}
        if x is None and (given := [name for name, part in parts.items() if part is not None]):
            raise ValueError(f"`{given[0]}` belongs to the individuals `x`, which `factors` was not given.")
        if x is not None:
            individuals = self.encode(x, mask, u, observed, context)["individual"].loc
        elif self.cell.table:
            individuals = tf.convert_to_tensor(self.cell.individuals)
        else:
            raise ValueError("There is no table: make the model with table=True, or give `factors` the individuals.")
        return Factors(individuals, tf.exp(tf.convert_to_tensor(self.cell.log_times)))

    def infer_times(
        self,
        x: Any,
        individuals: Any,
        mask: Any = None,
        u: Any = None,
        observed: Any = None,
        context: Any = None,
        *,
        steps: int = 30,
    ) -> tf.Tensor:
        """V of new times, the MAP given U of individuals who are known and the means of q(z_it | x_it).

        It minimises sum_i (m_it - U_i V_t)^2 / 2 + (log V_t)^2 / 2 over log V_t, each component by itself: by Newton's
        method where that is convex (Gauss and Newton's curvature elsewhere), from 0, at most 1 at a step.

        Args:
            x: `[I, T, D]`, frames of the individuals at the new times, in the same order at each.
            individuals: U, `[I, Z]`, as `factors` tells it.
            mask, u, observed, context: as everywhere; frames may be missing by `observed`, not by gaps of `mask`.
            steps: of the method.

        Returns:
            V, `[T, Z]`, above 0; 1 at times at which nobody was seen.

        Raises:
            ValueError: another number of individuals than of sequences, or of factors than the model has.
        """
        batch = self.check(x, mask, u, observed, context)
        individuals = validation.as_rows("individuals", individuals, [self.latent_dim])
        validation.same_rows(x=batch.x, individuals=individuals)
        return self._infer_times(batch, individuals, tf.constant(validation.whole("steps", steps, at_least=1)))

    @tf.function(reduce_retracing=True, autograph=False)
    def _infer_times(self, batch: Batch, individuals: tf.Tensor, steps: tf.Tensor) -> tf.Tensor:
        packed, _ = self.pack(batch)
        seen, individuals = self.hoist(packed, None).g, individuals[:, None]
        square = tf.reduce_sum(seen.known * tf.square(individuals), axis=0)
        product = tf.reduce_sum(seen.known * individuals * seen.z.loc, axis=0)

        def step(i: tf.Tensor, log_time: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            time = tf.exp(log_time)
            slope = time * (square * time - product) + log_time
            curvature = 1.0 + square * time**2 + tf.nn.relu(time * (square * time - product))
            return i + 1, log_time - tf.clip_by_value(slope / curvature, -1.0, 1.0)

        return tf.exp(tf.while_loop(lambda i, _: i < steps, step, (0, tf.zeros_like(square)))[1])

    def compose(self, individuals: Any, times: Any, u: Any = None, context: Any = None) -> tf.Tensor:
        """E[x_it | z_it = U_i * V_t], of each individual at each time.

        Args:
            individuals: U, `[I, Z]`.
            times: V, `[T, Z]`.
            u, context: `[I, T, U]` and `[I, C]`, where the model has such.

        Returns:
            Frames `[I, T, ...]`.

        Raises:
            ValueError: factors, inputs or context of other sizes than the model's.
        """
        self._require_built("compose")
        individuals = validation.as_rows("individuals", individuals, [self.latent_dim])
        times = validation.as_rows("times", times, [self.latent_dim])
        u, context = self._inputs(u, times.shape[0]), self._context(context)
        validation.same_rows(individuals=individuals, u=u, context=context)
        state = {"z": individuals[:, None] * times}
        inputs = self.cell.embed_u(self.inputs(u, context, times.shape[0]))
        state |= {} if inputs is None else {"u": inputs}
        params = self.frames.within(context, None).params(self.cell.observe(state))
        return restore_frames(self.frames.mean(params), self.frame_shape)
