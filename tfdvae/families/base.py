"""The contract of a family of distributions over latents: what q(z_t | .) and p(z_t | .) may be."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfdvae.arguments import CheckedArguments

__all__ = ["Family"]


class Family(CheckedArguments, ABC):
    """A family of distributions over z `[.., Z]`: stateless functions of parameters that are plain tensors.

    A distribution is a NamedTuple of float32 tensors, `dist` below, so that loops, masks and exports can carry it.
    Leading axes are free: `[B, .]`, `[B, T, .]`, `[K, B, T, .]`. Log-probabilities are in nats, summed over z.

    A family implements what is abstract here, and is registered with Keras under the package "tfdvae".
    A closed form of its divergence from another family is registered in `tfdvae.families.divergence`.

    Args:
        latent_dim: Z, the width of z.

    Raises ValueError for a `latent_dim` below `min_latent_dim`.
    """

    noise_kind: ClassVar[str]
    """What `sample` takes: "normal" or "uniform" numbers, as `tfdvae.random` draws them."""

    min_latent_dim: ClassVar[int] = 1

    def __init__(self, latent_dim: int) -> None:
        self.latent_dim = operator.index(latent_dim)
        if self.latent_dim < self.min_latent_dim:
            raise ValueError(
                f"{type(self).__name__} needs a latent_dim of at least {self.min_latent_dim}, got {latent_dim}."
            )

    @property
    @abstractmethod
    def noise_dim(self) -> int:
        """How many numbers one draw takes."""

    @property
    @abstractmethod
    def num_groups(self) -> int:
        """G, the number of separately reported terms of a divergence within the family."""

    @property
    @abstractmethod
    def params_dim(self) -> int:
        """P, the width of the network output that `parameters` takes."""

    @property
    def support(self) -> Hashable:
        """The space that z lives in; only families of equal supports have a divergence."""
        return ("real", self.latent_dim)

    @abstractmethod
    def parameters(self, raw: tf.Tensor) -> NamedTuple:
        """The distribution that a network's output `[.., P]` of any float dtype stands for."""

    @abstractmethod
    def initial_bias(self) -> np.ndarray:
        """Bias `[P]` of a network's last layer with which the distribution starts at scale one, or uniform."""

    @abstractmethod
    def standard(self, like: tf.Tensor) -> NamedTuple:
        """The fixed prior, N(0, I) or uniform, with the leading axes of `like` `[.., F]`."""

    @abstractmethod
    def sample(self, dist: NamedTuple, noise: tf.Tensor | None = None) -> tf.Tensor:
        """A sample `[.., Z]` as a differentiable function of the parameters and of `noise` `[.., noise_dim]`.

        Without noise it is `mode(dist)`.
        """

    @abstractmethod
    def mode(self, dist: NamedTuple) -> tf.Tensor:
        """The z `[.., Z]` that stands for the distribution where a model runs without noise."""

    @abstractmethod
    def mean(self, dist: NamedTuple) -> tf.Tensor:
        """E[z], `[.., Z]`."""

    @abstractmethod
    def scale(self, dist: NamedTuple) -> tf.Tensor:
        """The standard deviation of each entry of z, `[.., Z]`."""

    @abstractmethod
    def log_prob(self, dist: NamedTuple, z: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """log p(z) in nats, `[..]`.

        `noise` is what `sample` made this z of, where that is known: some families are spared a system of equations
        then. The gradient is that of z = sample(dist, noise), so leave it out where z is to be held fixed.
        """

    @abstractmethod
    def distribution(self, dist: NamedTuple) -> tfd.Distribution:
        """The distribution with event shape `[Z]` and batch shape `[..]`, for use outside of models."""

    def moved(self, dist: NamedTuple, shift: tf.Tensor, log_scale: tf.Tensor) -> NamedTuple:
        """The distribution of what `sample` makes of normal noise with this mean and this logarithm of a standard
        deviation, each `[.., noise_dim]`, where it is one of the family; NotImplementedError otherwise."""
        raise NotImplementedError(f"{type(self).__name__} has no name for itself under another law of its noise.")

    def get_config(self) -> dict[str, Any]:
        """Arguments with which `from_config` makes the same family."""
        return {"latent_dim": self.latent_dim}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The family that `get_config` described."""
        return cls(**config)

    def _checked(self, raw: tf.Tensor) -> tf.Tensor:
        """The network's output in float32. ValueError where it is not as wide as the family needs."""
        raw = tf.convert_to_tensor(raw)
        if raw.shape[-1] is not None and raw.shape[-1] != self.params_dim:
            raise ValueError(
                f"{type(self).__name__} takes network outputs [.., {self.params_dim}], got {tuple(raw.shape)}: "
                "give the last layer `params_dim` units."
            )
        return tf.cast(raw, tf.float32)
