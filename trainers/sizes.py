"""The model sizes that the benchmark compares: the survey's, from `tfdvae.presets`, and a tiny one for tests."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdvae import presets
from tfdvae.models import DVAE, MODELS

__all__ = ["SIZES", "Size", "build_model", "frames"]


class Size(NamedTuple):
    """Shapes and networks of one experiment.

    Attributes:
        x_dim, length, batch_size: D, T and B.
        learning_rate: of Adam.
        common: arguments of every model that has them.
        options: more arguments of a model, by its name.
    """

    x_dim: int
    length: int
    batch_size: int
    learning_rate: float
    common: Mapping[str, Any]
    options: Mapping[str, dict[str, Any]]


def _of(sizes: presets.Presets) -> Size:
    setting = sizes.setting
    common = {key: sizes["vrnn"][key] for key in ("latent_dim", "units", "observation")}
    return Size(setting.x_dim, setting.length, setting.batch_size, setting.learning_rate, common, sizes)


SIZES: dict[str, Size] = {
    "speech": _of(presets.speech),
    "motion": _of(presets.motion),
    "tiny": Size(
        x_dim=7,
        length=6,
        batch_size=4,
        learning_rate=0.001,
        common={"latent_dim": 3, "units": 5, "observation": "gamma"},
        options={"rnn": {"latent_dim": 0}, "vrnn": {"phi_x": (11,), "phi_z": (9,)}},
    ),
}
"""Every size by its name. The tiny one says nothing about speed; it makes the programs run in seconds."""


def build_model(name: str, size: Size, jit_compile: bool = False) -> DVAE:
    """The model `name` of `tfdvae.MODELS` with the networks of `size`, built and compiled for training."""
    own = size.options.get(name, {})
    unused = MODELS[name].without_use({**size.common, **own})
    common = {key: value for key, value in size.common.items() if key not in unused}
    model = MODELS[name](**{**common, **own})
    model.compile(keras.optimizers.Adam(size.learning_rate), jit_compile=jit_compile)
    model.build_for(size.x_dim)
    model.optimizer.build(model.trainable_variables)
    return model


def frames(size: Size) -> np.ndarray:
    """One batch `[B, T, D]` of exponential noise, which is in the support of Gamma and Gaussian observations alike."""
    shape = (size.batch_size, size.length, size.x_dim)
    return np.random.default_rng(0).exponential(size=shape).astype(np.float32)
