"""DSAE against its equations in float64, the divergence of v, and the swap of content and dynamics."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import array, gaussian_head, join, mlp, run
from tests.oracles.support import assert_mean, assert_same_as_a_graph, frames, randomise
from tfdvae import bounds, random
from tfdvae.types import Batch
from trainers.sizes import SIZES, build_model

X, U, Z, V = 3, 2, 2, 4
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
INFERENCES = ("full", "factorized")


def make(inference: str, u_dim: int = 0, **options: Any) -> tfdvae.DSAE:
    widths = {"prior_units": (3,), "posterior_units": (4,), "decoder_units": (5,), "units": 3}
    model = tfdvae.DSAE(Z, global_dim=V, inference=inference, **{**widths, **options})
    model.build_for(X, u_dim)
    randomise(model, 0.5, 0)
    return model


class Followed(NamedTuple):
    v: np.ndarray
    q_v: tuple
    path: reference.Path


def follow(model: Any, x: np.ndarray, u: np.ndarray | None, noise: dict[str, np.ndarray]) -> Followed:
    cell, xu = model.cell, join(array(x), u)
    ends = run(cell.v_forward_rnn, xu)[:, -1], run(cell.v_backward_rnn, xu, backward=True)[:, 0]
    q_v = gaussian_head(cell.v_posterior_head, join(*ends))  # (11.12)-(11.15)
    v = q_v[0] + q_v[1] * noise["v"]
    g = xu
    if cell.inference == "full":
        xuv = join(xu, np.broadcast_to(v[:, None], [*x.shape[:2], V]))
        both = join(run(cell.forward_rnn, xuv), run(cell.backward_rnn, xuv, backward=True))  # (11.17)-(11.19)
        g = run(cell.posterior_rnn, both)  # (11.20)
    q = gaussian_head(cell.posterior_head, mlp(cell.posterior_net, g))
    z = q[0] + q[1] * noise["z"]
    before = np.concatenate([np.zeros_like(z[:, :1]), z[:, :-1]], axis=1)
    p = gaussian_head(cell.prior_head, mlp(cell.prior_net, run(cell.rnn, join(before, u))))  # (11.2), (11.3)
    return Followed(v, q_v, reference.Path(z, q, p, decoded(model, z, v)))


def decoded(model: Any, z: np.ndarray, v: np.ndarray) -> np.ndarray:
    features = mlp(model.cell.decoder, join(z, np.broadcast_to(v[:, None], [*z.shape[:2], V])))  # (11.5)
    return features @ array(model.observation.head.kernel) + array(model.observation.bias)


def drawn(batch: int, length: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = {"z": [batch, length, Z], "v": [batch, V]}
    return {k: (scale * rng.normal(size=shape)).astype(np.float32) for k, shape in shapes.items()}


@pytest.mark.alternating
@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2, "scale": "exp"}], ids=["lstm", "gru"])
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
@pytest.mark.parametrize("inference", INFERENCES)
def test_terms_follow_the_equations(inference: str, u_dim: int, options: dict) -> None:
    model = make(inference, u_dim, **options)
    x, noise = frames("gaussian", 3, 4, X), drawn(3, 4)
    u = frames("gaussian", 3, 4, U, seed=8) if u_dim else None
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path = model.infer(*batch, noise)
    expected = follow(model, x, u, noise)
    assert list(path.latents) == ["v", "z"]
    v, z = path.latents.values()
    np.testing.assert_allclose(v.z, expected.v, **CLOSE)
    for got, right in zip((*v.q, *z.q, *z.p), (*expected.q_v, *expected.path.q, *expected.path.p), strict=True):
        np.testing.assert_allclose(got, right, **CLOSE)
    np.testing.assert_allclose(path.x, expected.path.params, **CLOSE)
    np.testing.assert_array_equal(v.p.loc, np.zeros([3, V]))
    np.testing.assert_array_equal(v.p.scale, np.ones([3, V]))

    terms = model.terms(path, batch)
    kl_v = reference.normal_divergence(expected.q_v, reference.standard(expected.v)).sum(axis=-1)
    np.testing.assert_allclose(terms.sequence_kl, kl_v, rtol=1e-4)
    log_px = reference.observation_log_density(model.observation, expected.path.params, array(x)).sum(axis=1)
    kl_z = reference.normal_divergence(expected.path.q, expected.path.p).sum(axis=(1, 2))
    np.testing.assert_allclose(bounds.ELBO().per_sequence(terms), log_px - kl_z - kl_v, rtol=1e-4, atol=1e-4)  # (11.24)


@pytest.mark.parametrize("inference", INFERENCES)
def test_masked_sequences_are_the_short_sequences(inference: str) -> None:
    model = make(inference)
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
    x, noise = frames("gaussian", 3, 5, X), drawn(3, 5)
    x[~mask] = np.nan
    path = model.infer(tf.constant(x), tf.constant(mask), noise={k: tf.constant(y) for k, y in noise.items()})
    for b in range(3):
        own = {"z": noise["z"][b : b + 1, mask[b]], "v": noise["v"][b : b + 1]}
        expected = follow(model, x[b : b + 1, mask[b]], None, own)
        np.testing.assert_allclose(path.latents["v"].z[b], expected.v[0], **CLOSE)
        np.testing.assert_allclose(path.latents["z"].z.numpy()[b, mask[b]], expected.path.z[0], **CLOSE)
        np.testing.assert_allclose(path.latents["z"].p.loc.numpy()[b, mask[b]], expected.path.p[0][0], **CLOSE)
        np.testing.assert_allclose(path.x.numpy()[b, mask[b]], expected.path.params[0], **CLOSE)


@pytest.mark.slow
def test_the_divergence_of_v_is_the_mean_log_ratio_and_counts_once_whatever_the_length() -> None:
    model = make("full")
    x = frames("gaussian", 1, 3, X)
    terms = model.sample_terms(Batch(tf.constant(x)), random.make_seed(8), 20_000)
    assert_mean(terms.sequence_kl + terms.sequence_log_ratio, 0.0)
    model.compile(run_eagerly=True, kl_per_dimension=True)
    q = model.infer(tf.constant(x)).latents["v"].q
    kl_v = reference.normal_divergence((array(q.loc), array(q.scale)), reference.standard(array(q.loc))).sum()
    for count in (1, 6):
        logs = model.evaluate(np.repeat(x, count, axis=0), verbose=0, return_dict=True)
        of_frames = sum(logs[f"kl_z_{i:02d}_nats_per_frame"] for i in range(Z))
        assert logs["kl_z_nats_per_frame"] == pytest.approx(of_frames, rel=1e-4)
        assert logs["kl_v_nats_per_frame"] == pytest.approx(kl_v / 3.0, rel=1e-4)
        assert logs["kl_nats_per_frame"] - of_frames == pytest.approx(kl_v / 3.0, rel=1e-4)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_swap_takes_v_from_one_sequence_and_z_from_the_other() -> None:
    for inference in INFERENCES:
        model = make(inference)
        content, dynamics = frames("gaussian", 2, 6, X, seed=1), frames("gaussian", 2, 4, X, seed=2)
        mask_content = np.array([[1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]], bool)
        mask = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
        content[~mask_content], dynamics[~mask] = np.nan, np.nan
        swapped = model.swap(content, dynamics, mask_content=mask_content, mask_dynamics=mask).numpy()
        assert swapped.shape == dynamics.shape
        for b in range(2):
            quiet = [
                follow(model, x[b : b + 1, m[b]], None, {"z": np.zeros([1, 1, Z]), "v": np.zeros([1, V])})
                for x, m in ((content, mask_content), (dynamics, mask))
            ]
            expected = decoded(model, quiet[1].path.z, quiet[0].v)[0, :, :X]
            np.testing.assert_allclose(swapped[b, mask[b]], expected, **CLOSE)
            assert np.abs(expected - quiet[1].path.params[0, :, :X]).max() > 1e-2
        np.testing.assert_array_equal(swapped[~mask], 0.0)
        itself = model.swap({"x": dynamics, "mask": mask}, {"x": dynamics, "mask": mask})
        np.testing.assert_allclose(itself, model.reconstruct(dynamics, mask), **CLOSE)


@pytest.mark.exhaustive
def test_a_swap_of_masked_sequences_is_the_same_as_a_graph() -> None:
    model = make("full")
    content, dynamics = frames("gaussian", 2, 6, X, seed=1), frames("gaussian", 2, 4, X, seed=2)
    options = {"mask_content": np.array([[1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]], bool)}
    options["mask_dynamics"] = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
    assert_same_as_a_graph(lambda: model.swap(content, dynamics, **options), **CLOSE)


@pytest.mark.slow
def test_a_swap_is_drawn_by_its_seed_and_wants_as_many_sequences_of_both() -> None:
    model = make("full", U)
    x, u = frames("gaussian", 2, 4, X), frames("gaussian", 2, 4, U)
    options = {"u_content": u, "u_dynamics": u, "sample": True}
    first, again, other = (model.swap(x, x, seed=seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    with pytest.raises(ValueError, match="same number of sequences, got `x_content` for 1, `x_dynamics` for 2"):
        model.swap(x[:1], x, u_content=u[:1], u_dynamics=u)
    with pytest.raises(ValueError, match="`sample` must be True or False, got 'no'"):
        model.swap(x, x, u_content=u, u_dynamics=u, sample="no")


@pytest.mark.slow
def test_a_swap_of_pictures_returns_pictures_in_their_units() -> None:
    """A swap of a sequence with itself is its reconstruction."""
    sizes = {"units": 3, "posterior_units": (4,), "decoder_units": (5,)}
    model = tfdvae.DSAE(Z, global_dim=V, standardize="feature", **sizes)
    pictures = 100.0 + 10.0 * frames("gaussian", 2, 4, 6).reshape(2, 4, 2, 3, 1)
    model.adapt(pictures)
    randomise(model, 0.5, 0)
    swapped = model.swap(pictures[:, :3], pictures)
    assert swapped.shape == pictures.shape
    itself = model.swap(pictures, pictures)
    np.testing.assert_allclose(itself, model.reconstruct(pictures), **CLOSE)
    assert np.abs(itself - 100.0).max() < 50.0 < np.mean(itself)


@pytest.mark.slow
def test_v_is_held_while_frames_are_generated() -> None:
    model = make("full")
    v = np.random.default_rng(3).normal(size=[2, V]).astype(np.float32)
    generated = model.generate(3, latents={"v": v}, seed=1)
    np.testing.assert_allclose(generated.params, decoded(model, array(generated.latents["z"]), array(v)), **CLOSE)
    prior = np.stack([model.generate(1, 20_000, latents={"v": np.zeros([20_000, V])}, seed=2).latents["z"]])[0]
    first = gaussian_head(model.cell.prior_head, mlp(model.cell.prior_net, run(model.cell.rnn, np.zeros([1, 1, Z]))))
    assert_mean(prior[:, 0], first[0][0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inference": "half"}, "`inference` must be 'full' or 'factorized', got 'half'"),
        ({"global_dim": 0}, "`global_dim` must be at least 1, got 0"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.DSAE(Z, **options)


@pytest.mark.slow
def test_the_sizes_of_the_survey_have_the_parameters_that_they_imply() -> None:
    """Appendices B.6 and C.6. Gamma and the Gaussian with identity covariance have one parameter per feature."""
    for size, d, z, h, hidden in (("speech", 513, 16, 128, (32, 64, 128, 256)), ("motion", 96, 10, 64, (32, 64))):
        lstms = sum(4 * h * (i + h + 1) for i in (z, d, d, d + z, d + z))
        rnn = h * (2 * h + h + 1)
        heads = (h + 1) * 2 * z + (2 * h + 1) * 2 * z + (h + 1) * 2 * z
        widths = (2 * z, *hidden, d)
        decoder = sum((i + 1) * o for i, o in zip(widths, widths[1:], strict=False))
        assert build_model("dsae", SIZES[size]).count_params() == lstms + rnn + heads + decoder
