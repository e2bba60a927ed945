"""VRAE (Fabius and van Amersfoort 2014)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdvae import masks, random
from tfdvae.layers.cell import StochasticCell, concat
from tfdvae.layers.latent import Evidence, Latent
from tfdvae.layers.recurrent import RecurrentState
from tfdvae.models.recurrent import RecurrentDVAE
from tfdvae.types import State

__all__ = ["LearnedState", "VRAE", "VRAECell"]


@keras.saving.register_keras_serializable(package="tfdvae")
class VRAECell(StochasticCell):
    """Variational recurrent autoencoder: one latent vector per sequence, s.

        p(x, s) = N(s; 0, I) prod_t p(x_t | x_<t, s)            section 2.2 of the paper; survey (12.2)
        p(x, s) = N(s; 0, I) prod_t p(x_t | s)                  `decoder="free_running"`
        q(s | x) = q(s | x_1:T)

        h_t = RNN([x_t, u_t], h_{t-1}), h_0 = 0; mean and scale of s linear in h_T          encoder
        h_0 = tanh(W s + b), h_t = RNN([x_{t-1}, u_t], h_{t-1}); p(x_t | .) from h_t        decoder

    x_0 is zero. The paper's recurrence is a tanh layer, `cell="rnn"`; an LSTM, which its section 4 suggests, is the
    default. s sets the output h_0 of each layer of the stack, an LSTM's carry starts at zero. The paper's
    log(sigma) is linear in h_T; `scale="exp"`, the default, is that with the factor two of a log-variance. Its authors
    weigh the divergence by 0.01: `compile(beta=0.01)`. They use 500 units, and 2 or 20 latent dimensions.

    "free_running": the authors' program feeds the decoder its own output in training as well, so that s alone carries
    the sequence. What is fed back here is that output before the observation's linear map: the features of
    p(x_{t-1} | .), from which all its parameters are linear, in place of x_{t-1} (zero at the first frame). The
    decoder then never sees x, drawn or given, and h_1:T follows from s and u.

    Args:
        latent_dim: Z, width of s. There are no latents per frame.
        decoder: "teacher_forced" (the paper's text) or "free_running" (its authors' program).
        reverse: the encoder reads from the last frame to the first (the paper's section 4), which ties s closer to
            how a sequence begins.
        decoder_units: hidden layers between h_t and p(x_t | .); the paper has none.
    """

    observe_reads = ("h",)

    def __init__(
        self,
        latent_dim: int = 20,
        *,
        decoder: str = "teacher_forced",
        reverse: bool = False,
        decoder_units: Sequence[int] = (),
        scale: str = "exp",
        **kwargs,
    ):
        super().__init__(latent_dim, scale=scale, **kwargs)
        if latent_dim < 1:
            raise ValueError(f"`latent_dim` must be at least 1, got {latent_dim}.")
        if decoder not in ("teacher_forced", "free_running"):
            raise ValueError(f"`decoder` must be 'teacher_forced' or 'free_running', got {decoder!r}.")
        self.decoder = decoder
        self.reverse = reverse
        self.decoder_units = tuple(decoder_units)
        self.encoder_rnn = self.recurrent("encoder_rnn")
        self.posterior_head = self.head("posterior_head", self.z_posterior)
        self.decoder_start = keras.layers.Dense(
            self.num_layers * self.units, "tanh", dtype=self.dtype_policy, name="decoder_start"
        )
        self.rnn = self.recurrent("rnn")
        self.output_net = self.mlp(self.decoder_units, "decoder")

    def build_parts(self, x_dim: int, u_dim: int) -> None:
        self.encoder_rnn.build((None, x_dim + u_dim))
        self.posterior_head.build((None, self.units))
        self.decoder_start.build((None, self.latent_dim))
        self.rnn.build((None, self.feedback_dim + u_dim))
        self.output_net.build((None, self.units))

    @property
    def latents(self) -> tuple[Latent, ...]:
        """s alone, once per sequence, with the prior N(0, I)."""
        return (Latent("s", self.z_prior, self.z_posterior, self.posterior_s, self.absorb_s, level="sequence"),)

    @property
    def causal(self) -> bool:
        return False

    @property
    def at_once(self) -> bool:
        return self.decoder == "teacher_forced"

    @property
    def features_dim(self) -> int:
        return self.output_net.output_dim(self.units)

    @property
    def feedback_dim(self) -> int:
        """Width of what the decoder reads of the frame before."""
        return self.x_dim if self.decoder == "teacher_forced" else self.features_dim

    def initial_state(self, batch_size: tf.Tensor | int) -> State:
        return {"x": self.zeros(batch_size, self.feedback_dim), **self.rnn_state(self.rnn, batch_size)}

    def posterior_s(self, given: Evidence) -> Any:
        """q(s | x_1:T) from the encoder's last state."""
        xu = concat(given.x, given.c)
        if self.reverse:
            end = self.encoder_rnn(xu, exists=given.mask, backward=True)[:, 0]
        else:
            end = masks.last(self.encoder_rnn(xu), given.mask)
        return self.posterior_head(end)

    def absorb_s(self, state: State, s: tf.Tensor) -> State:
        """h_0 = tanh(W s + b), of each layer."""
        outputs = tf.split(self.decoder_start(s), self.num_layers, axis=-1)
        carry = (self.zeros(tf.shape(outputs[0])[0], self.units),) if self.rnn.cell == "lstm" else ()
        flat = [y for h in outputs for y in (*carry, h)]
        return {**state, "h": flat[-1], "memory": tuple(flat[:-1])}

    def previous(self, e: tf.Tensor, latents: Mapping[str, tf.Tensor]) -> State:
        return {"x": masks.shift(e)} if self.at_once else {}

    def absorb_u(self, state: State, c: Any) -> State:
        """h_t from what is fed back of frame t - 1, u_t and h_{t-1}."""
        return self.step_rnn(self.rnn, state, concat(state["x"], c))

    def observe(self, state: State) -> tf.Tensor:
        """Features of p(x_t | .) from h_t."""
        return self.output_net(state["h"])

    def absorb_x(self, state: State, e: tf.Tensor) -> State:
        return {**state, "x": e if self.decoder == "teacher_forced" else self.observe(state)}

    def get_config(self) -> dict:
        names = ("decoder", "reverse", "decoder_units")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}


@keras.saving.register_keras_serializable(package="tfdvae")
class VRAE(RecurrentDVAE):
    """Variational recurrent autoencoder (Fabius and van Amersfoort 2014): see `VRAECell` for equations and arguments.

    Its methods are the uses that the paper makes of it.
    """

    cell_class = VRAECell
    takes_frame_skips = False

    def latent_map(self, x: Any, mask: Any = None, u: Any = None) -> tf.Tensor:
        """Where sequences lie in latent space (the paper's figures 1 and 2): means of q(s | x), `[B, Z]`."""
        return self.encode(x, mask, u)["s"].loc

    def interpolate(
        self,
        x_a: Any,
        x_b: Any,
        num: int = 5,
        length: int | None = None,
        *,
        u: Any = None,
        sample: bool = False,
        seed: int | None = None,
    ) -> tf.Tensor:
        """Sequences on the way from one to another (section 3.3): equidistant points on the line between the means of

        q(s | x_a) and q(s | x_b), both ends included, decoded.

        Args:
            x_a, x_b: frames `[B, T, D]`, or dicts with "x", "mask", "u".
            num: points on the line.
            length: frames of each result; those of `x_a` unless given.
            u: inputs `[B, length, U]` of the results, in driven mode.
            sample: draw frames instead of following their means.

        Returns:
            `[num, B, length, D]`.

        Raises:
            ValueError: if there are fewer than two points, or different numbers of sequences at the two ends.
        """
        if num < 2:
            raise ValueError(f"`num` counts both ends of the line and must be at least 2, got {num}.")
        a, b = self.latent_map(x_a), self.latent_map(x_b)
        if a.shape != b.shape:
            raise ValueError(f"Expected as many sequences in `x_b` as in `x_a`, got {b.shape[0]} and {a.shape[0]}.")
        length = self.check(x_a).x.shape[1] if length is None else length
        weight = tf.linspace(0.0, 1.0, num)[:, None, None]
        points = tf.reshape((1.0 - weight) * a + weight * b, [-1, a.shape[-1]])
        inputs = None if u is None else tf.tile(tf.convert_to_tensor(u), [num, 1, 1])
        drawn = self.generate(length, u=inputs, latents={"s": points}, sample=sample, seed=seed)
        return tf.reshape(drawn.x, [num, a.shape[0], length, self.x_dim])

    def endless(
        self,
        length: int,
        window: int = 40,
        *,
        batch_size: int = 1,
        start: Any = None,
        u: Any = None,
        sample: bool = True,
        seed: int | None = None,
    ) -> tf.Tensor:
        """Sequences of any length, for a model trained on windows of `window` frames that overlap by half (3.2, 3.3).

        The first window is decoded from s ~ N(0, I). Then, again and again, the last `window // 2` frames are encoded,
        s is drawn from their posterior, the decoder is taken through them, and goes on for the other half of a window.
        So each latent vector explains what two neighbouring windows share.

        Args:
            length: frames wanted.
            window: frames of a training window.
            batch_size: B, where `start` is not given.
            start: latent vectors `[B, Z]` of the first window, for instance from `latent_map`.
            u: inputs `[B, length, U]`, in driven mode.
            sample: draw s and x instead of following their means.

        Returns:
            `[B, length, D]`.

        Raises:
            ValueError: if `window` or `length` is too small.
        """
        if window < 2 or length < 1:
            raise ValueError(f"`window` must be at least 2 and `length` at least 1, got {window} and {length}.")
        u = self._inputs(u, length)
        seed_tensor = self.next_seed(seed)

        def part(begin: int, end: int, past: tf.Tensor | None, latents: Any) -> tf.Tensor:
            own = int(random.fold_in(seed_tensor, begin)[0])
            inputs = None if u is None else u[:, begin:end]
            prefix = past
            if past is not None and u is not None:
                prefix = {"x": past, "u": u[:, begin - past.shape[1] : begin]}
            options = {"prefix": prefix, "u": inputs, "latents": latents, "sample": sample, "seed": own}
            return self.generate(end - begin, batch_size, **options).x

        overlap = window // 2
        parts = [part(0, min(window, length), None, None if start is None else {"s": start})]
        done = min(window, length)
        while done < length:
            end = min(done + window - overlap, length)
            parts.append(part(done, end, parts[-1][:, -overlap:], None))
            done = end
        return tf.concat(parts, axis=1)

    def to_rnn(
        self,
        num_outputs: int,
        *,
        part: str = "decoder",
        x: Any = None,
        mask: Any = None,
        u: Any = None,
        activation: Any = None,
        return_sequences: bool = True,
    ) -> keras.Model:
        """A supervised recurrent network that starts from this model's weights and state (introduction, section 4).

        Keras' own recurrent layers and a new Dense layer, for any loss. Its input is [x_t, u_t], `[B, T, D + U]`. The
        initial state is a weight as well, and trains along; copies, so this model stays as it is.

        Args:
            num_outputs: width of the new output layer.
            part: "decoder": its recurrent layers and its h_0; "encoder": those that read x, from a state of zeros.
            x, mask, u: sequences whose mean latent vector gives the decoder's h_0; without, the prior's mean does.
            activation: of the output layer.
            return_sequences: an output per frame, `[B, T, num_outputs]`, or one per sequence, `[B, num_outputs]`.

        Raises:
            ValueError: for an unknown part, an unbuilt model, or a free-running decoder, which has no input.
        """
        self._require_built("to_rnn")
        if part not in ("decoder", "encoder"):
            raise ValueError(f"`part` must be 'decoder' or 'encoder', got {part!r}.")
        if part == "decoder" and self.cell.decoder == "free_running":
            raise ValueError("A free-running decoder reads no frames, so it is no network over them: part='encoder'.")
        rnn, state = self.cell.encoder_rnn, self.cell.encoder_rnn.initial_state(1)
        if part == "decoder":
            given = {} if x is None else {"s": tf.reduce_mean(self.latent_map(x, mask, u), 0, keepdims=True)}
            state = self.start_stream(1, given)
            rnn, state = self.cell.rnn, RecurrentState(state["h"], state["memory"])
        inputs = keras.Input([None, self.x_dim + self.u_dim])
        y, values = inputs, []
        for i, (layer, start) in enumerate(zip(rnn.stack, rnn.layer_states(state), strict=True)):
            learned = LearnedState(self.cell.units, len(start), name=f"initial_state_{i}")
            every = return_sequences or i + 1 < len(rnn.stack)
            copy = type(layer)(self.cell.units, return_sequences=every, name=layer.name)
            y = copy(y, initial_state=learned(inputs))
            values += [(learned, [tf.concat(start, axis=0)]), (copy, layer.get_weights())]
        model = keras.Model(inputs, keras.layers.Dense(num_outputs, activation, name="output")(y))
        for layer, weights in values:
            layer.set_weights(weights)
        return model


@keras.saving.register_keras_serializable(package="tfdvae")
class LearnedState(keras.layers.Layer):
    """The state `[B, H]` of a recurrent layer before the first frame, the same weights for every sequence.

    Called with the layer's input, for the size of its batch; returns a list of `count` tensors, in Keras' order (an
    LSTM's output before its carry).

    Args:
        units: H.
        count: tensors of the state: 2 for an LSTM, 1 for the others.
    """

    def __init__(self, units: int, count: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.count = count

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.value = self.add_weight(shape=(self.count, self.units), initializer="zeros", name="value")

    def call(self, x: tf.Tensor) -> list[tf.Tensor]:
        shape = (keras.ops.shape(x)[0], 1)
        return [keras.ops.tile(self.value[i : i + 1], shape) for i in range(self.count)]

    def get_config(self) -> dict:
        return {**super().get_config(), "units": self.units, "count": self.count}
