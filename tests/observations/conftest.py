"""One tiny case per observation family; `tests/observations` runs everything over this table."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tfdvae.observations import OBSERVATIONS, Observation

HIDDEN = 5


class Case(NamedTuple):
    """`axes[i]` is (nodes, weights) of a quadrature over feature i that covers the densities of the tests; `groups` are
    sizes of one-hot variables, of each of which only the frames with a single 1 count."""

    arguments: dict[str, Any]
    axes: list[tuple[np.ndarray, np.ndarray]]
    data: Callable[[np.random.Generator, int], np.ndarray]
    bad_frame: list[float]
    groups: tuple[int, ...] = ()

    @property
    def x_dim(self) -> int:
        return len(self.axes)

    @property
    def variables(self) -> list[np.ndarray]:
        """The features that are one variable, and observed together."""
        sizes = self.groups or (1,) * self.x_dim
        return np.split(np.arange(self.x_dim), np.cumsum(sizes)[:-1])

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Points [M, D] and weights [M]."""
        points = np.array(list(itertools.product(*[nodes for nodes, _ in self.axes])), np.float32)
        weights = np.array([np.prod(w) for w in itertools.product(*[weights for _, weights in self.axes])])
        kept = [(points[:, v].sum(axis=1) == 1.0) | (not self.groups) for v in self.variables]
        kept = np.all(kept, axis=0)
        return points[kept], weights[kept]


def interval(low: float, high: float, count: int = 160) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return low + (high - low) * (nodes + 1.0) / 2.0, weights * (high - low) / 2.0


def line(reach: float = 1e4, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """All real numbers up to the reach, dense around 0, for tails that fall slowly."""
    nodes, weights = interval(-np.arcsinh(reach), np.arcsinh(reach), count)
    return np.sinh(nodes), weights * np.cosh(nodes)


def counts_up_to(last: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(last + 1.0), np.ones(last + 1)


BIT = (np.array([0.0, 1.0]), np.ones(2))


def normal_data(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal([4.0, -3.0], [1.5, 0.6], (count, 2))


def half_data(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.normal([4.0, -3.0], 0.5, (count, 2))


def bits(rng: np.random.Generator, count: int) -> np.ndarray:
    return (rng.random((count, 4)) < [0.04, 0.3, 0.5, 0.9]).astype(np.float64)


def powers(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.exponential([0.02, 7.0], (count, 2))


def counts(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.poisson([0.4, 30.0], (count, 2)).astype(np.float64)


def scattered_counts(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.poisson(rng.gamma([0.5, 3.0], [4.0, 5.0], (count, 2))).astype(np.float64)


def classes(rng: np.random.Generator, count: int) -> np.ndarray:
    chosen = [rng.choice(len(p), count, p=p) for p in ([0.7, 0.3], [0.5, 0.05, 0.45])]
    return np.concatenate([np.eye(2)[chosen[0]], np.eye(3)[chosen[1]]], axis=1)


def strokes(rng: np.random.Generator, count: int) -> np.ndarray:
    offsets = rng.multivariate_normal([2.0, -1.0], [[1.0, 0.4], [0.4, 0.5]], count)
    return np.concatenate([offsets, rng.random((count, 1)) < 0.1], axis=1)


CASES = {
    "gaussian": Case({}, [interval(-8, 8)] * 2, normal_data, [np.nan, 0.0]),
    "identity_gaussian": Case({"scale": 0.5}, [interval(-5, 5)] * 2, half_data, [np.inf, 0.0]),
    "gaussian_mixture": Case({"num_components": 3}, [interval(-8, 8)] * 2, normal_data, [0.0, -np.inf]),
    "bernoulli": Case({}, [BIT] * 4, bits, [0.0, 1.0, 0.5, 0.0]),
    "autoregressive_bernoulli": Case({"hidden": HIDDEN, "activation": "tanh"}, [BIT] * 4, bits, [0.0, 1.0, 0.0, 2.0]),
    "gamma": Case({}, [interval(0, 60, 200)] * 2, powers, [1.0, -0.01]),
    "poisson": Case({}, [counts_up_to(60)] * 2, counts, [1.0, 0.5]),
    "negative_binomial": Case({"min_concentration": 0.1}, [counts_up_to(180)] * 2, scattered_counts, [0.0, -1.0]),
    "student_t": Case({"min_df": 6.0}, [line()] * 2, normal_data, [np.nan, 0.0]),
    "categorical": Case({"group_sizes": (2, 3)}, [BIT] * 5, classes, [0.0, 1.0, 0.0, 2.0, 0.0], (2, 3)),
    "pen": Case({"num_components": 3}, [interval(-8, 8)] * 2 + [BIT], strokes, [0.0, 0.0, -1.0]),
}

FEATURES_DIM = 6


def make(name: str, dtype: str | None = None, **arguments: Any) -> Observation:
    """A built observation of the case; dependence between features is made strong where a family has any."""
    case = CASES[name]
    observation = OBSERVATIONS[name](**{**case.arguments, **arguments}, dtype=dtype)
    observation.build((None, FEATURES_DIM), (None, case.x_dim))
    for weight in observation.trainable_weights:
        if weight.path.endswith("_kernel"):
            weight.assign(np.random.default_rng(7).normal(size=weight.shape))
    return observation


def features_for(*leading: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (*leading, FEATURES_DIM)).astype(np.float32)


@pytest.fixture(params=sorted(CASES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture
def observation(name: str) -> Observation:
    return make(name)


@pytest.fixture(scope="session")
def cases() -> dict[str, Case]:
    return CASES


@pytest.fixture(scope="session", name="make")
def make_fixture() -> Callable[..., Observation]:
    return make


@pytest.fixture(scope="session", name="features_for")
def features_for_fixture() -> Callable[..., np.ndarray]:
    return features_for
