"""What a recurrence over frames sees before the first one, by the equations of the models that have a choice."""

import numpy as np
import pytest
import tensorflow as tf

from tests.oracles import reference
from tests.oracles.support import frames, tiny
from tfdvae.types import Batch


@pytest.mark.parametrize("name", ["STORN", "SRNN smooth"])
@pytest.mark.parametrize("kind", ["zeros", "phi_x"])
def test_features_before_the_first_frame(name: str, kind: str) -> None:
    model = tiny(name, 3, latent_dim=2, first_features=kind)
    x, noise = frames("gaussian", 2, 3, 3), np.random.default_rng(1).normal(size=(2, 3, 2)).astype("float32")
    path = model.infer(*Batch(tf.constant(x)), {"z": tf.constant(noise)})
    expected = reference.follow(model, x, reference.reparameterised(noise))
    np.testing.assert_allclose(path.x, expected.params, rtol=2e-5, atol=2e-5)
