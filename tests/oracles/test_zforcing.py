"""Z-forcing: the auxiliary losses against float64 equations, what they teach, and how they enter the training loss."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.oracles import reference
from tests.oracles.support import frames, tiny
from tfdvae import random
from tfdvae.types import Batch

BATCH, LENGTH, X, U, Z = 3, 4, 3, 2, 2


def make(u_dim: int = 0, **options: Any) -> tfdvae.ZForcingVRNN:
    return tiny("Z-forcing", X, u_dim, latent_dim=Z, **options)


def path_of(model: Any, x: np.ndarray, u: np.ndarray | None = None) -> tuple[Any, np.ndarray]:
    noise = np.random.default_rng(5).normal(size=[*x.shape[:2], Z]).astype(np.float32)
    batch = Batch(tf.constant(x), None, None if u is None else tf.constant(u))
    return model.infer(*batch, {"z": tf.constant(noise)}), noise


def states(cell: Any, x: np.ndarray, u: np.ndarray | None, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """b_t and h_{t-1} along given latents, [N, T, H] each."""
    phi_x = reference.mlp(cell.x_features, x)
    b = reference.run(cell.backward_rnn, reference.join(phi_x, u), backward=True)
    past = np.concatenate([np.zeros_like(phi_x[:, :1]), phi_x[:, :-1]], axis=1)
    h = reference.run(cell.rnn, reference.join(past, u, reference.mlp(cell.z_features, z)))
    return b, np.concatenate([np.zeros_like(h[:, :1]), h[:, :-1]], axis=1)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("driven", [False, True], ids=["undriven", "driven"])
def test_the_auxiliary_losses_follow_their_equations(cell: str, driven: bool) -> None:
    model = make(U if driven else 0, cell=cell, reconstruct_backward="gaussian", backward_weight=0.25)
    rng = np.random.default_rng(6)
    x = frames("gaussian", BATCH, LENGTH, X)
    u = rng.normal(size=[BATCH, LENGTH, U]).astype(np.float32) if driven else None
    path, _ = path_of(model, x, u)
    z = np.asarray(path.latents["z"].z, np.float64)
    b, before = states(model.cell, x.astype(np.float64), u, z)
    net = reference.mlp(model.cell.auxiliary_net, reference.join(z, before))
    expected = -reference.normal_log_density(b, *reference.gaussian_head(model.cell.auxiliary_head, net))
    np.testing.assert_allclose(path.penalties["backward_state"], expected, rtol=1e-4, atol=1e-4)

    head = model.cell.backward_observation
    params = b @ reference.array(head.head.kernel) + reference.array(head.bias)
    expected = -0.25 * reference.observation_log_density(head, params, x)
    np.testing.assert_allclose(path.penalties["backward_reconstruction"], expected, rtol=1e-4, atol=1e-4)


def test_the_backward_state_is_a_constant_to_the_one_loss_and_learns_from_the_other() -> None:
    model = make(reconstruct_backward="gaussian")
    rng = np.random.default_rng(7)
    z, before, b, x = (
        tf.constant(rng.normal(size=[BATCH, LENGTH, width]), tf.float32) for width in (Z, model.cell.units, 3, X)
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z, before, b])
        losses = model.cell.penalties({"z": z, "before": before}, {"b": b, "x": x})
    assert set(losses) == {"backward_state", "backward_reconstruction"}
    assert tape.gradient(losses["backward_state"], b) is None
    for source in (z, before):
        assert np.all(tape.gradient(losses["backward_state"], source).numpy() != 0.0)
        assert tape.gradient(losses["backward_reconstruction"], source) is None
    assert np.all(tape.gradient(losses["backward_reconstruction"], b).numpy() != 0.0)


@pytest.mark.slow
def test_training_weighs_the_losses_and_reports_leave_them_out() -> None:
    data = frames("gaussian", 8, LENGTH, X)
    ramp = keras.optimizers.schedules.PolynomialDecay(0.0, 4, 1.0)
    for weight, expected in ((0.0, [0.0] * 3), (0.3, [0.3] * 3), (ramp, [0.0, 0.25, 0.5])):
        model = make(reconstruct_backward="gaussian")
        model.compile(keras.optimizers.SGD(0.0), penalty_weight=weight, run_eagerly=True)
        history = model.fit(data, batch_size=8, epochs=3, shuffle=False, verbose=0).history
        for step, factor in enumerate(expected):
            seed = random.fold_in(random.make_seed(model.seed), step)
            terms = model.sample_terms(Batch(tf.constant(data)), seed)
            penalty = float(tf.reduce_sum(terms.penalty)) / data[..., 0].size
            elbo = float(tf.reduce_sum(terms.log_px) - tf.reduce_sum(terms.kl)) / data[..., 0].size
            assert abs(penalty) > 0.5
            assert history["elbo_nats_per_frame"][step] == pytest.approx(elbo, rel=1e-4)
            assert history["loss"][step] == pytest.approx(factor * penalty - elbo, rel=1e-4)


def test_a_latent_reaches_its_frame_through_the_recurrent_state_alone() -> None:
    model = make()
    x = frames("gaussian", BATCH, LENGTH, X)
    drawn, mean = path_of(model, x)[0], model.infer(tf.constant(x))
    assert np.abs(drawn.x - mean.x).min(axis=(0, 1)).max() > 1e-4
    kernel = model.cell.rnn.stack[0].cell.kernel
    rows = np.arange(kernel.shape[0]) < model.cell.x_features.units[-1]
    kernel.assign(np.where(rows[:, None], np.asarray(kernel), 0.0))
    drawn, mean = path_of(model, x)[0], model.infer(tf.constant(x))
    assert np.abs(drawn.latents["z"].z - mean.latents["z"].z).min() > 1e-4
    np.testing.assert_array_equal(drawn.x, mean.x)


@pytest.mark.slow
def test_training_on_the_auxiliary_loss_makes_it_smaller() -> None:
    data = frames("gaussian", 16, LENGTH, X)
    model = make()
    model.compile(keras.optimizers.Adam(0.02))
    before = float(tf.reduce_mean(path_of(model, data)[0].penalties["backward_state"]))
    history = model.fit(data, batch_size=16, epochs=40, verbose=0).history
    after = float(tf.reduce_mean(path_of(model, data)[0].penalties["backward_state"]))
    assert np.isfinite(history["loss"]).all()
    assert after < before - 0.5


@pytest.mark.slow
def test_the_observation_of_the_backward_network_comes_by_name_config_or_object() -> None:
    by_object = tfdvae.observations.GaussianMixture(num_components=3)
    for given in ("bernoulli", {"class_name": "bernoulli", "config": {}}, by_object):
        model = make(reconstruct_backward=given)
        again = tfdvae.ZForcingVRNN.from_config(model.get_config())
        again.build_for(X)
        again.set_weights(model.get_weights())
        assert type(again.cell.backward_observation) is type(model.cell.backward_observation)
        x = (frames("gaussian", BATCH, LENGTH, X) > 0).astype(np.float32)
        for name, value in path_of(model, x)[0].penalties.items():
            np.testing.assert_array_equal(path_of(again, x)[0].penalties[name], value)
    assert again.cell.backward_observation.num_components == 3
    assert not hasattr(make().cell, "backward_observation")
    with pytest.raises(ValueError, match="Unknown observation 'gausian'"):
        make(reconstruct_backward="gausian")
    with pytest.raises(ValueError, match="`backward_weight` must not be negative, got -1.0"):
        make(reconstruct_backward="gaussian", backward_weight=-1.0)
