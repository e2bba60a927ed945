"""Frames of categorical variables: phonemes, chords, actions, one-hot."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdvae.arguments import whole
from tfdvae.observations.base import Observation
from tfdvae.observations.values import BINARY, ROUNDING

__all__ = ["Categorical"]

tfd = tfp.distributions

_NEVER = -1e30
"""A logit of no probability, finite so that gradients are."""


class _OneHotGroups(tfd.Blockwise):
    """Independent one-hot variables side by side, which know their deviations."""

    def _variance(self) -> tf.Tensor:
        return tf.concat([group.variance() for group in self.distributions], axis=-1)


# The name of its own tells it from `tfdvae.families.Categorical` in saved models.
@keras.saving.register_keras_serializable(package="tfdvae", name="CategoricalObservation")
class Categorical(Observation):
    """prod_g Categorical(x_tg; softmax(logits_g)): the features of a frame are the one-hot vectors of G variables, one
    after the other; parameters [.., D] are logits.

    A group is one variable. It was observed as a whole or not at all, and `validate`, like all that models are given,
    refuses `observed` that splits one: a draw could not complete it. `log_prob` itself knows any part, by the exact
    marginal: features that were observed to be 0 exclude their classes. What `adapt` never sees observed starts at
    equal probabilities.

    Intervals cannot say that a group holds one 1. Descriptions of exported files say that entries are 0 or 1 and, in
    words, the rest; who has no TensorFlow is refused what is not 0 or 1, and no more.

    Args:
        group_sizes: how many classes each variable has, in order; one number where all have as many; None where the
            whole frame is one variable.

    Raises ValueError for fewer than 2 classes, and at `build` unless the groups make D features.

    Example:
        model = tfdvae.VRNN(8, observation=tfdvae.observations.Categorical((12, 4)))  # chord root and kind, D = 16
    """

    values = BINARY

    def __init__(self, group_sizes: int | Sequence[int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(group_sizes, Sequence) and not isinstance(group_sizes, str):
            self.group_sizes = tuple(whole("group_sizes", size, at_least=2) for size in group_sizes)
            if not self.group_sizes:
                raise ValueError("`group_sizes` must name at least one group, got none.")
        else:
            self.group_sizes = None if group_sizes is None else whole("group_sizes", group_sizes, at_least=2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "group_sizes": self.group_sizes}

    @property
    def support(self) -> tuple[str, str]:
        sizes = self.group_sizes
        groups = "frames" if sizes is None else f"groups of {sizes} features"
        return (
            f"{groups} to be one-hot, a single 1 among 0, each observed as a whole or not at all",
            "encode classes as one-hot vectors, or choose another observation",
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Classes of each of the G variables. ValueError before `build`."""
        return self._sizes_for(self._built_x_dim())

    def _sizes_for(self, x_dim: int) -> tuple[int, ...]:
        """The same for frames of D features; ValueError where they cannot be."""
        sizes = (x_dim,) if self.group_sizes is None else self.group_sizes
        sizes = (sizes,) * (x_dim // sizes) if isinstance(sizes, int) else sizes
        if sum(sizes) != x_dim or x_dim < 2:
            raise ValueError(
                f"Categorical with group_sizes={self.group_sizes} cannot explain frames of {x_dim} features: the "
                "groups must make all of them, with at least 2 classes each."
            )
        return sizes

    @property
    def params_dim(self) -> int:
        return self._built_x_dim()

    @property
    def noise_dim(self) -> int:
        return len(self.sizes)

    def build(self, features_shape: tuple[int | None, ...], x_shape: tuple[int | None, ...] | None = None) -> None:
        if x_shape is not None and x_shape[-1]:
            self._sizes_for(x_shape[-1])
        super().build(features_shape, x_shape)

    # Groups side by side: [.., D] to [.., G, K], K classes of the largest one, and back.

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """Where each feature stands among the G K places of the padded groups, [D]."""
        most = max(self.sizes)
        return np.concatenate([g * most + np.arange(size) for g, size in enumerate(self.sizes)])

    def _grouped(self, x: tf.Tensor, padding: float) -> tf.Tensor:
        """[.., D] to [.., G, K], smaller groups padded."""
        count, most = len(self.sizes), max(self.sizes)
        if count * most != self.x_dim:
            index = np.full(count * most, self.x_dim)
            index[self._places] = np.arange(self.x_dim)
            x = tf.gather(tf.concat([x, tf.zeros_like(x[..., :1]) + padding], axis=-1), index, axis=-1)
        return tf.reshape(x, tf.concat([tf.shape(x)[:-1], [count, most]], axis=0))

    def _flat(self, x: tf.Tensor) -> tf.Tensor:
        """[.., G, K] to [.., D], without the padding."""
        count, most, leading = len(self.sizes), max(self.sizes), x.shape[:-2]
        x = tf.reshape(x, tf.concat([tf.shape(x)[:-2], [count * most]], axis=0))
        x = x if count * most == self.x_dim else tf.gather(x, self._places, axis=-1)
        return tf.ensure_shape(x, [*leading, self.x_dim])

    def logits(self, params: tf.Tensor) -> tf.Tensor:
        """Logarithms of the probabilities, [.., G, K], practically none where a group has fewer than K classes."""
        return tf.nn.log_softmax(self._grouped(tf.cast(params, tf.float32), _NEVER))

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        groups = tf.split(tf.cast(params, tf.float32), self.sizes, axis=-1)
        return _OneHotGroups([tfd.OneHotCategorical(logits=group, dtype=tf.float32) for group in groups])

    def _log_prob(self, params: tf.Tensor, x: tf.Tensor, observed: tf.Tensor | None) -> tf.Tensor:
        log_p, x = self.logits(params), self._grouped(x, 0.0)
        if observed is None:
            return tf.reduce_sum(x * log_p, axis=[-2, -1])
        known = self._grouped(tf.cast(observed, tf.float32), 1.0) > 0.5
        # Where no 1 was seen, it is one of the classes that were not looked at.
        seen = tf.where(known, x * log_p, 0.0)
        rest = tf.reduce_logsumexp(tf.where(known, tf.zeros_like(log_p) + _NEVER, log_p), axis=-1, keepdims=True)
        none_seen = 1.0 - tf.reduce_sum(tf.where(known, x, 0.0), axis=-1, keepdims=True)
        count = tf.reduce_sum(tf.cast(known, tf.float32), axis=-1, keepdims=True)
        padding = np.array([[max(self.sizes) - size] for size in self.sizes], np.float32)
        split = (count > padding + 0.5) & (count < max(self.sizes) - 0.5)
        found = tf.reduce_sum(seen, axis=-1, keepdims=True) + tf.where(split, none_seen * rest, 0.0)
        return tf.reduce_sum(found, axis=[-2, -1])

    def sample(self, params: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """By the inverse of each group's distribution function, of one uniform."""
        log_p, most = self.logits(params), max(self.sizes)
        last = np.array([[size - 1] for size in self.sizes])
        # However a sum of probabilities is rounded, nothing is beyond the last class.
        reached = tf.where(np.arange(most) < last, tf.cumsum(tf.exp(log_p), axis=-1), 2.0)
        index = tf.reduce_sum(tf.cast(tf.cast(noise, tf.float32)[..., None] >= reached, tf.int32), axis=-1)
        return self._flat(tf.one_hot(index, most, dtype=tf.float32))

    def mode(self, params: tf.Tensor) -> tf.Tensor:
        """The most probable class of each group, one-hot, [.., D]."""
        index = tf.argmax(self.logits(params), axis=-1, output_type=tf.int32)
        return self._flat(tf.one_hot(index, max(self.sizes), dtype=tf.float32))

    def mean(self, params: tf.Tensor) -> tf.Tensor:
        return self._flat(tf.exp(self.logits(params)))

    def supported(self, x: np.ndarray | tf.Tensor, observed: Any = None) -> np.ndarray | tf.Tensor:
        sizes = self._sizes_for(x.shape[-1])
        members = np.repeat(np.eye(len(sizes), dtype=np.float32), sizes, axis=0)
        count = np.array(sizes, np.float32)
        off = abs(_numbers(x) @ members - 1.0) > ROUNDING * count
        if observed is not None:
            known = _numbers(observed) @ members
            off = (off & (known > count - 0.5)) | ((known > 0.5) & (known < count - 0.5))
        return super().supported(x) & (_numbers(off) @ members.T < 0.5)

    def _bias_from(self, frames: np.ndarray) -> np.ndarray:
        """Logarithms of the frequencies, with half a count added to each class."""
        return np.log(np.nansum(frames, axis=0) + 0.5)


def _numbers(x: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
    return tf.cast(x, tf.float32) if tf.is_tensor(x) else x.astype(np.float32)
