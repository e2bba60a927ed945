"""Observations as Keras layers: configs, saving, dtypes, compilation, initialisation and bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdvae import observations
from tfdvae.observations import OBSERVATIONS, Bernoulli, GaussianMixture


def test_config_round_trip(observation, features_for):
    copy = observations.get(keras.saving.serialize_keras_object(observation))
    assert type(copy) is type(observation) and copy is not observation
    assert copy.get_config() == observation.get_config()
    assert (copy.features_dim, copy.x_dim) == (observation.features_dim, observation.x_dim)
    copy.set_weights(observation.get_weights())
    np.testing.assert_array_equal(copy(features_for(2)), observation(features_for(2)))


def test_every_argument_survives():
    observation = GaussianMixture(num_components=7, min_scale=0.25, name="emission")
    copy = GaussianMixture.from_config(observation.get_config())
    assert (copy.num_components, copy.min_scale, copy.name) == (7, 0.25, "emission")


def test_keras_file_round_trip(observation, case, features_for, tmp_path):
    inputs = keras.Input((None, 6))
    model = keras.Model(inputs, observation(inputs))
    observation.adapt(case.data(np.random.default_rng(0), 50))
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(restored(features_for(2, 3)), model(features_for(2, 3)))
    copy = restored.layers[-1]
    x = case.data(np.random.default_rng(1), 2).astype(np.float32)
    params = observation(features_for(2))
    np.testing.assert_array_equal(copy.log_prob(params, x), observation.log_prob(params, x))


def test_get():
    for name, family in OBSERVATIONS.items():
        assert type(observations.get(name)) is family
    made = observations.get({"class_name": "gaussian_mixture", "config": {"num_components": 4}})
    assert isinstance(made, GaussianMixture) and made.num_components == 4
    own = Bernoulli()
    assert observations.get(own) is own


@pytest.mark.parametrize("unknown", ["gausian", None, 3, keras.saving.serialize_keras_object(keras.Layer())])
def test_get_rejects_what_is_no_observation(unknown):
    with pytest.raises(ValueError, match=r"autoregressive_bernoulli.*pen"):
        observations.get(unknown)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("gaussian", {"scale": "relu"}),
        ("gaussian", {"min_scale": 0.0}),
        ("gaussian", {"scale_floor": "max"}),
        ("gaussian_mixture", {"scale_floor": "max"}),
        ("student_t", {"scale_floor": "max"}),
        ("pen", {"scale_floor": "max"}),
        ("gaussian_mixture", {"num_components": 0}),
        ("gaussian_mixture", {"min_scale": -1.0}),
        ("autoregressive_bernoulli", {"hidden": 0}),
        ("gamma", {"min_mean": 0.0}),
        ("gamma", {"min_mean": 1.0, "max_mean": 2.0}),
        ("poisson", {"min_mean": 0.0}),
        ("negative_binomial", {"min_concentration": 0.0}),
        ("student_t", {"min_df": 2.0}),
        ("categorical", {"group_sizes": 1}),
        ("categorical", {"group_sizes": ()}),
        ("categorical", {"group_sizes": (3, 2.5)}),
        ("pen", {"num_components": 0}),
        ("pen", {"max_correlation": 1.0}),
    ],
)
def test_arguments_out_of_range(name, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        OBSERVATIONS[name](**arguments)


def test_any_rank_is_one_matrix_product(observation, features_for):
    features = features_for(2, 3, 4)
    params = observation(features)
    assert params.shape == (2, 3, 4, observation.params_dim)
    np.testing.assert_allclose(params[1, 2], observation(features[1, 2]), rtol=1e-5, atol=1e-6)
    for leading in ([None, None], [None, None, None], [2, 3, 4]):
        graph = tf.function(lambda f: observation(f)).get_concrete_function(tf.TensorSpec([*leading, 6]))
        products = [op for op in graph.graph.get_operations() if "MatMul" in op.type]
        assert [op.type for op in products] == ["MatMul"]
        assert graph.output_shapes.as_list() == [*leading, observation.params_dim]


def test_extreme_parameters_stay_finite(observation, case):
    size = observation.params_dim
    rng = np.random.default_rng(4)
    signs = [np.ones(size), -np.ones(size), *rng.choice([-1.0, 1.0], (40, size)), np.zeros(size)]
    params = tf.constant(1e4 * np.array(signs), tf.float32)
    x = np.resize(case.data(rng, 5), (len(signs), case.x_dim))
    x[-2:] = np.abs(x[-2:]) if np.any(x > 1) else 0.0
    with tf.GradientTape() as tape:
        tape.watch(params)
        log_prob = observation.log_prob(params, x)
    gradient = tape.gradient(log_prob, params)
    assert np.isfinite(log_prob).all() and np.isfinite(gradient).all()
    noise = rng.random((len(signs), observation.noise_dim))
    assert np.isfinite(observation.sample(params, noise)).all()
    assert np.isfinite(observation.mean(params)).all()


@pytest.mark.slow
def test_compiled_with_unknown_leading_dimensions(observation, case, features_for):
    features = features_for(2, 3)
    x = case.data(np.random.default_rng(0), 6).reshape(2, 3, -1).astype(np.float32)
    noise = np.random.default_rng(3).random((2, 3, observation.noise_dim), np.float32)

    def everything(features, x, noise):
        params = observation(features)
        return observation.log_prob(params, x), observation.sample(params, noise), observation.mean(params)

    specs = [tf.TensorSpec([None, None, array.shape[-1]]) for array in (features, x, noise)]
    eager = everything(features, x, noise)
    for compiler in (False, True):
        compiled = tf.function(everything, input_signature=specs, jit_compile=compiler)
        assert compiled.get_concrete_function().structured_outputs[1].shape[-1] == case.x_dim
        for got, want in zip(compiled(features, x, noise), eager, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_every_weight_gets_a_gradient_under_xla(observation, case, features_for):
    x = case.data(np.random.default_rng(0), 6).astype(np.float32)

    @tf.function(jit_compile=True)
    def gradients(features):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(observation.log_prob(observation(features), x))
        return tape.gradient(loss, [weight.value for weight in observation.trainable_weights])

    for gradient in gradients(features_for(6)):
        assert np.isfinite(gradient).all() and np.any(gradient != 0.0)


@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter:UserWarning")
@pytest.mark.slow
def test_litert_gives_the_same_numbers_with_builtin_operations_alone(observation, features_for, tmp_path):
    specs = [tf.TensorSpec([2, 6], name="features"), tf.TensorSpec([2, observation.noise_dim], name="noise")]

    @tf.function(input_signature=specs)
    def generate(features, noise):
        params = observation(features)
        return {"sample": observation.sample(params, noise), "mean": observation.mean(params)}

    module = tf.Module()
    module.variables_used = [weight.value for weight in observation.trainable_weights]
    module.generate = generate
    tf.saved_model.save(module, str(tmp_path), signatures=generate)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = tf.lite.Interpreter(model_content=converter.convert()).get_signature_runner()
    features = features_for(2)
    noise = np.random.default_rng(3).random((2, observation.noise_dim), np.float32)
    expected = generate(features, noise)
    for key, value in runner(features=features, noise=noise).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-4, atol=1e-4)


def test_float32_under_mixed_precision(name, case, make, features_for):
    observation = make(name, dtype="mixed_bfloat16")
    observation.adapt(case.data(np.random.default_rng(0), 100))
    exact = make(name)
    exact.set_weights(observation.get_weights())
    seen = []

    class Probe(keras.Layer):
        def __init__(self):
            super().__init__(dtype="mixed_bfloat16")
            self.observation = observation
            self.built = True

        def call(self, features, x):
            params = self.observation(features)
            seen.append(params.dtype)
            return self.observation.log_prob(params, x)

    x = case.data(np.random.default_rng(1), 4).astype(np.float32)
    features = features_for(4)
    inside = Probe()(tf.constant(features), tf.constant(x, tf.bfloat16))
    params = observation(features)
    assert params.dtype == tf.float32 and seen == [tf.float32] and inside.dtype == tf.float32
    rounded = observation.log_prob(params, tf.cast(tf.cast(x, tf.bfloat16), tf.float32))
    np.testing.assert_allclose(inside, rounded, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(observation(np.zeros((1, 6))), exact(np.zeros((1, 6))))
    np.testing.assert_allclose(params, exact(features), atol=0.03)
    noise = np.random.default_rng(3).random((4, observation.noise_dim), np.float32)
    assert observation.sample(params, noise).dtype == observation.mean(params).dtype == tf.float32


def test_adapt_starts_at_the_data(name, case):
    observation = OBSERVATIONS[name](**case.arguments)
    observation.build((None, 6), (None, case.x_dim))
    data = case.data(np.random.default_rng(0), 4000)
    x = np.full((50, 100, case.x_dim), np.nan)
    mask = np.arange(100)[None] < np.full((50, 1), 80)
    x[mask] = data
    zeros = np.zeros((1, 6), np.float32)
    before = observation.log_prob(observation(zeros), data).numpy().mean()
    observation.adapt(x, mask)
    params = observation(zeros)
    assert observation.log_prob(params, data).numpy().mean() > before + 0.1
    np.testing.assert_allclose(observation.mean(params)[0], data.mean(0), rtol=0.02, atol=1e-3)

    count = 40_000
    noise = np.random.default_rng(3).random((count, observation.noise_dim), np.float32)
    sample = observation.sample(tf.tile(params, [count, 1]), noise).numpy().astype(np.float64)
    error = 5 * sample.std(0) / count**0.5 + 1e-3
    np.testing.assert_array_less(np.abs(sample.mean(0) - data.mean(0)), error)
    np.testing.assert_allclose(sample.std(0), data.std(0), rtol=0.05)


def test_adapt_keeps_components_apart_and_correlations():
    for name in ("gaussian_mixture", "pen"):
        observation = OBSERVATIONS[name](num_components=5)
        observation.build((None, 6), (None, 3))
        rng = np.random.default_rng(0)
        x = rng.multivariate_normal([1.0, 2.0, 0.0], np.eye(3) + 0.5, 500)
        x[:, 2] = x[:, 2] > 0
        observation.adapt(x)
        params = observation(np.zeros((1, 6), np.float32))
        loc = observation.components(params).loc[0].numpy()
        assert np.unique(loc[:, 0]).size == 5
        if name == "pen":
            noise = rng.random((40_000, observation.noise_dim))
            sample = observation.sample(tf.tile(params, [40_000, 1]), noise).numpy()
            np.testing.assert_allclose(np.corrcoef(sample.T)[0, 1], np.corrcoef(x.T)[0, 1], atol=0.03)


def test_adapt_survives_a_constant_feature(observation, case):
    data = case.data(np.random.default_rng(0), 20)
    observation.adapt(np.tile(data[:1], (20, 1)))
    assert np.isfinite(observation.get_weights()[-1]).all()
    assert np.isfinite(observation.log_prob(observation(np.zeros((20, 6), np.float32)), data)).all()


def test_adapt_rejects_bad_data(observation, case):
    data = case.data(np.random.default_rng(0), 6).reshape(2, 3, -1)
    with pytest.raises(ValueError, match="no frame"):
        observation.adapt(data, np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="mask of shape"):
        observation.adapt(data, np.ones((2, 4), bool))
    with pytest.raises(ValueError, match="expects frames"):
        observation.adapt(data[..., :-1])
    with pytest.raises(ValueError, match="build"):
        type(observation)().adapt(data)


def test_validate(observation, case):
    good = case.data(np.random.default_rng(0), 6)
    observation.validate(good)
    for bad in (case.bad_frame, [np.nan] * case.x_dim):
        with pytest.raises(ValueError, match=type(observation).__name__):
            observation.validate(np.concatenate([good, [bad]]))
    with pytest.raises(ValueError, match="expects frames"):
        observation.validate(good[:, :-1])


def test_unbuilt_layers_say_so(name):
    observation = OBSERVATIONS[name]()
    with pytest.raises(ValueError, match="build"):
        _ = observation.noise_dim
    with pytest.raises(ValueError, match="build"):
        observation(np.zeros((2, 6), np.float32))
    with pytest.raises(ValueError, match="last dimensions"):
        observation.build((None, None), (None, 3))
