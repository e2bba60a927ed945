"""Linear-Gaussian transitions of a latent state."""

import keras
import tensorflow as tf

from tfdvae.families import numerics
from tfdvae.layers.mlp import flat_call
from tfdvae.types import Gaussian

__all__ = ["LinearTransition"]


@keras.saving.register_keras_serializable(package="tfdvae")
class LinearTransition(keras.layers.Layer):
    """p(z_t | z_{t-1}, u_t) = N(A z_{t-1} + B u_t, diag(s)^2), called as `GatedTransition` is.

    A starts at the identity, B at zero and s at one, but for its floor. Computes in float32 unless told otherwise:
    what a linear system does over many frames hangs on the last digits of A.

    Args:
        latent_dim: Z.
        scale: "softplus" or "exp", how s follows from its weights.
        min_scale: floor of s.
        scale_floor: "sum" adds it, "clip" holds s above it (see `tfdvae.scales`).
    """

    def __init__(
        self, latent_dim: int, scale: str = "softplus", min_scale: float = 1e-4, scale_floor: str = "sum", **kwargs
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        numerics.check_scale(scale, min_scale, scale_floor)
        self.latent_dim = latent_dim
        self.scale = scale
        self.min_scale = min_scale
        self.scale_floor = scale_floor
        self.linear = keras.layers.Dense(
            latent_dim, use_bias=False, kernel_initializer="identity", dtype=self.dtype_policy, name="linear"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.linear.build((None, input_shape[-1]))
        initializer = keras.initializers.Constant(numerics.initial_raw_scale(self.scale))
        options = {"dtype": "float32", "autocast": False}
        self.raw_scale = self.add_weight(name="raw_scale", shape=(self.latent_dim,), initializer=initializer, **options)

    def call(self, zu: tf.Tensor, first: tf.Tensor | None = None) -> Gaussian:
        """The transition from `[z_{t-1}, u_t]`, `[..., Z + U]` (u absent in undriven mode); N(0, I) where it is the
        `first` frame, `[..., 1]`."""
        loc = tf.cast(flat_call(self.linear, zu), tf.float32)
        raw = tf.convert_to_tensor(self.raw_scale)
        scale = numerics.positive_scale(raw, self.scale, self.min_scale, self.scale_floor)
        if first is None:
            return Gaussian(loc, scale + tf.zeros_like(loc))
        return Gaussian(tf.where(first, 0.0, loc), tf.where(first, 1.0, scale))

    def get_config(self) -> dict:
        names = ("latent_dim", "scale", "min_scale", "scale_floor")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}
