"""Mixture of diagonal Gaussians per frame."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import scales
from tfdvae.observations import numerics
from tfdvae.observations.base import Observation

__all__ = ["GaussianMixture", "MixtureComponents"]

tfd = tfp.distributions


class MixtureComponents(NamedTuple):
    """Unnormalised log-weights [.., K], locations [.., K, D] and standard deviations [.., K, D]."""

    logits: tf.Tensor
    loc: tf.Tensor
    scale: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class GaussianMixture(Observation):
    """sum_k pi_k N(x_t; loc_k, diag(scale_k^2)): one categorical per frame, shared by all features
    (Chung et al. 2015, section 4). Parameters [.., K + 2KD]: logits, locations, raw scales (softplus).

    A partly observed frame has the density of its observed features, summed over the components: the exact marginal.
    A feature that `adapt` never sees observed starts at location 0 and scale 1 in every component.

    Args:
        num_components: K; 20 in the paper.
        min_scale: smallest standard deviation, in the units of x.
        scale_floor: "sum" adds `min_scale`, "clip" holds scales above it (see `tfdvae.scales`).

    Raises ValueError for K < 1, another `scale_floor`, or a `min_scale` outside of [1e-6, 1e3].
    """

    units = "affine"
    standardized_by_default = True

    def __init__(
        self, num_components: int = 20, min_scale: float = 1e-3, scale_floor: str = "sum", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components!r}.")
        self.num_components = num_components
        self.min_scale = numerics.check_min_scale(min_scale)
        self.scale_floor = scales.check_floor(scale_floor)

    def get_config(self) -> dict[str, Any]:
        names = ("num_components", "min_scale", "scale_floor")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}

    @property
    def params_dim(self) -> int:
        return self.num_components * (1 + 2 * self._built_x_dim())

    @property
    def noise_dim(self) -> int:
        return 1 + numerics.standard_normal_noise_dim(self._built_x_dim())

    def components(self, params: tf.Tensor) -> MixtureComponents:
        """What the parameters [.., P] mean."""
        count, dim = self.num_components, self.x_dim
        params = tf.cast(params, tf.float32)
        logits, loc, raw = tf.split(params, [count, count * dim, count * dim], axis=-1)
        shape = tf.concat([tf.shape(params)[:-1], [count, dim]], axis=0)
        loc, raw = tf.reshape(loc, shape), tf.reshape(raw, shape)
        return MixtureComponents(logits, loc, scales.softplus_scale(raw, self.min_scale, self.scale_floor))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits, loc, scale = self.components(params)
        return tfd.MixtureSameFamily(tfd.Categorical(logits=logits), tfd.MultivariateNormalDiag(loc, scale))

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        logits, loc, scale = self.components(params)
        log_normal = numerics.normal_log_prob(x[..., None, :], loc, scale)
        within = numerics.sum_observed(log_normal, None if observed is None else observed[..., None, :])
        return numerics.mixture_log_prob(logits, within, observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        logits, loc, scale = self.components(params)
        noise = tf.cast(noise, tf.float32)
        chosen = numerics.categorical_one_hot(logits, noise[..., :1])[..., None]
        normal = numerics.standard_normal(noise[..., 1:], self.x_dim)
        return tf.reduce_sum(chosen * loc, axis=-2) + tf.reduce_sum(chosen * scale, axis=-2) * normal

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        logits, loc, _ = self.components(params)
        return tf.reduce_sum(tf.nn.softmax(logits)[..., None] * loc, axis=-2)

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        loc, within = numerics.spread_components(frames, self.num_components)
        raw = scales.scale_inverse(np.sqrt(np.diagonal(within)), "softplus", self.min_scale, self.scale_floor)
        return np.concatenate([np.zeros(self.num_components), loc.ravel(), np.tile(raw, self.num_components)])
