"""Shift and scale of frames: of the whole data set, or of each sequence by itself."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.moments import observed_moments

__all__ = ["Units", "units_of_sequences", "usual_units"]


class Units(NamedTuple):
    """What stands for zero and for one: x = shift + scale * y for a standardised y.

    Attributes:
        shift, scale: `[D]`; `[B, D]` of sequences; or `[..., D]` of single frames. In units of the data.
    """

    shift: tf.Tensor
    scale: tf.Tensor

    def along(self, x: tf.Tensor) -> "Units":
        """Those of sequences for each of their frames, where x has a time axis, `[B, T, D]`."""
        if self.shift.shape.rank == 2 and x.shape.rank == 3:
            return Units(self.shift[:, None], self.scale[:, None])
        return self

    def standardized(self, x: tf.Tensor) -> tf.Tensor:
        """y of x `[..., D]`."""
        shift, scale = self.along(x)
        return (x - shift) / scale

    def restored(self, y: tf.Tensor) -> tf.Tensor:
        """x of y `[..., D]`."""
        shift, scale = self.along(y)
        return y * scale + shift


def units_of_sequences(x: tf.Tensor, known: tf.Tensor, kinds: np.ndarray, usual: Units) -> Units:
    """The units of each sequence from some of its values, `[B, D]`.

    The shift of a feature is the mean of its known values. Its variance is theirs about that mean, as if one more
    deviation, of the usual size, had been seen: so a feature that stood still, or was seen once, keeps a scale. A
    positive feature (kind "scale") is not shifted; its scale is the mean, as if one more value had been seen. What was
    never known has the usual units.

    Args:
        x: `[B, T, D]`, anything where not `known`.
        known: `[B, T, D]` bool.
        kinds: `[D]`, "affine", "scale" or "none".
        usual: of the data set, `[D]`.
    """
    x = tf.where(known, x, tf.zeros([], x.dtype))  # gradients of what stands elsewhere, NaN perhaps, are zero
    count = tf.reduce_sum(tf.cast(known, x.dtype), axis=1)
    total = tf.reduce_sum(x, axis=1)
    mean = tf.where(count > 0.0, total / tf.maximum(count, 1.0), usual.shift)
    deviations = tf.reduce_sum(tf.where(known, (x - mean[:, None]) ** 2, 0.0), axis=1)
    deviation = tf.sqrt((deviations + usual.scale**2) / tf.maximum(count, 1.0))
    size = (total + usual.scale) / (count + 1.0)
    affine, positive = (tf.constant(kinds == kind) for kind in ("affine", "scale"))
    shift = tf.where(affine, mean, 0.0)
    return Units(shift, tf.where(affine, deviation, tf.where(positive, size, 1.0)))


def usual_units(x: np.ndarray, known: np.ndarray, given: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, ...]:
    """The usual shift and scale of a data set whose sequences have units of their own, `[D]` each.

    Args:
        x: `[N, T, D]`, anything where not `known`.
        known: `[N, T, D]` bool, what exists and was observed.
        given: `[N, T]` bool, the frames that the units of sequences are taken from.
        kinds: as in `units_of_sequences`.
    """

    mean, _ = observed_moments(x, known)
    first = tf.constant(known & given[..., None])
    own = units_of_sequences(tf.constant(x), first, kinds, Units(mean, np.ones_like(mean))).shift.numpy()
    deviation = np.sqrt(observed_moments((x - own[:, None]) ** 2, known)[0])
    positive = np.where(mean > 0.0, mean, 1.0)
    scale = np.select([kinds == "affine", kinds == "scale"], [np.where(deviation > 0.0, deviation, 1.0), positive], 1.0)
    return np.where(kinds == "affine", mean, 0.0), scale
