"""RSSM's objectives of training against their formulas, and imagination under given inputs."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.support import assert_mean, frames, tiny
from tfdvae import random
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z = 3, 4, 3, 2, 2
CATEGORICAL = {"latent_dim": 6, "family": {"class_name": "categorical", "config": {"classes": 3}}}


def data(length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return frames("gaussian", BATCH, length, X), rng.normal(size=[BATCH, length, U]).astype(np.float32)


def overshot(model: tfdvae.RSSM, x: np.ndarray, u: np.ndarray, z: np.ndarray, draw: Any) -> np.ndarray:
    """(7) of Hafner et al. (2019), its terms with d > 1: target by target, distance by distance, from numpy alone."""
    cell, reach = model.cell, model.cell.overshooting
    q = reference.follow(model, x, reference.given(z), u).q
    before = np.concatenate([np.zeros_like(z[:, :1]), z[:, :-1]], axis=1)

    def prior(h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return reference.gaussian_head(cell.prior_head, reference.mlp(cell.prior_net, h))

    def step(rnn: reference.Stack, z_before: np.ndarray, t: int) -> np.ndarray:
        return rnn.step(reference.mlp(cell.transition_net, reference.join(z_before, u[:, t])))

    total = np.zeros(x.shape[:2])
    for t in range(x.shape[1]):
        for d in range(2, min(reach, t + 1) + 1):
            rnn, start = reference.Stack(cell.rnn, len(x)), t - d + 1
            for s in range(start + 1):
                h = step(rnn, before[:, s], s)
            for s in range(start, t):
                h = step(rnn, draw(*prior(h)), s + 1)
            total[:, t] += reference.normal_divergence((q[0][:, t], q[1][:, t]), prior(h)).sum(axis=-1) / reach
    return total


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


@pytest.mark.slow
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


def test_standard_deviations_are_a_tenth_at_least() -> None:
    """softplus + 0.1, of the prior and of the posterior, unless told otherwise."""
    for own, least in (({}, 0.1), ({"min_scale": 0.02}, 0.02)):
        model, (x, u) = tiny("RSSM", X, U, latent_dim=Z, **own), data()
        for head in (model.cell.prior_head, model.cell.posterior_head):
            head.output_layer.kernel.assign(np.zeros(head.output_layer.kernel.shape))
            head.output_layer.bias.assign(np.full(2 * Z, -40.0))
        latent = model.infer(tf.constant(x), u=tf.constant(u)).latents["z"]
        for dist in (latent.q, latent.p):
            np.testing.assert_allclose(dist.scale, np.full([BATCH, LENGTH, Z], least), rtol=1e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("reach", [2, 6])
def test_latent_overshooting_along_the_modes_is_its_formula(cell: str, reach: int) -> None:
    """A distance beyond the length of the sequence adds no term."""
    model = tiny("RSSM", X, U, latent_dim=Z, cell=cell, num_layers=2, overshooting=reach)
    assert model.cell.rnn.cell == cell
    batch, noise = batch_and_noise(model)
    path = model.infer(*batch, noise)
    z = np.asarray(path.latents["z"].z, np.float64)
    expected = overshot(model, batch.x.numpy(), batch.u.numpy(), z, lambda loc, scale: loc)
    assert expected[:, 1:].min() > 1e-3 and not expected[:, 0].any()
    np.testing.assert_allclose(path.penalties["overshooting"], expected, rtol=1e-4, atol=1e-5)


def test_what_lies_between_is_drawn_from_the_prior_in_training() -> None:
    model, (x, u), count = tiny("RSSM", X, U, latent_dim=Z, overshooting=3), data(), 4000
    noise = {"z": tf.repeat(tf.random.stateless_normal([1, LENGTH, Z], [1, 2]), count, axis=0)}
    batch = Batch(tf.repeat(x[:1], count, axis=0), u=tf.repeat(u[:1], count, axis=0))
    with random.dropout_scope(random.make_seed(4)):
        path = model.infer(*batch, noise)
    z, rng = np.asarray(path.latents["z"].z, np.float64), np.random.default_rng(8)
    expected = overshot(model, batch.x.numpy(), batch.u.numpy(), z, lambda m, s: m + s * rng.normal(size=m.shape))
    found = np.asarray(path.penalties["overshooting"], np.float64)
    assert found[:, 1:].std(axis=0).min() > 1e-2, "nothing was drawn"
    assert_mean(found[:, 1:] - expected[:, 1:], 0.0)


def test_targets_are_constants_and_only_starts_and_inputs_learn() -> None:
    model, rng = tiny("RSSM", X, U, latent_dim=Z, overshooting=3), np.random.default_rng(7)
    widths = {"h": model.cell.units, "u": U, "g": 3}
    h, u, g = (tf.constant(rng.normal(size=[BATCH, LENGTH, n]), tf.float32) for n in widths.values())
    with tf.GradientTape() as tape:
        tape.watch([h, u, g])
        loss = model.cell.penalties({"h": h, "memory": (), "u": u}, g)["overshooting"]
    to_h, to_u, to_g = tape.gradient(loss, [h, u, g])
    assert to_g is None
    for slope, reached in ((to_h, slice(None, -1)), (to_u, slice(1, None))):
        apart = np.ones(LENGTH, bool)
        apart[reached] = False
        assert np.abs(slope.numpy()[:, reached]).min(axis=(0, 2)).all() and not slope.numpy()[:, apart].any()


@pytest.mark.slow
def test_the_paper_s_objective_is_a_setting_of_compile_and_reports_leave_it_out() -> None:
    x, u = data()
    model = tiny("RSSM", X, U, latent_dim=Z, overshooting=3)
    model.compile(keras.optimizers.SGD(0.0), beta=1 / 3, run_eagerly=True)
    logs = model.fit({"x": x, "u": u}, batch_size=BATCH, shuffle=False, verbose=0).history
    seed = random.fold_in(random.make_seed(model.seed), 0)
    with random.dropout_scope(random.fold_in(seed, "dropout")):
        terms = model.sample_terms(Batch(tf.constant(x), u=tf.constant(u)), seed)
    log_px, kl, penalty = (float(tf.reduce_mean(y)) for y in (terms.log_px, terms.kl, terms.penalty))
    assert penalty > 0.05
    assert logs["loss"][0] == pytest.approx(kl / 3 + penalty - log_px, rel=1e-4)
    assert logs["elbo_nats_per_frame"][0] == pytest.approx(log_px - kl, rel=1e-4)
    plain = tiny("RSSM", X, U, latent_dim=Z)
    plain.compile()
    evaluated = [m.evaluate({"x": x, "u": u}, verbose=0, return_dict=True)["loss"] for m in (model, plain)]
    assert evaluated[0] == pytest.approx(evaluated[1], rel=1e-6)


@pytest.mark.slow
def test_training_on_overshooting_alone_makes_predictions_of_many_steps_better() -> None:
    """Nothing else is in the objective."""
    x, u = data(8)
    model = tiny("RSSM", X, U, latent_dim=Z, overshooting=4)
    model.compile(keras.optimizers.Adam(0.05), beta=0.0, reconstruction_weight=0.0, run_eagerly=True)

    def mean() -> float:
        return float(tf.reduce_mean(model.infer(tf.constant(x), u=tf.constant(u)).penalties["overshooting"]))

    before = mean()
    model.fit({"x": x, "u": u}, batch_size=BATCH, epochs=6, verbose=0)
    assert mean() < 0.5 * before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overshooting": 0}, "`overshooting` must be a distance of at least 1, got 0"),
        ({"overshooting": 2, "posterior_flow": 1}, "needs a KL in closed form: leave out `posterior_flow`"),
    ],
)
def test_a_distance_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.RSSM(**options)


@pytest.mark.slow
def test_particles_weigh_latents_alone_so_that_they_can_judge_but_not_train() -> None:
    plain, ahead = (tiny("RSSM", X, U, latent_dim=Z, overshooting=reach) for reach in (1, 2))
    plain.compile(bound="fivo")
    with pytest.raises(ValueError, match="RSSM as configured has auxiliary losses: train with the bound 'elbo'"):
        ahead.compile(bound="fivo")
    x, u = data()
    judged = [model.particle_log_prob(x, u=u, num_samples=4, seed=1) for model in (plain, ahead)]
    np.testing.assert_array_equal(*judged)


@pytest.mark.slow
def test_groups_of_categoricals_follow_the_equations() -> None:
    """Classes by the inverse CDF, 1% of the uniform distribution mixed in, KL of each group, and two steps ahead."""
    model = tiny("RSSM", X, U, overshooting=2, **CATEGORICAL)
    batch, noise = batch_and_noise(model)
    path = model.infer(*batch, noise)
    cell, x, u, classes = model.cell, batch.x.numpy().astype(np.float64), batch.u.numpy(), 3

    def probabilities(head: Any, net: Any, features: np.ndarray) -> np.ndarray:
        raw = reference.affine(head.output_layer, reference.mlp(net, features)).reshape(BATCH, 2, classes)
        power = np.exp(raw - raw.max(axis=-1, keepdims=True))
        return 0.99 * power / power.sum(axis=-1, keepdims=True) + 0.01 / classes

    def prior(h: np.ndarray) -> np.ndarray:
        return probabilities(cell.prior_head, cell.prior_net, h)

    def step(rnn: reference.Stack, z_before: np.ndarray, t: int) -> np.ndarray:
        return rnn.step(reference.mlp(cell.transition_net, reference.join(z_before, u[:, t])))

    def one_hot(index: np.ndarray) -> np.ndarray:
        return np.eye(classes)[index].reshape(BATCH, 2 * classes)

    def divergence(q: np.ndarray, p: np.ndarray) -> np.ndarray:
        return (q * np.log(q / p)).sum(axis=-1)

    rnn, other, z, guessed = (
        reference.Stack(cell.rnn, BATCH),
        reference.Stack(cell.rnn, BATCH),
        np.zeros([BATCH, 6]),
        None,
    )
    for t in range(LENGTH):
        other.state = list(rnn.state)
        h = step(rnn, z, t)
        p = prior(h)
        e = reference.mlp(cell.x_features, x[:, t])
        q = probabilities(cell.posterior_head, cell.posterior_net, reference.join(e, h))
        index = (np.cumsum(q, axis=-1) < noise["z"].numpy()[:, t, :, None]).sum(axis=-1)
        expected = divergence(q, prior(step(other, guessed, t))).sum(axis=-1) / 2 if t else np.zeros(BATCH)
        np.testing.assert_allclose(path.penalties["overshooting"][:, t], expected, rtol=1e-4, atol=1e-5)
        z, guessed = one_hot(index), one_hot(p.argmax(axis=-1))
        latent = path.latents["z"]
        np.testing.assert_array_equal(latent.z[:, t], z)
        for found, right in ((latent.q, q), (latent.p, p)):
            np.testing.assert_allclose(np.exp(found.logits[:, t]), right.reshape(BATCH, -1), rtol=2e-5, atol=2e-6)
        kl = model.terms(path, batch).latents["z"].kl[:, t]
        np.testing.assert_allclose(kl, divergence(q, p), rtol=1e-4, atol=1e-5)
        features = reference.mlp(cell.decoder, reference.join(z, h))
        params = features @ reference.array(model.observation.head.kernel) + reference.array(model.observation.bias)
        np.testing.assert_allclose(path.x[:, t], params, rtol=2e-5, atol=2e-5)
