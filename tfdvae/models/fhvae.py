"""FHVAE, the factorised hierarchical variational autoencoder (Hsu, Zhang and Glass 2017; survey (12.3)-(12.7))."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae import indices, masks, random, segments, validation
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.layers.latent import Evidence, Latent, counted_frames, hold_over_segments
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.loop import scan
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import Batch, Gaussian, State

__all__ = ["FHVAE", "FHVAECell"]


class Overview(NamedTuple):
    """What q knows of the segments of right-padded sequences.

    Attributes:
        z2: q(z2_n | x of the segment), `[B, S, Z2]` each.
        exists: which frames exist, bool `[B * S, segment]`.
        present: which segments have any, `[B, S, 1]`.
    """

    z2: Gaussian
    exists: tf.Tensor
    present: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class FHVAECell(StochasticCell):
    """Factorised hierarchical VAE: z2 of a segment stays close to mu2 of its sequence (who speaks), z1 is free (what).

        p(x, z1, z2, mu2) = N(mu2; 0, I) prod_n N(z1_n; 0, I) N(z2_n; mu2, s2^2 I) prod_t p(x_nt | h_nt)     (12.6)
        q(z1, z2, mu2 | x) = q(mu2 | x) prod_n q(z2_n | x_n) q(z1_n | x_n, z2_n)                             (12.7)

        h_nt = LSTM((z1_n, z2_n), h_n,t-1), from zero at each segment's begin                                (12.3)

    n counts the N segments of a sequence, t the frames of one; the last segment may be cut short. The survey writes z
    for z1, v for z2 and w for mu2. The paper's deviations of z1 and mu2 are 1, which only fixes their units.

    The sequence's mean. The paper takes a point estimate of mu2 from a table with a row for each training sequence,
    adds log p(mu2) / N to each segment's bound, and for a new sequence sums means of q(z2_n | .) in closed form. Here
    mu2 is a latent of the sequence with a Gaussian posterior, so that what is reported is a lower bound of log p(x):

        q(mu2 | x) = N(sum_n E_q[z2_n] / (N + s2^2), s2^2 / (N + s2^2) I)

    Its mean is the paper's estimate for a new sequence; it is p(mu2 | z2) at the means, and the best that a q which
    factorises over mu2 and z2 can have. A table is an option of training: with `num_sequences`, the mean of q(mu2 | .)
    is there the row of the sequence's "sequence_index", which stands beside "x" in the data as "sample_weight" does
    (not in the context, which networks would see and deployed models ask for). All else, evaluation included, has the
    closed form, for training sequences as well; `sequence_means` are the rows. They start at zero, so that speakers are
    not told apart by where they started.

    The discriminative objective, which keeps z2 of different sequences apart, is an auxiliary loss "discriminative" of
    training with a table, -log p(i | E_q[z2_n]) at each segment's last frame, where

        p(i | z2) = N(z2; mu2_i, s2^2 I) / sum_j N(z2; mu2_j, s2^2 I)

    with its weight alpha = 10 as `compile(penalty_weight=10.0)`. The paper's equations beside (12.x) are from memory.
    Inputs and context, which it has none of, join x_t in both encoders and the latents in the decoder.

    Args:
        latent_dim: Z1, width of z1, what a segment says.
        global_dim: Z2, width of z2 and mu2.
        segment_length: frames of a segment.
        z2_scale: s2.
        num_sequences: rows of the table, one for each training sequence; 0 for no table.
        posterior_units: hidden layers between the encoders' last states and the Gaussians over z2 and z1.
        decoder_units: hidden layers on h, before p(x_t | .).

    Raises:
        ValueError: a size that is not positive, a negative `num_sequences`, or a `z2_scale` that is not above 0.

    Example:
        model = tfdvae.FHVAE(32, global_dim=32, units=256, num_sequences=len(speech))
        model.compile(penalty_weight=10.0)
        model.fit({"x": speech, "sequence_index": np.arange(len(speech))})     # [N, T, D], [N]
        who = model.encode(new)["mu2"].loc                                     # [B, 32]
        other_voice = model.swap(speech[:1], new[:1])                          # [1, T, D]
    """

    observe_reads = ("h",)
    unused = dict.fromkeys(("family", "posterior_flow", "flow"), "since q(mu2 | .) needs the means of Gaussians")

    def __init__(
        self,
        latent_dim: int = 32,
        *,
        global_dim: int = 32,
        segment_length: int = 20,
        z2_scale: float = 0.5,
        num_sequences: int = 0,
        units: int = 256,
        posterior_units: Sequence[int] = (),
        decoder_units: Sequence[int] = (),
        **kwargs,
    ):
        super().__init__(latent_dim, units=units, **kwargs)
        validation.whole("latent_dim", latent_dim, at_least=1)
        self.global_dim = validation.whole("global_dim", global_dim, at_least=1)
        self.segment_length = validation.whole("segment_length", segment_length, at_least=1)
        self.z2_scale = validation.real("z2_scale", z2_scale, positive=True)
        self.num_sequences = validation.whole("num_sequences", num_sequences, at_least=0)
        self.posterior_units = tuple(posterior_units)
        self.decoder_units = tuple(decoder_units)
        self.global_prior, _ = self.gaussians(global_dim)
        self.z2_rnn = self.recurrent("z2_rnn")
        self.z2_posterior_net = self.mlp(self.posterior_units, "z2_posterior")
        self.z2_posterior_head = self.head("z2_posterior_head", self.global_prior)
        self.z1_rnn = self.recurrent("z1_rnn")
        self.z1_posterior_net = self.mlp(self.posterior_units, "z1_posterior")
        self.z1_posterior_head = self.head("z1_posterior_head")
        self.rnn = self.recurrent("rnn")
        self.decoder = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.z2_rnn.build((None, x_dim + u_dim))
        self.z1_rnn.build((None, x_dim + u_dim + self.global_dim))
        for net, head in (
            (self.z2_posterior_net, self.z2_posterior_head),
            (self.z1_posterior_net, self.z1_posterior_head),
        ):
            net.build((None, self.units))
            head.build((None, net.output_dim(self.units)))
        self.rnn.build((None, self.latent_dim + self.global_dim + u_dim))
        self.decoder.build((None, self.units))
        if self.num_sequences:
            shape = (self.num_sequences, self.global_dim)
            self.table = self.add_weight(
                name="sequence_means", shape=shape, initializer="zeros", dtype="float32", autocast=False
            )

    @property
    def causal(self) -> bool:
        return False

    @property
    def latents(self) -> tuple[Latent, ...]:
        """mu2 of the sequence, z2 around it and z1 of each segment; the priors of mu2 and z1 are N(0, I)."""
        g, z, of_segment = self.global_prior, self.z_prior, {"level": "segment", "segment": self.segment_length}
        return (
            Latent("mu2", g, g, self.posterior_mu2, self.absorb_mu2, level="sequence"),
            Latent("z2", g, g, self.posterior_z2, self.absorb_z2, self.prior_z2, **of_segment),
            Latent("z1", z, z, self.posterior_z1, self.absorb_z1, **of_segment),
        )

    @property
    def features_dim(self) -> int:
        return self.decoder.output_dim(self.units)

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        """`place` counts the frames of the present segment that have passed."""
        return {"place": tf.zeros([batch_size, 1], tf.int32), **self.rnn_state(self.rnn, batch_size)}

    def overview(self, given: Evidence) -> Overview:
        """q(z2_n | x_n) of all segments, which z2, mu2 and the discriminative objective read."""
        exists = segments.cut(_exists(given), self.segment_length)
        z2 = self.z2_posterior_head(self.z2_posterior_net(self._summary(self.z2_rnn, concat(given.x, given.c), exists)))
        return Overview(z2, exists, segments.by_sequence(exists[:, :1], _sizes(given.x)[0]))

    def posterior_mu2(self, given: Evidence) -> Gaussian:
        """q(mu2 | .): see above. A sequence without frames has the prior."""
        means, present = given.overview.z2.loc, given.overview.present
        count = tf.reduce_sum(tf.cast(present, tf.float32), axis=1)
        precision = count + self.z2_scale**2
        loc = tf.reduce_sum(tf.where(present, means, 0.0), axis=1) / precision
        index = indices.indices_of(given.x)
        if index is not None:
            loc = tf.gather(self.table, index)
        return Gaussian(loc, tf.broadcast_to(self.z2_scale / tf.sqrt(precision), tf.shape(loc)))

    def posterior_z2(self, given: Evidence) -> Gaussian:
        """q(z2_n | x_n)."""
        return given.overview.z2

    def prior_z2(self, state: State) -> Gaussian:
        """N(mu2, s2^2 I)."""
        return Gaussian(state["mu2"], tf.fill(tf.shape(state["mu2"]), tf.constant(self.z2_scale, tf.float32)))

    def posterior_z1(self, given: Evidence) -> Gaussian:
        """q(z1_n | x_n, z2_n), from z2 at each segment's first frame."""
        first = given.latents["z2"][:, :: self.segment_length]
        seen = concat(given.x, given.c, hold_over_segments(first, self.segment_length, _sizes(given.x)[1]))
        return self.z1_posterior_head(self.z1_posterior_net(self._summary(self.z1_rnn, seen, given.overview.exists)))

    def encode(self, given: Evidence) -> dict[str, tf.Tensor]:
        """No latent is left for the loop. In training with a table, the auxiliary loss of each frame, `[B, T, 1]`."""
        index = indices.indices_of(given.x)
        if index is None:
            return {}
        own = tf.gather(self.log_identity(given.overview.z2.loc), index, axis=2, batch_dims=1)[..., None]
        held = hold_over_segments(own, self.segment_length, _sizes(given.x)[1])
        return {"discriminative": -masks.zero_masked(held, counted_frames(self.latents[1], _exists(given)))}

    def log_identity(self, z2: tf.Tensor) -> tf.Tensor:
        """log p(i | z2) of each row i of the table, `[..., Z2]` to `[..., num_sequences]`, nats."""
        table = tf.convert_to_tensor(self.table)
        # |z2|^2 is the same for all rows.
        closeness = tf.einsum("...z,iz->...i", z2, table) - 0.5 * tf.reduce_sum(tf.square(table), axis=1)
        return tf.nn.log_softmax(closeness / self.z2_scale**2, axis=-1)

    @property
    def penalty_reads(self) -> Sequence[str]:
        return ("h",) if self.num_sequences else ()

    def penalties(self, state: State, g: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {name: values[..., 0] for name, values in g.items()}

    def absorb_mu2(self, state: State, mu2: tf.Tensor) -> State:
        return {**state, "mu2": mu2}

    def absorb_z2(self, state: State, z2: tf.Tensor) -> State:
        return {**state, "z2": z2}

    def absorb_z1(self, state: State, z1: tf.Tensor) -> State:
        """(12.3): h of this frame, or `[B, T, H]` of all frames at once, each segment by itself."""
        inputs = concat(z1, state["z2"], state.get("u"))
        if z1.shape.rank == 3:
            return {**state, "h": self._by_segment(self.rnn, inputs)}
        begins = segments.begins(state["place"], self.segment_length)
        h, memory = _restarted(self.rnn, RecurrentState(state["h"], state["memory"]), inputs, begins)
        return {**state, "h": h, "memory": memory}

    def observe(self, state: State) -> tf.Tensor:
        """(12.4): features of p(x_t | .) from h_t."""
        return self.decoder(state["h"])

    def absorb_x(self, state: State, e: Any) -> State:
        """The frame closes; z1 and z2 are held over the segment by whoever draws them."""
        return {**{k: v for k, v in state.items() if k not in ("z2", "u")}, "place": state["place"] + 1}

    def _by_segment(self, rnn: Recurrent, x: tf.Tensor) -> tf.Tensor:
        """A recurrence that begins anew with each segment, `[B, T, F]` to `[B, T, H]`."""
        (size, length), x = _sizes(x), tf.cast(x, self.compute_dtype)
        if isinstance(size, int) and not isinstance(length, int) and not random.is_training():
            # Segments side by side would be rows of an unknown number, which the loops of LiteRT cannot have.
            begins = tf.tile(segments.begins(tf.range(length), self.segment_length)[None, :, None], [size, 1, 1])

            def step(state: RecurrentState, inputs: tuple[tf.Tensor, tf.Tensor]) -> tuple[RecurrentState, tf.Tensor]:
                state = _restarted(rnn, state, *inputs)
                return state, state.h

            return scan(step, rnn.initial_state(size), (x, begins))[1]
        parts = -(-length // self.segment_length)
        return segments.joined(rnn(segments.cut(x, self.segment_length), parts=parts), size, length)

    def _summary(self, rnn: Recurrent, x: tf.Tensor, exists: tf.Tensor) -> tf.Tensor:
        """Its last state in each segment, `[B, S, H]`."""
        h = segments.cut(self._by_segment(rnn, x), self.segment_length)
        return segments.by_sequence(masks.last(h, exists), _sizes(x)[0])

    def get_config(self) -> dict:
        names = ("global_dim", "segment_length", "z2_scale", "num_sequences", "posterior_units", "decoder_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


def _restarted(rnn: Recurrent, state: RecurrentState, x: tf.Tensor, begins: tf.Tensor) -> RecurrentState:
    """One frame, `[B, F]`, from zeros where a segment `begins`, `[B, 1]`."""
    return rnn.step(tf.nest.map_structure(lambda y: tf.where(begins, tf.zeros_like(y), y), state), x=x)


def _sizes(x: tf.Tensor) -> tuple[tf.Tensor | int, tf.Tensor | int]:
    """B and T of `[B, T, .]`, as numbers where they are known."""
    return x.shape[0] or tf.shape(x)[0], x.shape[1] or tf.shape(x)[1]


def _exists(given: Evidence) -> tf.Tensor:
    """Which frames exist, `[B, T]`."""
    exists = tf.ones(tf.shape(given.x)[:2], tf.bool) if given.mask is None else given.mask
    return tf.ensure_shape(exists, given.x.shape[:2])


@keras.saving.register_keras_serializable(package="tfdvae")
class FHVAE(RecurrentDVAE):
    """Factorised hierarchical VAE (Hsu, Zhang and Glass 2017): see `FHVAECell` for equations and arguments.

    Its latents are "mu2" of the sequence, "z2" and "z1" of each segment, held over its frames. Frames cannot be
    streamed, as a segment is inferred as a whole.
    """

    cell_class = FHVAECell
    takes_frame_skips = False

    @property
    def indexed_sequences(self) -> int:
        return self.cell.num_sequences

    @property
    def sequence_means(self) -> tf.Tensor:
        """mu2 of each training sequence as the table has it, `[num_sequences, Z2]`; ValueError where there is none."""
        if not self.cell.num_sequences:
            raise ValueError("There is no table: make the model with `num_sequences`, or ask `encode` for mu2.")
        return tf.convert_to_tensor(self.cell.table)

    def swap(
        self,
        x: Any,
        x_other: Any,
        *,
        mask: Any = None,
        mask_other: Any = None,
        u: Any = None,
        u_other: Any = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> tf.Tensor:
        """What one sequence says, in the voice of another: z1 of x, and z2 of x moved by the difference of both mu2.

        With `x_other` equal to x, along the means, it is `reconstruct`.

        Args:
            x: `[B, T, D]`, or a dict with "x", "mask", "u", "observed" and "context".
            x_other: `[B, T2, D]` likewise, of which only mu2 is used.
            mask, mask_other, u, u_other: of the two, as everywhere.
            sample: draw latents and frames instead of following their means.
            seed: of what is drawn; the next of the model's own by default.

        Returns:
            Frames in the shape of x; zeros where none exists.

        Raises:
            ValueError: if the two hold different numbers of sequences.
        """
        own, other = self.check(x, mask, u), self.check(x_other, mask_other, u_other)
        validation.same_rows(x=own.x, x_other=other.x)
        found = self._swap(own, other, self.next_seed(seed), validation.switch("sample", sample))
        return restore_frames(found, self.frame_shape)

    @tf.function(reduce_retracing=True, autograph=False)
    def _swap(self, own: Batch, other: Batch, seed: tf.Tensor, sample: bool) -> tf.Tensor:
        size, length = tf.shape(own.x)[0], tf.shape(own.x)[1]
        noise, uniform = self.draw(seed, size, length, sample)
        of_other = self.draw_noise(random.fold_in(seed, "other"), size, tf.shape(other.x)[1]) if sample else None
        packed, how = self.pack(own)
        given = self.hoist(packed, noise)
        known = given.samples()
        move = self.infer(*other, of_other).latents["mu2"].z - given.state["mu2"]
        state = self.cell.absorb_u(given.state, given.c)
        state = self.cell.absorb_z2(state, known["z2"] + move[:, None])
        state = self.cell.absorb_z1(state, known["z1"])
        out = self.emit(packed.within(self.frames).params(self.cell.observe(state)), uniform)
        return masks.zero_masked(out, packed.mask) if how is None else masks.unpack(out, how)
