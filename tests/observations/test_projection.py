"""Observations without a dense layer of their own: features are the parameters, but for the bias."""

import keras
import numpy as np
import pytest

from tfdvae import observations
from tfdvae.observations import OBSERVATIONS


def make(name, case):
    observation = OBSERVATIONS[name](**case.arguments, projection=False)
    width = observation.params_dim_for(case.x_dim)
    observation.build((None, width), (None, case.x_dim))
    return observation, np.random.default_rng(1).normal(size=(2, 3, width)).astype(np.float32)


def test_parameters_are_features_and_bias(name, case):
    observation, features = make(name, case)
    assert observation.params_dim == features.shape[-1]
    np.testing.assert_array_equal(observation(features), features)
    assert not [w for w in observation.trainable_weights if "head" in w.path]
    observation.adapt(case.data(np.random.default_rng(0), 50))
    assert np.any(observation.bias.numpy() != 0.0)
    np.testing.assert_allclose(observation(features), features + observation.bias.numpy(), rtol=1e-6)


def test_the_number_of_parameters_is_known_before_build(name, case, observation):
    unbuilt = OBSERVATIONS[name](**case.arguments)
    assert unbuilt.params_dim_for(case.x_dim) == observation.params_dim
    assert unbuilt.x_dim is None and not unbuilt.built


def test_it_survives_a_config(name, case):
    observation, features = make(name, case)
    copy = observations.get(keras.saving.serialize_keras_object(observation))
    assert copy.projection is False
    copy.set_weights(observation.get_weights())
    np.testing.assert_array_equal(copy(features), observation(features))


def test_features_of_another_width_are_refused(name, case):
    observation, features = make(name, case)
    width = features.shape[-1]
    fresh = type(observation).from_config(observation.get_config())
    with pytest.raises(ValueError, match=f"takes its {width} parameters as features, got {width + 1} features"):
        fresh.build((None, width + 1), (None, case.x_dim))
