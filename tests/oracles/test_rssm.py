"""RSSM's objectives of training against their formulas, and imagination under given inputs."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.support import frames, tiny
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z = 3, 4, 3, 2, 2
CATEGORICAL = {"latent_dim": 6, "family": {"class_name": "categorical", "config": {"classes": 3}}}


def data(length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return frames("gaussian", BATCH, length, X), rng.normal(size=[BATCH, length, U]).astype(np.float32)


def batch_and_noise(model: tfdvae.RSSM) -> tuple[Batch, dict[str, tf.Tensor]]:
    x, u = data()
    return Batch(tf.constant(x), u=tf.constant(u)), model.draw_noise(tfdvae.random.make_seed(3), BATCH, LENGTH)


@pytest.mark.parametrize("options", [{"latent_dim": Z}, CATEGORICAL], ids=["gaussian", "categorical"])
def test_kl_balancing_is_its_formula_for_every_weight(options: dict[str, Any]) -> None:
    """alpha KL(sg q || p) + (1 - alpha) KL(q || sg p) (Hafner et al. 2021), through the recurrence as well."""
    model, alpha = tiny("RSSM", X, U, **options), 0.8
    batch, noise = batch_and_noise(model)
    (latent,) = model.latents
    with tf.GradientTape(persistent=True) as tape:
        path = model.infer(*batch, noise)
        found = tf.reduce_sum(model.terms(path, batch, balance=alpha).kl)
        own, stop = path.latents["z"], lambda y: tf.nest.map_structure(tf.stop_gradient, y)
        to_prior = tfdvae.families.kl(latent.q, stop(own.q), latent.p, own.p, own.z)
        to_posterior = tfdvae.families.kl(latent.q, own.q, latent.p, stop(own.p), own.z)
        expected = tf.reduce_sum(alpha * to_prior + (1.0 - alpha) * to_posterior)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    weights = [w for w in model.trainable_variables if "decoder" not in w.path and "observation" not in w.path]
    reached = 0
    for a, b in zip(tape.gradient(found, weights), tape.gradient(expected, weights), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            reached += 1
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert reached > 8


def test_imagination_follows_the_prior_under_the_given_inputs() -> None:
    """Along the modes: the reference with the prior's mean in the place of z_t, whatever its frames say."""
    model, (x, u) = tiny("RSSM", X, U, latent_dim=Z), data()
    imagined = model.generate(LENGTH, u=u, sample=False)
    z = np.zeros([BATCH, LENGTH, Z])
    for t in range(LENGTH):
        z[:, t] = reference.follow(model, x, reference.given(z), u).p[0][:, t]
    expected = reference.follow(model, x, reference.given(z), u)
    np.testing.assert_allclose(imagined.latents["z"], z, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(imagined.params, expected.params, rtol=2e-5, atol=2e-5)
    other = model.generate(LENGTH, u=u[:, ::-1], sample=False)
    assert np.abs(other.x - imagined.x).min(axis=(0, 2)).max() > 1e-3


def test_a_continuation_reads_of_its_past_what_the_latents_hold_of_it() -> None:
    model, (x, u) = tiny("RSSM", X, U, latent_dim=Z), data(6)
    found = model.generate(2, prefix={"x": x[:, :4], "u": u[:, :4]}, u=u[:, 4:], sample=False)
    along = reference.follow(model, x[:, :4], lambda t, loc, scale: loc, u[:, :4])
    z = np.concatenate([along.z, np.zeros([BATCH, 2, Z])], axis=1)
    for t in (4, 5):
        z[:, t] = reference.follow(model, x, reference.given(z), u).p[0][:, t]
    params = reference.follow(model, x, reference.given(z), u).params[:, 4:]
    np.testing.assert_allclose(found.params, params, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("preset", ["rssm_planet", "rssm_dreamer"])
def test_the_sizes_of_the_papers_count_what_they_must(preset: str) -> None:
    x, u, h, z = 8, 3, {"rssm_planet": 200, "rssm_dreamer": 600}[preset], {"rssm_planet": 30}.get(preset, 1024)
    model = tfdvae.RSSM(**{**getattr(tfdvae.presets.papers, preset), "phi_x": (), "decoder_units": ()})
    model.build_for(x, u)
    raw = 2 * z if preset == "rssm_planet" else z
    transition = (z + u + 1) * h + 3 * h * (h + h + 2)
    heads = (h + 1) * h + (h + 1) * raw + (x + h + 1) * h + (h + 1) * raw
    assert model.count_params() == transition + heads + (z + h + 1) * x
