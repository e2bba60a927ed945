"""SV2P with one latent per sequence against its equations in float64, and frames that are given."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import array, gaussian_head, join, mlp
from tests.oracles.support import frames, tiny
from tfdvae.types import Batch

X, U, Z = 3, 2, 2
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def make(u_dim: int = 0, **options: Any) -> tfdvae.SV2P:
    return tiny("SV2P", X, u_dim, latent_dim=Z, **options)


def inferred(cell: Any, x: np.ndarray, u: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """q(v | x_1:T), from the last state of each recurrence."""
    xu = join(array(x), u)
    last, first = reference.run(cell.forward_rnn, xu)[:, -1], reference.run(cell.backward_rnn, xu, backward=True)[:, 0]
    return gaussian_head(cell.posterior_head, mlp(cell.posterior_net, join(last, first)))


def decoded(model: Any, v: np.ndarray, x: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
    """Parameters of p(x_t | x_<t, v)."""
    cell, phi_x = model.cell, mlp(model.cell.x_features, array(x))
    before = np.concatenate([np.zeros_like(phi_x[:, :1]), phi_x[:, :-1]], axis=1)
    h = reference.run(cell.rnn, join(before, u))
    features = mlp(cell.decoder, join(h, np.repeat(v[:, None], h.shape[1], axis=1)))
    return features @ array(model.observation.head.kernel) + array(model.observation.bias)


@pytest.mark.alternating
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
@pytest.mark.parametrize("shape", [{}, {"cell": "gru", "num_layers": 2}], ids=["lstm", "gru, two layers"])
def test_terms_follow_the_equations(shape: dict[str, Any], u_dim: int) -> None:
    model = make(u_dim, **shape)
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 0]], bool)
    x, u = frames("gaussian", 3, 5, X), frames("gaussian", 3, 5, U, seed=8) if u_dim else None
    x[~mask] = np.nan
    noise = np.random.default_rng(5).normal(size=[3, Z]).astype(np.float32)
    given = tf.constant(x), tf.constant(mask), None if u is None else tf.constant(u)
    path = model.infer(*given, noise={"v": tf.constant(noise)})
    terms, latent = model.terms(path, Batch(*given)), path.latents["v"]
    for b in range(3):
        short, own = x[b : b + 1, mask[b]], None if u is None else u[b : b + 1, mask[b]]
        q = inferred(model.cell, short, own)
        v = q[0] + q[1] * noise[b]
        for got, right in zip((latent.z, *latent.q), (v, *q), strict=True):
            np.testing.assert_allclose(got[b], right[0], **CLOSE)
        params = decoded(model, v, short, own)
        np.testing.assert_allclose(path.x.numpy()[b, mask[b]], params[0], **CLOSE)
        log_px = reference.observation_log_density(model.observation, params, short)[0]
        np.testing.assert_allclose(terms.log_px.numpy()[b, mask[b]], log_px, rtol=1e-4, atol=1e-4)
        kl = reference.normal_divergence(q, reference.standard(v)).sum()
        np.testing.assert_allclose(terms.sequence_kl[b], kl, rtol=1e-4)


def test_given_frames_are_seen_and_not_scored() -> None:
    model, plain = make(given_frames=2), make()
    x = tf.constant(frames("gaussian", 3, 5, X))
    found, whole = (m.terms(m.infer(x), Batch(x)) for m in (model, plain))
    np.testing.assert_array_equal(found.log_px[:, :2], np.zeros([3, 2]))
    np.testing.assert_array_equal(found.log_px[:, 2:], whole.log_px[:, 2:])
    np.testing.assert_array_equal(found.sequence_kl, whole.sequence_kl)
    assert np.abs(whole.log_px[:, :2]).min() > 1e-3


@pytest.mark.slow
def test_frames_after_the_given_ones_follow_a_latent_of_the_prior() -> None:
    model = make()
    x, v = frames("gaussian", 3, 4, X), np.random.default_rng(3).normal(size=[3, Z]).astype(np.float32)
    drawn = model.generate(2, prefix=x, latents={"v": v}, sample=False)
    longer = np.concatenate([x, drawn.x], axis=1)
    np.testing.assert_allclose(drawn.params, decoded(model, array(v), longer)[:, 4:], **CLOSE)
    found = model.forecast(x, horizon=1, num_samples=2, latents={"v": v}, seed=0)
    np.testing.assert_allclose(found.mean, drawn.params[:, :1, :X], **CLOSE)
