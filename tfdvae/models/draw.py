"""DRAW (Gregor et al. 2015): pictures that are drawn glimpse by glimpse."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfdvae import families, observations, random, validation
from tfdvae.layers import glimpses
from tfdvae.layers.canvas import Canvas, ContextOnCanvas
from tfdvae.layers.cell import concat
from tfdvae.layers.latent import Latent, no_state
from tfdvae.layers.recurrent import Recurrent, RecurrentState
from tfdvae.loop import scan
from tfdvae.models.base import Packed
from tfdvae.models.drawings import DrawingsMixin, Seen, each_picture, flattened
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.types import Gaussian, LatentPath, Trajectory
from tfdvae.validation import Only

__all__ = ["DRAW"]


class _Drawn(NamedTuple):
    """The state of a drawing: encoder (empty where nothing is inferred), decoder, and canvas `[N, M D]`, float32."""

    encoder: RecurrentState | tuple[()]
    decoder: RecurrentState
    canvas: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class DRAW(DrawingsMixin, SequenceDVAE):
    """Deep recurrent attentive writer: each frame is a picture by itself, drawn in G glimpses on a canvas c.

        p(x_t, z_t) = p(x_t | c_G(z_t1, ..., z_tG)) prod_g N(z_tg; 0, I)
        q(z_t | x_t) = prod_g q(z_tg | x_t, z_t1, ..., z_t,g-1)

        x^_g = x - E[x | c_{g-1}]                           (3)    what is still missing
        r_g = read(x, x^_g, h^dec_{g-1})                    (4)
        h^enc_g = RNN([r_g, h^dec_{g-1}], h^enc_{g-1})      (5)
        z_g ~ N(mu(h^enc_g), sigma(h^enc_g)^2)              (1), (2), (6)
        h^dec_g = RNN(z_g, h^dec_{g-1})                     (7)
        c_g = c_{g-1} + write(h^dec_g)                      (8)

    Gregor et al. (2015), "DRAW: a recurrent neural network for image generation", sections 2 and 3 (their numbering
    from memory), whose T is the number of glimpses. A still picture is a sequence of one frame, `[B, 1, D]` or `[B, 1,
    H, W, C]`: `x[:, None]` of pictures `[B, D]` or `[B, H, W, C]`, whose rows would be taken for frames without that
    axis. Frames of longer sequences are drawn independently, so that `forecast` and new frames of `generate` are drawn
    from the prior whatever came before; there is no `step`. All glimpses of a frame are one latent "z" of G Z numbers,
    the first glimpse in front, with the conditionals of q along the path: its KL is the sum over glimpses of (10), and
    log q that of z_1, ..., z_G together.

    With `attention` read and write look through windows of N x N Gaussian filters, (19)-(29), told by the decoder's
    state; without, they are the whole pictures (17) and a linear layer (18). c_0 is the bias of p(x | .), and the first
    states of both recurrences are learned as well: that the paper learns all three is from memory too. Deviations:
    windows tile the picture at first, since at the paper's sizes zeros read nothing but the corners of digits, and
    nothing was learned (`glimpses.tiling`). E[x | c] for a sigmoid, so that any observation goes, whose parameters the
    canvas holds (of M D parameters, M pictures; where they are no whole pictures, the observation maps a canvas of D to
    them). What was not observed has no error where the networks see the `indicator`, which is read as a third picture.
    Inputs u_t, which the paper has none of, join both recurrences; the context of a sequence moves the first canvas as
    well.

    Example:
        model = tfdvae.DRAW(**tfdvae.presets.papers.draw_mnist)
        model.fit(pictures[:, None], epochs=10)                     # [B, 28, 28, 1] of 0 and 1
        figure = tfdvae.plots.plot_drawings(model.drawing(pictures[:8, None]))

    Args:
        latent_dim: Z, of each glimpse.
        num_glimpses: G.
        attention: whether windows are read and written, or whole pictures.
        read_size, write_size: N of the windows that are read and written, with `attention`.
        picture: height and width of frames that are vectors; None for squares where they can be, and else one row.
        units, cell, num_layers: of both recurrences; "lstm", "gru" or "rnn".
        dropout: rate on what is read and between recurrent layers, one mask per picture.
        scale, min_scale, scale_floor: of q, see `tfdvae.families.DiagonalGaussian`.
        observation: p(x_t | c), a name or an Observation.
        seed: all randomness of training and evaluation follows from it.
        **options: how frames enter and leave the model, see `DVAE`.

    Raises:
        ValueError: numbers below 1, a rate outside of [0, 1), frame networks, since pixels are read and written; sizes
            of windows without `attention`; when built, frames that are no pictures of that size, or of one column where
            `picture` does not say so.
    """

    used_with = {"read_size": Only("attention", (True,)), "write_size": Only("attention", (True,))}
    not_causal = "draws every frame as a picture by itself, whatever came before"

    def __init__(
        self,
        latent_dim: int = 16,
        *,
        num_glimpses: int = 8,
        attention: bool = True,
        read_size: int = 2,
        write_size: int = 5,
        picture: Sequence[int] | None = None,
        units: int = 128,
        cell: str = "lstm",
        num_layers: int = 1,
        dropout: float = 0.0,
        scale: str = "softplus",
        min_scale: float = 1e-4,
        scale_floor: str = "sum",
        observation: str | Mapping | observations.Observation = "gaussian",
        seed: int = 0,
        **options,
    ):
        for name in ("frame_encoder", "frame_decoder", "frame_networks"):
            if options.get(name) is not None:
                raise ValueError(f"DRAW has no use for `{name}`, since it reads and writes pixels: leave it out.")
        super().__init__(observation, seed, **options)
        self.latent_dim = validation.whole("latent_dim", latent_dim, at_least=1)
        self.num_glimpses = validation.whole("num_glimpses", num_glimpses, at_least=1)
        self.read_size = validation.whole("read_size", read_size, at_least=1)
        self.write_size = validation.whole("write_size", write_size, at_least=1)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1), got {dropout}.")
        self.attention = attention
        self.picture = None if picture is None else validation.widths("picture", picture)
        self.units = units
        self.cell = cell
        self.num_layers = num_layers
        self.dropout = dropout
        self.scale = scale
        self.min_scale = min_scale
        self.scale_floor = scale_floor
        scales, policy = (scale, min_scale, scale_floor), {"dtype": self.dtype_policy}
        self.of_glimpse = families.DiagonalGaussian(latent_dim, *scales)
        self.of_frame = families.DiagonalGaussian(num_glimpses * latent_dim, *scales)
        self.encoder = Recurrent(units, cell, num_layers, dropout, name="encoder", **policy)
        self.decoder = Recurrent(units, cell, num_layers, dropout, name="decoder", **policy)
        self.posterior_head = families.Head(self.of_glimpse, name="posterior_head", **policy)

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        maps, rest = divmod(self.observation.params_dim_for(self.frames.x_dim), self.frames.x_dim)
        self.canvas = Canvas.of(self.frame_shape, self.picture, 1 if rest else maps)
        self.frames.decoder_spec = ContextOnCanvas(self.context_dim, dtype=self.dtype_policy, name="context_on_canvas")
        written = self.canvas.width
        pictures = x_dim + self.frames.x_dim
        if self.attention:
            pictures = pictures // (self.canvas.height * self.canvas.columns) * self.read_size**2
            written = self.canvas.planes * self.write_size**2
            self.read_head = self._window_head("read_head", self.read_size)
            self.write_head = self._window_head("write_head", self.write_size)
        self.write_layer = keras.layers.Dense(written, dtype=self.dtype_policy, name="write_layer")
        self.write_layer.build((None, self.units))
        self.encoder.build((None, pictures + self.units + u_dim))
        self.posterior_head.build((None, self.units))
        self.decoder.build((None, self.latent_dim + u_dim))
        for name, rnn in (("first_encoder", self.encoder), ("first_decoder", self.decoder)):
            shape = (len(tf.nest.flatten(rnn.initial_state(1))), self.units)
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros"))

    def _window_head(self, name: str, size: int) -> keras.layers.Layer:
        """(21) as a layer, whose windows tile the picture before they are trained."""
        first = keras.initializers.Constant(glimpses.tiling(self.canvas.height, self.canvas.columns, size))
        head = keras.layers.Dense(glimpses.NUM_NUMBERS, bias_initializer=first, dtype=self.dtype_policy, name=name)
        head.build((None, self.units))
        return head

    @property
    def features_dim(self) -> int:
        return self.canvas.width

    @property
    def latents(self) -> tuple[Latent, ...]:
        """All glimpses of a frame, each of which sees those before it, in a loop of its own."""
        return (Latent("z", self.of_frame, self.of_frame, self.infer_pictures, no_state),)

    # Equations, for N pictures.

    def error(self, x: tf.Tensor, known: tf.Tensor | None, canvas: tf.Tensor, io: Any) -> tf.Tensor:
        """(3): what the canvas has not said of pictures as the networks see them, `[N, D]`."""
        said, _ = self.canvas.parted(io.see(io.mean(io.params(canvas))), self.indicator)
        return x - said if known is None else known * (x - said)

    def read(self, pictures: Sequence[tf.Tensor], h: tf.Tensor) -> tuple[tf.Tensor, Seen]:
        """(4): pictures `[N, D]` as a whole (17), or through a window (27)."""
        if not self.attention:
            return concat(*pictures), ()
        of = self.canvas
        seen = glimpses.window(self.read_head(h), of.height, of.columns, self.read_size)
        planes = tf.concat([of.as_planes(picture) for picture in pictures], axis=1)
        found = glimpses.read(planes, seen, self.read_size)
        return tf.reshape(found, [-1, planes.shape[1] * self.read_size**2]), seen

    def write(self, h: tf.Tensor) -> tuple[tf.Tensor, Seen]:
        """What (8) adds to the canvas, `[N, M D]`: everywhere (18), or in a window (28), (29)."""
        patch = tf.cast(self.write_layer(h), tf.float32)
        if not self.attention:
            return patch, ()
        of = self.canvas
        drawn = glimpses.window(self.write_head(h), of.height, of.columns, self.write_size)
        patch = tf.reshape(patch, [-1, of.planes, self.write_size, self.write_size])
        return of.from_planes(glimpses.write(patch, drawn, of.height, of.columns)), drawn

    def draw_on(self, state: _Drawn, z: tf.Tensor, u: tf.Tensor | None) -> tuple[_Drawn, Seen]:
        """(7), (8): one glimpse on the canvas."""
        decoder = self.decoder.step(state.decoder, x=concat(tf.cast(z, self.compute_dtype), u))
        change, drawn = self.write(decoder.h)
        return state._replace(decoder=decoder, canvas=state.canvas + change), drawn

    def infer_pictures(self, rows: Packed, noise: tf.Tensor | None, told: bool = False) -> tuple:
        """(3)-(8) for N pictures `[N, E]` and noise `[N, G Z]`: the last canvas, z, and mean and scale of q; or what is
        `told` of all glimpses. All `[N, .]`, glimpses one after the other."""
        io = rows.within(self.frames)
        x, known = self.canvas.parted(rows.seen, self.indicator)

        def glimpse(state: _Drawn, noise_g: tf.Tensor | None) -> tuple[_Drawn, Any]:
            missing = self.error(x, known, state.canvas, io)
            r, seen = self.read([y for y in (x, known, missing) if y is not None], state.decoder.h)
            r = random.dropout(r, self.dropout, "read")
            encoder = self.encoder.step(state.encoder, x=concat(state.decoder.h, r, rows.u))
            q = self.posterior_head(encoder.h)
            z = self.of_glimpse.sample(q, noise_g)
            state, drawn = self.draw_on(state._replace(encoder=encoder), z, rows.u)
            return state, (io.mean(io.params(state.canvas)), seen, drawn) if told else (z, *q)

        state, found = scan(glimpse, self._blank(x, True), self._by_glimpse(noise), length=self.num_glimpses)
        return self._told(*found) if told else (state.canvas, *map(flattened, found))

    def draw_pictures(self, z: tf.Tensor, u: tf.Tensor | None, io: Any = None) -> tuple:
        """(7), (8) for latents `[N, G Z]`: the last canvas `[N, M D]`; with `io` what is told of all glimpses."""

        def glimpse(state: _Drawn, z_g: tf.Tensor) -> tuple[_Drawn, tuple]:
            state, drawn = self.draw_on(state, z_g, u)
            return state, () if io is None else (io.mean(io.params(state.canvas)), (), drawn)

        state, found = scan(glimpse, self._blank(z, False), self._by_glimpse(z))
        return (state.canvas,) if io is None else self._told(*found)

    def _by_glimpse(self, z: tf.Tensor | None) -> tf.Tensor | None:
        """`[N, G Z]` to `[N, G, Z]`."""
        return None if z is None else tf.reshape(z, [-1, self.num_glimpses, self.latent_dim])

    def _blank(self, like: tf.Tensor, encoder: bool) -> _Drawn:
        """The state before the first glimpse, of as many pictures as `like` has rows; its bias is added to the canvas
        by the observation."""
        size = like.shape[0] or tf.shape(like)[0]
        first = [(self.encoder, self.first_encoder), (self.decoder, self.first_decoder)]
        states = [_first(rnn, values, size) for rnn, values in (first if encoder else first[1:])]
        return _Drawn(states[0] if encoder else (), states[-1], tf.zeros([size, self.canvas.width]))

    # Sequences of frames that are drawn independently.

    def infer_packed(self, packed: Packed, noise: Mapping[str, tf.Tensor] | None) -> Trajectory:
        own = None if noise is None else noise["z"]
        given = (packed._replace(mask=None, observed=None), own)
        canvas, z, *q = each_picture(lambda rows: self.infer_pictures(*rows), given, packed.seen)
        path = LatentPath(z, Gaussian(*q), self.of_frame.standard(z), own)
        return Trajectory({"z": path}, packed.within(self.frames).params(canvas))

    def decode(self, z: tf.Tensor, mask: tf.Tensor | None = None, u: tf.Tensor | None = None) -> tf.Tensor:
        """The last canvas `[B, T, M D]`, from latents `[B, T, G Z]`."""
        return each_picture(lambda rows: self.draw_pictures(*rows), (z, u), z)[0]

    def prior_path(self, u: tf.Tensor | None, noise: Any, size: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        return tf.zeros([size, length, self.of_frame.latent_dim]) if noise is None else noise["z"]

    def continue_path(
        self,
        z: tf.Tensor,
        mask: tf.Tensor | None,
        u: tf.Tensor | None,
        future_u: tf.Tensor | None,
        noise: Any,
        horizon: tf.Tensor,
    ) -> tf.Tensor:
        """No frame knows of another: N(0, I) anew."""
        return self.prior_path(future_u, noise, tf.shape(z)[0], horizon)

    def get_config(self) -> dict:
        names = (
            *("latent_dim", "num_glimpses", "attention", "read_size", "write_size", "picture", "units", "cell"),
            *("num_layers", "dropout", "scale", "min_scale", "scale_floor"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _first(rnn: Recurrent, values: tf.Variable, size: tf.Tensor | int) -> RecurrentState:
    """The learned first state of a recurrence, one row of `values` for each of its entries."""
    zeros = rnn.initial_state(size)
    found = [
        zero + tf.cast(row, zero.dtype) for zero, row in zip(tf.nest.flatten(zeros), tf.unstack(values), strict=True)
    ]
    return tf.nest.pack_sequence_as(zeros, found)
