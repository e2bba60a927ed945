"""Binary frames whose features depend on each other."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.observations import numerics
from tfdvae.observations.base import Observation
from tfdvae.observations.values import BINARY

__all__ = ["AutoregressiveBernoulli"]

tfd = tfp.distributions


class _StaticAutoregressive(tfd.Autoregressive):
    """`tfd.Autoregressive` whose shapes are known without running it."""

    def _event_shape(self) -> tf.TensorShape:
        return self.distribution_fn().event_shape

    def _batch_shape(self) -> tf.TensorShape:
        return self.distribution_fn().batch_shape


@keras.saving.register_keras_serializable(package="tfdvae")
class AutoregressiveBernoulli(Observation):
    """p(x_t) = prod_i p(x_ti | x_t,<i, features), by a masked MLP over the D features (Germain et al. 2015).

    The frame conditions it as in RNN-NADE (Boulanger-Lewandowski et al. 2012): parameters
    [.., hidden_dim + D] are the pre-activations a of the hidden units and the output biases c,

        logits = c + act(a + x (W * M_in)) (V * M_out).

    Hidden unit k of degree m_k in 1..D-1 sees x_1..x_{m_k} and feeds the outputs i > m_k. The degrees are
    evenly spaced, so that each of 1..D-1 occurs and output i depends on exactly x_<i. W and V are shared by
    all frames.

    The marginal of some features sums over all values of the others, which is intractable. In a partly observed
    frame, features that are not observed enter the network as zeros and their factors are left out:

        log p(x_o) = sum_{i in o} log p(x_ti | x_t,<i in o, zeros elsewhere, features).

    This is a normalised density over the observed features o, but not the marginal of the density of whole frames.
    A feature that `adapt` never sees observed starts at probability one half.

    Args:
        hidden: number of hidden units, at least D - 1; None for 4 D.
        activation: of the hidden units, as in Keras.

    Raises ValueError for hidden < 1, and at `build` for D < 2 or hidden < D - 1.
    """

    support = ("every feature to be 0 or 1", numerics.BINARISE)
    values = BINARY

    def __init__(
        self, hidden: int | None = None, activation: str | Callable | dict | None = "relu", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if hidden is not None and hidden < 1:
            raise ValueError(f"hidden must be at least 1 or None, got {hidden!r}.")
        self.hidden = hidden
        self.activation = keras.activations.get(activation)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "hidden": self.hidden,
            "activation": keras.activations.serialize(self.activation),
        }

    @property
    def hidden_dim(self) -> int:
        """Number of hidden units. ValueError before `build`."""
        x_dim = self._built_x_dim()
        return 4 * x_dim if self.hidden is None else self.hidden

    @property
    def params_dim(self) -> int:
        return self.hidden_dim + self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return self._built_x_dim()

    def build(self, features_shape: tuple[int | None, ...], x_shape: tuple[int | None, ...] | None = None) -> None:
        x_dim = x_shape[-1] if x_shape is not None else None
        if x_dim is not None and x_dim < 2:
            raise ValueError(f"AutoregressiveBernoulli needs at least 2 features, got {x_dim}: use Bernoulli.")
        if x_dim is not None and self.hidden is not None and self.hidden < x_dim - 1:
            raise ValueError(
                f"AutoregressiveBernoulli over {x_dim} features needs hidden >= {x_dim - 1}, or some feature "
                f"could not depend on the one before it; got hidden={self.hidden}."
            )
        super().build(features_shape, x_shape)
        degrees = 1 + np.arange(self.hidden_dim) * (self.x_dim - 1) // self.hidden_dim
        positions = 1 + np.arange(self.x_dim)
        self.input_mask = (positions[:, None] <= degrees[None, :]).astype(np.float32)
        self.output_mask = (degrees[:, None] < positions[None, :]).astype(np.float32)
        self.input_kernel = self.add_weight(
            name="input_kernel",
            shape=(self.x_dim, self.hidden_dim),
            initializer="glorot_uniform",
            dtype="float32",
            autocast=False,
        )
        # Nearly zero, so that after `adapt` the marginals start at the data's frequencies.
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.hidden_dim, self.x_dim),
            initializer=keras.initializers.VarianceScaling(1e-4, mode="fan_avg", distribution="uniform"),
            dtype="float32",
            autocast=False,
        )

    def _split(self, params: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.split(tf.cast(params, tf.float32), [self.hidden_dim, self.x_dim], axis=-1)

    def _masked_kernels(self) -> tuple[tf.Tensor, tf.Tensor]:
        return (
            tf.convert_to_tensor(self.input_kernel) * self.input_mask,
            tf.convert_to_tensor(self.output_kernel) * self.output_mask,
        )

    def logits(self, params: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Logits [.., D] of all features at once; entry i depends on the entries before i of x [.., D]."""
        pre_activation, bias = self._split(params)
        w_in, w_out = self._masked_kernels()
        hidden = self.activation(pre_activation + keras.ops.matmul(tf.cast(x, tf.float32), w_in))
        return bias + keras.ops.matmul(hidden, w_out)

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        start = tf.zeros_like(self._split(params)[1])

        def conditionals(x: tf.Tensor | None = None) -> tfd.Distribution:
            logits = self.logits(params, start if x is None else x)
            return tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), reinterpreted_batch_ndims=1)

        return _StaticAutoregressive(conditionals, num_steps=self.x_dim)

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        return numerics.sum_observed(numerics.bernoulli_log_prob(x, self.logits(params, x)), observed)

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Exact ancestral sample, feature by feature.

        The hidden pre-activations are updated, not recomputed: all D steps together multiply as often as one
        `log_prob`. `noise` has the leading dimensions of `params`.
        """
        noise = tf.transpose(tf.reshape(tf.cast(noise, tf.float32), [-1, self.x_dim]))
        return self.ancestral(params, lambda i, logit: numerics.bernoulli_sample(logit, tf.gather(noise, i)))

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        """Sequential mean field, m_i = sigmoid(logit_i(m_<i)), [.., D].

        Each feature sees the means, not the values, of those before it: an approximation of E[x], exact where
        the logits do not depend on x.
        """
        return self.ancestral(params, lambda i, logit: tf.sigmoid(logit))

    def ancestral(self, params: tf.Tensor, choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """Goes through the features in order; `choose(i, logits [N])` gives feature i of all N frames."""
        params = tf.convert_to_tensor(params)
        w_in, w_out = self._masked_kernels()
        pre_activation, bias = self._split(tf.reshape(params, [-1, self.params_dim]))
        out_columns, bias = tf.transpose(w_out), tf.transpose(bias)

        def step(i: tf.Tensor, pre_activation: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            hidden = self.activation(pre_activation)
            logit = tf.gather(bias, i) + tf.reduce_sum(hidden * tf.gather(out_columns, i), axis=-1)
            value = choose(i, logit)[:, None]
            return (
                i + 1,
                pre_activation + value * tf.gather(w_in, i),
                x + value * tf.one_hot(i, self.x_dim, dtype=tf.float32),
            )

        _, _, x = tf.while_loop(
            lambda i, *_: i < self.x_dim,
            step,
            (
                tf.constant(0),
                pre_activation,
                tf.zeros_like(pre_activation[:, :1]) * tf.zeros([1, self.x_dim]),
            ),
            maximum_iterations=self.x_dim,
        )
        x = tf.reshape(x, tf.concat([tf.shape(params)[:-1], [self.x_dim]], axis=0))
        return tf.ensure_shape(x, params.shape[:-1].concatenate(self.x_dim))

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros(self.hidden_dim), numerics.frequency_logits(frames)])
