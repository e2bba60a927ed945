"""A Gaussian over all z of a sequence whose precision is block tridiagonal (Archer et al. 2015)."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae import families, masks
from tfdvae.families.numerics import reshape_last
from tfdvae.layers.information import (
    Chain,
    Potential,
    factor_of_inverse,
    messages,
    messages_in_parallel,
    transposed_matvec,
)
from tfdvae.layers.kalman import matvec, symmetric
from tfdvae.layers.mlp import MLP, flat_call

__all__ = ["TridiagonalPosterior"]


@keras.saving.register_keras_serializable(package="tfdvae")
class TridiagonalPosterior(keras.layers.Layer):
    """q(z_1:T | x) = N(m, P^-1), P block tridiagonal, from features f_t of each frame and f_{t-1}, f_t of neighbours.

        log q = const + sum_t  h_t' z_t - z_t' J_t z_t / 2                     nodes, from f_t;  J_t = F_t F_t'
                      - sum_t  |S_t^-1 z_t - G_t z_{t-1} - r_t|^2 / 2          pairs, from f_{t-1} and f_t;  z_0 = 0

    so that the blocks of the precision are, with W_t = S_t^-1,

        P_{t,t} = J_t + W_t' W_t + G_{t+1}' G_{t+1},    P_{t,t+1} = -G_{t+1}' W_{t+1}.

    F_t and S_t are lower triangular with a positive diagonal, and G_t is any matrix, so P is positive definite whatever
    the networks say: J_t >= 0, and without nodes q is the path z_t = S_t (G_t z_{t-1} + r_t + noise). All Gaussian
    Markov paths have this form. So has the exact posterior of linear-Gaussian dynamics and frames, for which f_t need
    see no more than x_t: S_t G_t is the matrix of the dynamics, S_t S_t' the covariance of their noise, and J_t = C'
    R^-1 C.

    P = R R' with R upper block bidiagonal is found from the last frame to the first, in O(T) as in the paper, or by an
    associative scan. A row of R' z = R^-1 h + noise, h with what r_t adds to it, is then z_t given z_{t-1}, so its
    solution by substitution is a path drawn frame by frame, and log det R is a sum over frames: q(z | x) = prod_t
    q(z_t | z_{t-1}, x_>=t-1), each a Gaussian whose covariance hangs on no z (`Chain`). Nothing needs an inverse or a
    library's Cholesky factor.

    Choices of ours, where the paper leaves them to its code or takes others (from memory; we had no copy of it): it
    eliminates from the first frame and draws backwards, which is the same Gaussian; its networks give the mean itself,
    and here the natural parameter P m, so that every frame moves the means of others as in a smoother.

    Args:
        latent_dim: Z.
        units: hidden layers of the network of nodes and of that of pairs.
        activation, dropout: of these.
        parallel: whether P is taken apart by an associative scan, in log2 T rounds, in place of a loop over time.
        scale, min_scale, scale_floor: how the diagonals of F_t and S_t come from a network (`tfdvae.scales`).
    """

    def __init__(
        self,
        latent_dim: int,
        units: Sequence[int] = (32,),
        *,
        activation: str = "tanh",
        dropout: float = 0.0,
        parallel: bool = False,
        scale: str = "softplus",
        min_scale: float = 1e-4,
        scale_floor: str = "sum",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.units = tuple(units)
        self.activation = activation
        self.dropout = dropout
        self.parallel = parallel
        self.scale = scale
        self.min_scale = min_scale
        self.scale_floor = scale_floor
        self.family = families.TriangularGaussian(latent_dim, scale, min_scale, scale_floor)
        policy = {"dtype": self.dtype_policy}
        self.node_net = MLP(self.units, activation, dropout, name="node", **policy)
        self.pair_net = MLP(self.units, activation, dropout, name="pair", **policy)
        self.node_head = families.Head(self.family, name="node_posterior_head", **policy)
        self.pair_head = families.Head(self.family, name="pair_posterior_head", **policy)
        self.gain = keras.layers.Dense(latent_dim**2, name="gain_posterior_head", **policy)

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = input_shape[-1]
        self.node_net.build((None, width))
        self.node_head.build((None, self.node_net.output_dim(width)))
        pair = 2 * width + 1
        self.pair_net.build((None, pair))
        for layer in (self.pair_head, self.gain):
            layer.build((None, self.pair_net.output_dim(pair)))

    def nodes(self, features: tf.Tensor, known: tf.Tensor) -> Potential:
        """h_t and J_t, `[B, T, Z]` and `[B, T, Z, Z]`; zero where nothing is `known`, `[B, T, 1]`."""
        vector, factor = self.node_head(self.node_net(features))
        precision, known = tf.matmul(factor, factor, transpose_b=True), tf.cast(known, tf.float32)
        return Potential(known * vector, tf.expand_dims(known, -1) * precision)

    def pairs(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """r_t, S_t and G_t. At the first frame f_0 is zero, which the network is told."""
        first = tf.cast(masks.opening(features), features.dtype)
        pair = self.pair_net(tf.concat([masks.shift(features), features, first], axis=-1))
        drift, mixing = self.pair_head(pair)
        gain = tf.cast(flat_call(self.gain, pair), tf.float32)
        return drift, mixing, reshape_last(gain, self.latent_dim, self.latent_dim)

    def call(self, features: tf.Tensor, known: tf.Tensor) -> Chain:
        """q, taken apart by the chain rule, from features of right-padded frames `[B, T, F]`.

        Args:
            known: 1 at frames that exist and hold anything that was observed, 0 at others, whose nodes say nothing:
                `[B, T, 1]`.
        """
        drift, mixing, gain = self.pairs(features)
        run = messages_in_parallel if self.parallel else messages
        vector, precision = run(self.nodes(features, known), gain, tf.ones([self.latent_dim]), drift, mixing)
        # Of S_t^-1 z_t, whose noise has the covariance I before the frames from t on are heard.
        heard = tf.matmul(mixing, tf.matmul(precision, mixing), transpose_a=True)
        own = factor_of_inverse(symmetric(heard) + tf.eye(self.latent_dim))
        factor = tf.matmul(mixing, own)
        shifts = transposed_matvec(own, transposed_matvec(mixing, vector) + drift)
        return Chain(tf.matmul(factor, tf.matmul(own, gain, transpose_a=True)), matvec(factor, shifts), factor)

    def get_config(self) -> dict:
        names = ("latent_dim", "units", "activation", "dropout", "parallel", "scale", "min_scale", "scale_floor")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}
