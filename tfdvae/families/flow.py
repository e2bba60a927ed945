"""Gaussians pushed through invertible layers."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.families.base import Family
from tfdvae.families.diagonal import DiagonalGaussian
from tfdvae.families.flow_network import FlowNetwork
from tfdvae.types import Gaussian

__all__ = ["Flow", "FlowGaussian"]

tfd = tfp.distributions
tfb = tfp.bijectors


class FlowGaussian(NamedTuple):
    """The Gaussian that enters a flow, `loc` and `scale` `[.., Z]`, and what its layers are told, `[.., C]`."""

    loc: tf.Tensor
    scale: tf.Tensor
    context: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class Flow(Family):
    """z = f_K(.. f_1(loc + scale * noise)), a posterior that need not be Gaussian (Kingma et al. 2016).

    The network that conditions the posterior gives loc, the raw scale, and a context vector for the layers f_k. Their
    weights are shared by all frames and live in `network`, a Keras layer: whoever owns the family tracks it as an
    attribute of its own and calls `build()` where it is built itself. At first the flow is nearly the identity.

    A flow is for posteriors. Its prior is a Gaussian, from which it has no closed form of the divergence.

    Args:
        base: the family of loc + scale * noise, a DiagonalGaussian or its serialized config; it gives Z.
        num_layers: K; at least 2 for every entry to be transformed by a "coupling".
        kind: "coupling" (affine, Dinh et al. 2017): both directions cost the same. "autoregressive" (gated, Kingma et
            al. 2016): each entry depends on all before it, but `log_prob` without noise takes Z steps per layer.
        hidden: hidden units of each layer's MLP; None for the larger of 4 Z and 32.
        context_dim: C, the width of the context; None for Z.

    Raises ValueError for a base of another family or of width 0, and for what FlowNetwork refuses.

    Example:
        flow = Flow(DiagonalGaussian(16), num_layers=4, kind="autoregressive")
        cell.flow_network = flow.network                            # in the constructor of the owner
        flow.build()                                                # in its `build`
        z = flow.sample(q, noise)
        log_q = flow.log_prob(q, z, noise)                          # without an inversion
    """

    noise_kind = "normal"

    def __init__(
        self,
        base: DiagonalGaussian | dict[str, Any],
        num_layers: int = 2,
        kind: str = "coupling",
        hidden: int | None = None,
        context_dim: int | None = None,
    ) -> None:
        if isinstance(base, dict):
            base = keras.saving.deserialize_keras_object(base)
        if not isinstance(base, DiagonalGaussian):
            raise ValueError(f"The base of a flow must be a DiagonalGaussian, got {base!r}.")
        super().__init__(base.latent_dim)
        self.base = base
        self.num_layers = num_layers
        self.kind = kind
        self.hidden = hidden
        self.context_dim = base.latent_dim if context_dim is None else context_dim
        hidden = max(4 * base.latent_dim, 32) if hidden is None else hidden
        self.network = FlowNetwork(base.latent_dim, self.context_dim, num_layers, kind, hidden, name="flow_network")

    def build(self) -> None:
        """Creates the weights of `network`, once."""
        if not self.network.built:
            self.network.build()

    def get_config(self) -> dict[str, Any]:
        return {
            "base": keras.saving.serialize_keras_object(self.base),
            "num_layers": self.num_layers,
            "kind": self.kind,
            "hidden": self.hidden,
            "context_dim": self.context_dim,
        }

    @property
    def noise_dim(self) -> int:
        return self.base.noise_dim

    @property
    def num_groups(self) -> int:
        return 1

    @property
    def params_dim(self) -> int:
        return self.base.params_dim + self.context_dim

    def parameters(self, raw: tf.Tensor) -> FlowGaussian:
        raw, context = tf.split(self._checked(raw), [self.base.params_dim, self.context_dim], axis=-1)
        return FlowGaussian(*self.base.parameters(raw), context)

    def initial_bias(self) -> np.ndarray:
        return np.concatenate([self.base.initial_bias(), np.zeros(self.context_dim, np.float32)])

    def standard(self, like: tf.Tensor) -> FlowGaussian:
        """Raises ValueError: the fixed prior is that of `base`."""
        raise ValueError("A flow is a posterior; its prior is the base family: use `flow.base.standard(like)`.")

    def sample(self, dist: FlowGaussian, noise: tf.Tensor | None = None) -> tf.Tensor:
        return self.network.forward(self.base.sample(_gaussian(dist), noise), dist.context)[0]

    def mode(self, dist: FlowGaussian) -> tf.Tensor:
        """Where the flow maps the mean of the Gaussian to, `[.., Z]`; the density may be larger elsewhere."""
        return self.sample(dist, None)

    def mean(self, dist: FlowGaussian) -> tf.Tensor:
        """E[z], `[.., Z]`, by a cubature of degree 3: exact where the flow is a polynomial of degree 3 in the noise."""
        return tf.reduce_mean(self._spread(dist), axis=-2)

    def scale(self, dist: FlowGaussian) -> tf.Tensor:
        """The standard deviation of each entry `[.., Z]`, by the cubature of `mean`: exact where the flow is affine."""
        return tf.math.reduce_std(self._spread(dist), axis=-2)

    def log_prob(self, dist: FlowGaussian, z: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """log q(z) in nats, `[..]`: that of the Gaussian minus the log-determinant of the flow.

        From `noise` by the forward pass; without it z is inverted, by Z steps in an autoregressive flow. For the z of
        `mode`, a `noise` of zeros spares the inversion.
        """
        start = self.network.inverse(z, dist.context) if noise is None else self.base.sample(_gaussian(dist), noise)
        return self.base.log_prob(_gaussian(dist), start) - self.network.forward(start, dist.context)[1]

    def distribution(self, dist: FlowGaussian) -> tfd.Distribution:
        return tfd.TransformedDistribution(
            self.base.distribution(_gaussian(dist)), _NetworkBijector(self.network, dist.context)
        )

    def _spread(self, dist: FlowGaussian) -> tf.Tensor:
        """z of noise vectors that stand for all others, `[.., N, Z]` with N < 4 Z.

        These are the rows of a Hadamard matrix and their negatives: entries of one and minus one with the first three
        moments of N(0, I), as far from the mean as samples are.
        """
        points = np.ones((1, 1), np.float32)
        while len(points) < self.latent_dim:
            points = np.block([[points, points], [points, -points]])
        points = np.concatenate([points, -points])[:, : self.latent_dim]
        return self.sample(FlowGaussian(*(value[..., None, :] for value in dist)), points)


def _gaussian(dist: FlowGaussian) -> Gaussian:
    return Gaussian(dist.loc, dist.scale)


class _NetworkBijector(tfb.Bijector):
    """A flow's network, given a context, for TensorFlow Probability."""

    def __init__(self, network: FlowNetwork, context: tf.Tensor) -> None:
        super().__init__(forward_min_event_ndims=1, dtype=tf.float32, parameters=dict(locals()), name="flow")
        self._network, self._context = network, context

    @classmethod
    def _parameter_properties(cls, dtype: tf.DType) -> dict[str, Any]:
        return {}

    def _forward(self, z: tf.Tensor) -> tf.Tensor:
        return self._network.forward(z, self._context)[0]

    def _inverse(self, z: tf.Tensor) -> tf.Tensor:
        return self._network.inverse(z, self._context)

    def _forward_log_det_jacobian(self, z: tf.Tensor) -> tf.Tensor:
        return self._network.forward(z, self._context)[1]
