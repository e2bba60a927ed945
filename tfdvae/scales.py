"""Positive scales from outputs of networks, and where they end: the one place for maps and floors of scales.

`min_scale` with `scale_floor` "sum" is added to every scale, so that none comes near it for nothing; with "clip" scales
are what the network says, as in the survey's experiments, except where that is below `min_scale`. Gradients pass there
as if nothing were held, so that what strayed below can come back.
"""

import math

import numpy as np
import tensorflow as tf

__all__ = [
    "FLOORS",
    "MAPS",
    "check_floor",
    "check_map",
    "exp_scale",
    "hold_above",
    "hold_within",
    "scale_inverse",
    "softplus_inverse",
    "softplus_scale",
]

MAPS = ("softplus", "exp")
"""Names of the maps: softplus(raw), and exp(raw / 2) of a log-variance."""
FLOORS = ("sum", "clip")
"""What `min_scale` does to a scale: it is added to it, or holds it from below."""


def check_map(scale: str) -> str:
    """The name itself; raises ValueError for a map that does not exist."""
    if scale not in MAPS:
        raise ValueError(f"`scale` must be 'softplus' or 'exp', got {scale!r}.")
    return scale


def check_floor(scale_floor: str) -> str:
    """The name itself; raises ValueError for a floor that does not exist."""
    if scale_floor not in FLOORS:
        raise ValueError(
            f"`scale_floor` must be 'sum', which adds `min_scale`, or 'clip', which holds scales above it; "
            f"got {scale_floor!r}."
        )
    return scale_floor


def hold_within(value: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """`value` clipped to [low, high], with the gradient of the identity: what strayed outside can come back.

    Smooth bounds did the same at several times the cost; on 513 spectrogram bins that was an eighth of a train step.
    """
    return tf.stop_gradient(tf.clip_by_value(value, low, high)) + (value - tf.stop_gradient(value))


def hold_above(value: tf.Tensor, low: float) -> tf.Tensor:
    """`value`, or `low` where it is below, with the gradient of the identity."""
    return tf.stop_gradient(tf.maximum(value, low)) + (value - tf.stop_gradient(value))


def softplus_scale(raw: tf.Tensor, min_scale: float, scale_floor: str = "sum") -> tf.Tensor:
    """softplus(raw) + min_scale, or max(softplus(raw), min_scale)."""
    found = tf.math.softplus(raw)
    return found + min_scale if scale_floor == "sum" else hold_above(found, min_scale)


def exp_scale(raw: tf.Tensor, min_scale: float, scale_floor: str, max_log_variance: float) -> tf.Tensor:
    """exp(raw / 2) + min_scale, or max(exp(raw / 2), min_scale), of log-variances below `max_log_variance`."""
    if scale_floor == "sum":
        return tf.exp(0.5 * tf.minimum(raw, max_log_variance)) + min_scale
    lowest = 2.0 * math.log(min_scale) if min_scale > 0.0 else raw.dtype.min
    return tf.exp(0.5 * hold_within(raw, lowest, max_log_variance))


def softplus_inverse(value: np.ndarray) -> np.ndarray:
    """y with log(1 + exp(y)) = value, for value > 0."""
    value = np.asarray(value, np.float64)
    return value + np.log(-np.expm1(-value))


def scale_inverse(wanted: np.ndarray, scale: str, min_scale: float, scale_floor: str) -> np.ndarray:
    """The outputs of a network at which scales are as wanted; smaller ones are raised to 2 min_scale, where gradients
    are alive, and with "exp" none is above 1e5."""
    held = np.maximum(wanted, 2.0 * min_scale)
    held = np.minimum(held, 1e5) if scale == "exp" else held
    own = held - min_scale if scale_floor == "sum" else held
    return softplus_inverse(own) if scale == "softplus" else 2.0 * np.log(own)
