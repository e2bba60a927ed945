"""Every model's terms, frame by frame, against the float64 reference written from the papers' equations."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.support import VARIANTS, frames, tiny
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z = 3, 4, 3, 2, 2

# Float32 against float64 over four frames of tiny networks: rounding of 6e-8 per operation, values of order one.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}

SHAPES: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "gru, two layers, exp": {"cell": "gru", "num_layers": 2, "scale": "exp"},
}


@pytest.mark.alternating
@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_follow_the_equations(variant: str, shape: str, driven: bool) -> None:
    observation = "bernoulli" if shape == "lstm" else "gaussian"
    u_dim = U if driven else 0
    made, own = VARIANTS[variant]
    idle = getattr(tfdvae, made).without_use(own)
    options = {k: v for k, v in SHAPES[shape].items() if k not in idle}
    model = tiny(variant, X, u_dim, latent_dim=Z, observation=observation, **options)
    rng = np.random.default_rng(5)
    x = frames(observation, BATCH, LENGTH, X)
    u = rng.normal(size=[BATCH, LENGTH, U]).astype(np.float32) if driven else None
    noise = rng.normal(size=[BATCH, LENGTH, Z]).astype(np.float32)

    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, {"z": tf.constant(noise)})
    terms, latent = model.terms(path, batch), path.latents["z"]
    expected = reference.follow(model, x, reference.reparameterised(noise), u)

    np.testing.assert_allclose(latent.z, expected.z, **CLOSE)
    for got, right in zip((*latent.q, *latent.p, path.x), (*expected.q, *expected.p, expected.params), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
    log_px = reference.observation_log_density(model.observation, expected.params, x)
    ratio = reference.normal_log_density(expected.z, *expected.p) - reference.normal_log_density(
        expected.z, *expected.q
    )
    np.testing.assert_allclose(terms.log_px, log_px, rtol=1e-4, atol=1e-4)
    kl = reference.normal_divergence(expected.q, expected.p)
    np.testing.assert_allclose(terms.latents["z"].kl, kl, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.kl, kl.sum(axis=-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.log_ratio, ratio, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(terms.weight, np.ones([BATCH, LENGTH]))


@pytest.mark.parametrize("variant", ["VRNN", "SRNN smooth", "DKF st_r"])
def test_the_prior_is_evaluated_on_the_posterior_sample(variant: str) -> None:
    """A prior rolled out on its own samples would give another bound: the reference tells the two apart."""
    model = tiny(variant, X, latent_dim=Z)
    x = frames("gaussian", BATCH, LENGTH, X)
    noise = np.random.default_rng(5).normal(size=[BATCH, LENGTH, Z]).astype(np.float32)
    latent = model.infer(tf.constant(x), noise={"z": tf.constant(noise)}).latents["z"]
    along_posterior = reference.follow(model, x, reference.given(np.asarray(latent.z, np.float64)))
    rolled = np.zeros([BATCH, LENGTH, Z])
    for t in range(LENGTH):
        p = reference.follow(model, x, reference.given(rolled)).p
        rolled[:, t] = p[0][:, t] + p[1][:, t] * noise[:, t]
    along_prior = reference.follow(model, x, reference.given(rolled))
    np.testing.assert_allclose(latent.p.loc, along_posterior.p[0], **CLOSE)
    assert np.abs(along_prior.p[0] - along_posterior.p[0])[:, 1:].max() > 500.0 * CLOSE["atol"]


@pytest.mark.alternating
@pytest.mark.parametrize("variant", VARIANTS)
def test_masked_sequences_are_the_short_sequences(variant: str) -> None:
    """Frames that do not exist, holding NaN, in front, in between and behind."""
    model = tiny(variant, X, latent_dim=Z)
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 1]], bool)
    x = frames("gaussian", 3, 5, X)
    x[~mask] = np.nan
    noise = np.random.default_rng(5).normal(size=[3, 5, Z]).astype(np.float32)
    batch = Batch(tf.constant(x), tf.constant(mask))
    path = model.infer(*batch, {"z": tf.constant(noise)})
    terms = model.terms(path, batch)
    for b in range(3):
        short, short_noise = x[b : b + 1, mask[b]], noise[b : b + 1, mask[b]]
        expected = reference.follow(model, short, reference.reparameterised(short_noise))
        np.testing.assert_allclose(np.asarray(path.latents["z"].z)[b, mask[b]], expected.z[0], **CLOSE)
        log_px = reference.observation_log_density(model.observation, expected.params, short)[0]
        kl = reference.normal_divergence(expected.q, expected.p)[0]
        np.testing.assert_allclose(np.asarray(terms.log_px)[b, mask[b]], log_px, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.asarray(terms.latents["z"].kl)[b, mask[b]], kl, rtol=1e-4, atol=1e-4)
    for term in (terms.log_px, terms.kl, terms.latents["z"].kl, terms.log_ratio):
        assert not np.any(np.asarray(term)[~mask])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.slow
def test_the_recurrent_baseline_is_exact(shape: str) -> None:
    model = tiny("RNN", X, **{k: v for k, v in SHAPES[shape].items() if k != "scale"})
    x = frames("gaussian", BATCH, LENGTH, X)
    params = reference.follow(model, x, reference.given(np.zeros([BATCH, LENGTH, 0]))).params
    exact = reference.observation_log_density(model.observation, params, x).sum(axis=1)
    np.testing.assert_allclose(model.log_prob(x, num_samples=5, chunk=2), exact, rtol=1e-5)
    one = model.sample_terms(tfdvae.Batch(tf.constant(x)), tfdvae.random.make_seed(0), 1)
    six = model.sample_terms(tfdvae.Batch(tf.constant(x)), tfdvae.random.make_seed(0), 6)
    assert one.latents == {} and one.kl.shape == (BATCH, LENGTH)
    np.testing.assert_array_equal(one.kl, np.zeros([BATCH, LENGTH]))
    np.testing.assert_array_equal(one.log_ratio, np.zeros([BATCH, LENGTH]))
    for bound, terms in ((tfdvae.bounds.ELBO(), one), (tfdvae.bounds.IWAE(1), one), (tfdvae.bounds.IWAE(6), six)):
        np.testing.assert_allclose(bound.per_sequence(terms), exact, rtol=1e-5)
