"""The importance-weighted bound in chunks: the same number and gradient as at once, in bounded memory."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import bounds, random
from tfdvae.models.base import Packed
from tfdvae.testing import assert_close
from tfdvae.types import Batch

SEED = random.make_seed(9)
NAMES = ["vrnn", pytest.param("dsae-full-u", marks=pytest.mark.exhaustive), "zforcing_vrnn"]


def batch_of(name: str) -> Batch:
    lengths = np.array([5, 3, 1])
    return cases.frames(name)._replace(mask=tf.constant(np.arange(cases.LENGTH)[None] < lengths[:, None]))


def at_once(model: tfdvae.DVAE, batch: Batch, count: int, chunk: int, weighing: bounds.Weighing) -> tuple:
    """The bound over the very paths that the chunks draw, and its gradient, by one tape over all of them."""
    with tf.GradientTape() as tape:
        parts = []
        for i in range(count // chunk):
            terms = weighing.apply(model.sample_terms(batch, random.fold_in(SEED, i), chunk))
            weights = bounds.log_weight(terms, weighing.beta) - tf.reduce_sum(terms.penalty, axis=1)
            parts.append(tf.reshape(weights, [-1, chunk]))
        value = tf.reduce_logsumexp(tf.concat(parts, axis=1), axis=1) - np.log(count)
        loss = -tf.reduce_sum(value) / 7.0
    return value, tape.gradient(loss, model.trainable_variables)


@pytest.mark.parametrize("mode", ["eager", *(pytest.param(m, marks=pytest.mark.exhaustive) for m in ("graph", "xla"))])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_value_and_gradient_are_those_of_all_paths_at_once(name: str, mode: str) -> None:
    model, batch = cases.make(name, dropout=0.0), batch_of(name)
    weighing = bounds.Weighing(0.6, 0.0, 0.8, 0.5)
    bound = bounds.IWAE(6, chunk=2)

    def loss(objective: tf.Tensor, share: float) -> tf.Tensor:
        return -tf.reduce_sum(objective) / 7.0

    def chunked() -> tuple[tf.Tensor, list[tf.Tensor]]:
        found, gradients = bound.differentiate(model, batch, SEED, weighing, loss, model.trainable_variables)
        return found.objective, gradients

    run = chunked if mode == "eager" else tf.function(chunked, autograph=False, jit_compile=mode == "xla")
    assert_close(run(), at_once(model, batch, 6, 2, weighing), 1e-4)


def test_a_loop_s_start_keeps_the_sizes_that_are_known() -> None:
    """XLA and LiteRT ask for them; a length that a graph does not know stays open."""
    model, shapes = cases.make("dsae-full-u"), []

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)], autograph=False)
    def start(length: tf.Tensor) -> tf.Tensor:
        terms = bounds.objectives.no_terms(model, 3, length)
        shapes.extend(terms.latents[name].kl.shape.as_list() for name in ("v", "z"))
        return terms.kl

    assert start(tf.constant(5)).shape == [3, 5]
    assert shapes == [[3, model.latents[0].kl_groups], [3, None, model.latents[1].kl_groups]]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many paths each call of `sample_terms` holds."""
    seen: list[int] = []
    original = tfdvae.VRNN.infer_packed

    def infer_packed(self: Any, packed: Packed, *args: Any) -> Any:
        seen.append(int(packed.x.shape[0]))
        return original(self, packed, *args)

    monkeypatch.setattr(tfdvae.VRNN, "infer_packed", infer_packed)
    return seen


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_samples(rows: list[int]) -> None:
    data = {k: v[:3] for k, v in cases.training_data("vrnn", length=4).items()}
    for count, calls in ((4, 4), (8, 8)):
        model = cases.make("vrnn")
        model.compile(bound=bounds.IWAE(count, chunk=2), run_eagerly=True)
        rows.clear()
        model.fit(data, batch_size=3, verbose=0)
        assert rows == [6] * calls


@pytest.mark.slow
def test_dropout_is_the_same_in_both_passes() -> None:
    """With one chunk the shares sum to one, and do so only where the second pass finds the weights of the first."""
    model, batch = cases.make("vrnn"), batch_of("vrnn")
    sums: list[tf.Tensor] = []

    def loss(objective: tf.Tensor, share: float) -> tf.Tensor:
        sums.append(objective)
        return tf.reduce_sum(objective)

    bound = bounds.IWAE(5, chunk=5)
    found, _ = bound.differentiate(model, batch, SEED, bounds.Weighing(), loss, model.trainable_variables)
    own = random.fold_in(SEED, 0)
    with random.dropout_scope(random.fold_in(own, "dropout")):
        weights = tf.reshape(bounds.log_weight(model.sample_terms(batch, own, 5)), [-1, 5])
    assert_close(sums[0], tf.reduce_sum(tf.nn.softmax(weights, axis=1) * weights, axis=1))
    assert_close(found.objective, tf.reduce_logsumexp(weights, axis=1) - np.log(5.0))


@pytest.mark.slow
def test_a_model_trains_in_chunks_and_reports_means_over_all_paths() -> None:
    data = cases.training_data("vrnn")
    model = cases.make("vrnn", randomise=False, dropout=0.0)
    model.compile(keras.optimizers.Adam(0.02), bound=bounds.IWAE(6, chunk=3))
    history = model.fit(data, epochs=12, batch_size=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] - 0.3
    # Sixteen times the data, so that the two estimates differ by a standard error of a hundredth of a nat.
    data = {k: np.repeat(v, 16, axis=0) for k, v in data.items()}
    logs = model.evaluate(data, batch_size=256, verbose=0, return_dict=True)
    log_prob = np.sum(model.log_prob(data["x"], data["mask"], num_samples=6, seed=0)) / data["mask"].sum()
    assert -logs["loss"] == pytest.approx(log_prob, abs=0.05)
    assert logs["elbo_nats_per_frame"] < -logs["loss"]


def test_chunks_divide_the_samples() -> None:
    for chunk in (0, 4):
        with pytest.raises(ValueError, match="`chunk` must divide `num_samples`, 6"):
            bounds.IWAE(6, chunk)
