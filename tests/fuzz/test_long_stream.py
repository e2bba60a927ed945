"""A stream of Keras' own steps over many frames, in constant memory; that of the edge is in tests/export/edge.

The long form of both, 10^6 frames on the edge and a tenth of that here:

    make test PYTEST_ARGS="tests/fuzz tests/export/edge/test_stream.py -k memory --stream-steps 1000000"
"""

import gc

import numpy as np
import pytest
import tensorflow as tf

from tests.gate.support import D, vrnn
from tests.memory import least_growth, needs_linux


@needs_linux
@pytest.mark.slow
def test_memory_is_constant_and_the_state_stays_bounded(request: pytest.FixtureRequest) -> None:
    model = vrnn()
    model.build_for(D)
    x = np.random.default_rng(0).normal(size=(64, 1, D)).astype("float32")
    state = model.initial_state(1)

    def run(count: int) -> None:
        nonlocal state
        for t in range(count):
            state = model.step(state, x[t % 64]).state
            if t % 16 == 0:
                state = model.generate_step(state)[1]

    count = request.config.getoption("--stream-steps") // 10
    run(max(200, count // 20))
    gc.collect()
    growth = least_growth(run, count)
    assert growth.resident < 2**20
    assert growth.blocks < 125
    assert all(np.abs(y).max() < 1e3 for y in tf.nest.flatten(state))


@needs_linux
def test_what_leaks_is_told_from_a_cache() -> None:
    held: list[list[int]] = []

    def leak(count: int) -> None:
        held.extend([t] for t in range(count))

    def cache(count: int) -> None:
        leak(count if len(held) < 500 else 0)

    assert least_growth(cache, 2000).blocks < 125 < least_growth(leak, 2000).blocks
