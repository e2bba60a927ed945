"""The part of the frames that scheduled sampling replaces, by epoch."""

import math

import numpy as np
import pytest

from tests import cases
from tfdvae.callbacks import ScheduledSampling


def test_the_staircase_of_the_survey() -> None:
    callback = ScheduledSampling(250)
    parts = [callback.part(epoch) for epoch in (0, 49, 50, 99, 100, 150, 199, 200, 499)]
    assert parts == pytest.approx([0.2, 0.2, 0.4, 0.4, 0.6, 0.8, 0.8, 1.0, 1.0])


def test_a_straight_line() -> None:
    callback = ScheduledSampling(4, "linear")
    assert [callback.part(epoch) for epoch in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("epochs", [1, 7, 200])
def test_the_inverse_sigmoid_of_bengio_et_al(epochs: int) -> None:
    callback = ScheduledSampling(epochs, "inverse_sigmoid")
    first = callback.part(0)
    k = (1.0 - first) / first  # 1 - k / (k + exp(0))
    assert callback.part(epochs) == pytest.approx(0.5)
    for epoch in (0, 1, 3, 10):
        assert callback.part(epoch) == pytest.approx(1.0 - k / (k + math.exp(epoch / k)))
    assert callback.part(100 * epochs) == pytest.approx(1.0)


@pytest.mark.slow
def test_it_moves_the_model_and_shows_in_the_logs() -> None:
    model, x = cases.make("vrnn"), np.array(cases.frames("vrnn").x)
    model.compile("adam", scheduled_sampling=0.5, jit_compile=False)
    history = model.fit(x, epochs=3, verbose=0, callbacks=[ScheduledSampling(2, "linear")]).history
    assert history["own_output"] == pytest.approx([0.0, 0.25, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "at least 1, got 0"),
        ({"epochs": 3, "curve": "cosine"}, "staircase, linear, inverse_sigmoid, got 'cosine'"),
        ({"epochs": 3}, "from 1 to `epochs`=3, got 5"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduledSampling(**options)


@pytest.mark.slow
def test_a_model_compiled_without_it() -> None:
    model = cases.make("vrnn")
    model.compile("adam", jit_compile=False)
    with pytest.raises(ValueError, match="compile with scheduled_sampling=1.0"):
        model.fit(np.array(cases.frames("vrnn").x), verbose=0, callbacks=[ScheduledSampling(5)])
