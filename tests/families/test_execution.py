"""The same numbers eagerly, in a graph, under XLA, and in LiteRT with its built-in operations alone."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tests import turns
from tests.families.cases import CASES, FLOWS, KINDS, noise_for, raw_for
from tfdvae import families
from tfdvae.families import Family

COMPILED = turns.params(KINDS, always=("categorical", "coupling"))


class Functions(tf.Module):
    """Everything that a model asks of its families, as a function of raw parameters and noise."""

    def __init__(self, family: Family) -> None:
        super().__init__()
        self.family, self.prior = family, getattr(family, "base", family)
        self.network = getattr(family, "network", None)

    def __call__(self, raw: tf.Tensor, noise: tf.Tensor) -> dict[str, tf.Tensor]:
        """What must convert to LiteRT: no inversion."""
        dist = self.family.parameters(raw)
        z = self.family.sample(dist, noise)
        return {
            **self.trained(raw, noise),
            "mode": self.family.mode(dist),
            "mean": self.family.mean(dist),
            "scale": self.family.scale(dist),
            "log_p": self.prior.log_prob(self.prior.standard(z), z),
        }

    def trained(self, raw: tf.Tensor, noise: tf.Tensor) -> dict[str, tf.Tensor]:
        """What objectives are made of."""
        dist = self.family.parameters(raw)
        z = self.family.sample(dist, noise)
        log_q = self.family.log_prob(dist, z, noise)
        kl = families.kl(self.family, dist, self.prior, self.prior.standard(z), z, noise)
        return {"z": z, "log_q": log_q, "kl": kl}

    def with_gradient(self, raw: tf.Tensor, noise: tf.Tensor) -> dict[str, tf.Tensor]:
        """That, the density by inversion, and the gradient of the sum of all."""
        with tf.GradientTape() as tape:
            tape.watch(raw)
            found = self.trained(raw, noise)
            found["inverted"] = self.family.log_prob(self.family.parameters(raw), tf.stop_gradient(found["z"]))
            total = tf.add_n([tf.reduce_sum(value) for value in found.values()])
        return {**found, "gradient": tape.gradient(total, raw)}


def inputs(family: Family, *leading: int) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.constant(raw_for(family, *leading, spread=0.5)), noise_for(family, *leading)


def assert_same(found: dict, expected: dict, tolerance: float = 1e-5) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance * 5.0, err_msg=name)


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.slow
def test_graphs_and_xla_agree_with_eager_execution(name: str) -> None:
    functions = Functions(CASES[name](6))
    raw, noise = inputs(functions.family, 3, 2)
    expected = functions.with_gradient(raw, noise)
    specs = [tf.TensorSpec([None, 2, array.shape[-1]]) for array in (raw, noise)]
    graph = tf.function(functions.with_gradient, input_signature=specs, autograph=False)
    assert_same(graph(raw, noise), expected)
    for key, value in graph.get_concrete_function().structured_outputs.items():
        assert value.shape.as_list() == [None, *expected[key].shape[1:]], key
    assert_same(tf.function(functions.with_gradient, jit_compile=True, autograph=False)(raw, noise), expected, 3e-5)


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.slow
def test_a_loop_carries_the_parameters(name: str) -> None:
    """Frame by frame in `tf.while_loop`, with the parameters as loop variables, under XLA with gradients."""
    family = CASES[name](6)
    raw, noise = inputs(family, 2, 3)
    expected = Functions(family)(raw, noise)["log_q"]

    @tf.function(jit_compile=True, autograph=False)
    def run(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        def step(t: tf.Tensor, dist: tuple, out: tf.TensorArray) -> tuple:
            z = family.sample(dist, noise[:, t])
            out = out.write(t, family.log_prob(dist, z, noise[:, t]))
            return t + 1, family.parameters(raw[:, tf.minimum(t + 1, 2)]), out

        with tf.GradientTape() as tape:
            tape.watch(raw)
            start = (tf.constant(0), family.parameters(raw[:, 0]), tf.TensorArray(tf.float32, 3))
            found = tf.while_loop(lambda t, *_: t < 3, step, start, maximum_iterations=3)[2].stack()
        return tf.transpose(found), tape.gradient(found, raw)

    found, gradient = run(raw)
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=1e-4)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        dist = family.parameters(raw)
        value = family.log_prob(dist, family.sample(dist, noise), noise)
    np.testing.assert_allclose(gradient, tape.gradient(value, raw), rtol=1e-3, atol=1e-3)


def converted(function: Callable[..., dict], specs: list[tf.TensorSpec]) -> bytes:
    """A .tflite file with built-in operations alone, of the graph with its weights as constants."""
    graph = tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
    frozen, names = convert_variables_to_constants_v2(graph), sorted(graph.structured_outputs)

    @tf.function(input_signature=specs, autograph=False)
    def named(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(names, frozen(*inputs), strict=True))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([named.get_concrete_function()], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter.convert()


@pytest.mark.parametrize(("name", "dim"), [*((name, 6) for name in KINDS), *((name, 1) for name in FLOWS)])
@pytest.mark.slow
def test_litert_has_all_operations_built_in(name: str, dim: int) -> None:
    """With one unknown axis; the interpreter gives the same numbers."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    functions = Functions(CASES[name](dim))
    raw, noise = inputs(functions.family, 3, 2)
    specs = [tf.TensorSpec([None, 2, array.shape[-1]], name=key) for key, array in {"raw": raw, "noise": noise}.items()]
    run = interpreter.Interpreter(model_content=converted(functions, specs)).get_signature_runner()
    assert_same(run(raw=raw.numpy(), noise=noise.numpy()), functions(raw, noise), 3e-5)


@pytest.mark.slow
def test_the_inverse_of_a_coupling_converts_as_well() -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    functions = Functions(CASES["coupling"](6))
    raw, noise = inputs(functions.family, 3)

    def inverted(raw: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"log_q": functions.family.log_prob(functions.family.parameters(raw), z)}

    z = functions.family.sample(functions.family.parameters(raw), noise)
    specs = [tf.TensorSpec(raw.shape, name="raw"), tf.TensorSpec(z.shape, name="z")]
    run = interpreter.Interpreter(model_content=converted(inverted, specs)).get_signature_runner()
    assert_same(run(raw=raw.numpy(), z=z.numpy()), inverted(raw, z), 3e-5)


@pytest.mark.parametrize("name", KINDS)
def test_half_precision_outputs_become_float32_parameters(name: str) -> None:
    family = CASES[name](6)
    raw = tf.cast(raw_for(family, 3), tf.float16)
    for found, expected in zip(family.parameters(raw), family.parameters(tf.cast(raw, tf.float32)), strict=True):
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, expected)
