"""FHVAE against its equations in float64, its evidence on a grid, the best q(mu2 | .), the table, and the swap."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.networks import array, gaussian_head, join, mlp, run
from tests.oracles.support import assert_mean, assert_same_as_a_graph, frames, randomise
from tfdvae import bounds, indices, random
from tfdvae.layers.recurrent import Recurrent
from tfdvae.types import Batch

X, U, Z1, Z2, SEGMENT, SCALE = 3, 2, 2, 4, 2, 0.5
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def make(u_dim: int = 0, x_dim: int = X, spread: float = 0.5, **options: Any) -> tfdvae.FHVAE:
    sizes = {"global_dim": Z2, "segment_length": SEGMENT, "units": 3, "posterior_units": (5,), "decoder_units": (4,)}
    model = tfdvae.FHVAE(**{"latent_dim": Z1, **sizes, **options})
    model.build_for(x_dim, u_dim)
    randomise(model, spread, 0)
    return model


class Followed(NamedTuple):
    """`[B, Z2]` of mu2, `[B, S, .]` of segments, and parameters `[B, T, P]`."""

    mu2: np.ndarray
    q_mu2: tuple
    z2: np.ndarray
    q_z2: tuple
    z1: np.ndarray
    q_z1: tuple
    params: np.ndarray


def held(z: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.broadcast_to(z[:, None], [*like.shape[:2], z.shape[-1]])


def decoded(model: Any, z1: np.ndarray, z2: np.ndarray, length: int, u: np.ndarray | None = None) -> np.ndarray:
    """(12.3), (12.4): each segment from a recurrence of its own."""
    cell, parts = model.cell, []
    for n, start in enumerate(range(0, length, cell.segment_length)):
        frames_of = np.zeros([len(z1), min(cell.segment_length, length - start), 0])
        own = None if u is None else array(u)[:, start : start + cell.segment_length]
        h = run(cell.rnn, join(held(z1[:, n], frames_of), held(z2[:, n], frames_of), own))
        parts.append(mlp(cell.decoder, h) @ array(model.observation.head.kernel) + array(model.observation.bias))
    return np.concatenate(parts, axis=1)


def follow(model: Any, x: np.ndarray, u: np.ndarray | None, noise: dict[str, np.ndarray]) -> Followed:
    cell, s2 = model.cell, model.cell.z2_scale
    starts = range(0, x.shape[1], cell.segment_length)
    cut = [join(array(x), None if u is None else array(u))[:, a : a + cell.segment_length] for a in starts]
    q_z2 = [
        gaussian_head(cell.z2_posterior_head, mlp(cell.z2_posterior_net, run(cell.z2_rnn, part)[:, -1])) for part in cut
    ]
    loc = sum(q[0] for q in q_z2) / (len(cut) + s2**2)
    q_mu2 = loc, np.full_like(loc, s2 / np.sqrt(len(cut) + s2**2))
    z2 = [q[0] + q[1] * noise["z2"][:, a] for q, a in zip(q_z2, starts, strict=True)]
    q_z1, z1 = [], []
    for part, own, a in zip(cut, z2, starts, strict=True):
        q = gaussian_head(
            cell.z1_posterior_head, mlp(cell.z1_posterior_net, run(cell.z1_rnn, join(part, held(own, part)))[:, -1])
        )
        q_z1.append(q)
        z1.append(q[0] + q[1] * noise["z1"][:, a])
    z1, z2 = np.stack(z1, axis=1), np.stack(z2, axis=1)
    stacked = [tuple(np.stack(part, axis=1) for part in zip(*q, strict=True)) for q in (q_z2, q_z1)]
    params = decoded(model, z1, z2, x.shape[1], u)
    return Followed(loc + q_mu2[1] * noise["mu2"], q_mu2, z2, stacked[0], z1, stacked[1], params)


def drawn(batch: int, length: int, scale: float = 1.0, model: Any = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    z1, z2 = (Z1, Z2) if model is None else (model.cell.latent_dim, model.cell.global_dim)
    shapes = {"mu2": [batch, z2], "z2": [batch, length, z2], "z1": [batch, length, z1]}
    return {k: (scale * rng.normal(size=shape)).astype(np.float32) for k, shape in shapes.items()}


def divergences(expected: Followed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """KL of mu2 `[B]`, and of z2 and z1 of each segment `[B, S]`, as the paper's bound has them."""
    around = np.broadcast_to(expected.mu2[:, None], expected.z2.shape), np.full(expected.z2.shape, SCALE)
    mu2 = reference.normal_divergence(expected.q_mu2, reference.standard(expected.mu2)).sum(-1)
    z2 = reference.normal_divergence(expected.q_z2, around).sum(-1)
    return mu2, z2, reference.normal_divergence(expected.q_z1, reference.standard(expected.z1)).sum(-1)


@pytest.mark.alternating
@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2, "scale": "exp"}], ids=["lstm", "gru"])
@pytest.mark.parametrize("u_dim", [0, U], ids=["undriven", "driven"])
def test_terms_follow_the_equations(u_dim: int, options: dict) -> None:
    model = make(u_dim, **options)
    x, noise = frames("gaussian", 3, 5, X), drawn(3, 5)
    u = frames("gaussian", 3, 5, U, seed=8) if u_dim else None
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    path, expected = model.infer(*batch, noise), follow(model, x, u, noise)
    assert list(path.latents) == ["mu2", "z2", "z1"]
    np.testing.assert_allclose(path.latents["mu2"].z, expected.mu2, **CLOSE)
    for name, z, q in (("z2", expected.z2, expected.q_z2), ("z1", expected.z1, expected.q_z1)):
        own = path.latents[name]
        for got, right in zip((own.z, *own.q), (z, *q), strict=True):
            np.testing.assert_allclose(got, np.repeat(right, SEGMENT, axis=1)[:, :5], **CLOSE)
    np.testing.assert_allclose(path.x, expected.params, **CLOSE)

    terms, (kl_mu2, kl_z2, kl_z1) = model.terms(path, batch), divergences(expected)
    np.testing.assert_allclose(terms.sequence_kl, kl_mu2, rtol=1e-4)
    at_ends = np.zeros([3, 5])
    at_ends[:, [1, 3, 4]] = kl_z2 + kl_z1  # the last frame of each segment, of which the third is cut short
    np.testing.assert_allclose(terms.kl, at_ends, rtol=1e-4, atol=1e-5)
    log_px = reference.observation_log_density(model.observation, expected.params, array(x)).sum(axis=1)
    bound = log_px - kl_mu2 - (kl_z2 + kl_z1).sum(axis=1)
    np.testing.assert_allclose(bounds.ELBO().per_sequence(terms), bound, rtol=1e-4, atol=1e-4)


def test_masked_sequences_are_the_short_sequences() -> None:
    model = make()
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0]], bool)
    x = frames("gaussian", 3, 5, X)
    x[~mask] = np.nan
    quiet = {k: 0.0 * y for k, y in drawn(3, 5).items()}
    path = model.infer(tf.constant(x), tf.constant(mask), noise={k: tf.constant(y) for k, y in quiet.items()})
    terms = model.terms(path, Batch(tf.constant(x), tf.constant(mask)))
    for b in range(3):
        own = x[b : b + 1, mask[b]]
        count = own.shape[1]
        expected = follow(model, own, None, {k: y[:1, :count] if y.ndim == 3 else y[:1] for k, y in quiet.items()})
        for got, right in zip(path.latents["mu2"].q, expected.q_mu2, strict=True):
            np.testing.assert_allclose(got[b], right[0], **CLOSE)
        z1 = np.repeat(expected.z1, SEGMENT, axis=1)[0, :count]
        np.testing.assert_allclose(path.latents["z1"].z.numpy()[b, mask[b]], z1, **CLOSE)
        np.testing.assert_allclose(path.x.numpy()[b, mask[b]], expected.params[0], **CLOSE)
        kl = terms.kl.numpy()[b].sum() + terms.sequence_kl[b]
        np.testing.assert_allclose(kl, sum(y.sum() for y in divergences(expected)), rtol=1e-4)


@pytest.mark.slow
def test_the_posterior_of_the_mean_is_the_best_beside_those_of_the_segments() -> None:
    """Its divergence and, in expectation, that of all z2 are least there: no shift and no other scale is better."""
    model = make()
    expected = follow(model, frames("gaussian", 2, 7, X), None, drawn(2, 7))
    means, scales = expected.q_z2

    def cost(loc: np.ndarray, scale: np.ndarray) -> float:
        own = 0.5 * (loc**2 + scale**2 - 1.0) - np.log(scale)
        spread = (scales**2 + (means - loc[:, None]) ** 2 + scale[:, None] ** 2) / (2.0 * SCALE**2)
        return float(own.sum() + (spread - np.log(scales / SCALE) - 0.5).sum())

    loc, scale = (array(y) for y in model.encode(frames("gaussian", 2, 7, X))["mu2"])
    least, rng = cost(loc, scale), np.random.default_rng(1)
    for step in (0.2, 0.02):
        for _ in range(50):
            move, stretch = rng.normal(0.0, step, loc.shape), np.exp(rng.normal(0.0, step, loc.shape))
            assert cost(loc + move, scale * stretch) > least
    slope = (cost(loc + 1e-4, scale) - cost(loc - 1e-4, scale)) / 2e-4
    assert abs(slope) < 1e-3 * abs((cost(loc + 0.1, scale) - least) / 0.1)


@pytest.mark.slow
def test_the_bound_is_below_the_evidence_which_the_drawn_sequences_have() -> None:
    """One dimension of each latent, two segments of which one is short: integrals on a grid, mu2 outermost. Importance
    sampling by q would not do, since q(mu2 | .) is narrower than p(mu2 | x), as a q that factorises is."""
    model = make(x_dim=1, latent_dim=1, global_dim=1, spread=0.7)
    x = frames("gaussian", 1, 3, 1)
    grid, step = np.linspace(-7.0, 7.0, 141, retstep=True)
    log_normal = reference.normal_log_density
    z1, z2 = (y.ravel()[:, None, None] for y in np.meshgrid(grid, grid, indexing="ij"))
    log_p = []
    for start in (0, 2):
        own = array(x)[:, start : start + SEGMENT]
        params = decoded(model, z1, z2, own.shape[1])
        shown = np.broadcast_to(own, [len(z1), *own.shape[1:]])
        log_px = reference.observation_log_density(model.observation, params, shown)
        joint = log_px.sum(axis=1) + log_normal(z1[:, 0], 0.0, 1.0).ravel()
        log_p.append(np.log(np.exp(joint.reshape(len(grid), -1)).sum(axis=0) * step))  # log p(x_n | z2_n)
    around = log_normal(grid[None, :, None], grid[:, None, None], SCALE).reshape(len(grid), -1)  # [mu2, z2]
    given = sum(np.log(np.exp(around + own[None]).sum(axis=1) * step) for own in log_p)
    evidence = np.log((np.exp(given + log_normal(grid[:, None], 0.0, 1.0).ravel())).sum() * step)
    terms = model.sample_terms(Batch(tf.constant(x)), random.make_seed(3), 20_000)
    elbo = np.asarray(bounds.ELBO(20_000).per_sequence(terms))[0]
    assert elbo < evidence - 0.01
    params = array(model.generate(3, 20_000, seed=1).params)
    log_px = reference.observation_log_density(model.observation, params, np.repeat(array(x), len(params), axis=0))
    assert_mean(np.exp(log_px.sum(axis=1) - evidence), 1.0)


def with_table(**options: Any) -> tfdvae.FHVAE:
    model = make(num_sequences=4, **options)
    model.compile(keras.optimizers.SGD(0.1), penalty_weight=10.0, run_eagerly=True)
    return model


@pytest.mark.slow
def test_a_table_stands_for_the_means_in_training_alone_and_tells_sequences_apart() -> None:
    model, x, noise = with_table(), frames("gaussian", 3, 5, X), drawn(3, 5)
    index = np.array([2, 0, 2])
    expected, rows = follow(model, x, None, noise), array(model.sequence_means)
    with indices.index_scope(tf.constant(index)):
        path = model.infer(tf.constant(x), noise=noise)
        several = model.sample_terms(Batch(tf.constant(x)), random.make_seed(1), 2)
    np.testing.assert_allclose(path.latents["mu2"].q.loc, rows[index], **CLOSE)
    np.testing.assert_allclose(path.latents["mu2"].q.scale, expected.q_mu2[1], **CLOSE)
    # log p(i | z2) by all of the normal densities, at the means and at the last frames of segments.
    means = expected.q_z2[0]
    log_p = reference.normal_log_density(means[:, :, None], rows, SCALE)
    log_p = log_p.reshape(3, 3, 4, -1).sum(axis=-1)
    log_p -= np.log(np.exp(log_p).sum(axis=-1, keepdims=True))
    own = np.stack([log_p[b, :, i] for b, i in enumerate(index)])
    penalty = np.zeros([3, 5])
    penalty[:, [1, 3, 4]] = -own
    np.testing.assert_allclose(path.penalties["discriminative"], penalty, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(several.penalty, np.repeat(penalty, 2, axis=0), rtol=1e-4, atol=1e-5)
    outside = model.infer(tf.constant(x), noise=noise)
    assert not outside.penalties
    np.testing.assert_allclose(outside.latents["mu2"].q.loc, expected.q_mu2[0], **CLOSE)


@pytest.mark.slow
def test_training_moves_the_rows_of_the_sequences_that_it_saw_and_reports_the_bound() -> None:
    model, x, index = with_table(), frames("gaussian", 3, 5, X), np.array([2, 0, 2])
    before = array(model.sequence_means)
    with indices.index_scope(tf.constant(index)), random.dropout_scope(None):
        seed = random.fold_in(random.make_seed(model.seed), 0)
        terms = model.sample_terms(Batch(tf.constant(x)), seed)
    logs = model.train_on_batch({"x": x, "sequence_index": index}, return_dict=True)
    elbo = float(tf.reduce_mean(bounds.ELBO().per_sequence(terms))) / 5.0
    assert logs["elbo_nats_per_frame"] == pytest.approx(elbo, rel=1e-4)
    assert logs["loss"] == pytest.approx(10.0 * float(tf.reduce_mean(terms.penalty)) - elbo, rel=1e-4)
    moved = np.abs(array(model.sequence_means) - before).max(axis=1) > 0.0
    assert moved.all()  # the softmax pushes the other rows away
    model.compile(keras.optimizers.SGD(0.1), penalty_weight=0.0, run_eagerly=True)
    before = array(model.sequence_means)
    model.train_on_batch({"x": x, "sequence_index": index})
    np.testing.assert_array_equal(np.abs(array(model.sequence_means) - before).max(axis=1) > 0.0, [1, 0, 1, 0])


@pytest.mark.slow
def test_an_index_travels_beside_frames_and_is_checked(tmp_path: Path) -> None:
    model, x = with_table(), frames("gaussian", 3, 5, X)
    data = {"x": x, "sequence_index": np.arange(3)}
    with pytest.raises(ValueError, match='each of 4 training sequences: say which they are, by "sequence_index"'):
        model.train_on_batch(x)
    for index, message in (
        ([0, 4, 1], "must be from 0 to 3, got 4 for sequence 1: make the model with as many `num_sequences`"),
        ([0, -1, 1], "must be from 0 to 3, got -1 for sequence 1"),
        ([0.0, 1.0, 2.0], "Expected `sequence_index` of whole numbers, got float64"),
        ([0, 1], r"Expected `sequence_index` of shape \[batch\] = \[3\], one index for each sequence; got \[2\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit({"x": x, "sequence_index": np.array(index)}, verbose=0)
    wrong = tf.data.Dataset.from_tensors({"x": x, "sequence_index": np.array([0, 4, 1])})
    with pytest.raises(tf.errors.InvalidArgumentError, match="`sequence_index` must be from 0 to 3"):
        model.fit(wrong, verbose=0)
    plain = make()
    plain.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="learns nothing of single training sequences: leave out `sequence_index`"):
        plain.fit(data, verbose=0)
    with pytest.raises(ValueError, match="There is no table: make the model with `num_sequences`"):
        _ = plain.sequence_means

    assert model.evaluate(data, verbose=0) == model.evaluate(x, verbose=0)
    model.fit(tf.data.Dataset.from_tensors(data), validation_data=x, verbose=0)
    numbered = tfdvae.data.numbered(tfdvae.data.from_arrays(list(x)))
    model.fit(tfdvae.data.batches(numbered, 2, seed=0), verbose=0)
    np.testing.assert_allclose(model(numbered), model(x), **CLOSE)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.sequence_means, model.sequence_means)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_a_swap_keeps_what_is_said_and_moves_the_voice() -> None:
    model = make(U)
    x, other = frames("gaussian", 2, 5, X, seed=1), frames("gaussian", 2, 4, X, seed=2)
    u, u_other = frames("gaussian", 2, 5, U, seed=3), frames("gaussian", 2, 4, U, seed=4)
    mask = np.array([[1, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    swapped = model.swap(x, other, mask=mask, u=u, u_other=u_other).numpy()
    for b in range(2):
        quiet = [
            follow(model, y[b : b + 1, m], w[b : b + 1, m], drawn(1, 5, 0.0))
            for y, w, m in ((x, u, mask[b]), (other, u_other, np.ones(4, bool)))
        ]
        z2 = quiet[0].z2 + (quiet[1].mu2 - quiet[0].mu2)[:, None]
        expected = decoded(model, quiet[0].z1, z2, mask[b].sum(), u[b : b + 1, mask[b]])[0, :, :X]
        np.testing.assert_allclose(swapped[b, mask[b]], expected, **CLOSE)
        assert np.abs(expected - quiet[0].params[0, :, :X]).max() > 1e-3
    np.testing.assert_array_equal(swapped[~mask], 0.0)
    itself = model.swap({"x": x, "mask": mask, "u": u}, {"x": x, "mask": mask, "u": u})
    np.testing.assert_allclose(itself, model.reconstruct(x, mask, u), **CLOSE)
    options = {"u": u, "u_other": u_other, "sample": True}
    first, again, third = (model.swap(x, other, seed=seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, third)
    with pytest.raises(ValueError, match="x_other"):
        model.swap(x, other[:1], u=u, u_other=u_other[:1])


@pytest.mark.exhaustive
def test_a_swap_is_the_same_as_a_graph() -> None:
    model = make(U)
    x, other = frames("gaussian", 2, 5, X, seed=1), frames("gaussian", 2, 4, X, seed=2)
    u, u_other = frames("gaussian", 2, 5, U, seed=3), frames("gaussian", 2, 4, U, seed=4)
    options = {"mask": np.array([[1, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool), "u": u, "u_other": u_other}
    assert_same_as_a_graph(lambda: model.swap(x, other, **options), **CLOSE)


@pytest.mark.slow
def test_drawn_segments_stay_close_to_the_mean_of_their_sequence() -> None:
    model = make()
    mu2 = np.tile(np.random.default_rng(3).normal(size=[1, Z2]).astype(np.float32), [20_000, 1])
    found = model.generate(3, latents={"mu2": mu2}, seed=1)
    z2, z1 = (array(found.latents[name]) for name in ("z2", "z1"))
    for z in (z2, z1):
        np.testing.assert_array_equal(z[:, 0], z[:, 1])
        assert np.abs(z[:, 1] - z[:, 2]).min() > 0.0
    assert_mean(z2[:, 0], array(mu2[0]))
    assert_mean((z2[:, 0] - array(mu2[0])) ** 2, SCALE**2)
    assert_mean(z1[:, 2] ** 2, 1.0)
    own = decoded(model, z1[:5, ::SEGMENT], z2[:5, ::SEGMENT], 3)
    np.testing.assert_allclose(found.params[:5], own, **CLOSE)


@pytest.mark.slow
def test_a_forecast_goes_on_with_the_segment_that_the_past_broke_off() -> None:
    model, x = make(), frames("gaussian", 2, 3, X)
    past = follow(model, x, None, drawn(2, 3, 0.0))
    found = model.generate(2, prefix=x, sample=False)
    z1 = np.concatenate([past.z1, np.zeros_like(past.z1[:, :1])], axis=1)
    z2 = np.concatenate([past.z2, past.mu2[:, None]], axis=1)
    np.testing.assert_allclose(found.params, decoded(model, z1, z2, 5)[:, 3:], **CLOSE)
    with pytest.raises(ValueError, match="cannot be streamed"):
        model.step(model.initial_state(2), x[:, 0])


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"cell": "gru", "num_layers": 2}, marks=pytest.mark.exhaustive)],
    ids=["lstm", "gru"],
)
@pytest.mark.slow
def test_segments_one_after_the_other_are_segments_side_by_side(options: dict, monkeypatch) -> None:
    """Graphs for LiteRT know how many sequences there are, and not of how many frames."""
    model, x = make(**options), tf.constant(frames("gaussian", 3, 5, X))
    mask = tf.constant([[True] * 5, [True] * 3 + [False] * 2, [True, False, True, True, False]])
    beside, whole, calls = model.infer(x, mask).x, Recurrent.call, []
    monkeypatch.setattr(Recurrent, "call", lambda *own, **others: calls.append(own) or whole(*own, **others))
    for rows, expected in ((3, 0), (None, 3)):
        specs = tf.TensorSpec([rows, None, X]), tf.TensorSpec([rows, None], tf.bool)
        graph = tf.function(lambda *batch: model.infer(*batch).x, input_signature=specs).get_concrete_function()
        np.testing.assert_allclose(graph(x, mask), beside, **CLOSE)
        assert len(calls) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "`latent_dim` must be at least 1, got 0"),
        ({"segment_length": 0}, "`segment_length` must be at least 1, got 0"),
        ({"global_dim": 0}, "`global_dim` must be at least 1, got 0"),
        ({"num_sequences": -1}, "`num_sequences` must not be negative, got -1"),
        ({"z2_scale": 0.0}, "`z2_scale` must be a positive finite number, got 0.0"),
        ({"posterior_flow": 1}, "needs the means of Gaussians"),
    ],
)
def test_options_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.FHVAE(**options)
