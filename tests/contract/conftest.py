"""The contract suite: every test that asks for `model` runs for every case, and a module makes each model once."""

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
