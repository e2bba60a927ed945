"""Verbs say what they miss."""

import numpy as np
import pytest

import tfdvae
from tests import cases


@pytest.mark.parametrize("verb", ["generate", "initial_state"])
def test_an_unbuilt_model_cannot_generate(verb: str) -> None:
    with pytest.raises(ValueError, match=f"`{verb}` needs a model with weights"):
        getattr(tfdvae.VRNN(latent_dim=2), verb)(3)


def test_generate_wants_a_length_and_the_inputs_of_driven_mode() -> None:
    model, driven = cases.make("vrnn"), cases.make("vrnn-u")
    u = np.zeros((2, 4, cases.U_DIM), np.float32)
    with pytest.raises(ValueError, match="`length` must be at least 1, got 0"):
        model.generate(0)
    with pytest.raises(ValueError, match=r"inputs `u` of shape \[batch, 4, 2\]; got none"):
        driven.generate(4)
    with pytest.raises(ValueError, match=r"inputs `u` of shape \[batch, 3, 2\]; got shape \(2, 4, 2\)"):
        driven.generate(3, u=u)
    with pytest.raises(ValueError, match="no inputs `u`"):
        model.generate(4, u=u)
    x, past = cases.frames("vrnn-u").x, cases.frames("vrnn-u").u
    with pytest.raises(ValueError, match=r"inputs `u` of shape \[batch, 4, 2\]; got none"):
        driven.forecast(x, u=past, horizon=4)
    with pytest.raises(ValueError, match="built for inputs `u` with 2 features, got none"):
        driven.forecast(x, horizon=4, future_u=u)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 5, 4)), r"one frame \[batch, 4\] per step, got shape \(2, 5, 4\)"),
        (np.zeros((2, 3)), r"one frame \[batch, 4\] per step, got shape \(2, 3\)"),
        (np.full((2, 4), np.nan), "The frame holds NaN or infinity"),
    ],
)
def test_step_takes_one_frame(x: np.ndarray, message: str) -> None:
    model = cases.make("vrnn")
    with pytest.raises(ValueError, match=message):
        model.step(model.initial_state(2), x)
