"""Shapes, dtypes, one graph for every batch size and length, and sequences that do not see each other."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tests.contract.checks import assert_close, evaluate
from tfdvae.types import Batch


@pytest.mark.parametrize(("size", "length"), [(3, 5), (1, 5), (3, 1), (1, 1)])
def test_a_trajectory_has_the_shapes_and_dtypes_of_the_contract(
    model: tfdvae.DVAE, name: str, size: int, length: int
) -> None:
    batch = cases.frames(name, size, length)
    path = model.infer(*batch, noise=cases.noise(model, size, length))
    latent = [path.z, *path.q, *path.p]
    assert [tuple(y.shape) for y in latent] == [(size, length, model.frame_latent_dim)] * 5
    assert tuple(path.x.shape) == (size, length, model.observation.params_dim)
    assert {y.dtype for y in (*latent, path.x)} == {tf.float32}
    assert all(np.isfinite(y).all() for y in (*latent, path.x))
    assert all((scale.numpy() > 0).all() for scale in (path.q.scale, path.p.scale))
    assert {k: tuple(v.z.shape) for k, v in path.global_latents.items()} == {
        k: (size, width) for k, width in model.global_dims.items()
    }
    for latent in path.global_latents.values():
        assert all(np.isfinite(y).all() and y.shape == latent.z.shape for y in (*latent.q, *latent.p))
        assert (latent.q.scale.numpy() > 0).all() and 0.0 < latent.share <= 1.0
    assert all(tuple(y.shape) == (size, length) for y in path.penalties.values())

    terms = model.terms(path, batch.x, None)
    assert [tuple(y.shape) for y in (terms.log_px, terms.log_ratio, terms.penalty, terms.weight)] == [
        (size, length)
    ] * 4
    assert tuple(terms.kl.shape) == (size, length, model.frame_latent_dim)
    assert tuple(terms.global_kl.shape) == tuple(terms.global_log_ratio.shape) == (size,)
    assert (terms.kl.numpy() >= 0).all()


def test_one_graph_gives_the_eager_values_and_gradients_for_every_batch_size_and_length(
    model: tfdvae.DVAE, name: str
) -> None:
    x = tf.TensorSpec([None, None, cases.X_DIM])
    u = tf.TensorSpec([None, None, cases.U_DIM]) if model.u_dim else None
    graph = tf.function(functools.partial(evaluate, model), autograph=False)
    specs = cases.each(lambda n: tf.TensorSpec([*[None] * (n.shape.rank - 1), n.shape[-1]]), cases.noise(model))
    concrete = graph.get_concrete_function(Batch(x, None, u), specs)
    for size, length in ((3, 5), (1, 1), (2, 7)):
        batch, noise = cases.frames(name, size, length), cases.noise(model, size, length)
        assert_close(concrete(batch, noise), evaluate(model, batch, noise), 3e-5)


def test_sequences_do_not_see_each_other(model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor) -> None:
    order = [2, 0, 1]
    moved = Batch(*(None if y is None else tf.gather(y, order) for y in batch))
    path, other = model.infer(*batch, noise), model.infer(*moved, cases.each(lambda n: tf.gather(n, order), noise))
    for a, b in ((path.z, other.z), (path.q, other.q), (path.p, other.p), (path.x, other.x)):
        assert_close(b, tf.nest.map_structure(lambda y: tf.gather(y, order), a))
    alone = model.infer(*(None if y is None else y[1:2] for y in batch), cases.each(lambda n: n[1:2], noise))
    assert_close([alone.z, alone.q, alone.x], [path.z[1:2], [y[1:2] for y in path.q], path.x[1:2]])


def test_without_noise_the_path_is_that_of_the_posterior_means(model: tfdvae.DVAE, batch: Batch) -> None:
    path = model.infer(*batch)
    assert_close(path.z, path.q.loc)
    assert_close(path, model.infer(*batch, cases.each(tf.zeros_like, cases.noise(model))))
    for latent in path.global_latents.values():
        assert_close(latent.z, latent.q.loc)


def test_the_log_ratio_is_that_of_the_densities(model: tfdvae.DVAE, batch: Batch, noise: tf.Tensor) -> None:
    path = model.infer(*batch, noise)

    def log_normal(dist: tfdvae.Gaussian) -> np.ndarray:
        z, loc, scale = path.z.numpy(), dist.loc.numpy(), dist.scale.numpy()
        return (-0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1)

    expected = (log_normal(path.p) - log_normal(path.q)).astype("float32")
    terms = model.terms(path, batch.x, None)
    assert_close(terms.log_ratio, expected, 1e-4)
    expected = np.zeros(cases.BATCH, np.float32)
    for latent in path.global_latents.values():
        z = latent.z.numpy()
        loc, scale = (y.numpy() for y in latent.q)
        log_q = (-0.5 * ((z - loc) / scale) ** 2 - np.log(scale)).sum(-1)
        expected += np.float32(latent.share) * ((-0.5 * z**2).sum(-1) - log_q)
    assert_close(terms.global_log_ratio, expected, 1e-4)
