"""Predictions of the next frame and regressions from latents, against what is known."""

import numpy as np
import pytest

from tests import cases
from tfdvae.metrics import linear_r2, one_step_predictions, squared_error_per_frame


@pytest.mark.slow
def test_a_recurrent_network_predicts_as_under_teacher_forcing() -> None:
    model, batch = cases.make("rnn"), cases.frames("rnn")
    expected = model(cases.given(batch)).numpy()
    np.testing.assert_allclose(one_step_predictions(model, batch.x), expected[:, 1:], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one_step_predictions(model, batch.x, start=3), expected[:, 3:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vrnn-u", "srnn-smooth-u", "dkf-st_lr"])
@pytest.mark.slow
def test_a_prediction_sees_no_frame_from_then_on(name: str) -> None:
    model, batch = cases.make(name), cases.frames(name)
    t = 3
    changed = batch.x.numpy().copy()
    changed[:, t:] += 1.0
    plain, other = (one_step_predictions(model, x, batch.u, num_samples=2) for x in (batch.x, changed))
    assert plain.shape == (cases.BATCH, cases.LENGTH - 1, cases.X_DIM)
    np.testing.assert_array_equal(plain[:, :t], other[:, :t])
    assert np.abs(plain[:, t:] - other[:, t:]).max() > 1e-4


def test_a_prefix_has_a_frame_and_leaves_one() -> None:
    model, batch = cases.make("rnn"), cases.frames("rnn")
    for start in (0, cases.LENGTH):
        with pytest.raises(ValueError, match=rf"`start` must be from 1 to 4 for sequences of 5 frames, got {start}"):
            one_step_predictions(model, batch.x, start=start)


def test_the_squared_error_is_summed_over_features_and_averaged_over_frames() -> None:
    x = np.zeros((2, 3, 4), np.float32)
    assert squared_error_per_frame(x + 0.5, x) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\), got \(2, 2, 4\)"):
        squared_error_per_frame(x[:, 1:], x)


@pytest.mark.slow
def test_the_goodness_of_fit_is_one_zero_or_what_the_noise_leaves() -> None:
    rng = np.random.default_rng(0)
    z, test_z = rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3))
    noise = rng.normal(size=8000).reshape(2, 4000)

    def targets(latents: np.ndarray, extra: np.ndarray) -> np.ndarray:
        signal = latents @ [1.0, -2.0, 0.5] + 3.0
        return np.stack([signal, signal + np.sqrt(5.25) * extra, extra], axis=-1)

    found = linear_r2(z, targets(z, noise[0]), test_z, targets(test_z, noise[1]))
    # The noise has the variance of the signal, 5.25; the standard error of R^2 is about 0.011 for 4000 frames.
    np.testing.assert_allclose(found, [1.0, 0.5, 0.0], atol=0.05)
    with pytest.raises(ValueError, match="N above Z"):
        linear_r2(z[:4], targets(z, noise[0])[:4], z, targets(z, noise[0]))
