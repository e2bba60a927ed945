"""What networks see of frames, where that is not the frames themselves."""

import numpy as np
import tensorflow as tf

__all__ = ["check_frames", "check_x_scale", "logarithm"]


def check_x_scale(x_scale: str) -> str:
    """The scale itself; raises ValueError for one that does not exist."""
    if x_scale not in ("linear", "log"):
        raise ValueError(f"`x_scale` must be 'linear' or 'log', got {x_scale!r}.")
    return x_scale


def check_frames(x: np.ndarray, x_scale: str) -> None:
    """Raises ValueError for observed frames `[N, D]` that have no such scale."""
    if x_scale == "log" and x.size and x.min() < 0.0:
        raise ValueError(
            f"x_scale='log' takes the logarithm of frames, which must not be negative; got a minimum of {x.min():.6g}: "
            "leave it at 'linear', or pass powers."
        )


def logarithm(x: tf.Tensor) -> tf.Tensor:
    """log(x + 1e-8) / 10, which brings twelve decades of power to -1.8 to 1; float32."""
    return 0.1 * tf.math.log(tf.cast(x, tf.float32) + 1e-8)
