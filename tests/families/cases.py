"""One case per family of latent distributions; `tests/families` runs everything over this table."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfdvae import random
from tfdvae.families import Categorical, DiagonalGaussian, Family, Flow, TriangularGaussian


def flow(latent_dim: int, kind: str, spread: float = 0.4, **arguments: Any) -> Flow:
    """A flow whose weights are random enough to be far from the identity."""
    family = Flow(DiagonalGaussian(latent_dim), kind=kind, **{"num_layers": 2, "hidden": 9, **arguments})
    family.build()
    rng = np.random.default_rng(11)
    for weight in family.network.trainable_weights:
        weight.assign(rng.normal(scale=spread, size=weight.shape))
    return family


CASES: dict[str, Callable[[int], Family]] = {
    "gaussian": lambda dim: DiagonalGaussian(dim, min_scale=0.01),
    "gaussian exp": lambda dim: DiagonalGaussian(dim, "exp"),
    "gaussian clipped": lambda dim: DiagonalGaussian(dim, min_scale=0.4, scale_floor="clip"),
    "categorical": lambda dim: Categorical(dim, classes=3 if dim % 3 == 0 else dim, uniform_share=0.05),
    "categorical unmixed": lambda dim: Categorical(dim, classes=2, uniform_share=0.0),
    "triangular": TriangularGaussian,
    "triangular exp": lambda dim: TriangularGaussian(dim, "exp", min_scale=0.01),
    "triangular clipped": lambda dim: TriangularGaussian(dim, "exp", min_scale=0.6, scale_floor="clip"),
    "coupling": lambda dim: flow(dim, "coupling", spread=0.3),
    "autoregressive": lambda dim: flow(dim, "autoregressive", context_dim=2),
}
DISCRETE = [name for name in CASES if name.startswith("categorical")]
CONTINUOUS = [name for name in CASES if name not in DISCRETE]
FLOWS = ["coupling", "autoregressive"]
KINDS = [name for name in CASES if " " not in name]
"""One case per type of family, for what takes long and does not depend on options."""


def raw_for(family: Family, *leading: int, seed: int = 1, spread: float = 0.7) -> np.ndarray:
    """What a network might give, `[*leading, P]`."""
    noise = np.random.default_rng(seed).normal(size=(*leading, family.params_dim))
    return (family.initial_bias() + spread * noise).astype(np.float32)


def noise_for(family: Family, *leading: int, seed: int = 2) -> tf.Tensor:
    draw = {"normal": random.normal, "uniform": random.uniform}[family.noise_kind]
    return draw(random.make_seed(seed), [*leading, family.noise_dim])


class Drawn(NamedTuple):
    """A distribution, noise, and the sample made of both."""

    dist: NamedTuple
    noise: tf.Tensor
    z: tf.Tensor


def drawn(family: Family, *leading: int, seed: int = 1, spread: float = 0.7) -> Drawn:
    dist = family.parameters(raw_for(family, *leading, seed=seed, spread=spread))
    noise = noise_for(family, *leading, seed=seed + 100)
    return Drawn(dist, noise, family.sample(dist, noise))


def samples(family: Family, dist: NamedTuple, count: int, seed: int = 3) -> Drawn:
    """`count` draws from one distribution without leading axes, whose parameters are repeated."""
    repeated = type(dist)(*(tf.repeat(value[None], count, axis=0) for value in dist))
    noise = noise_for(family, count, seed=seed)
    return Drawn(repeated, noise, family.sample(repeated, noise))


def points_of(family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Points `[M, Z]` and weights `[M]` that integrate, or sum, over the support of the densities of these tests."""
    if isinstance(family, Categorical):
        rows = [np.concatenate(rows) for rows in itertools.product(np.eye(family.classes), repeat=family.num_groups)]
        return np.array(rows, np.float32), np.ones(len(rows))
    return grid(family.latent_dim)


@functools.cache
def grid(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's quadrature of one or two dimensions, from -15 to 15."""
    nodes, weights = (15.0 * values for values in np.polynomial.legendre.leggauss({1: 600, 2: 220}[dim]))
    points = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    volumes = np.stack(np.meshgrid(*[weights] * dim, indexing="ij"), axis=-1).reshape(-1, dim).prod(axis=-1)
    return points.astype(np.float32), volumes


def assert_mean(values: np.ndarray, expected: np.ndarray | float, atol: float = 1e-6) -> None:
    """The mean over axis 0 is what is expected, within five standard errors."""
    values = np.asarray(values, np.float64)
    error = values.std(axis=0) / len(values) ** 0.5
    np.testing.assert_array_less(np.abs(values.mean(axis=0) - expected), 5.0 * error + atol)
