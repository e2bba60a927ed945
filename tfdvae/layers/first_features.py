"""What a recurrence over frames sees before there is a frame."""

import tensorflow as tf

from tfdvae.layers.mlp import MLP

__all__ = ["before_first", "check_first_features"]


def check_first_features(kind: str) -> str:
    """`kind` itself: "zeros", or "phi_x" for the features of a frame of zeros. ValueError otherwise."""
    if kind not in ("zeros", "phi_x"):
        raise ValueError(f"`first_features` must be 'zeros' or 'phi_x', got {kind!r}.")
    return kind


def before_first(kind: str, features: MLP, frame: tf.Tensor) -> tf.Tensor:
    """Stands for the features `[B, F]` of x_0, where `frame` `[B, D]` is a frame of zeros."""
    return (
        features(frame)
        if kind == "phi_x"
        else tf.zeros([tf.shape(frame)[0], features.output_dim(frame.shape[-1])], frame.dtype)
    )
