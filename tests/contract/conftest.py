"""The contract suite: every test that asks for `model` runs for every case, and a module makes each model once."""

from collections.abc import Iterator

import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.types import Batch


@pytest.fixture(scope="module", params=cases.params())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> tfdvae.DVAE:
    """The model of the case; tests leave its weights as they are."""
    return cases.make(name)


@pytest.fixture
def batch(name: str) -> Batch:
    return cases.frames(name)


@pytest.fixture
def noise(model: tfdvae.DVAE) -> dict[str, tf.Tensor]:
    return cases.noise(model)


AS_GRAPHS = ("vrnn", "kvae-u", "vssn-u")
"""One case of each kind of path."""


@pytest.fixture
def mostly_eager(name: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Verbs run eagerly, since tracing is what costs, but for AS_GRAPHS, and for every model with --exhaustive."""
    exhaustive = request.config.getoption("--exhaustive") is not None
    graphs = cases.PRIMARY if exhaustive else AS_GRAPHS
    tf.config.run_functions_eagerly(name not in graphs)
    yield
    tf.config.run_functions_eagerly(False)
