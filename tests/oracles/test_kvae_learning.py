"""KVAE does what it is made for: it learns linear dynamics behind frames, and bridges what is missing."""

import keras
import numpy as np
import pytest

from tfdvae.models import KVAE


@pytest.mark.exhaustive
def test_it_learns_a_rotation_and_bridges_a_gap() -> None:
    """Points on circles, measured with noise: where they are within a gap of six frames, smoothing knows better than
    filtering, and both know it better than who stays put."""
    keras.utils.set_random_seed(3)
    rng = np.random.default_rng(0)
    angle = rng.uniform(0.0, 2.0 * np.pi, (64, 1)) + 0.35 * np.arange(16)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    x = (circle + 0.1 * rng.normal(size=circle.shape)).astype("float32")
    sizes = {"encoding_dim": 2, "units": 8, "encoder_units": (16,), "decoder_units": (16,)}
    model = KVAE(4, **sizes, transition_scale=0.05, emission_scale=0.1)
    model.compile(keras.optimizers.Adam(0.02))
    model.fit(x, epochs=50, batch_size=16, verbose=0)
    observed = np.ones([64, 16], bool)
    observed[:, 6:12] = False
    data = np.where(observed[..., None], x, np.nan)
    estimates = {name: getattr(model, name)(data, observed=observed).x.numpy() for name in ("filter", "smooth")}
    estimates["stay"] = np.broadcast_to(x[:, 5:6], x.shape)
    error = {k: float(np.mean((y - circle)[~observed] ** 2)) for k, y in estimates.items()}
    assert error["smooth"] < error["filter"] < 0.1 * error["stay"], error
