"""The gated transition of the deep Markov model (Krishnan et al. 2017; survey (B.1)-(B.5))."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdvae import scales
from tfdvae.layers.mlp import MLP, flat_call
from tfdvae.types import Gaussian

__all__ = ["GatedTransition"]


@keras.saving.register_keras_serializable(package="tfdvae")
class GatedTransition(keras.layers.Layer):
    """p(z_t | z_{t-1}, u_t), which chooses per dimension between a linear and a nonlinear mean.

    nu = sigmoid(MLP([z, u])) (B.1), mu_nonlin = MLP([z, u]) (B.2), mu_lin = linear([z, u]) (B.3),
    mu = (1 - nu) mu_lin + nu mu_nonlin (B.4), sigma^2 = softplus(linear(relu(mu_nonlin))) (B.5).
    The linear mean starts at the identity in z, as in the authors' code.

    Args:
        latent_dim: Z.
        units: hidden layers of the gate and of the nonlinear mean.
        min_scale: floor of the standard deviation.
        scale_floor: "sum" adds `min_scale`^2 to the variance, "clip" holds the variance above it.
        inert: start near z_t = z_{t-1}: with gates of 0.05 and a standard deviation of 0.3, in place of 0.5 and 1 by
            which each step loses half of the state. For models whose frames teach the transition through all states
            before.
    """

    def __init__(
        self,
        latent_dim: int,
        units: Sequence[int] = (16,),
        min_scale: float = 1e-4,
        scale_floor: str = "sum",
        inert: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.inert = inert
        self.latent_dim = latent_dim
        self.units = tuple(units)
        self.min_scale = min_scale
        self.scale_floor = scales.check_floor(scale_floor)
        self.gate = MLP(self.units, "relu", dtype=self.dtype_policy, name="gate")
        self.gate_output = keras.layers.Dense(latent_dim, "sigmoid", dtype=self.dtype_policy, name="gate_output")
        self.nonlinear = MLP(self.units, "relu", dtype=self.dtype_policy, name="nonlinear")
        self.nonlinear_output = keras.layers.Dense(latent_dim, dtype=self.dtype_policy, name="nonlinear_output")
        self.linear = keras.layers.Dense(
            latent_dim, kernel_initializer="identity", dtype=self.dtype_policy, name="linear"
        )
        self.variance = keras.layers.Dense(latent_dim, dtype=self.dtype_policy, name="variance")

    def build(self, input_shape: Sequence[int | None]) -> None:
        width = input_shape[-1]
        for hidden, output in ((self.gate, self.gate_output), (self.nonlinear, self.nonlinear_output)):
            hidden.build((None, width))
            output.build((None, hidden.output_dim(width)))
        self.linear.build((None, width))
        self.variance.build((None, self.latent_dim))
        self.variance.bias.assign([-2.252 if self.inert else 0.5413] * self.latent_dim)
        if self.inert:
            self.gate_output.bias.assign([-2.944] * self.latent_dim)

    def call(self, zu: tf.Tensor, first: tf.Tensor | None = None) -> Gaussian:
        """The transition from `[z_{t-1}, u_t]`, `[..., Z + U]` (u absent in undriven mode); N(0, I) where it is the
        `first` frame, `[..., 1]`."""
        gate = flat_call(self.gate_output, self.gate(zu))
        nonlinear = flat_call(self.nonlinear_output, self.nonlinear(zu))
        loc = (1.0 - gate) * flat_call(self.linear, zu) + gate * nonlinear
        raw = tf.cast(flat_call(self.variance, tf.nn.relu(nonlinear)), tf.float32)
        variance = scales.softplus_scale(raw, self.min_scale**2, self.scale_floor)
        moved = Gaussian(tf.cast(loc, tf.float32), tf.sqrt(variance))
        if first is None:
            return moved
        return Gaussian(tf.where(first, 0.0, moved.loc), tf.where(first, 1.0, moved.scale))

    def get_config(self) -> dict:
        names = ("latent_dim", "units", "min_scale", "scale_floor", "inert")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}
