"""Online handwriting."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae import scales
from tfdvae.observations import numerics
from tfdvae.observations.base import Observation
from tfdvae.observations.values import BINARY, REAL

__all__ = ["Pen", "PenComponents"]

tfd = tfp.distributions


class PenComponents(NamedTuple):
    """Unnormalised log-weights [.., K], locations [.., K, 2], standard deviations [.., K, 2], correlations
    [.., K] and the logit of the pen bit [.., 1]."""

    logits: tf.Tensor
    loc: tf.Tensor
    scale: tf.Tensor
    correlation: tf.Tensor
    pen_logit: tf.Tensor


@keras.saving.register_keras_serializable(package="tfdvae")
class Pen(Observation):
    """Frames (dx, dy, pen): a mixture of bivariate Gaussians for the offset times a Bernoulli for the pen bit
    (Graves 2013, section 4.1). Parameters [.., 6K + 1]: logits, locations, raw scales (softplus), raw
    correlations (tanh), pen logit.

    A partly observed frame has its exact marginal: of dx and dy the one that was observed follows its own Gaussian in
    each component, and the pen bit is apart. What `adapt` never sees observed starts at location 0, scale 1 and
    correlation 0, the pen bit at probability one half.

    Args:
        num_components: K; 20 as in Graves (2013) and Chung et al. (2015).
        min_scale: smallest standard deviation, in the units of dx and dy.
        scale_floor: "sum" adds `min_scale`, "clip" holds scales above it (see `tfdvae.scales`).
        max_correlation: bound of |rho|, below 1.

    Raises ValueError for arguments out of range, and at `build` unless D = 3.
    """

    support = ("the last feature (pen) to be 0 or 1", numerics.BINARISE)
    values = (REAL, REAL, BINARY)

    units = ("affine", "affine", "none")

    def __init__(
        self,
        num_components: int = 20,
        min_scale: float = 1e-3,
        max_correlation: float = 0.99,
        scale_floor: str = "sum",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components!r}.")
        if not 0.0 < max_correlation < 1.0:
            raise ValueError(f"max_correlation must be strictly between 0 and 1, got {max_correlation!r}.")
        self.num_components = num_components
        self.min_scale = numerics.check_min_scale(min_scale)
        self.scale_floor = scales.check_floor(scale_floor)
        self.max_correlation = max_correlation

    def get_config(self) -> dict[str, Any]:
        names = ("num_components", "min_scale", "scale_floor", "max_correlation")
        return {**super().get_config(), **{k: getattr(self, k) for k in names}}

    @property
    def params_dim(self) -> int:
        return 6 * self.num_components + 1

    @property
    def noise_dim(self) -> int:
        return 1 + numerics.standard_normal_noise_dim(self._built_x_dim() - 1) + 1

    def build(self, features_shape: tuple[int | None, ...], x_shape: tuple[int | None, ...] | None = None) -> None:
        if x_shape is not None and x_shape[-1] != 3:
            raise ValueError(f"Pen expects frames (dx, dy, pen) with 3 features, got {x_shape[-1]}.")
        super().build(features_shape, x_shape)

    def components(self, params: tf.Tensor) -> PenComponents:
        """What the parameters [.., P] mean."""
        count = self.num_components
        params = tf.cast(params, tf.float32)
        logits, loc, raw_scale, raw_correlation, pen_logit = tf.split(
            params, [count, 2 * count, 2 * count, count, 1], axis=-1
        )
        shape = tf.concat([tf.shape(params)[:-1], [count, 2]], axis=0)
        return PenComponents(
            logits,
            tf.reshape(loc, shape),
            scales.softplus_scale(tf.reshape(raw_scale, shape), self.min_scale, self.scale_floor),
            self.max_correlation * tf.tanh(raw_correlation),
            pen_logit,
        )

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        logits, loc, scale, rho, pen_logit = self.components(params)
        first, second = scale[..., 0], scale[..., 1]
        top = tf.stack([first, tf.zeros_like(first)], axis=-1)
        bottom = tf.stack([rho * second, tf.sqrt(1.0 - tf.square(rho)) * second], axis=-1)
        offsets = tfd.MultivariateNormalTriL(loc, scale_tril=tf.stack([top, bottom], axis=-2))
        pen = tfd.Independent(tfd.Bernoulli(logits=pen_logit, dtype=tf.float32), reinterpreted_batch_ndims=1)
        return tfd.Blockwise([tfd.MixtureSameFamily(tfd.Categorical(logits=logits), offsets), pen])

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        logits, loc, scale, rho, pen_logit = self.components(params)
        standard = (x[..., None, :2] - loc) / scale
        count, seen = 2, None
        if observed is not None:
            # Where one of the two is at its location, uncorrelated, and left out of the normaliser, N(dx) N(dy | dx)
            # is the marginal of the other.
            seen = observed[..., None, :2]
            count = numerics.count_observed(seen)
            standard = tf.where(seen, standard, 0.0)
            rho = tf.where(tf.reduce_all(seen, axis=-1), rho, 0.0)
        # N(dx) N(dy | dx): a sum of squares, which Graves' (25) is only up to rounding.
        conditional_scale = tf.sqrt(1.0 - tf.square(rho))
        conditional = (standard[..., 1] - rho * standard[..., 0]) / conditional_scale
        log_normal = (
            -0.5 * (tf.square(standard[..., 0]) + tf.square(conditional))
            - numerics.sum_observed(tf.math.log(scale), seen)
            - tf.math.log(conditional_scale)
            - count * (0.5 * math.log(2.0 * math.pi))
        )
        offset = numerics.mixture_log_prob(logits, log_normal, None if observed is None else observed[..., :2])
        pen = numerics.bernoulli_log_prob(x[..., 2], pen_logit[..., 0])
        return offset + (pen if observed is None else tf.where(observed[..., 2], pen, 0.0))

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        logits, loc, scale, rho, pen_logit = self.components(params)
        noise = tf.cast(noise, tf.float32)
        chosen = numerics.categorical_one_hot(logits, noise[..., :1])
        normal = numerics.standard_normal(noise[..., 1:3], 2)
        rho = tf.reduce_sum(chosen * rho, axis=-1, keepdims=True)
        correlated = tf.concat(
            [normal[..., :1], rho * normal[..., :1] + tf.sqrt(1.0 - tf.square(rho)) * normal[..., 1:]],
            axis=-1,
        )
        chosen = chosen[..., None]
        offset = tf.reduce_sum(chosen * loc, axis=-2) + tf.reduce_sum(chosen * scale, axis=-2) * correlated
        return tf.concat([offset, numerics.bernoulli_sample(pen_logit, noise[..., 3:])], axis=-1)

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        logits, loc, _, _, pen_logit = self.components(params)
        offset = tf.reduce_sum(tf.nn.softmax(logits)[..., None] * loc, axis=-2)
        return tf.concat([offset, tf.sigmoid(pen_logit)], axis=-1)

    def _check_support(self, x: np.ndarray, observed: np.ndarray | None) -> None:
        if x.shape[-1] != 3:
            raise ValueError(f"Pen expects frames (dx, dy, pen) with 3 features, got shape {x.shape}.")
        super()._check_support(x, observed)

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        count = self.num_components
        loc, within = numerics.spread_components(frames[:, :2], count)
        scale = np.maximum(np.sqrt(np.diagonal(within)), 2.0 * self.min_scale)
        bound = 0.95 * self.max_correlation
        rho = np.clip(within[0, 1] / scale.prod(), -bound, bound)
        return np.concatenate(
            [
                np.zeros(count),
                loc.ravel(),
                np.tile(scales.scale_inverse(scale, "softplus", self.min_scale, self.scale_floor), count),
                np.full(count, np.arctanh(rho / self.max_correlation)),
                numerics.frequency_logits(frames[:, 2:]),
            ]
        )
