"""FVAE against its equations in float64, its evidence against a dense Gaussian, the table, new times, and what frames
that nobody saw are predicted to be."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles.networks import array, gaussian_head, join, mlp
from tests.oracles.support import assert_mean, frames, gaussian_log_density, randomise
from tfdvae import indices
from tfdvae.types import Batch

X, U, Z, TIMES = 3, 2, 2, 4
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def make(u_dim: int = 0, x_dim: int = X, spread: float = 0.5, **options: Any) -> tfdvae.FVAE:
    sizes = {"num_times": TIMES, "num_sequences": 4, "encoder_units": (5,), "decoder_units": (6,)}
    model = tfdvae.FVAE(**{"latent_dim": Z, **sizes, **options})
    model.build_for(x_dim, u_dim)
    randomise(model, spread, 0)
    return model


class Followed(NamedTuple):
    """q and a sample of U `[B, Z]`; q, p and a sample of z `[B, T, Z]`; parameters `[B, T, P]`."""

    q_individual: tuple
    individual: np.ndarray
    q_z: tuple
    p_z: np.ndarray
    z: np.ndarray
    params: np.ndarray


def times_of(model: Any, length: int) -> np.ndarray:
    """V `[T, Z]`, 1 after the table."""
    rows = np.exp(array(model.cell.log_times))
    return np.concatenate([rows, np.ones([length, rows.shape[1]])])[:length]


def decoded(model: Any, z: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
    head = model.observation.head
    return mlp(model.cell.decoder, join(z, u)) @ array(head.kernel) + array(model.observation.bias)


def follow(
    model: Any,
    x: np.ndarray,
    u: np.ndarray | None,
    noise: dict[str, np.ndarray],
    seen: np.ndarray | None = None,
    rows: np.ndarray | None = None,
) -> Followed:
    """The equations along the path of that noise; `rows` stand in for the means of U."""
    x, u = array(x), None if u is None else array(u)
    seen = np.ones(x.shape[:2], bool) if seen is None else seen
    loc, scale = gaussian_head(model.cell.posterior_head, mlp(model.cell.encoder, join(x, u)))
    times = times_of(model, x.shape[1])
    precision = np.array([1.0 + (times[known] ** 2).sum(axis=0) for known in seen])
    ridge = np.array([(times * m)[known].sum(axis=0) for m, known in zip(loc, seen, strict=True)]) / precision
    q_individual = ridge if rows is None else rows, precision**-0.5
    individual = q_individual[0] + q_individual[1] * array(noise["individual"])
    p_z = individual[:, None] * times
    q_z = tuple(np.where(seen[..., None], q, p) for q, p in ((loc, p_z), (scale, np.ones_like(scale))))
    z = q_z[0] + q_z[1] * array(noise["z"])
    return Followed(q_individual, individual, q_z, p_z, z, decoded(model, z, u))


def drawn(batch: int, length: int, scale: float = 1.0, z_dim: int = Z) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = {"individual": [batch, z_dim], "z": [batch, length, z_dim]}
    return {name: (scale * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def divergence(loc: np.ndarray, scale: np.ndarray, mean: Any = 0.0) -> np.ndarray:
    """KL(N(loc, scale^2) || N(mean, 1)), summed over components."""
    return 0.5 * (scale**2 + (loc - mean) ** 2 - 1.0 - 2.0 * np.log(scale)).sum(axis=-1)


@pytest.mark.alternating
@pytest.mark.parametrize("u_dim", [0, U])
@pytest.mark.parametrize("length", [3, 6])
def test_paths_and_terms(u_dim: int, length: int) -> None:
    model, x, noise = make(u_dim), frames("gaussian", 2, length, X), drawn(2, length)
    u = frames("gaussian", 2, length, U, seed=5) if u_dim else None
    path = model.infer(x, u=u, noise=noise)
    expected = follow(model, x, u, noise)
    for name, q, z in (("individual", expected.q_individual, expected.individual), ("z", expected.q_z, expected.z)):
        for value, wanted in zip((*path.latents[name].q, path.latents[name].z), (*q, z), strict=True):
            np.testing.assert_allclose(value, wanted, **CLOSE)
    np.testing.assert_allclose(path.latents["z"].p.loc, expected.p_z, **CLOSE)
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)
    terms = model.terms(path, Batch(x))
    np.testing.assert_allclose(
        terms.latents["individual"].kl.numpy().sum(-1), divergence(*expected.q_individual), **CLOSE
    )
    np.testing.assert_allclose(terms.latents["z"].kl.numpy().sum(-1), divergence(*expected.q_z, expected.p_z), **CLOSE)
    log_times = np.log(times_of(model, length))
    prior = 0.5 * (log_times**2 + np.log(2.0 * np.pi)).sum(axis=-1)
    np.testing.assert_allclose(terms.penalty, np.tile(prior / 4, [2, 1]), **CLOSE)


def test_frames_that_nobody_saw_are_left_to_the_prior_and_those_that_do_not_exist_count_nowhere() -> None:
    model, x, noise = make(), tf.constant(frames("gaussian", 2, 5, X)), drawn(2, 5)
    seen = np.array([[True, False, True, True, False], [False, True, True, False, True]])
    observed = np.repeat(seen[..., None], X, axis=-1)
    blank = np.where(observed, x, np.nan).astype(np.float32)
    batch = model.check(blank, observed=observed)
    path = model.infer(*batch, noise=noise)
    expected = follow(model, np.where(observed, x, 0.0), None, noise, seen)
    np.testing.assert_allclose(path.latents["individual"].q.loc, expected.q_individual[0], **CLOSE)
    np.testing.assert_allclose(path.latents["z"].q.loc, expected.q_z[0], **CLOSE)
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)
    np.testing.assert_array_equal(model.terms(path, batch).latents["z"].kl.numpy()[~seen], 0.0)
    # Two frames at the end that a mask leaves out change nothing of the three before them.
    mask = np.arange(5) < 3
    short = model.infer(x[:, :3], noise={**noise, "z": noise["z"][:, :3]})
    noise = {name: tf.constant(n) for name, n in noise.items()}
    masked = model.infer(x, tf.constant(np.tile(mask, [2, 1])), noise=noise)
    for latent in ("individual", "z"):
        own, wanted = masked.latents[latent].q.loc, short.latents[latent].q.loc
        np.testing.assert_allclose(own if latent == "individual" else own[:, :3], wanted, **CLOSE)


@pytest.mark.slow
def test_the_bound_and_the_evidence_of_a_linear_model() -> None:
    """Where frames are linear in z, all is one Gaussian: log p(x) = log N(x; b, A (V V' + I) A' + s^2 I)."""
    model = make(
        x_dim=1,
        latent_dim=1,
        encoder_units=(),
        decoder_units=(),
        observation=tfdvae.observations.IdentityGaussian(scale=0.5),
    )
    # Weights are steady where q is wider than the posterior: of z_t by its scale, of U where frames tell z.
    slope, head = 2.0, model.cell.posterior_head.output_layer
    model.observation.head.kernel.assign([[slope]])
    head.kernel.assign([[1.0 / slope, 0.0]])
    head.bias.assign([0.0, -0.5])
    x = frames("gaussian", 1, 3, 1)
    times, variance = times_of(model, 3), model.observation.scale**2
    covariance = slope**2 * (times @ times.T + np.eye(3)) + variance * np.eye(3)
    mean = np.full(3, array(model.observation.bias)[0])
    evidence = gaussian_log_density(array(x)[..., 0], mean, covariance)
    # The best q of z_t given x_t and a free U, and what no q that factorises can tell.
    found = model.log_prob(x, num_samples=20_000, chunk=20_000, seed=3)
    np.testing.assert_allclose(found, evidence, atol=0.05)
    quiet = follow(model, x, None, drawn(1, 3, 0.0, 1))
    spread = slope * quiet.q_z[1]
    centre = quiet.params[..., 0] - array(x)[..., 0]
    log_px = -0.5 * ((centre**2 + spread[..., 0] ** 2) / variance + np.log(2.0 * np.pi * variance)).sum()
    extra = 0.5 * (times**2).sum() * quiet.q_individual[1] ** 2
    kl = divergence(*quiet.q_z, quiet.p_z).sum() + extra.sum() + divergence(*quiet.q_individual).sum()
    terms = model.sample_terms(Batch(tf.constant(x)), tf.constant([1, 2]), 20_000)
    of_frames = (terms.log_px - tf.reduce_sum(terms.latents["z"].kl, axis=-1)).numpy().sum(axis=1)
    assert_mean(of_frames - terms.latents["individual"].kl.numpy().sum(axis=-1), log_px - kl)
    assert log_px - kl < evidence[0]


def test_the_posterior_of_an_individual_is_the_best_beside_those_of_its_frames() -> None:
    """With another mean or spread of U, the divergences in sum are higher."""
    model, x = make(), frames("gaussian", 2, 5, X)
    found, times = follow(model, x, None, drawn(2, 5, 0.0)), times_of(model, 5)

    def total(loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
        of_frames = divergence(*found.q_z, loc[:, None] * times).sum(axis=1)
        return of_frames + 0.5 * (times**2 * scale[:, None] ** 2).sum(axis=(1, 2)) + divergence(loc, scale)

    loc, scale = found.q_individual
    best = total(loc, scale)
    for change in (0.01, -0.01):
        for k in range(Z):
            moved = change * np.eye(Z)[k]
            assert np.all(total(loc + moved, scale) > best) and np.all(total(loc, scale * np.exp(moved)) > best)


@pytest.mark.slow
def test_a_table_holds_the_means_in_training_alone(tmp_path: Path) -> None:
    model, x, noise, index = make(table=True), frames("gaussian", 3, 5, X), drawn(3, 5), np.array([2, 0, 2])
    rows = array(model.cell.individuals)
    assert rows.shape == (4, Z)
    with indices.index_scope(tf.constant(index)):
        path = model.infer(x, noise=noise)
    expected = follow(model, x, None, noise, rows=rows[index])
    np.testing.assert_allclose(path.latents["individual"].z, expected.individual, **CLOSE)
    np.testing.assert_allclose(path.latents["z"].p.loc, expected.p_z, **CLOSE)
    np.testing.assert_allclose(model.infer(x, noise=noise).x, follow(model, x, None, noise).params, **CLOSE)
    np.testing.assert_array_equal(model.factors().individuals, model.cell.individuals)
    data = {"x": x, "sequence_index": index}
    model.compile(keras.optimizers.SGD(0.01))
    model.fit(data, batch_size=3, verbose=0)
    moved = np.abs(array(model.cell.individuals) - rows).max(axis=1)
    assert np.all(moved[[0, 2]] > 0.0) and np.all(moved[[1, 3]] == 0.0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for own, other in zip(model.factors(), again.factors(), strict=True):
        np.testing.assert_array_equal(own, other)
    without = make()
    without.compile(keras.optimizers.SGD(0.01))
    with pytest.raises(ValueError, match=r"learns nothing .*, such as .* FVAE\(num_sequences=\.\.\., table=True\)"):
        without.fit(data, verbose=0)


def test_factors_count_their_log_priors_once_in_all() -> None:
    """Frames and q(z | .) that say nothing leave the log-priors of U and V, and what U's spread adds: the gradient of
    the loss, which is per frame, times the frames of the four individuals."""
    model = make(table=True, encoder_units=(), decoder_units=())
    for weight in (model.cell.posterior_head.output_layer.kernel, model.observation.head.kernel):
        weight.assign(tf.zeros_like(weight))
    cell, x, rate = model.cell, frames("gaussian", 4, TIMES, X), 1.0
    before = [array(y) for y in (cell.individuals, cell.log_times)]
    loc, noise = array(cell.posterior_head.output_layer.bias)[:Z], {}

    def keep(seed: Any, size: Any, length: Any) -> dict:
        noise.update(drawn(4, TIMES))
        return {name: tf.constant(n) for name, n in noise.items()}

    model.draw_noise = keep
    model.compile(keras.optimizers.SGD(rate), run_eagerly=True)
    model.fit({"x": x, "sequence_index": np.arange(4)}, batch_size=4, shuffle=False, verbose=0)
    moved = [
        -(array(y) - b) / rate * 4 * TIMES for y, b in zip((cell.individuals, cell.log_times), before, strict=True)
    ]

    def loss(rows: np.ndarray, log_times: np.ndarray) -> float:
        times = np.exp(log_times)
        scale = (1.0 + (times**2).sum(axis=0)) ** -0.5
        p = (rows + scale * noise["individual"])[:, None] * times
        of_individuals = divergence(rows, np.broadcast_to(scale, rows.shape)).sum()
        return 0.5 * ((loc - p) ** 2).sum() + of_individuals + 0.5 * (log_times**2).sum()

    for number, gradient in enumerate(moved):
        for place in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-5, -1e-5):
                factors = [b.copy() for b in before]
                factors[number][place] += step
                ends.append(loss(*factors))
            assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=2e-3, abs=2e-3)


def test_new_times_are_the_map_of_individuals_who_are_known() -> None:
    model, x = make(), frames("gaussian", 6, 3, X)
    individuals = np.random.default_rng(2).normal(size=[6, Z]).astype(np.float32)
    observed = np.ones([6, 3, X], bool)
    observed[:, 1] = False
    observed[2, 2] = False
    found = np.log(model.infer_times(x, individuals, observed=observed).numpy())
    loc, _ = gaussian_head(model.cell.posterior_head, mlp(model.cell.encoder, array(np.where(observed, x, 0.0))))
    grid = np.linspace(-6.0, 6.0, 120_001)
    for t, k in np.ndindex(3, Z):
        seen, u = observed[:, t, 0], array(individuals)[:, k]
        square, product, rest = (u[seen] ** 2).sum(), (u * loc[:, t, k])[seen].sum(), grid**2
        best = grid[np.argmin(square * np.exp(2.0 * grid) - 2.0 * product * np.exp(grid) + rest)]
        assert found[t, k] == pytest.approx(best, abs=2e-4)
    np.testing.assert_array_equal(found[1], 0.0)
    with pytest.raises(ValueError, match="individuals"):
        model.infer_times(x, individuals[:2])


@pytest.mark.parametrize("u_dim", [0, U])
def test_frames_are_composed_of_factors(u_dim: int) -> None:
    model = make(u_dim)
    u = frames("gaussian", 3, 5, U, seed=5) if u_dim else None
    rng = np.random.default_rng(2)
    individuals, times = rng.normal(size=[3, Z]), np.exp(rng.normal(size=[5, Z]))
    found = model.compose(individuals, times, u)
    expected = decoded(model, individuals[:, None] * times, u)[..., :X]
    np.testing.assert_allclose(found, expected, **CLOSE)
    with pytest.raises(ValueError, match="times"):
        model.compose(individuals, times[:, :1], u)


@pytest.mark.slow
def test_generated_individuals_see_the_same_times() -> None:
    model = make()
    individuals = np.tile(np.random.default_rng(3).normal(size=[1, Z]).astype(np.float32), [20_000, 1])
    found = model.generate(5, latents={"individual": individuals}, seed=1)
    z = array(found.latents["z"])
    error = (z - array(individuals)[:, None] * times_of(model, 5)).mean(axis=0) * np.sqrt(len(z))
    assert np.abs(error).max() < 5.0
    np.testing.assert_allclose(found.params[:9], decoded(model, z[:9]), **CLOSE)
    quiet = follow(model, frames("gaussian", 2, 3, X), None, drawn(2, 3, 0.0))
    forecast = model.generate(3, prefix=frames("gaussian", 2, 3, X), sample=False)
    z = quiet.individual[:, None] * times_of(model, 6)[3:]
    np.testing.assert_allclose(forecast.params, decoded(model, z), **CLOSE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_times": 0}, "`num_times` of an FVAE must be at least 1, got 0"),
        ({"num_sequences": 0}, "`num_sequences` of an FVAE must be at least 1, got 0"),
        ({"latent_dim": 0}, "`latent_dim` of an FVAE must be at least 1, got 0"),
        ({"posterior_flow": 1}, "needs the means of Gaussians"),
        ({"units": 3}, "no recurrent layers"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.FVAE(**options)


@pytest.mark.slow
def test_factors_need_individuals_or_a_table() -> None:
    model, x = make(), frames("gaussian", 2, 5, X)
    with pytest.raises(ValueError, match="table=True"):
        model.factors()
    with pytest.raises(ValueError, match="`mask` belongs to the individuals `x`"):
        model.factors(mask=np.ones([2, 5], bool))
    found = model.factors(x)
    np.testing.assert_allclose(found.individuals, model.encode(x)["individual"].loc, **CLOSE)
    np.testing.assert_allclose(found.times, times_of(model, TIMES), **CLOSE)
