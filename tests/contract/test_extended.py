"""The contract on models that only it can express: they train, come back, stream, and their paths agree."""

import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases, turns
from tests.contract import extended
from tfdvae import random, recurrence
from tfdvae.layers.latent import latent_terms
from tfdvae.testing import assert_close, assert_equal, differs, drawn, streaming
from tfdvae.types import Batch

HORIZON = 3


AS_GRAPHS = {"categorical"}
"""What runs as graphs every time; the others when it is their turn."""
EVERYDAY = (
    "categorical",
    "autoregressive",
    "triangular",
    "two_levels",
    "segments",
    "pictures",
    "partly",
    "context",
    "units",
)
"""What the contract can express, once each; the others are further models with it, and have their turns."""
TURNS = {name: turn for turn, name in enumerate(sorted(extended.MODELS))}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.exhaustive(turn=turn))
        for name, turn in TURNS.items()
    ],
)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> tfdvae.DVAE:
    return extended.make(name)


@pytest.fixture
def batch(name: str) -> Batch:
    return extended.frames(name)


@pytest.fixture
def as_graphs(name: str, request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether verbs and training run as graphs: for AS_GRAPHS, and for the others when it is their turn."""
    graphs = name in AS_GRAPHS or turns.is_turn(TURNS[name], request.config.getoption("--exhaustive"))
    tf.config.run_functions_eagerly(not graphs)
    yield graphs
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
def test_it_trains_with_masks_and_comes_back_from_a_file(name: str, tmp_path: Path, as_graphs: bool) -> None:
    model = extended.make(name)
    batch = extended.frames(name, 12, 4)
    mask = np.arange(4)[None] < np.random.default_rng(0).integers(2, 5, 12)[:, None]
    data = {**cases.given(batch), "mask": mask}
    model.compile(keras.optimizers.Adam(0.02), run_eagerly=not as_graphs)
    before = model.evaluate(data, verbose=0, return_dict=True)["loss"]
    history = model.fit(data, epochs=4, batch_size=12, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["skipped_batches"] == [0.0] * 4
    assert model.evaluate(data, verbose=0, return_dict=True)["loss"] < before
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    assert_equal(again.get_weights(), model.get_weights())
    assert_equal(again(data), model(data))
    assert again.get_build_config() == model.get_build_config()


@pytest.mark.slow
def test_every_way_through_gives_the_same_numbers(model: tfdvae.DVAE, batch: Batch, as_graphs: bool) -> None:
    noise = cases.noise(model)
    path = model.infer(*batch, noise)
    for jit in (False, True) if as_graphs else ():
        run = tf.function(lambda b, n: model.terms(model.infer(*b, n), b), autograph=False, jit_compile=jit)
        assert_close(run(batch, noise), model.terms(path, batch), 1e-4)
    if not isinstance(model, tfdvae.RecurrentDVAE):
        return
    packed, _ = model.pack(batch)
    given = model.hoist(packed, noise)
    unrolled, _ = recurrence.teacher_forced(model.cell, given, last=True)
    own = {k: v for k, v in drawn(path).items() if k in unrolled.latents}
    assert_close(drawn(unrolled), own, 3e-5)
    assert_close(packed.within(model.frames).params(unrolled.features), path.x, 3e-5)


def test_the_terms_are_those_of_the_families(model: tfdvae.DVAE, batch: Batch) -> None:
    path = model.infer(*batch, cases.noise(model))
    terms = model.terms(path, batch)
    for latent in model.latents:
        found, own = terms.latents[latent.name], path.latents[latent.name]
        assert found.kl.shape[-1] == latent.kl_groups
        counted = np.ones(found.log_q.shape, bool)
        if latent.level == "segment":
            counted = np.broadcast_to([False, True, False, True, True], found.log_q.shape)
        share = np.float32(latent.share)
        log_p, log_q = (share * np.asarray(f.log_prob(d, own.z)) for f, d in ((latent.p, own.p), (latent.q, own.q)))
        assert_close(found.log_p, np.where(counted, log_p, np.float32(0.0)), 1e-4)
        assert_close(found.log_q, np.where(counted, log_q, np.float32(0.0)), 1e-4)
        expected = share * np.asarray(latent_terms(latent, own).kl)
        assert_close(found.kl, np.where(counted[..., None], expected, np.float32(0.0)), 1e-5)


@pytest.mark.usefixtures("as_graphs")
@pytest.mark.slow
def test_the_verbs_work_in_the_shape_of_the_frames(model: tfdvae.DVAE, name: str, batch: Batch) -> None:
    shape = extended.frame_shape(name)
    model.compile(run_eagerly=tf.config.functions_run_eagerly())
    data = cases.given(batch)
    assert model.predict(data, verbose=0).shape == (3, 5, *shape)
    assert tuple(model.reconstruct(data).shape) == (3, 5, *shape)
    assert tuple(model.reconstruct(data, mode="generation", sample=True).shape) == (3, 5, *shape)
    context = {"context": batch.context} if batch.context is not None else {}
    generated = model.generate(HORIZON, 2, **({"context": batch.context[:2]} if context else {}), seed=1)
    assert tuple(generated.x.shape) == (2, HORIZON, *shape)
    assert {k: tuple(z.shape) for k, z in generated.latents.items()} == {
        latent.name: (2, HORIZON, latent.latent_dim) for latent in model.frame_latents
    }
    forecast = model.forecast(data, horizon=HORIZON, num_samples=2, seed=1)
    assert tuple(forecast.samples.shape) == (2, 3, HORIZON, *shape) and np.isfinite(forecast.samples).all()
    observed = np.random.default_rng(2).random((3, 5, *shape)) < 0.5
    holed = {**data, "x": np.where(observed, data["x"], np.nan)}
    imputed = model.impute({**holed, "observed": observed}, num_samples=2, num_sweeps=2)
    np.testing.assert_array_equal(imputed.mean.numpy()[observed], data["x"][observed])
    assert np.isfinite(imputed.samples).all()
    assert np.isfinite(model.log_prob(data, num_samples=3)).all()
    encoded = model.encode(data)
    assert list(encoded) == [latent.name for latent in model.latents]


@pytest.mark.usefixtures("as_graphs")
@pytest.mark.slow
def test_steps_are_the_sequence_call(model: tfdvae.DVAE, batch: Batch) -> None:
    if not model.causal:
        with pytest.raises(ValueError, match="infers latents from frames that are yet to come"):
            model.step({}, batch.x[:, 0])
        return

    def stream(noise: dict) -> tuple[list, dict]:
        state, outputs = model.initial_state(3, context=batch.context), []
        for t in range(5):
            observed = None if batch.observed is None else batch.observed[:, t]
            own = {k: v[:, t] for k, v in noise.items()} or None
            out = model.step(state, batch.x[:, t], observed=observed, noise=own)
            outputs.append((drawn(out), out.x, out.log_px, out.kl))
            state = out.state
        return outputs, state

    noise = cases.noise(model)
    path = model.infer(*batch, noise)
    terms = model.terms(path, batch)
    stacked = tf.nest.map_structure(lambda *y: tf.stack(y, axis=1), *stream(noise)[0])
    assert_close(stacked, (drawn(path), path.x, terms.log_px, terms.kl), 3e-5)
    after = model.generate(HORIZON, prefix=cases.given(batch), sample=False)
    _, state = stream({})
    for t in range(HORIZON):
        frame, state = model.generate_step(state)
        assert_close(frame, cases.each(lambda y, t=t: y[:, t], after), 1e-4)
    assert np.isfinite(model.particle_log_prob(*batch, num_samples=4, seed=0)).all()


def test_drawn_frames_mix_with_steps(model: tfdvae.DVAE, batch: Batch) -> None:
    streaming.check_mixtures(model, None if batch.observed is None else batch)


@pytest.mark.slow
def test_a_segment_keeps_its_latent_in_generation_and_a_continuation_finishes_it() -> None:
    model = extended.make("segments")
    drawn_s = model.generate(5, 2, seed=3).latents["s"].numpy()
    np.testing.assert_array_equal(drawn_s[:, 0], drawn_s[:, 1])
    np.testing.assert_array_equal(drawn_s[:, 2], drawn_s[:, 3])
    assert differs(drawn_s[:, 1], drawn_s[:, 2]) and differs(drawn_s[:, 3], drawn_s[:, 4])
    prefix = extended.frames("segments", 2, 3)
    after = model.generate(3, prefix=cases.given(prefix), sample=False).latents["s"].numpy()
    path = model.infer(*prefix)
    assert_close(after[:, 0], path.latents["s"].z[:, 2])
    np.testing.assert_array_equal(after[:, 1:], 0.0)
    state, frames = model.initial_state(2), []
    for _ in range(4):
        frame, state = model.generate_step(state, noise={"s": np.random.normal(size=(2, 3)).astype("float32")})
        frames.append(frame.latents["s"].numpy())
    np.testing.assert_array_equal(frames[0], frames[1])
    assert differs(frames[1], frames[2])
    np.testing.assert_array_equal(frames[2], frames[3])


def test_a_segment_counts_once_at_its_last_frame_whatever_the_mask() -> None:
    model = extended.make("segments")
    x = extended.frames("segments", 1, 5).x
    alone = model.terms(model.infer(x[:, :3]), Batch(x[:, :3]))
    mask = tf.constant([[True, False, True, False, True]])
    spread = tf.gather(x, [[0, 0, 1, 1, 2]], batch_dims=1)
    found = model.terms(model.infer(spread, mask), Batch(spread, mask))
    for a, b in zip(found.latents["s"], alone.latents["s"], strict=True):
        assert_close(tf.boolean_mask(a, mask), b[0], 1e-5)
        np.testing.assert_array_equal(a.numpy()[~mask.numpy()], 0.0)
    np.testing.assert_array_equal(alone.latents["s"].log_q.numpy()[0, 0], 0.0)


def test_the_fine_latent_sees_the_coarse_one() -> None:
    model, batch = extended.make("two_levels"), extended.frames("two_levels")
    noise = cases.noise(model)
    moved = {**noise, "y": noise["y"] + 1.0}
    first, second = model.infer(*batch, noise).latents, model.infer(*batch, moved).latents
    assert_close(first["y"].q.loc[:, 0], second["y"].q.loc[:, 0])
    for part in ("q", "p"):
        assert differs(getattr(first["z"], part).loc[:, 0], getattr(second["z"], part).loc[:, 0])


def test_a_sample_of_categoricals_is_one_hot_and_has_a_gradient() -> None:
    model, batch = extended.make("categorical"), extended.frames("categorical")
    noise = cases.noise(model)
    assert model.draw_noise(random.make_seed(0), 2, 3)["z"].shape == (2, 3, 2)
    with tf.GradientTape() as tape:
        path = model.infer(*batch, noise)
        log_px = tf.reduce_sum(model.terms(path, batch).log_px)
    groups = path.latents["z"].z.numpy().reshape(3, 5, 2, 3)
    assert_close(np.sort(groups, axis=-1), np.broadcast_to(np.float32([0, 0, 1]), groups.shape))
    posterior = [v for v in model.trainable_variables if "posterior_head" in v.path]
    assert all(np.any(np.asarray(g) != 0.0) for g in tape.gradient(log_px, posterior))


@pytest.mark.parametrize("name", ["rssm", "dssm", "dvbf", "lvrnn", "svg", "sv2p", "transformer"])
def test_samples_of_every_posterior_go_through_its_flow(name: str) -> None:
    model = cases.make(name, posterior_flow=1)
    batch, noise = cases.frames(name, 2, 3), cases.noise(model, 2, 3)
    path = model.infer(*batch, noise)
    for latent, (z, q, *_) in path.latents.items():
        assert differs(z, q.loc + q.scale * noise[latent])
    assert all(np.isfinite(terms.log_q).all() for terms in model.terms(path, batch).latents.values())


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_the_weights_of_a_flow_learn(kind: str) -> None:
    model, batch = extended.make(kind), extended.frames(kind)
    own = [v for v in model.trainable_variables if "flow_network" in v.path]
    assert own
    with tf.GradientTape() as tape:
        terms = model.terms(model.infer(*batch, cases.noise(model)), batch)
        loss = tf.reduce_sum(terms.kl - terms.log_px)
    for variable, gradient in zip(own, tape.gradient(loss, own), strict=True):
        assert gradient is not None and np.isfinite(gradient).all() and np.any(gradient.numpy() != 0.0), variable.path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tfdvae.DKF(32, family="categorical"), "The transition of a DKF is Gaussian"),
        (lambda: tfdvae.SRNN(2, residual_posterior=True, posterior_flow=1), "residual_posterior=True adds two means"),
        (lambda: tfdvae.RNN(posterior_flow=1), "latent"),
        (lambda: tfdvae.VRNN(4, family="categorical", posterior_flow=1), "categorical|latent_dim|Gaussian"),
        (lambda: tfdvae.VRNN(4, family="normal"), "normal"),
    ],
)
def test_families_that_a_model_cannot_have(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
def test_a_declaration_that_cannot_be_right_is_refused() -> None:
    class Twice(tfdvae.VRNNCell):
        @property
        def latents(self):
            return super().latents * 2

    class Named(tfdvae.VRNNCell):
        @property
        def latents(self):
            return (self.latent("mask", self.z_prior, self.z_posterior),)

    class Told(tfdvae.VRNNCell):
        states = ("z",)

    for cell in (Twice, Named, Told):
        with pytest.raises(ValueError, match="needs a name of its own"):
            cell(2, units=5).build((None, 3))

    class Remembering(tfdvae.VRNNCell):
        def initial_state(self, batch_size):
            return {**super().initial_state(batch_size), "last": tf.zeros([batch_size, 1])}

    with pytest.raises(ValueError, match="has entries 'last', under which models"):
        Remembering(2, units=5).build((None, 3))
