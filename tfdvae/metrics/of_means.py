"""Keras' own metrics of E[x_t | .]: how far the mean of a frame is from the frame."""

from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf

__all__ = ["MeansMetrics"]

AMBIGUOUS = ("accuracy", "acc", "crossentropy", "ce")


class MeansMetrics:
    """What `compile(metrics=...)` was given; no layer, so that it is no part of a model's saved state.

    As in Keras, a metric that was given by a name is called that in the logs.

    Args:
        given: names of Keras' metrics, Metric objects, or functions of frames and means; None for none.

    Raises:
        ValueError: no list, a name that Keras does not know, or "accuracy", which says nothing of means.
    """

    def __init__(self, given: Any = None):
        if not isinstance(given, list | tuple | None):
            raise ValueError(f"`metrics` must be a list of Keras' metrics such as ['mae'], got {given!r}.")
        self.metrics = [_as_metric(one) for one in given or ()]

    @property
    def directions(self) -> dict[str, str]:
        """Which way is better, "max" or "min", by their names, as far as Keras says so."""
        known = {"up": "max", "down": "min"}
        found = {metric.name: known.get(getattr(metric, "_direction", None)) for metric in self.metrics}
        return {name: way for name, way in found.items() if way is not None}

    def check_names(self, taken: Collection[str]) -> None:
        """Raises ValueError where a name would stand for two values of the logs."""
        names = [metric.name for metric in self.metrics]
        for name in names:
            if names.count(name) > 1 or name in taken:
                raise ValueError(f"`metrics` has {name!r}, which the logs have already: give it another `name`.")

    def update(
        self,
        x: tf.Tensor,
        means: tf.Tensor,
        mask: tf.Tensor | None = None,
        scored: tf.Tensor | None = None,
        valid: tf.Tensor | bool = True,
    ) -> None:
        """Adds a batch, of which each frame is one sample; what does not exist counts nothing.

        Where parts of frames were not observed, each entry is a sample of its own.

        Args:
            x: frames `[B, T, ...]`; anything where they do not exist or are not scored.
            means: of the same shape.
            mask: `[B, T]`, which frames exist; None for all.
            scored: as x, which entries of frames are scored; None for all.
            valid: whether the batch counts at all.
        """
        counted = tf.ones(tf.shape(x)[:2], tf.bool) if mask is None else mask
        sample = list(x.shape[2:])
        if scored is not None:
            counted = scored & tf.reshape(counted, tf.concat([tf.shape(counted), tf.ones_like(sample)], axis=0))
            sample = [1]
        counted = tf.reshape(counted, [-1]) & valid
        apart = tf.reshape(counted, [-1, *[1] * len(sample)])
        frames, found = (tf.where(apart, tf.reshape(y, [-1, *sample]), 0.0) for y in (x, means))
        for metric in self.metrics:
            metric.update_state(frames, found, sample_weight=tf.cast(counted, tf.float32))


def _as_metric(given: Any) -> keras.metrics.Metric:
    if isinstance(given, keras.metrics.Metric):
        return given
    if isinstance(given, str) and given in AMBIGUOUS:
        raise ValueError(
            f"`metrics` has {given!r}, which means another metric for every kind of target: name the one that you "
            "mean, such as 'binary_accuracy' for frames of 0 and 1."
        )
    try:
        found = keras.metrics.get(given) if isinstance(given, str) else given
    except ValueError:
        found = None
    found = found() if isinstance(found, type) and issubclass(found, keras.metrics.Metric) else found
    if not callable(found):
        raise ValueError(f"`metrics` must hold names, functions or Metric objects of Keras, got {given!r}.")
    if not isinstance(found, keras.metrics.Metric):
        found = keras.metrics.MeanMetricWrapper(found, name=getattr(found, "__name__", "metric"))
    if isinstance(given, str):
        found.name = given
    return found
