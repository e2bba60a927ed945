"""What is true of flows alone: inversion, determinants, structure, the start, and where their weights live."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.families.cases import FLOWS, drawn, flow, noise_for, raw_for
from tfdvae import families
from tfdvae.families import DiagonalGaussian, Flow, FlowNetwork, Head


@pytest.mark.parametrize("dim", [1, 2, 5, 16])
@pytest.mark.parametrize("kind", FLOWS)
def test_the_inverse_undoes_the_flow(kind: str, dim: int) -> None:
    family = flow(dim, kind, spread=0.4, num_layers=4, hidden=20)
    dist, _, z = drawn(family, 7, 3)
    start = family.network.inverse(z, dist.context)
    np.testing.assert_allclose(family.network.forward(start, dist.context)[0], z, rtol=1e-4, atol=1e-4)
    given = noise_for(family, 7, 3)
    there = family.network.forward(given, dist.context)[0]
    np.testing.assert_allclose(family.network.inverse(there, dist.context), given, rtol=1e-4, atol=1e-4)
    assert np.mean(np.abs(there - given)) > 0.1


@pytest.mark.parametrize("dim", [1, 4, 5])
@pytest.mark.parametrize("kind", FLOWS)
def test_the_log_determinant_is_that_of_the_jacobian(kind: str, dim: int) -> None:
    family = flow(dim, kind)
    z, context = noise_for(family, 6), tf.constant(raw_for(family, 6)[:, -family.context_dim :])
    with tf.GradientTape() as tape:
        tape.watch(z)
        out, log_det = family.network.forward(z, context)
    jacobian = np.asarray(tape.batch_jacobian(out, z), np.float64)
    sign, expected = np.linalg.slogdet(jacobian)
    np.testing.assert_array_equal(sign, np.ones(6))
    np.testing.assert_allclose(log_det, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hidden", [5, 7, 32])
@pytest.mark.slow
def test_an_entry_of_an_autoregressive_layer_depends_on_all_before_it_and_on_no_other(hidden: int) -> None:
    """Every second layer counts from the end; all entries, the first included, depend on the context."""
    family = flow(5, "autoregressive", num_layers=2, hidden=hidden)
    z, context = noise_for(family, 1), tf.ones([1, 5])
    for layer, keep in zip(family.network.flow_layers, (np.tril, np.triu), strict=True):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([z, context])
            out, _ = layer.forward(z, context)
        jacobian = np.asarray(tape.jacobian(out, z))[0, :, 0]
        np.testing.assert_array_equal(jacobian != 0.0, keep(np.ones((5, 5), bool)))
        assert np.all(np.asarray(tape.jacobian(out, context))[0, :, 0] != 0.0)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("kind", FLOWS)
def test_two_layers_transform_every_entry(kind: str, dim: int) -> None:
    family = flow(dim, kind, num_layers=2)
    z, context = noise_for(family, 1), tf.ones([1, dim])
    assert np.all(np.abs(family.network.forward(z, context)[0] - z) > 1e-3)
    assert np.all(np.abs(family.network.forward(z, -context)[0] - family.network.forward(z, context)[0]) > 1e-4)


@pytest.mark.parametrize("kind", FLOWS)
def test_a_new_flow_is_nearly_the_identity_and_hardly_knows_the_context(kind: str) -> None:
    """So training starts where the base family would."""
    family = Flow(DiagonalGaussian(16), 8, kind)
    family.build()
    z, context = noise_for(family, 200), 3.0 * noise_for(family, 200, seed=9)
    out, log_det = family.network.forward(z, context)
    np.testing.assert_allclose(out, z, atol=0.15)
    np.testing.assert_allclose(log_det, 0.0, atol=0.3)
    assert 0.0 < np.max(np.abs(family.network.forward(z, -context)[0] - out)) < 0.15
    dist = family.parameters(raw_for(family, 200, spread=0.0))
    np.testing.assert_allclose(family.mean(dist), 0.0, atol=0.1)
    np.testing.assert_allclose(family.scale(dist), 1.0, atol=0.1)


@pytest.mark.parametrize("kind", FLOWS)
def test_outliers_stay_finite(kind: str) -> None:
    family = flow(6, kind, spread=2.0)
    z = np.array([[1e6] * 6, [-1e6] * 6, [0.0] * 6], np.float32)
    out, log_det = family.network.forward(z, 1e3 * np.ones((3, 6), np.float32))
    assert np.all(np.isfinite(out)) and np.all(np.isfinite(log_det))


def test_the_cubature_is_exact_for_affine_maps() -> None:
    """A coupling whose networks see nothing has constant scales and shifts."""
    for dim in (1, 2, 3, 6):
        family = flow(dim, "coupling")
        for layer in family.network.flow_layers:
            layer.output_kernel.assign(tf.zeros_like(layer.output_kernel))
        dist = family.parameters(raw_for(family, 4))
        shift = family.mode(dist)
        np.testing.assert_allclose(family.mean(dist), shift, atol=1e-5)
        expected = dist.scale * (family.network.forward(dist.loc + 1.0, dist.context)[0] - shift)
        np.testing.assert_allclose(family.scale(dist), expected, rtol=1e-4)


@keras.saving.register_keras_serializable(package="tests")
class Sampler(keras.layers.Layer):
    """What a cell does with a posterior: it owns a head, and tracks the weights of the flow."""

    def __init__(self, family: families.Family | dict, **kwargs) -> None:
        super().__init__(**kwargs)
        self.family = keras.saving.deserialize_keras_object(family) if isinstance(family, dict) else family
        self.head = Head(self.family)
        self.flow_network = self.family.network

    def build(self, input_shape) -> None:
        self.head.build(input_shape)
        self.family.build()

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.family.sample(self.head(x), tf.ones([1, self.family.noise_dim]))

    def get_config(self) -> dict:
        return {**super().get_config(), "family": keras.saving.serialize_keras_object(self.family)}


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.slow
def test_a_saved_model_keeps_the_weights_of_the_flow(kind: str, tmp_path: Path) -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Sampler(Flow(DiagonalGaussian(3), 2, kind, hidden=5))(inputs))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    assert len({weight.path for weight in model.weights}) == len(model.weights) == 2 + 2 * 5
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    x = rng.normal(size=(6, 4)).astype(np.float32)
    np.testing.assert_array_equal(restored.predict(x, verbose=0), model.predict(x, verbose=0))


def test_weights_stay_float32_under_mixed_precision() -> None:
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        family = flow(4, "autoregressive")
        dist, _, z = drawn(family, 3)
        assert z.dtype == tf.float32 and family.log_prob(dist, z).dtype == tf.float32
    finally:
        keras.config.set_dtype_policy(policy)


def test_a_flow_is_no_prior_and_wants_to_be_built() -> None:
    family = Flow(DiagonalGaussian(3))
    dist = family.parameters(raw_for(family, 2))
    with pytest.raises(ValueError, match="its prior is the base family"):
        family.standard(dist.loc)
    for function in (family.sample, lambda dist: family.log_prob(dist, dist.loc)):
        with pytest.raises(ValueError, match="call `flow.build"):
            function(dist)
    family.build()
    weights = family.network.weights
    family.build()
    assert family.network.weights == weights and family.sample(dist).shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": families.Categorical(6, 3)}, "must be a DiagonalGaussian"),
        ({"base": DiagonalGaussian(0)}, "latent_dim of at least 1"),
        ({"kind": "spline"}, "autoregressive, coupling, got 'spline'"),
        ({"num_layers": 0}, "`num_layers` of a flow must be at least 1"),
        ({"context_dim": 0}, "`context_dim` of a flow must be at least 1"),
        ({"kind": "autoregressive", "hidden": 5}, "needs hidden >= 6"),
    ],
)
def test_misuse_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Flow(**{"base": DiagonalGaussian(6), **arguments})


def test_the_network_round_trips_by_itself() -> None:
    network = FlowNetwork(4, 2, 3, "autoregressive", 9, name="mine")
    restored = FlowNetwork.from_config(network.get_config())
    assert restored.get_config() == network.get_config() and restored.name == "mine"
