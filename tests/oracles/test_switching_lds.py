"""The switching LDS against a dense Gaussian and all paths of regimes in float64, and against exact likelihoods."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles.kalman_reference import log_density
from tests.oracles.linear import set_weights, softplus_inverse
from tests.oracles.networks import array
from tests.oracles.support import randomise
from tests.oracles.switching_reference import Field, Weights, log_softmax, potentials
from tfdvae.layers import switching
from tfdvae.layers.latent import latent_terms
from tfdvae.testing.paths import check_ways
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z, K = 3, 5, 4, 2, 2, 3
EXISTS = np.arange(LENGTH) < np.array([[5], [3], [1]])


def frames(batch: int, length: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=[batch, length, width]).astype(np.float32)


def make(u_dim: int = 0, **options: Any) -> tfdvae.SwitchingLDS:
    model = tfdvae.SwitchingLDS(Z, **{"num_regimes": K, "encoder_units": (4,), "decoder_units": (5,), **options})
    model.build_for(X, u_dim)
    randomise(model, 0.5, 0)
    return model


def field_of(model: tfdvae.SwitchingLDS, x: np.ndarray, weights: Weights) -> Field:
    """q as the model has it, of one sequence `[T, X]`."""
    g = model.hoist(model.pack(Batch(tf.constant(x[None], tf.float32)))[0], None).g
    conditionals = switching.regime_conditionals(g.told, *model.cell.regime_chain())
    return Field.of(weights, tf.nest.map_structure(lambda y: y[0], g.chain), conditionals[0])


@pytest.mark.parametrize(("rounds", "u_dim", "scale"), [(1, 0, "softplus"), (3, U, "exp")])
@pytest.mark.slow
def test_rounds_are_those_of_the_dense_mean_field(rounds: int, u_dim: int, scale: str) -> None:
    model = make(u_dim, rounds=rounds, scale=scale)
    x, u = frames(BATCH, LENGTH, X), frames(BATCH, LENGTH, u_dim, 1) if u_dim else None
    observed = np.ones([BATCH, LENGTH, X], bool)
    observed[0, 1] = observed[0, 4] = observed[1, 0] = False
    observed[2, 0, 1] = False
    batch = Batch(*(None if y is None else tf.constant(y) for y in (x, EXISTS, u, observed)))
    path = model.infer(*batch, noise=model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH))
    terms = model.terms(path, batch).latents
    smoothed, segmented = model.smooth(*batch), model.segment(*batch)
    seen = np.where(observed, x, 0.0).astype(np.float64)
    for b, length in enumerate(EXISTS.sum(axis=1)):
        rows = slice(0, length)
        weights = Weights.of(model.cell, length, None if u is None else u[b, rows])
        nodes = potentials(model.cell, seen[b, rows], observed[b, rows].any(axis=-1))
        field = Field.after(weights, *nodes, rounds)
        np.testing.assert_allclose(smoothed.mean[b, rows], field.mean, rtol=1e-3, atol=1e-4)
        for t in range(length):
            np.testing.assert_allclose(smoothed.covariance[b, t], field.covariance[t, :, t], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(segmented.probabilities[b, rows], field.regimes(weights), rtol=1e-3, atol=1e-5)
        assert not np.any(segmented.probabilities[b, length:]) and np.all(segmented.path[b, length:] == -1)
        paths = weights.paths()
        np.testing.assert_array_equal(segmented.path[b, rows], paths[field.log_paths.argmax()])
        # The densities of what was drawn, over whole sequences; and the divergence of s, which is exact.
        z, s = path.latents["z"].z.numpy()[b, rows].astype(np.float64), path.latents["s"].z.numpy()[b, rows]
        drawn = np.flatnonzero((paths == s.argmax(axis=-1)).all(axis=1)).item()
        expected = {
            ("z", "log_q"): field.log_z(z),
            ("z", "log_p"): log_density(z.ravel(), *weights.given(paths[drawn])),
            ("s", "log_q"): field.log_paths[drawn],
            ("s", "log_p"): weights.log_paths(paths)[drawn],
            ("s", "kl"): field.divergence(weights)[0],
        }
        for (name, what), value in expected.items():
            found = np.sum(getattr(terms[name], what)[b])
            np.testing.assert_allclose(found, value, rtol=5e-4, atol=5e-4, err_msg=f"{what} of {name}")


@pytest.mark.slow
def test_the_divergence_of_z_is_a_mean_over_regimes_and_paths() -> None:
    """So are the log-weights of drawn s and z, which vary more."""
    model, x, count = make(), frames(1, LENGTH, X), 4000
    many = tf.tile(tf.constant(x), [count, 1, 1])
    terms = model.terms(model.infer(many, noise=model.draw_noise(tf.constant([3, 4]), count, LENGTH)), Batch(many))
    weights = Weights.of(model.cell, LENGTH)
    field = Field.after(weights, *potentials(model.cell, x[0].astype(np.float64), np.ones(LENGTH)), model.cell.rounds)
    of_s, of_z = field.divergence(weights)
    kl = tf.reduce_sum(terms.latents["z"].kl, axis=[1, 2]).numpy()
    drawn = -tf.reduce_sum(terms.log_ratio, axis=1).numpy()
    assert abs(kl.mean() - of_z) < 5 * kl.std() / count**0.5 + 1e-3
    assert abs(drawn.mean() - (of_s + of_z)) < 5 * drawn.std() / count**0.5 + 1e-3
    assert drawn.std() > 1.5 * kl.std()


SCALE = np.array([0.6, 0.6, 0.8, 0.8])
EMISSION = np.array([[0.6, 0.5], [-0.5, 0.6], [0.8, 0.0], [0.0, 0.8]])
"""Columns that are orthogonal under the precision of frames, so that the potentials are diagonal."""


def linear_slds(**options: Any) -> tfdvae.SwitchingLDS:
    """x_t = C z_t + noise, with the potentials of its frames: h = C' R^-1 x, J = C' R^-1 C."""
    options = {"num_regimes": K, "encoder_units": (), "decoder_units": (), "min_scale": 1e-6, **options}
    model = tfdvae.SwitchingLDS(Z, **options)
    model.build_for(X)
    randomise(model, 0.5, 3)
    observation = model.observation
    observation.head.kernel.assign(np.concatenate([EMISSION.T, np.zeros_like(EMISSION.T)], axis=1))
    observation.bias.assign(np.concatenate([np.zeros(X), softplus_inverse(SCALE - observation.min_scale)]))
    weighted = EMISSION.T / SCALE**2
    precision = weighted @ EMISSION
    np.testing.assert_allclose(precision, np.diag(np.diag(precision)), atol=1e-12)
    kernel = np.concatenate([weighted.T, np.zeros_like(weighted.T)], axis=1)
    set_weights(model.cell.potentials, kernel, np.concatenate([np.zeros(Z), softplus_inverse(np.diag(precision))]))
    return model


def exact(weights: Weights, x: np.ndarray) -> float:
    """log p(x), over all paths of regimes; x `[T, X]`, NaN where a frame is missing."""
    length = len(x)
    emits, known = np.kron(np.eye(length), EMISSION), np.isfinite(x).ravel()
    found = []
    for path, log_path in zip(weights.paths(), weights.log_paths(weights.paths()), strict=True):
        mean, covariance = weights.given(path)
        spread = emits @ covariance @ emits.T + np.diag(np.tile(SCALE**2, length))
        found.append(log_path + log_density(x.ravel()[known], (emits @ mean)[known], spread[np.ix_(known, known)]))
    return float(np.logaddexp.reduce(found))


def expected_log_px(field: Field, x: np.ndarray) -> float:
    """E_q(z) log p(x | z) of frames that are there."""
    mean, spread = (field.mean @ EMISSION.T, np.einsum("xz,tzty,xy->tx", EMISSION, field.covariance, EMISSION))
    terms = -0.5 * (((x - mean) ** 2 + spread) / SCALE**2 + np.log(2 * np.pi * SCALE**2))
    return float(np.where(np.isfinite(x), terms, 0.0).sum())


@pytest.mark.slow
def test_the_bound_is_below_the_likelihood_over_all_paths_of_regimes() -> None:
    """It is the dense mean field's, rounds raise it, and weights of drawn s and z have the likelihood as their mean."""
    x, count = 0.7 * frames(2, LENGTH, X, 3).astype(np.float64), 3000
    x[1, 2] = np.nan
    known = np.isfinite(x).all(axis=-1)
    filled, bounds = np.where(np.isfinite(x), x, 0.0), []
    model = linear_slds(rounds=3)
    # Of regimes that are far apart a mean field knows too little for weights of a finite variance.
    for own in (model.cell.transition, model.cell.offset, model.cell.raw_scale):
        mean = tf.reduce_mean(own, axis=0, keepdims=True)
        own.assign(mean + 0.4 * (own - mean))
    weights = Weights.of(model.cell, LENGTH)
    for rounds in (1, 2, 3):
        fields = [Field.after(weights, *potentials(model.cell, *y), rounds) for y in zip(filled, known, strict=True)]
        bounds.append([expected_log_px(f, y) - sum(f.divergence(weights)) for f, y in zip(fields, x, strict=True)])
    truth = np.array([exact(weights, y) for y in x])
    assert np.all(np.diff(bounds, axis=0) > 0) and np.all(np.array(bounds) < truth - 1e-3)
    batch = Batch(tf.constant(filled, tf.float32), observed=tf.tile(tf.constant(known)[..., None], [1, 1, X]))
    terms = model.sample_terms(batch, tf.constant([5, 6]), count)
    elbo, log_weight = (
        tf.reshape(tf.reduce_sum(terms.log_px + y, axis=1), [len(x), count]).numpy().astype(np.float64)
        for y in (-terms.kl, terms.log_ratio)
    )
    assert np.all(np.abs(elbo.mean(axis=1) - bounds[-1]) < 5 * elbo.std(axis=1) / count**0.5 + 1e-3)
    ratio = np.exp(log_weight - truth[:, None])
    error = ratio.std(axis=1) / count**0.5
    assert np.all(np.abs(ratio.mean(axis=1) - 1.0) < 4 * error) and np.all(error < 0.05)


@pytest.mark.slow
def test_no_round_lowers_what_the_rounds_raise() -> None:
    """E_q log psi - KL(q || p), of q as the model's chains have it, with regimes that disagree."""
    x, found = 2.0 * frames(1, LENGTH, X, 7)[0], []
    for rounds in (1, 2, 4):
        model = make(rounds=rounds)
        model.cell.transition.assign(2.0 * model.cell.transition)
        weights = Weights.of(model.cell, LENGTH)
        field = field_of(model, x, weights)
        vector, precision = potentials(model.cell, x.astype(np.float64), np.ones(LENGTH))
        spread = np.einsum("tztz->tz", field.covariance)
        potential = np.sum(vector * field.mean - 0.5 * precision * (field.mean**2 + spread))
        found.append(potential - sum(field.divergence(weights)))
    assert np.all(np.diff(found) > -1e-4) and found[-1] > found[0] + 1e-3


@pytest.mark.slow
def test_regimes_that_are_equal_are_one_latent_lds() -> None:
    one = tfdvae.LatentLDS(Z, encoder_units=(4,), decoder_units=(5,))
    one.build_for(X, U)
    randomise(one, 0.5, 0)
    many = make(U)
    for name in ("raw_initial_scale", "initial_loc", "drift"):
        getattr(many.cell, name).assign(getattr(one.cell, name))
    many.cell.transition.assign(tf.tile(one.cell.transition[None], [K, 1, 1]))
    many.cell.raw_scale.assign(tf.tile(one.cell.raw_scale[None], [K, 1]))
    many.cell.offset.assign(tf.zeros_like(many.cell.offset))
    for part in ("encoder", "potentials", "decoder"):
        getattr(many.cell, part).set_weights(getattr(one.cell, part).get_weights())
    many.frames.set_weights(one.frames.get_weights())
    batch = Batch(*map(tf.constant, (frames(BATCH, LENGTH, X), EXISTS, frames(BATCH, LENGTH, U, 2))))
    noise = many.draw_noise(tf.constant([1, 2]), BATCH, LENGTH)
    found, expected = (model.infer(*batch, noise=noise) for model in (many, one))
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-4, atol=1e-5)
    found, expected = many.terms(found, batch), one.terms(expected, batch)
    for a, b in zip(found.latents["z"], expected.latents["z"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.latents["s"].kl, 0.0, atol=1e-5)
    for a, b in zip(many.smooth(*batch), one.smooth(*batch), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_gradient_of_the_bound_is_its_slope() -> None:
    """s is integrated out, so nothing passes straight through a draw; it passes through all rounds."""
    model, batch = make(rounds=2), Batch(tf.constant(frames(2, 4, X)))
    noise = model.draw_noise(tf.constant([1, 2]), 2, 4)
    cell = model.cell
    groups = ((cell.transition, cell.offset, cell.raw_scale), (cell.regime_logits,), (cell.potentials.kernel,))

    def bound() -> tf.Tensor:
        terms = model.terms(model.infer(*batch, noise=noise), batch)
        return tf.reduce_sum(terms.log_px - terms.kl)

    with tf.GradientTape() as tape:
        value = bound()
    slopes = tape.gradient(value, [v.value for group in groups for v in group])
    rng, step = np.random.default_rng(0), 0.02
    for group in groups:
        starts, ways = [array(v) for v in group], [rng.normal(size=v.shape) / v.shape[0] for v in group]
        own, slopes = slopes[: len(group)], slopes[len(group) :]
        ends = []
        for sign in (-2, -1, 1, 2):
            for variable, start, way in zip(group, starts, ways, strict=True):
                variable.assign(start + sign * step * way)
            ends.append(float(bound()))
        for variable, start in zip(group, starts, strict=True):
            variable.assign(start)
        measured = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
        np.testing.assert_allclose(sum(np.sum(y * w) for y, w in zip(own, ways, strict=True)), measured, rtol=1e-2)


def test_a_filter_is_exact_for_one_frame() -> None:
    """psi_t is a Gaussian in z with the mean h / J, which each regime expects with its own variance and that of psi."""
    model, x = make(inference="filter"), frames(BATCH, LENGTH, X)
    path = model.infer(tf.constant(x), noise=model.draw_noise(tf.constant([1, 2]), BATCH, LENGTH))
    weights, z = Weights.of(model.cell, LENGTH), path.latents["z"].z.numpy().astype(np.float64)
    s = path.latents["s"].z.numpy().argmax(axis=-1)
    vector, precision = potentials(model.cell, x.reshape(-1, X).astype(np.float64), np.ones(BATCH * LENGTH))
    vector, precision = (y.reshape(BATCH, LENGTH, Z) for y in (vector, precision))
    for b, t in np.ndindex(BATCH, LENGTH):
        if t:
            loc = weights.transition @ z[b, t - 1] + weights.offset
            variance, prior = weights.noise**2, weights.chain[s[b, t - 1]]
        else:
            loc, variance, prior = weights.first[None], weights.first_noise[None] ** 2, weights.start
        spread, error = variance + 1 / precision[b, t], vector[b, t] / precision[b, t] - loc
        told = -0.5 * np.sum(error**2 / spread + np.log(spread), axis=-1)
        np.testing.assert_allclose(path.latents["s"].q.logits[b, t], log_softmax(prior + told), rtol=1e-3, atol=1e-4)
        own = 1 / variance + precision[b, t]
        mean = ((loc / variance + vector[b, t]) / own)[s[b, t] if t else 0]
        np.testing.assert_allclose(path.latents["z"].q.loc[b, t], mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(path.latents["z"].q.scale[b, t], own[s[b, t] if t else 0] ** -0.5, rtol=1e-3)
    with pytest.raises(ValueError, match="`segment` needs inference='smooth'"):
        model.segment(x)
    with pytest.raises(ValueError, match="`smooth` needs inference='smooth'"):
        model.smooth(x)


@pytest.mark.slow
def test_kl_balance_shares_gradients_and_no_value() -> None:
    """Of alpha KL(sg q || p) + (1 - alpha) KL(q || sg p) in place of KL(q || p)."""
    model, batch = make(rounds=1), Batch(tf.constant(frames(2, 3, X)))
    noise, found = model.draw_noise(tf.constant([1, 2]), 2, 3), {}
    weights = [y.value for y in (model.cell.potentials.kernel, model.cell.raw_scale, model.cell.regime_logits)]
    with tf.GradientTape(persistent=True) as tape:
        path = model.infer(*batch, noise=noise)
        for balance in (None, 0.0, 0.25, 1.0):
            terms = (latent_terms(own, path.latents[own.name], balance).kl for own in model.latents)
            found[balance] = sum(tf.reduce_sum(kl) for kl in terms)
    slopes = {balance: tape.gradient(kl, weights) for balance, kl in found.items()}
    np.testing.assert_allclose(found[None], found[0.25], rtol=1e-5)
    for plain, of_q, shared, of_p in zip(*slopes.values(), strict=True):
        np.testing.assert_allclose(plain, of_q + of_p, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(shared, 0.75 * of_q + 0.25 * of_p, rtol=1e-3, atol=1e-4)
        assert np.abs(of_p).max() > 1e-3


@pytest.mark.slow
def test_a_forecast_goes_on_in_the_last_regime() -> None:
    """Two regimes that push up and down, hardly ever left."""
    model = linear_slds(num_regimes=2, rounds=2)
    cell = model.cell
    cell.transition.assign(tf.tile(tf.eye(Z)[None], [2, 1, 1]))
    cell.offset.assign([[0.5, 0.5], [-0.5, -0.5]])
    cell.raw_scale.assign(tf.fill([2, Z], softplus_inverse(np.float32(0.05))))
    cell.raw_initial_scale.assign(tf.fill([Z], softplus_inverse(np.float32(1.0))))
    cell.regime_logits.assign(np.log([[0.999, 0.001], [0.001, 0.999]]))
    cell.initial_regime.assign([0.0, 0.0])
    cell.initial_loc.assign([0.0, 0.0])
    steps = np.cumsum(np.full([8, Z], 0.5), axis=0)
    turned = np.concatenate([steps[:4], steps[3] - steps[:4]])
    x = np.stack([steps, -steps, turned]) @ EMISSION.T
    np.testing.assert_array_equal(model.segment(x[:2]).path[:, 1:], [[0] * 7, [1] * 7])
    np.testing.assert_array_equal(model.segment(x[2:]).path[0, 1:], [0, 0, 0, 1, 1, 1, 1])
    forecast = model.forecast(x, horizon=4, num_samples=16, seed=0).mean.numpy()
    moved = (forecast[:, -1] - forecast[:, 0]) @ np.linalg.pinv(EMISSION).T
    np.testing.assert_allclose(moved, [[1.5, 1.5], [-1.5, -1.5], [-1.5, -1.5]], atol=0.3)


def test_the_most_likely_path_is_that_of_all() -> None:
    rng = np.random.default_rng(0)
    conditionals = log_softmax(2 * rng.normal(size=(20, LENGTH, K, K)))
    paths = np.array(list(np.ndindex(*[K] * LENGTH)))
    for mask in (None, np.arange(LENGTH) < rng.integers(1, LENGTH + 1, [20, 1])):
        found = switching.most_likely_path(tf.constant(conditionals, tf.float32), mask).numpy()
        for b in range(20):
            length = LENGTH if mask is None else mask[b].sum()
            logs = np.max(conditionals[b, 0][:, paths[:, 0]], axis=0)
            logs = logs + sum(conditionals[b, t, paths[:, t - 1], paths[:, t]] for t in range(1, length))
            chosen = (paths[:, :length] == found[b, :length]).all(axis=1)
            np.testing.assert_allclose(logs[chosen].max(), logs.max(), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_regimes": 1}, "`num_regimes` must be at least 2, got 1: with one it is a LatentLDS"),
        ({"rounds": 0}, "`rounds` must be at least 1, got 0"),
        ({"persistence": 1.0}, "`persistence` must be in \\(0, 1\\), got 1.0"),
        ({"parallel": True}, "SwitchingLDS has no use for `parallel`, since its rounds run frame by frame"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.SwitchingLDS(**options)


@pytest.mark.slow
def test_ways_through_a_cell_are_compared_by_what_a_divergence_is_averaged_over(monkeypatch) -> None:
    """Here pairs of the second way that is asked differ, of which samples, posteriors and priors tell nothing."""
    model, average, calls = make(), tfdvae.SwitchingLDSCell.average, []

    def drifting(cell: Any, state: Any, g: Any) -> Any:
        calls.append(cell)
        found = average(cell, state, g)
        return found._replace(weight=found.weight + 0.1 * (len(calls) > 1))

    monkeypatch.setattr(tfdvae.SwitchingLDSCell, "average", drifting)
    with pytest.raises(AssertionError, match="the fast way through the cell .* and frame by frame"):
        check_ways(model)
