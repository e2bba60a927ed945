"""What `compile` does with log p, log q and KL of each latent: balancing, annealing, free bits by name."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.contract import extended
from tfdvae.bounds import ELBO, Weighing
from tfdvae.testing import assert_close
from tfdvae.types import Batch


def terms_and_gradients(
    model: tfdvae.DVAE, batch: Batch, loss: Any, **options: Any
) -> tuple[Any, dict[str, list[tf.Tensor]]]:
    """Terms of one path, and the loss's gradient for weights of priors and of posteriors."""
    noise = cases.noise(model)
    with tf.GradientTape() as tape:
        terms = model.terms(model.infer(*batch, noise), batch, **options)
        value = loss(terms)
    parts = {
        part: [v for v in model.trainable_variables if f"{part}_head" in v.path] for part in ("prior", "posterior")
    }
    return terms, dict(zip(parts, tape.gradient(value, list(parts.values())), strict=True))


@pytest.mark.parametrize("name", ["vrnn", "categorical"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_balancing_divides_the_gradient_of_the_kl_and_leaves_its_value(name: str, alpha: float) -> None:
    make = cases.make if name == "vrnn" else extended.make
    model = make(name) if name != "vrnn" else make(name, dropout=0.0)
    batch = cases.frames("vrnn", length=1)
    plain, gradient = terms_and_gradients(model, batch, lambda t: tf.reduce_sum(t.kl))
    balanced, found = terms_and_gradients(model, batch, lambda t: tf.reduce_sum(t.kl), balance=alpha)
    assert_close(balanced.kl, plain.kl, 1e-6)
    # At the first frame the state hangs on no latent, so heads of p and of q are reached by the KL alone.
    assert_close(found["prior"], [np.float32(alpha) * g for g in gradient["prior"]], 1e-4)
    assert_close(found["posterior"], [np.float32(1.0 - alpha) * g for g in gradient["posterior"]], 1e-4)


def test_the_annealed_bound_is_its_formula() -> None:
    model, batch = extended.make("two_levels"), extended.frames("two_levels")
    terms = model.terms(model.infer(*batch, cases.noise(model)), batch)
    for c in (0.01, 0.4, 1.0):
        found = ELBO().objective(terms, Weighing(temperature=c))
        log_q = sum(t.log_q for t in terms.latents.values())
        expected = tf.reduce_sum(c * (terms.log_px - terms.kl) - (1.0 - c) * log_q, axis=1)
        assert_close(found, expected, 1e-5)
    assert_close(ELBO().objective(terms, Weighing(temperature=1.0)), ELBO().per_sequence(terms))


def test_the_annealed_bound_is_unbiased_for_the_paper_s() -> None:
    """E[c log p(x, z) - log q(z | x)] (Karl et al. 2017), by the sample alone, has the same mean."""
    model, batch = cases.make("vae", dropout=0.0), cases.frames("vae", 1, 2)
    copies = Batch(tf.repeat(batch.x, 4000, axis=0))
    noise = {"z": tf.random.stateless_normal([4000, 2, 2], [1, 2])}
    terms = model.terms(model.infer(*copies, noise), copies)
    found = ELBO().objective(terms, Weighing(temperature=0.3)).numpy()
    own = terms.latents["z"]
    paper = tf.reduce_sum(0.3 * (terms.log_px + own.log_p) - own.log_q, axis=1).numpy()
    difference = found - paper
    assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(4000)


@pytest.mark.slow
def test_a_temperature_moves_with_the_steps_of_the_optimizer() -> None:
    losses, evaluated = {}, {}
    for name, temperature in (("cold", 0.2), ("schedule", tfdvae.schedules.LinearWarmup(1)), ("bound", 1.0)):
        model = cases.make("vrnn", dropout=0.0)
        model.compile(keras.optimizers.SGD(0.0), temperature=temperature, run_eagerly=True)
        data = cases.training_data("vrnn")
        losses[name] = model.fit(data, batch_size=16, epochs=2, shuffle=False, verbose=0).history["loss"]
        evaluated[name] = model.evaluate(data, verbose=0, return_dict=True)["loss"]
    assert evaluated["cold"] == evaluated["schedule"] == evaluated["bound"]
    assert losses["cold"][0] != pytest.approx(losses["bound"][0], rel=1e-3)
    assert losses["schedule"][1] == pytest.approx(losses["bound"][1], rel=1e-5)


def test_free_bits_by_name_and_for_a_latent_as_a_whole() -> None:
    model, batch = extended.make("two_levels"), extended.frames("two_levels")
    terms = model.terms(model.infer(*batch, cases.noise(model)), batch)
    mean = {k: np.asarray(t.kl).mean(axis=(0, 1)) for k, t in terms.latents.items()}
    log_px = float(tf.reduce_sum(terms.log_px)) / 15

    def objective(**options: Any) -> float:
        return float(tf.reduce_sum(ELBO().objective(terms, Weighing(**options)))) / 15

    floor = {"y": 2.0 * float(mean["y"].max())}
    expected = log_px - np.maximum(mean["y"], floor["y"]).sum() - mean["z"].sum()
    assert objective(free_bits=floor) == pytest.approx(expected, rel=1e-4)
    whole = 1.5 * float(mean["y"].sum())
    expected = log_px - whole - max(mean["z"].sum(), whole)
    assert objective(free_bits=whole, free_bits_per="latent") == pytest.approx(expected, rel=1e-4)
    of_y = np.asarray(terms.latents["y"].kl).sum(axis=-1)
    floor = {"y": float(np.median(of_y))}
    expected = log_px - np.maximum(of_y, floor["y"]).mean() - mean["z"].sum()
    assert objective(free_bits=floor, free_bits_per="frame") == pytest.approx(expected, rel=1e-4)
    model.compile(free_bits={"y": 0.1}, free_bits_per="latent", kl_balance=0.8)
    other = extended.make("two_levels")
    other.compile_from_config(model.get_compile_config())
    assert (other.free_bits, other.free_bits_per, other.kl_balance) == ({"y": 0.1}, "latent", 0.8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free_bits": {"z": -1.0}}, "`free_bits` must be a finite number that is not negative"),
        ({"free_bits": {"w": 1.0}}, "`free_bits` names 'w'; the latents of frames are z"),
        ({"free_bits_per": "batch"}, "`free_bits_per` must be 'group', 'latent' or 'frame', got 'batch'"),
        ({"kl_balance": 1.5}, r"`kl_balance` must be in \[0, 1\] or None, got 1.5"),
        ({"bound": "iwae", "kl_balance": 0.8}, "IWAE has no KL to balance or to anneal"),
        ({"bound": "fivo", "temperature": 0.5}, "FIVO has no KL to balance or to anneal"),
    ],
)
def test_what_means_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cases.make("vrnn").compile(**options)


@pytest.mark.slow
def test_the_logs_speak_of_latents_by_name() -> None:
    model = extended.make("two_levels")
    model.compile(kl_per_dimension=True, run_eagerly=True)
    logs = model.evaluate(cases.given(extended.frames("two_levels")), verbose=0, return_dict=True)
    total = logs["kl_y_nats_per_frame"] + logs["kl_z_nats_per_frame"]
    assert total == pytest.approx(logs["kl_nats_per_frame"], rel=1e-5)
    for name, width in (("y", 3), ("z", 2)):
        parts = [logs[f"kl_{name}_{i:02d}_nats_per_frame"] for i in range(width)]
        assert sum(parts) == pytest.approx(logs[f"kl_{name}_nats_per_frame"], rel=1e-5)
    diagnosed = tfdvae.metrics.diagnose(model, extended.frames("two_levels").x)
    assert set(diagnosed) == {"y", "z"} and diagnosed["y"].kl_per_group.shape == (3,)
