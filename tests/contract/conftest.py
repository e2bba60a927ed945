"""The contract suite: every test that asks for `model` runs for every case, and a module makes each model once."""

from collections.abc import Iterator

import pytest
import tensorflow as tf

import tfdvae
from tests import cases, turns
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


def runs_as_graphs(name: str, config: pytest.Config) -> bool:
    """Whether verbs of a case run as graphs: always, or when it is its turn. Exports make graphs of all verbs."""
    turn = cases.TURNS.get(name, name)
    return name in AS_GRAPHS or (name in cases.PRIMARY and turns.is_turn(turn, config.getoption("--exhaustive")))


@pytest.fixture
def mostly_eager(name: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Verbs run eagerly, since tracing is what costs, but where `runs_as_graphs`."""
    tf.config.run_functions_eagerly(not runs_as_graphs(name, request.config))
    yield
    tf.config.run_functions_eagerly(False)
