"""Names, configs and heads of the families."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.families.cases import CASES, FLOWS, raw_for
from tfdvae import families
from tfdvae.families import Categorical, DiagonalGaussian, Flow, Head, TriangularGaussian


@pytest.mark.parametrize("name", CASES)
def test_a_config_round_trips(name: str) -> None:
    family = CASES[name](6)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(family))
    assert type(restored) is type(family) and restored.get_config() == family.get_config()
    assert families.get(keras.saving.serialize_keras_object(family), 6).get_config() == family.get_config()
    if name not in FLOWS:
        raw = raw_for(family, 3)
        for found, expected in zip(restored.parameters(raw), family.parameters(raw), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_get_takes_names_configs_and_objects() -> None:
    assert set(families.FAMILIES) == {"gaussian", "categorical", "triangular"}
    for name, kind in families.FAMILIES.items():
        family = families.get(name, 64)
        assert type(family) is kind and family.latent_dim == 64
    found = families.get({"class_name": "categorical", "config": {"classes": 4}}, 8, scale="exp", min_scale=0.1)
    assert (found.classes, found.num_groups) == (4, 2)
    found = families.get({"class_name": "triangular", "config": {"scale": "exp"}}, 8, scale="softplus", min_scale=0.1)
    assert (found.scale_map, found.min_scale) == ("exp", 0.1)
    assert families.get("gaussian", 8, scale="exp", min_scale=0.2).get_config() == {
        "latent_dim": 8,
        "scale": "exp",
        "min_scale": 0.2,
        "scale_floor": "sum",
    }
    assert families.get(found, 8, scale="softplus") is found


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("laplace", "name out of categorical, gaussian, triangular"),
        ({"class_name": "laplace", "config": {}}, "name out of categorical, gaussian, triangular"),
        (3, "name out of categorical, gaussian, triangular"),
        (
            {"class_name": "gaussian", "config": {"classes": 3}},
            "takes latent_dim, scale, min_scale, scale_floor; got classes",
        ),
        ({"class_name": "gaussian", "config": {"latent_dim": 4}}, "latent_dim=4, but the model has latent_dim=8"),
        (DiagonalGaussian(4), "latent_dim=4, but the model has latent_dim=8"),
        ({"class_name": "categorical", "config": {"classes": 3}}, "8 is not a multiple of 3"),
        (keras.saving.serialize_keras_object(keras.layers.Dense(3)), "a config or a Family"),
    ],
)
def test_get_names_what_is_wrong(identifier: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        families.get(identifier, 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiagonalGaussian(-1), "latent_dim of at least 0, got -1"),
        (lambda: TriangularGaussian(0), "latent_dim of at least 1, got 0"),
        (lambda: DiagonalGaussian(2, "tanh"), "'softplus' or 'exp', got 'tanh'"),
        (lambda: TriangularGaussian(2, min_scale=-0.1), "at least 0, got -0.1"),
        (lambda: Categorical(6, classes=1), "at least 2, got 1"),
        (lambda: Categorical(10), "10 is not a multiple of 32"),
        (lambda: Categorical(6, 3, uniform_share=1.0), r"in \[0, 1\), got 1.0"),
        (lambda: Categorical(6, 3, uniform_share=-0.1), r"in \[0, 1\), got -0.1"),
        (lambda: DiagonalGaussian(3).parameters(np.zeros((2, 5))), r"network outputs \[.., 6\], got \(2, 5\)"),
        (lambda: Head("gaussian"), "must be a Family"),
    ],
)
def test_misuse_is_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_with_flow() -> None:
    base = DiagonalGaussian(6, "exp")
    assert families.with_flow(base, 0) is base
    found = families.with_flow(base, 3, "autoregressive")
    assert isinstance(found, Flow) and found.base is base
    assert (found.num_layers, found.kind, found.latent_dim, found.context_dim) == (3, "autoregressive", 6, 6)
    assert families.with_flow(base, 1).kind == "coupling"
    assert families.with_flow(Categorical(6, 3), 0).num_groups == 2
    with pytest.raises(ValueError, match="`posterior_flow` needs Gaussian posteriors, got Categorical"):
        families.with_flow(Categorical(6, 3), 2)
    with pytest.raises(ValueError, match="at least 1, got -1"):
        families.with_flow(base, -1)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", CASES)
def test_a_head_maps_features_to_parameters(name: str, dtype: str) -> None:
    """For a frame and for a sequence, in float32 under every policy; and it is restored with its family."""
    head = Head(CASES[name](6), dtype=dtype, name="posterior")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 4)), tf.float32)
    found = head(x)
    assert all(value.shape[:2] == (2, 3) and value.dtype == tf.float32 for value in found)
    kernel = np.asarray(head.output_layer.kernel, np.float64)
    expected = head.family.parameters(np.asarray(x) @ kernel + head.family.initial_bias())
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for value, frame, other in zip(found, head(x[:, 1]), expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(value[:, 1], frame, rtol=tolerance, atol=tolerance)
    assert len(head.weights) == 2
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert restored.name == "posterior" and type(restored.family) is type(head.family)
    assert restored.family.get_config() == head.family.get_config()
    restored.set_weights(head.get_weights())
    np.testing.assert_array_equal(restored(x)[0], found[0])


@pytest.mark.parametrize("name", CASES)
def test_a_head_starts_at_scale_one_or_uniform(name: str) -> None:
    head = Head(CASES[name](6))
    head.build((None, 4))
    dist, family = head(np.zeros((1, 4), np.float32)), getattr(head.family, "base", head.family)
    if isinstance(family, Categorical):
        np.testing.assert_allclose(family.mean(dist), np.full((1, 6), 1.0 / family.classes), rtol=1e-6)
    else:
        np.testing.assert_allclose(dist.loc, np.zeros((1, 6)), atol=1e-6)
        np.testing.assert_allclose(family.scale(dist), np.ones((1, 6)), atol=family.min_scale + 1e-4)
