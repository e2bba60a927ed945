"""Invertible layers that a Gaussian is pushed through, conditioned on a context vector."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdvae.families import numerics

__all__ = ["AutoregressiveLayer", "CouplingLayer", "FlowLayer", "FlowNetwork"]


class FlowLayer(keras.layers.Layer):
    """An invertible map of z `[.., Z]` given a context `[.., C]`, by an MLP with one hidden layer, in float32.

    A kind of layer implements `forward` and `inverse`. The MLP starts with an output of nearly zero, with which every
    kind is the identity.

    Args:
        latent_dim: Z.
        context_dim: C.
        hidden: number of hidden units.
        flipped: whether the order of z is reversed in this layer, so that layers take turns.
    """

    def __init__(self, latent_dim: int, context_dim: int, hidden: int, flipped: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.latent_dim = latent_dim
        self.context_dim = context_dim
        self.hidden = hidden
        self.flipped = flipped

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights; no shape is needed."""
        inputs, outputs = self.widths()

        def weight(name: str, shape: tuple[int, ...], initializer: Any) -> keras.Variable:
            return self.add_weight(name=name, shape=shape, initializer=initializer, dtype="float32", autocast=False)

        small = keras.initializers.VarianceScaling(1e-5, mode="fan_avg", distribution="uniform")
        if inputs:
            self.input_kernel = weight("input_kernel", (inputs, self.hidden), "glorot_uniform")
        self.context_kernel = weight("context_kernel", (self.context_dim, self.hidden), "glorot_uniform")
        self.hidden_bias = weight("hidden_bias", (self.hidden,), "zeros")
        self.output_kernel = weight("output_kernel", (self.hidden, outputs), small)
        self.output_bias = weight("output_bias", (outputs,), "zeros")

    def widths(self) -> tuple[int, int]:
        """How many entries of z the MLP sees, and how many outputs it has."""
        raise NotImplementedError

    def forward(self, z: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The next z `[.., Z]` and the log-determinant of the Jacobian `[..]`."""
        raise NotImplementedError

    def inverse(self, z: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """The z `[.., Z]` that `forward` maps to this one."""
        raise NotImplementedError

    def from_context(self, context: tf.Tensor) -> tf.Tensor:
        """What the context adds to the hidden units before their activation, `[.., H]`."""
        return numerics.linear(context, tf.convert_to_tensor(self.context_kernel)) + self.hidden_bias


class CouplingLayer(FlowLayer):
    """Affine coupling (Dinh et al. 2017): one half stays, and scales and shifts the other half.

    z_b exp(s) + t, where s and t follow from z_a and the context, and |s| < 2 (a scaled tanh): neither direction can
    overflow. Of an odd Z the larger half moves, of Z = 1 the only entry, given the context alone.
    """

    max_log_scale = 2.0

    @property
    def kept(self) -> int:
        """Number of entries that stay."""
        return self.latent_dim // 2

    def widths(self) -> tuple[int, int]:
        return self.kept, 2 * (self.latent_dim - self.kept)

    def forward(self, z: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        staying, moving = self._halves(z)
        log_scale, shift = self._scale_and_shift(staying, context)
        return self._joined(staying, moving * tf.exp(log_scale) + shift), tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, z: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        staying, moved = self._halves(z)
        log_scale, shift = self._scale_and_shift(staying, context)
        return self._joined(staying, (moved - shift) * tf.exp(-log_scale))

    def _halves(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self.flipped:
            return z[..., self.latent_dim - self.kept :], z[..., : self.latent_dim - self.kept]
        return z[..., : self.kept], z[..., self.kept :]

    def _joined(self, staying: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        if not self.kept:
            return moved
        staying += tf.zeros_like(moved[..., :1])  # The context may have leading axes that z lacks.
        return tf.concat([moved, staying] if self.flipped else [staying, moved], axis=-1)

    def _scale_and_shift(self, staying: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hidden = self.from_context(context)
        if self.kept:
            hidden += numerics.linear(staying, tf.convert_to_tensor(self.input_kernel))
        output = numerics.linear(tf.tanh(hidden), tf.convert_to_tensor(self.output_kernel)) + self.output_bias
        raw, shift = tf.split(output, 2, axis=-1)
        return self.max_log_scale * tf.tanh(raw / self.max_log_scale), shift


class AutoregressiveLayer(FlowLayer):
    """Inverse autoregressive flow in its gated form (Kingma et al. 2016, equations 13 and 14).

    z'_i = (sigma_i / sigma_0) z_i + (1 - sigma_i) m_i with sigma_i = sigmoid(s_i + 2) and sigma_0 = sigmoid(2), where
    m_i and s_i depend on z_<i and the context through a masked MLP (MADE, Germain et al. 2015). The division by
    sigma_0 is ours: the layer starts as the identity, where K layers would shrink z by 0.88^K.

    `forward` is parallel; `inverse` goes through the entries one after another.
    """

    gate_bias = 2.0
    log_initial_gate = -math.log1p(math.exp(-gate_bias))

    def __init__(self, latent_dim: int, context_dim: int, hidden: int, flipped: bool, **kwargs: Any) -> None:
        super().__init__(latent_dim, context_dim, hidden, flipped, **kwargs)
        positions = np.arange(latent_dim)[:: -1 if flipped else 1]
        # Hidden units of degree k see the first k entries. Those of degree 0 carry the context to the first one.
        degrees = np.arange(hidden) * latent_dim // hidden
        self.input_mask = (positions[:, None] < degrees[None, :]).astype(np.float32)
        self.output_mask = np.tile(degrees[:, None] <= positions[None, :], 2).astype(np.float32)

    def widths(self) -> tuple[int, int]:
        return self.latent_dim, 2 * self.latent_dim

    def forward(self, z: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        input_kernel, output_kernel = self._masked_kernels()
        hidden = tf.tanh(self.from_context(context) + numerics.linear(z, input_kernel))
        raw, shift = tf.split(numerics.linear(hidden, output_kernel) + self.output_bias, 2, axis=-1)
        log_scale, closed = self._gate(raw)
        return z * tf.exp(log_scale) + closed * shift, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, z: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """The hidden units are updated, not recomputed: all Z steps together multiply as often as one `forward`."""
        input_kernel, output_kernel = self._masked_kernels()
        columns, bias = tf.transpose(output_kernel), tf.convert_to_tensor(self.output_bias)
        hidden = self.from_context(context) + tf.zeros_like(z[..., :1])
        z += tf.zeros_like(hidden[..., :1])

        def output(hidden: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(hidden * tf.gather(columns, index), axis=-1, keepdims=True) + tf.gather(bias, index)

        def step(count: tf.Tensor, hidden: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            i = self.latent_dim - 1 - count if self.flipped else count
            one_hot = tf.one_hot(i, self.latent_dim, dtype=tf.float32)
            active = tf.tanh(hidden)
            log_scale, closed = self._gate(output(active, i))
            value = tf.reduce_sum(z * one_hot, axis=-1, keepdims=True)
            value = (value - closed * output(active, i + self.latent_dim)) * tf.exp(-log_scale)
            return count + 1, hidden + value * tf.gather(input_kernel, i), found + value * one_hot

        start = (tf.constant(0), hidden, tf.zeros_like(z))
        dim = self.latent_dim
        return tf.while_loop(lambda count, *_: count < dim, step, start, maximum_iterations=dim)[2]

    def _masked_kernels(self) -> tuple[tf.Tensor, tf.Tensor]:
        kernels = tf.convert_to_tensor(self.input_kernel), tf.convert_to_tensor(self.output_kernel)
        return kernels[0] * self.input_mask, kernels[1] * self.output_mask

    def _gate(self, raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """log(sigma / sigma_0) and 1 - sigma."""
        raw += self.gate_bias
        return -tf.nn.softplus(-raw) - self.log_initial_gate, tf.sigmoid(-raw)


LAYERS: dict[str, type[FlowLayer]] = {"coupling": CouplingLayer, "autoregressive": AutoregressiveLayer}


@keras.saving.register_keras_serializable(package="tfdvae")
class FlowNetwork(keras.layers.Layer):
    """A stack of invertible layers over z `[.., Z]` given a context `[.., C]`, at first nearly the identity.

    Leading axes of z and context broadcast. Always float32, under every dtype policy.

    Args:
        latent_dim: Z.
        context_dim: C.
        num_layers: number of layers; every other one takes z in reversed order.
        kind: "coupling" (Dinh et al. 2017) or "autoregressive" (Kingma et al. 2016).
        hidden: hidden units of each layer's MLP.

    Raises ValueError for another `kind`, for sizes below 1, and for an autoregressive network with less than Z hidden
    units, in which some entry could not depend on the one before it.
    """

    def __init__(
        self, latent_dim: int, context_dim: int, num_layers: int, kind: str, hidden: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if kind not in LAYERS:
            raise ValueError(f"`kind` of a flow must be one of {', '.join(sorted(LAYERS))}, got {kind!r}.")
        sizes = {"latent_dim": latent_dim, "context_dim": context_dim, "num_layers": num_layers, "hidden": hidden}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"`{name}` of a flow must be at least 1, got {size}.")
        if kind == "autoregressive" and hidden < latent_dim:
            raise ValueError(
                f"An autoregressive flow over {latent_dim} entries needs hidden >= {latent_dim}, or some entry could "
                f"not depend on the one before it; got hidden={hidden}."
            )
        self.latent_dim = latent_dim
        self.context_dim = context_dim
        self.num_layers = num_layers
        self.kind = kind
        self.hidden = hidden
        self.flow_layers = [
            LAYERS[kind](latent_dim, context_dim, hidden, flipped=i % 2 == 1, dtype="float32", name=f"{kind}_{i}")
            for i in range(num_layers)
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "context_dim": self.context_dim,
            "num_layers": self.num_layers,
            "kind": self.kind,
            "hidden": self.hidden,
        }

    def build(self, input_shape: Any = None) -> None:
        """Creates the weights; no shape is needed."""
        for layer in self.flow_layers:
            layer.build()

    def forward(self, z: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z `[.., Z]` after all layers, and the log-determinant of the Jacobian `[..]`. ValueError before `build`."""
        z, context = self._checked(z, context)
        log_det = tf.zeros_like(z[..., 0])
        for layer in self.flow_layers:
            z, change = layer.forward(z, context)
            log_det += change
        return z, log_det

    def inverse(self, z: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """The z `[.., Z]` that `forward` maps to this one. ValueError before `build`."""
        z, context = self._checked(z, context)
        for layer in reversed(self.flow_layers):
            z = layer.inverse(z, context)
        return z

    def _checked(self, z: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if not self.built:
            raise ValueError("The flow has no weights yet: call `flow.build()` where the layer that owns it is built.")
        return tf.convert_to_tensor(z, tf.float32), tf.convert_to_tensor(context, tf.float32)
