"""The matrices of a locally linear system, mixed anew at each frame by what came before (Fraccaro et al. 2017)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae.layers.mlp import flat_call
from tfdvae.layers.recurrent import Recurrent, RecurrentState

__all__ = ["MatrixBank", "MixingNetwork"]


@keras.saving.register_keras_serializable(package="tfdvae")
class MixingNetwork(keras.layers.Layer):
    """Weights of the mixture, alpha_t = softmax(dense(LSTM(a_0, ..., a_{t-1}))), with a learned a_0.

    alpha_t knows a_<t alone. The network runs over a sequence at once (`network(a)`) or frame by frame (`step`), on
    the same weights. The softmax is always in float32.

    Args:
        num_mixtures: K.
        units: H, width of the recurrent layer.
        cell: "lstm", "gru" or "rnn".
    """

    def __init__(self, num_mixtures: int, units: int = 50, cell: str = "lstm", **kwargs):
        super().__init__(**kwargs)
        if num_mixtures < 1:
            raise ValueError(f"`num_mixtures` must be at least 1, got {num_mixtures}.")
        self.num_mixtures = num_mixtures
        self.units = units
        self.cell = cell
        self.rnn = Recurrent(units, cell, dtype=self.dtype_policy, name="rnn")
        self.logits = keras.layers.Dense(num_mixtures, dtype=self.dtype_policy, name="logits")

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = input_shape[-1]
        self.first = self.add_weight(name="first", shape=(width,), initializer="zeros", dtype="float32", autocast=False)
        self.rnn.build((None, width))
        self.logits.build((None, self.units))

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.num_mixtures)

    def initial(self, batch_size: tf.Tensor | int) -> tuple[tf.Tensor, RecurrentState]:
        """a_0 `[B, A]`, and the state that goes with it."""
        first = tf.convert_to_tensor(self.first)
        return tf.zeros([batch_size, first.shape[0]]) + first, self.rnn.initial_state(batch_size)

    def call(self, a: tf.Tensor) -> tf.Tensor:
        """alpha_1:T `[B, T, K]` from a_1:T `[B, T, A]`, of which the last is not used."""
        before, _ = self.initial(tf.shape(a)[0])
        shifted = tf.concat([before[:, None], tf.cast(a[:, :-1], tf.float32)], axis=1)
        return self._weights(self.rnn(tf.cast(shifted, self.compute_dtype)))

    def step(self, before: tf.Tensor, state: RecurrentState) -> tuple[tf.Tensor, RecurrentState]:
        """alpha_t `[B, K]` from a_{t-1} `[B, A]` and the state."""
        state = self.rnn.step(state, x=before)
        return self._weights(state.h), state

    def _weights(self, h: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(tf.cast(flat_call(self.logits, h), tf.float32), axis=-1)

    def get_config(self) -> dict:
        return {**super().get_config(), "num_mixtures": self.num_mixtures, "units": self.units, "cell": self.cell}


@keras.saving.register_keras_serializable(package="tfdvae")
class MatrixBank(keras.layers.Layer):
    """K triples of matrices (A, B, C), and their means under weights alpha: always float32.

    Every A starts near the identity; B and C are small, as the authors start them.

    Args:
        num_mixtures: K.
        latent_dim: Z.
        encoding_dim: A, width of a_t.
    """

    def __init__(self, num_mixtures: int, latent_dim: int, encoding_dim: int, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_mixtures = num_mixtures
        self.latent_dim = latent_dim
        self.encoding_dim = encoding_dim

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the matrices for inputs `[..., U]`; U = 0 makes no B."""
        count, size = self.num_mixtures, self.latent_dim
        self.u_dim = input_shape[-1] or 0

        def matrices(name: str, rows: int, columns: int, spread: float) -> keras.Variable:
            normal = keras.initializers.RandomNormal(stddev=spread)
            return self.add_weight(name=name, shape=(count, rows, columns), initializer=normal, dtype="float32")

        self.transitions = matrices("transitions", size, size, 0.01)
        self.transitions.assign_add(tf.eye(size, batch_shape=[count]))
        self.emissions = matrices("emissions", self.encoding_dim, size, 0.05)
        self.controls = matrices("controls", size, self.u_dim, 0.05) if self.u_dim else None

    def transition(self, alpha: tf.Tensor) -> tf.Tensor:
        """A, `[..., Z, Z]`, from weights `[..., K]`."""
        return _mix(alpha, tf.convert_to_tensor(self.transitions))

    def emission(self, alpha: tf.Tensor) -> tf.Tensor:
        """C, `[..., A, Z]`."""
        return _mix(alpha, tf.convert_to_tensor(self.emissions))

    def drift(self, alpha: tf.Tensor, u: tf.Tensor | None) -> tf.Tensor | None:
        """B u, `[..., Z]`, from weights `[..., K]` and inputs `[..., U]`; None without inputs."""
        if u is None:
            return None
        columns = tf.reshape(tf.transpose(tf.convert_to_tensor(self.controls), [2, 0, 1]), [self.u_dim, -1])
        each = flat_call(lambda y: tf.matmul(y, columns), tf.cast(u, tf.float32))
        shape = tf.concat([tf.shape(u)[:-1], [self.num_mixtures, self.latent_dim]], axis=0)
        return tf.reduce_sum(tf.expand_dims(alpha, -1) * tf.reshape(each, shape), axis=-2)

    def get_config(self) -> dict:
        config = {
            "num_mixtures": self.num_mixtures,
            "latent_dim": self.latent_dim,
            "encoding_dim": self.encoding_dim,
        }
        return {**super().get_config(), **config}


def _mix(alpha: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """sum_k alpha_k M_k: `[..., K]` and `[K, M, N]` to `[..., M, N]`, as one matrix product."""
    count, rows, columns = matrices.shape
    flat = flat_call(lambda y: tf.matmul(y, tf.reshape(matrices, [count, rows * columns])), alpha)
    mixed = tf.reshape(flat, tf.concat([tf.shape(alpha)[:-1], [rows, columns]], axis=0))
    return tf.ensure_shape(mixed, alpha.shape[:-1].concatenate([rows, columns]))
