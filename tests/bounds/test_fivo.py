"""FIVO and NASMC as bounds of models: what they equal, what they leave alone, and what they refuse."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import bounds, random
from tfdvae.testing import assert_close, assert_equal, differs
from tfdvae.types import Batch

COUNT = 4


def has_particles(name: str) -> bool:
    try:
        cases.make(name, randomise=False).check_particles("a filter")
    except ValueError:
        return False
    return True


EVERYDAY = ("vrnn-gru2-u", "srnn-filter-u", "dkf-st_l-u", "kvae-u", "rnn")
NAMES = [
    pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.exhaustive)
    for name in cases.SUITE
    if has_particles(name)
]
LENGTHS = np.array([5, 3, 1])
SEED = random.make_seed(4)


def padded(name: str) -> Batch:
    batch = cases.frames(name)
    return batch._replace(mask=tf.constant(np.arange(cases.LENGTH)[None] < LENGTHS[:, None]))


def filtered(
    model: tfdvae.DVAE, batch: Batch, noise: dict[str, np.ndarray], uniform: np.ndarray, **options: Any
) -> bounds.Filtered:
    packed, _ = model.pack(batch)
    options = {"criterion": "always", **options}
    flat = {k: tf.constant(n.reshape(len(n) * COUNT, *n.shape[2:])) for k, n in noise.items()}
    particles = model.particles(packed, COUNT)
    return bounds.particle_filter(particles, COUNT, flat, tf.constant(uniform), packed.mask, **options)


def drawn(model: tfdvae.DVAE, length: int = cases.LENGTH) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Noise of each latent, `[B, K, T, n]`, and uniform numbers `[B, T, 1]`."""
    rng = np.random.default_rng(2)
    kinds = {"normal": rng.normal, "uniform": lambda size: rng.uniform(0.01, 0.99, size)}
    noise = {
        latent.name: kinds[latent.q.noise_kind](size=[cases.BATCH, COUNT, length, latent.q.noise_dim]).astype("float32")
        for latent in model.latents
    }
    return noise, rng.uniform(size=[cases.BATCH, length, 1]).astype("float32")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_without_resampling_it_is_the_importance_weighted_bound(name: str) -> None:
    model, batch = cases.make(name), padded(name)
    iwae = bounds.IWAE(COUNT).estimate(model, batch, SEED).objective
    assert_close(bounds.FIVO(COUNT, criterion="never").estimate(model, batch, SEED).objective, iwae)
    one = bounds.IWAE(1).estimate(model, batch, SEED).objective
    assert_close(bounds.FIVO(1, criterion="always").estimate(model, batch, SEED).objective, one)
    if model.has_latents:
        assert differs(bounds.FIVO(COUNT, criterion="always").estimate(model, batch, SEED).objective, iwae.numpy())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_sequences_are_filtered_apart_and_padding_leaves_no_trace(name: str) -> None:
    model, batch = cases.make(name), padded(name)
    noise, uniform = drawn(model)
    found = filtered(model, batch, noise, uniform)
    order = [2, 0, 1]
    turned = Batch(*(None if y is None else tf.gather(y, order) for y in batch))
    permuted = filtered(model, turned, cases.each(lambda y: y[order], noise), uniform[order])
    assert_close(permuted.log_evidence, tf.gather(found.log_evidence, order))
    longer = Batch(*(None if y is None else tf.pad(y, [[0, 0], [0, 3], [0, 0]][: y.shape.rank]) for y in batch))
    hidden = tf.where(longer.mask[..., None], longer.x, float("nan"))
    later = {k: np.pad(n, [[0, 0], [0, 0], [0, 3], [0, 0]]) for k, n in noise.items()}
    uniform_later = np.pad(uniform, [[0, 0], [0, 3], [0, 0]])
    with tf.GradientTape(persistent=True) as tape:
        plain = filtered(model, batch, noise, uniform).log_evidence
        more = filtered(model, longer._replace(x=hidden), later, uniform_later).log_evidence
    assert_close(more[:, : cases.LENGTH], plain)
    np.testing.assert_array_equal(more[~longer.mask.numpy()], 0.0)
    variables = model.trainable_variables
    assert_close(tape.gradient(more, variables), tape.gradient(plain, variables), 1e-4)


@pytest.mark.parametrize("name", ["vrnn-gru2-u", pytest.param("kvae-u", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_graphs_of_any_size_and_xla_compute_what_eager_execution_does(name: str) -> None:
    model, batch = cases.make(name), padded(name)
    bound = bounds.FIVO(COUNT, "multinomial", "always")

    def evaluate(x: tf.Tensor, mask: tf.Tensor, u: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            value = bound.estimate(model, Batch(x, mask, u), SEED).objective
        return value, tape.gradient(value, model.trainable_variables)

    inputs = (batch.x, batch.mask, batch.u)
    expected = evaluate(*inputs)
    signature = [tf.TensorSpec([None, None, *y.shape[2:]], y.dtype) for y in inputs]
    assert_close(tf.function(evaluate, input_signature=signature, autograph=False)(*inputs), expected, 1e-4)
    assert_close(tf.function(evaluate, jit_compile=True, autograph=False)(*inputs), expected, 1e-4)


@pytest.mark.slow
def test_mixed_precision_filters_in_float32() -> None:
    full = cases.make("vrnn")
    half = cases.make("vrnn", dtype="mixed_bfloat16")
    half.set_weights(full.get_weights())
    batch, (noise, uniform) = padded("vrnn"), drawn(full)
    results = [filtered(m, batch, noise, uniform, criterion="never") for m in (half, full)]
    assert results[0].log_evidence.dtype == results[0].weights.dtype == tf.float32
    assert_close(results[0].log_evidence, results[1].log_evidence, 0.05)


@pytest.mark.parametrize(
    ("bound", "name"), [("fivo", "vrnn"), pytest.param("nasmc", "lvrnn", marks=pytest.mark.exhaustive)]
)
@pytest.mark.slow
def test_training_raises_the_bound(bound: str, name: str) -> None:
    data = cases.training_data(name)
    model = cases.make(name, randomise=False)
    model.compile(keras.optimizers.Adam(0.02), bound=bound)
    before = model.evaluate(data, batch_size=16, verbose=0, return_dict=True)
    history = model.fit(data, epochs=20, batch_size=8, verbose=0).history
    after = model.evaluate(data, batch_size=16, verbose=0, return_dict=True)
    assert history["skipped_batches"] == [0.0] * 20
    assert after["loss"] < before["loss"] - 0.5
    elbo = after["log_likelihood_nats_per_frame"] - after["kl_nats_per_frame"]
    assert after["elbo_nats_per_frame"] == pytest.approx(elbo, rel=1e-5)


@pytest.mark.slow
def test_nasmc_reports_fivo_and_moves_elsewhere() -> None:
    data, weights, losses = cases.training_data("vrnn"), {}, {}
    for bound in (bounds.FIVO(COUNT), bounds.NASMC(COUNT)):
        model = cases.make("vrnn")
        model.compile(keras.optimizers.SGD(0.1), bound=bound, run_eagerly=True)
        losses[type(bound)] = model.fit(data, batch_size=16, shuffle=False, verbose=0).history["loss"]
        weights[type(bound)] = model.get_weights()
    assert losses[bounds.NASMC] == pytest.approx(losses[bounds.FIVO], rel=1e-5)
    assert any(differs(a, b) for a, b in zip(*weights.values(), strict=True))


@pytest.mark.slow
def test_bounds_are_compiled_by_name_or_object_and_saved(tmp_path: Any) -> None:
    model = cases.make("vrnn")
    model.compile(bound="fivo")
    assert (model.bound.num_samples, model.bound.resampling, model.bound.criterion) == (4, "systematic", "ess")
    for bound in (bounds.FIVO(3, "multinomial", "always", 0.25), bounds.NASMC(6), bounds.IWAE(6, chunk=2)):
        model.compile(bound=bound)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras").bound
        assert type(again) is type(bound)
        assert again.get_config() == bound.get_config()


@pytest.mark.parametrize("bound", ["fivo", "nasmc"])
@pytest.mark.slow
def test_what_has_no_meaning_is_refused_when_compiling(bound: str) -> None:
    later = ("srnn-smooth-u", "dkf-st_r", "dsae-factorized", "vrae", "zforcing_vrnn", "rvae_noncausal-u")
    for name, reason in (*((name, "infers") for name in later), ("dvbf-filter-u", "has latents that exist once")):
        model = cases.make(name, randomise=False)
        with pytest.raises(ValueError, match=rf"{type(model).__name__} as configured {reason} .* 'elbo' or 'iwae'"):
            model.compile(bound=bound)
        with pytest.raises(ValueError, match="`particle_log_prob` weighs particles frame by frame"):
            model.particle_log_prob(cases.frames(name).x)
    model = cases.make("vrnn", randomise=False)
    with pytest.raises(ValueError, match="has no KL term to keep free"):
        model.compile(bound=bound, free_bits=0.1)
    if bound == "nasmc":
        for options in ({"beta": 0.5}, {"beta": lambda step: 1.0}, {"reconstruction_weight": 0.3}):
            with pytest.raises(ValueError, match="has no KL to weigh"):
                model.compile(bound=bound, **options)
        model.compile(bound=bound)
        with pytest.raises(ValueError, match="KLWarmup has nothing to weigh: NASMC"):
            model.fit(cases.training_data("vrnn"), verbose=0, callbacks=[tfdvae.callbacks.KLWarmup(2)])


def test_bounds_refuse_wrong_settings() -> None:
    with pytest.raises(
        ValueError, match=r"`resampling` must be one of \['multinomial', 'systematic'\], got 'residual'"
    ):
        bounds.FIVO(2, "residual")
    with pytest.raises(ValueError, match=r"`criterion` must be one of \['always', 'ess', 'never'\]"):
        bounds.FIVO(2, criterion="often")
    for ratio in (0.0, 1.5):
        with pytest.raises(ValueError, match=r"`ess_ratio` must be in \(0, 1\]"):
            bounds.FIVO(2, ess_ratio=ratio)
    with pytest.raises(ValueError, match="independent paths"):
        model = cases.make("vrnn")
        bounds.FIVO(1).per_sequence(model.sample_terms(cases.frames("vrnn"), SEED))


@pytest.mark.slow
def test_a_weight_of_the_kl_is_an_exponent_in_the_weights() -> None:
    model, batch = cases.make("vrnn"), padded("vrnn")
    weighing = bounds.Weighing(0.3, 0.0, 0.7, 1.0)
    never = bounds.FIVO(COUNT, criterion="never").estimate(model, batch, SEED, weighing).objective
    assert_close(never, bounds.IWAE(COUNT).estimate(model, batch, SEED, weighing).objective)
    assert differs(never, bounds.IWAE(COUNT).estimate(model, batch, SEED).objective.numpy())


@pytest.mark.slow
def test_log_probabilities_repeat_by_their_seed() -> None:
    model, batch = cases.make("vrnn"), padded("vrnn")
    first, again, other = (
        model.particle_log_prob(batch.x, batch.mask, num_samples=COUNT, seed=seed).numpy() for seed in (1, 1, 2)
    )
    assert first.shape == (cases.BATCH,)
    assert_equal(first, again)
    assert differs(first, other)
