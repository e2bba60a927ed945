"""How the frames of each kind of observation become whole numbers and come back: p(x_t | .) as laws of a coder.

One function per kind, for writers and readers alike. It is handed `code`, which takes a law and, where frames are
written, the numbers; and gives the numbers back. So what is written is asked for in the same order, by the same
arithmetic, when it is read.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.codec.laws import Bins, Classes, Coins, Law, sigmoid, softmax
from tfdvae.observations import (
    AutoregressiveBernoulli,
    Bernoulli,
    Categorical,
    Gaussian,
    IdentityGaussian,
    Observation,
    Pen,
)

__all__ = ["LOSSLESS", "Code", "Resolution", "check_lossless", "code_frame", "from_numbers", "to_numbers"]

Code = Callable[[Law, np.ndarray | None], np.ndarray]
"""`(law of [N, D] numbers, the numbers or None) -> the numbers`."""


class Resolution(NamedTuple):
    """What the whole numbers k behind frames of real numbers are: x = k / `per_unit`, in float32.

    Attributes:
        per_unit: float32 `[D]`.
        most: int `[D]`, no number is further from 0.
    """

    per_unit: np.ndarray
    most: np.ndarray


def _bernoulli(frames: Any, params: tf.Tensor, x: np.ndarray | None, code: Code, _: Resolution | None) -> np.ndarray:
    return code(Coins(sigmoid(params.numpy())), x)


def _autoregressive(
    frames: Any, params: tf.Tensor, x: np.ndarray | None, code: Code, _: Resolution | None
) -> np.ndarray:
    """Feature by feature, by the steps that a sample takes, whether the values are known or not."""

    def choose(i: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        known = None if x is None else x[:, int(i), None]
        return tf.constant(code(Coins(sigmoid(logits.numpy()[:, None])), known)[:, 0], tf.float32)

    return frames.observation.ancestral(params, choose).numpy()


def _categorical(frames: Any, params: tf.Tensor, x: np.ndarray | None, code: Code, _: Resolution | None) -> np.ndarray:
    logits, sizes = params.numpy(), frames.observation.sizes
    ends = np.cumsum(sizes)
    groups = [slice(end - size, end) for end, size in zip(ends.tolist(), sizes, strict=True)]
    found = np.zeros(logits.shape, np.float32)
    for group in groups:
        known = None if x is None else x[:, group].argmax(axis=1)[:, None]
        number = code(Classes(softmax(logits[:, None, group])), known)
        np.put_along_axis(found[:, group], number, 1.0, axis=1)
    return found


def _gaussian(
    frames: Any, params: tf.Tensor, x: np.ndarray | None, code: Code, resolution: Resolution | None
) -> np.ndarray:
    """Each feature in its bin: the mass of N(x; loc, scale^2) around k, as far as the resolution goes."""
    mean, stddev = (y.numpy().astype(np.float64) for y in (frames.mean(params), frames.stddev(params)))
    law = Bins(mean * resolution.per_unit, stddev * resolution.per_unit, resolution.most)
    return code(law, x)


def _pen(frames: Any, params: tf.Tensor, x: np.ndarray | None, code: Code, resolution: Resolution) -> np.ndarray:
    """dx by its mixture, dy by the mixture given dx (at the middle of its bin), and the pen bit."""
    params, units = frames.parted(params)
    own = tf.nest.map_structure(lambda y: y.numpy().astype(np.float64), frames.observation.components(params))
    shift, width = (np.zeros(2), np.ones(2)) if units is None else (y.numpy()[..., :2] for y in units)
    loc, scale = own.loc * width + shift, own.scale * width
    log_weights, numbers = own.logits, []
    for axis, per_unit, most in zip(range(2), resolution.per_unit.tolist(), resolution.most.tolist(), strict=False):
        # Of each component: its law along this axis, given the number of the axis before.
        mean, deviation = loc[..., axis], scale[..., axis]
        if axis == 1:
            standard = (numbers[0] / resolution.per_unit[0] - loc[..., 0]) / scale[..., 0]
            log_weights = log_weights - 0.5 * standard**2 - np.log(scale[..., 0])
            mean = mean + own.correlation * deviation * standard
            deviation = deviation * np.sqrt(1.0 - own.correlation**2)
        edges = (np.arange(-most, most + 2) - 0.5) / per_unit
        weights, mass = softmax(log_weights), 0.0
        for k in range(weights.shape[-1]):
            below = _normal_cdf((edges - mean[:, k, None]) / deviation[:, k, None])
            mass = mass + weights[:, k, None] * np.diff(below, axis=-1)
        known = None if x is None else x[:, axis, None] + most
        numbers.append(code(Classes(mass[:, None]), known) - most)
    pen = code(Coins(sigmoid(own.pen_logit)), None if x is None else x[:, 2:])
    return np.concatenate([*numbers, pen], axis=1)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """Of the standard normal distribution."""
    return 0.5 * tf.math.erfc(tf.constant(-x / np.sqrt(2.0), tf.float64)).numpy()


class Lossless(NamedTuple):
    """How a kind of observation is coded, and whether its frames need a `Resolution`."""

    code: Callable[[Any, tf.Tensor, np.ndarray | None, Code, Resolution | None], np.ndarray]
    continuous: bool = False


LOSSLESS: dict[type[Observation], Lossless] = {
    AutoregressiveBernoulli: Lossless(_autoregressive),
    Bernoulli: Lossless(_bernoulli),
    Categorical: Lossless(_categorical),
    Gaussian: Lossless(_gaussian, continuous=True),
    IdentityGaussian: Lossless(_gaussian, continuous=True),
    Pen: Lossless(_pen, continuous=True),
}
"""Observations whose frames can be coded without loss. Each function takes the model's `FrameIO`, parameters `[N, P]`,
whole numbers `[N, D]` or None, `code` and the resolution; and returns the whole numbers."""


def check_lossless(observation: Observation) -> Lossless:
    """How this one is coded.

    Raises:
        ValueError: nobody has said how.
    """
    if type(observation) not in LOSSLESS:
        known = ", ".join(sorted(kind.__name__ for kind in LOSSLESS))
        raise ValueError(
            f"Frames of {type(observation).__name__} cannot be compressed without loss: expected one of {known}. "
            "Frames of any observation can be compressed with loss, by `compress_lossy`."
        )
    return LOSSLESS[type(observation)]


def code_frame(
    frames: Any, params: tf.Tensor, x: np.ndarray | None, code: Code, resolution: Resolution | None
) -> np.ndarray:
    """One frame of N sequences.

    Args:
        frames: the model's `FrameIO`.
        params: of p(x_t | .), `[N, P]`.
        x: whole numbers `[N, D]` where frames are written, None where they are read.
        code: see `Code`.
        resolution: of observations of real numbers.

    Returns:
        The whole numbers `[N, D]`.
    """
    return check_lossless(frames.observation).code(frames, params, x, code, resolution)


def to_numbers(x: np.ndarray, resolution: Resolution | None) -> np.ndarray:
    """Frames `[.., D]` as whole numbers, int32.

    Raises:
        ValueError: they are none, at this resolution.
    """
    numbers = np.rint(x if resolution is None else np.float64(x) * resolution.per_unit)
    if numbers.size and np.abs(numbers).max() >= 2**31:
        raise ValueError("Frames hold numbers beyond 2^31 at this resolution: choose a coarser one.")
    numbers = numbers.astype(np.int32)
    if not np.array_equal(from_numbers(numbers, resolution), x):
        raise ValueError(
            "Frames are not on a grid of this resolution, so no bin holds them: give `resolution`, the numbers per "
            "unit of each feature with which x * resolution is whole; or round the frames; or compress them with loss."
        )
    return numbers


def from_numbers(numbers: np.ndarray, resolution: Resolution | None) -> np.ndarray:
    """Whole numbers `[.., D]` as frames, float32."""
    return numbers.astype(np.float32) if resolution is None else numbers.astype(np.float32) / resolution.per_unit
