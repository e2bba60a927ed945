"""Latents as whole numbers: a grid for Gaussians, classes for categorical ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae.codec.laws import Bins, Classes, Law, softmax
from tfdvae.families import DiagonalGaussian, Family
from tfdvae.layers.latent import Latent
from tfdvae.models import DVAE
from tfdvae.types import Batch, Gaussian

__all__ = ["REACH", "ClassesOf", "Grid", "choose_fineness", "deviations", "grids_of"]

REACH = 12
"""How many deviations of its prior a latent may be away from its mean; what is further costs, and loses nothing."""
COARSEST, FINEST = 2, 12
"""A step is from 2^-12, as the coder's precision is 2^-24, to 1/4 of the prior's deviation."""
PER_DEVIATION = 4.0
"""Steps in a deviation of a narrow posterior, at least. The grid adds 1/12 of a squared step to its variance: 0.5%."""
NARROW = 0.05
"""Which part of the posteriors may be narrower than what the grid was chosen for."""


class Grid(NamedTuple):
    """z = loc + scale k / 2^`fineness` for the loc and scale of the prior, and whole numbers k.

    In these units the prior is N(0, 1) everywhere, and the bins are fine enough for the posteriors.

    Attributes:
        fineness: int `[Z]`, one number for each dimension.
    """

    fineness: np.ndarray

    @property
    def per_deviation(self) -> np.ndarray:
        """Steps in a deviation of the prior, `[Z]`."""
        return 2.0**self.fineness

    def prior(self, p: Gaussian) -> Law:
        """The law of k under the prior."""
        ones = np.ones(p.loc.shape)
        return Bins(0.0 * ones, self.per_deviation * ones, self._most)

    def posterior(self, q: Gaussian, p: Gaussian) -> Law:
        """The law of k under the posterior."""
        own, prior = (tuple(np.asarray(y, np.float64) for y in dist) for dist in (q, p))
        per_unit = self.per_deviation / prior[1]
        # A posterior out of reach would have all its mass in the last bin, up to rounding.
        mean = np.clip((own[0] - prior[0]) * per_unit, -self._most, self._most)
        return Bins(mean, own[1] * per_unit, self._most)

    def value(self, k: np.ndarray, p: Gaussian) -> np.ndarray:
        """z `[N, Z]` of k `[N, Z]`, float32."""
        loc, scale = (np.asarray(y, np.float32) for y in p)
        return loc + scale * (k / self.per_deviation).astype(np.float32)

    @property
    def _most(self) -> np.ndarray:
        return (REACH * self.per_deviation).astype(np.int64)


class ClassesOf(NamedTuple):
    """z as the one-hot vectors of the classes k of a categorical family."""

    family: Family

    def prior(self, p: Any) -> Law:
        """The law of k under the prior."""
        return Classes(softmax(self.family.grouped(p.logits).numpy()))

    def posterior(self, q: Any, p: Any) -> Law:
        """The law of k under the posterior."""
        return self.prior(q)

    def nearest(self, q: Any, p: Any) -> np.ndarray:
        """The most probable classes of the posterior."""
        return self.family.grouped(q.logits).numpy().argmax(axis=-1).astype(np.int32)

    def value(self, k: np.ndarray, p: Any) -> np.ndarray:
        """z `[N, Z]` of k `[N, groups]`, float32."""
        return np.eye(self.family.classes, dtype=np.float32)[k].reshape(len(k), -1)


def grids_of(
    latents: tuple[Latent, ...], make: Callable[..., Any], *options: Mapping[str, Sequence[float]]
) -> list[Any]:
    """How each latent becomes whole numbers.

    Args:
        make: the kind of grid of Gaussian latents; `ClassesOf` is that of the others.
        *options: arguments of `make`, each with one number for every dimension of every Gaussian latent, by name.

    Raises:
        ValueError: `options` are not those of these latents.
    """
    gaussians = {latent.name: latent.latent_dim for latent in latents if isinstance(latent.p, DiagonalGaussian)}
    for option in options:
        if {name: len(own) for name, own in option.items()} != gaussians:
            raise ValueError(f"Expected a grid for the latents {gaussians or 'none'}, got {sorted(option) or 'none'}.")
    return [
        make(*(np.asarray(option[latent.name]) for option in options))
        if latent.name in gaussians
        else ClassesOf(latent.p)
        for latent in latents
    ]


def deviations(model: DVAE, batch: Batch) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Deviations of posterior and prior of each Gaussian latent, by name, each `[frames that exist, Z]`; along the
    modes of the posteriors of sequences with a mask."""
    names = [latent.name for latent in model.latents if isinstance(latent.p, DiagonalGaussian)]

    @tf.function(autograph=False)
    def scales(batch: Batch) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        paths = model.infer(*batch).latents
        return {name: (paths[name].q.scale, paths[name].p.scale) for name in names}

    exists = np.asarray(batch.mask, bool)
    return {name: tuple(y.numpy()[exists] for y in own) for name, own in scales(batch).items()}


def choose_fineness(model: DVAE, batch: Batch) -> dict[str, list[int]]:
    """The fineness of the grid of each Gaussian latent, by name, for sequences like these."""
    found = {}
    for name, (own, prior) in deviations(model, batch).items():
        narrow = np.maximum(np.quantile(own / prior, NARROW, axis=0), 2.0**-FINEST)
        found[name] = np.clip(np.ceil(np.log2(PER_DEVIATION / narrow)), COARSEST, FINEST).astype(int).tolist()
    return found
