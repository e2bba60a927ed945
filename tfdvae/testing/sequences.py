"""Small random data that a built model takes: frames, noise, sequences to train on, and weights that are moved."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfdvae.layers.frame_shapes import restore_frames
from tfdvae.types import Batch

__all__ = ["BATCH", "LENGTH", "at", "each", "frames", "given", "jitter", "noise", "training_data"]

BATCH, LENGTH = 3, 5


def jitter(variables: list, seed: int, scale: float = 0.2) -> None:
    """Moves all variables a little: those that start at zero would hide what depends on them."""
    rng = np.random.default_rng(seed)
    for variable in variables:
        # On TensorFlow's own variable: Keras would add, convert and check in several operations.
        variable.value.assign_add(scale * rng.normal(size=variable.shape).astype("float32"))


def frames(model: Any, batch: int = BATCH, length: int = LENGTH, seed: int = 1) -> Batch:
    """Normal frames `[B, T, D]`, with inputs and a context where the model was built for them, without a mask."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> tf.Tensor:
        return tf.constant(rng.normal(size=shape), tf.float32)

    x = normal(batch, length, model.x_dim)
    u = normal(batch, length, model.u_dim) if model.u_dim else None
    return Batch(x, None, u, None, normal(batch, model.context_dim) if model.context_dim else None)


def noise(model: Any, batch: int = BATCH, length: int = LENGTH, seed: int = 2) -> dict[str, tf.Tensor]:
    """Noise of every latent by name, as the model draws it."""
    rng = np.random.default_rng(seed)
    kinds = {"normal": rng.normal, "uniform": lambda size: rng.uniform(0.01, 0.99, size)}
    return {
        latent.name: tf.constant(kinds[latent.q.noise_kind](size=latent.noise_shape(batch, length)), tf.float32)
        for latent in model.latents
    }


def each(function: Callable, structure: Any) -> Any:
    """The function of every tensor of a nest: of noise, or of what a model returned."""
    return tf.nest.map_structure(function, structure)


def given(batch: Batch, model: Any = None) -> dict[str, np.ndarray]:
    """The batch as the dict of arrays that verbs take, with frames in their shape where the model is named."""
    found = {k: np.asarray(v) for k, v in batch._asdict().items() if v is not None}
    if model is None:
        return found
    return {
        k: np.asarray(restore_frames(v, model.frame_shape)) if k in ("x", "observed") else v for k, v in found.items()
    }


def at(batch: Batch, t: int, model: Any) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor | None]:
    """One frame of it as `step` takes it: x, u and observed."""
    x, u, observed = (None if y is None else y[:, t] for y in (batch.x, batch.u, batch.observed))
    x, observed = (None if y is None else restore_frames(y, model.frame_shape) for y in (x, observed))
    return x, u, observed


def training_data(model: Any, count: int = 16, length: int = 8) -> dict[str, np.ndarray]:
    """Smooth sequences of different lengths, NaN where no frame exists, and inputs that drive them."""
    rng = np.random.default_rng(5)
    time = np.arange(length)[None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, model.x_dim))
    x = 1.5 * np.sin(0.7 * time + phase) + 0.1 * rng.normal(size=(count, length, model.x_dim)) + 1.0
    mask = np.arange(length)[None] < rng.integers(2, length + 1, count)[:, None]
    shape = (count, length, *model.frame_shape)
    data = {"x": np.where(mask[..., None], x, np.nan).astype("float32").reshape(shape), "mask": mask}
    if model.u_dim:
        angle = phase[..., :1] + 0.7 * time - 0.5 * np.pi * np.arange(model.u_dim)
        data["u"] = np.where(mask[..., None], np.cos(angle), np.nan).astype("float32")
    if model.context_dim:
        data["context"] = rng.normal(size=(count, model.context_dim)).astype("float32")
    return data
