"""Training in phases: latents from their priors, then from posteriors without a KL, then the bound; resumed as if never
stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases, turns
from tests.callbacks.test_resume import Interrupt, Interrupted, Run, assert_same
from tests.oracles import reference
from tests.oracles.support import frames, tiny
from tests.oracles.test_sv2p import decoded
from tfdvae import random, simulation
from tfdvae.callbacks import KLWarmup, Phases, Resume
from tfdvae.testing import assert_close

X, Z = 3, 2
OF_Q = ("forward_rnn", "backward_rnn", "posterior_net", "posterior_head")
"""Networks of SV2P's posterior."""


def sv2p(**options: Any) -> tfdvae.SV2P:
    keras.utils.set_random_seed(1)
    model = tiny("SV2P", X, 0, latent_dim=Z)
    model.compile(keras.optimizers.Adam(0.01), **{"run_eagerly": True, **options})
    return model


def weights(model: tfdvae.SV2P, of_q: bool) -> list[np.ndarray]:
    own = {id(v) for name in OF_Q for v in getattr(model.cell, name).trainable_variables}
    return [v.numpy() for v in model.trainable_variables if (id(v) in own) == of_q]


def moved(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> list[bool]:
    return [bool((a != b).any()) for a, b in zip(before, after, strict=True)]


def test_phases_follow_from_the_epoch() -> None:
    phases = Phases(2, 3, KLWarmup(2, start=0.5))
    assert [phases.phase(epoch) for epoch in range(7)] == [1, 1, 2, 2, 2, 3, 3]
    assert [phases.weight(epoch) for epoch in range(8)] == [0.0] * 5 + [0.5, 0.75, 1.0]
    assert [Phases(0, 1).phase(epoch) for epoch in (0, 1)] == [2, 3] and Phases(1, 0).weight(1) == 1.0


@pytest.mark.slow
def test_the_first_phase_learns_from_latents_of_the_prior_and_moves_no_posterior() -> None:
    """The loss is -E log p(x | v) with v ~ N(0, I) by the equations in float64, with gaps in the sequences."""
    model, mask = sv2p(), np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [1, 1, 0, 0, 0]], bool)
    x = frames("gaussian", 3, 5, X)
    seed = random.fold_in(random.make_seed(model.seed), 0)
    v, total = model.draw_noise(seed, 3, 5)["v"].numpy(), 0.0
    for b in range(3):
        own = x[b : b + 1, mask[b]]
        params = decoded(model, v[b : b + 1], own)
        total += reference.observation_log_density(model.observation, params, own).sum()
    q, p = weights(model, True), weights(model, False)
    model.draw_latents_from("prior")
    logs = model.train_on_batch({"x": x, "mask": mask}, return_dict=True)
    assert logs["loss"] == pytest.approx(-total / mask.sum(), rel=1e-5)
    assert logs["kl_weight"] == 0.0 and logs["kl_nats_per_frame"] == 0.0
    assert not any(moved(q, weights(model, True))) and all(moved(p, weights(model, False)))


@pytest.mark.slow
def test_each_phase_trains_what_it_says_and_the_last_one_is_the_bound() -> None:
    model, x = sv2p(), frames("gaussian", 4, 5, X)
    q = weights(model, True)

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            found.append(moved(q, weights(model, True)))

    found: list[list[bool]] = []
    callbacks = [Phases(1, 1, KLWarmup(1, start=0.5)), Look()]
    logs = model.fit(x, batch_size=4, epochs=4, verbose=0, callbacks=callbacks).history
    assert not any(found[0]) and all(found[1])
    assert logs["kl_weight"] == [0.0, 0.0, 0.5, 1.0]
    kl, likelihood = (np.array(logs[f"{name}_nats_per_frame"]) for name in ("kl", "log_likelihood"))
    assert kl[0] == 0.0 and (kl[1:] > 0.0).all()
    np.testing.assert_allclose(logs["loss"], np.array([0.0, 0.0, 0.5, 1.0]) * kl - likelihood, rtol=1e-5)
    assert logs["loss"][-1] == pytest.approx(-logs["elbo_nats_per_frame"][-1], rel=1e-5)
    assert model.latents_from == "posterior"


def train(folder: Path | None, eagerly: bool, stop: int | None = None) -> Run:
    model = sv2p(run_eagerly=eagerly, jit_compile=False)
    resume = [] if folder is None else [Resume(folder)]
    callbacks = [Phases(2, 1, KLWarmup(2)), *resume, *([] if stop is None else [Interrupt(stop, 0)])]
    left = resume[0].epochs(4) if resume else range(4)
    options = {"initial_epoch": left.start, "epochs": left.stop, "shuffle": False, "verbose": 0}
    history = model.fit(frames("gaussian", 4, 3, X), batch_size=2, callbacks=callbacks, **options)
    return Run(model, {**history.history, "epoch": history.epoch}, {})


@pytest.mark.parametrize("eagerly", turns.params((True, False), (True,)))
@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(eagerly: bool, tmp_path: Path) -> None:
    """Interrupted in the first phase and in the last, within an epoch."""
    for epoch in (1, 3):
        with pytest.raises(Interrupted):
            train(tmp_path, eagerly, epoch)
    assert_same(train(tmp_path, eagerly), train(None, eagerly))


@pytest.mark.slow
def test_parts_of_a_batch_make_the_update_of_all_of_it() -> None:
    found, x = [], frames("gaussian", 5, 4, X)
    for options in ({}, {"micro_batch": 2}):
        model = sv2p(**options)
        model.draw_latents_from("prior")
        logs = model.train_on_batch(x, return_dict=True)
        found.append((logs["loss"], *weights(model, False), *weights(model, True)))
    assert_close(*found, 1e-5)


SIMULATED = {"vrnn", "svg", "sv2p-frame"}
"""A prior that hears latents and frames, one that hears frames, and one that is fixed."""
OTHERS = ("vae-u", "storn", "srnn-smooth-u", "dkf-st_r", "dsae-full-u", "dssm-u", "dvbf-filter-u", "rssm-u", "tcn-u")
OTHERS += ("vrae", "latent_lds-u", "switching_lds-u", "lvrnn", "svg-fixed-u", "sv2p-u", "transformer-u")


@pytest.mark.parametrize("name", turns.params((*sorted(SIMULATED), *OTHERS), SIMULATED))
@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_the_path_is_that_of_a_simulation_that_is_fed_the_data(name: str) -> None:
    model, batch, noise = cases.make(name), cases.frames(name), cases.noise(cases.make(name))
    packed, _ = model.pack(batch)
    found = model.params_by_priors(packed, noise)
    state, _ = model.parted(model.start_stream(cases.BATCH, {}, batch.context, noise))
    own = {latent.name: noise[latent.name] for latent in model.frame_latents}
    c = model.cell.embed_u(packed.u)
    given = simulation.Frames(x=batch.x, observed=tf.ones_like(batch.x, tf.bool), c=c, noise=own)
    path, _ = simulation.simulate(model.cell, packed.within(model.frames), given, state=state)
    assert_close(found, path.params, 3e-5)


@pytest.mark.usefixtures("eagerly")
def test_latents_of_whole_sequences_are_drawn_as_generation_draws_them() -> None:
    model, batch = cases.make("gpvae"), cases.frames("gpvae")
    model.compile("adam", run_eagerly=True)
    model.draw_latents_from("prior")
    terms = model.training_terms(batch, random.make_seed(4), 2, None)
    noise = model.draw_noise(random.make_seed(4), 2 * cases.BATCH, cases.LENGTH)
    params = model.frames.params(model.decode(model.prior_path(None, noise, 2 * cases.BATCH, cases.LENGTH)))
    assert_close(terms.log_px, model.frames.log_prob(params, tf.repeat(batch.x, 2, axis=0)), 1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rnn", {}, "RNN has no latents"),
        ("vssn", {}, "has one value of 'v' for the whole data set"),
        ("zforcing_vrnn", {}, "has auxiliary losses"),
        ("vrnn", {"bound": "iwae"}, "compiled with IWAE, which weighs paths"),
        ("vrnn", {"scheduled_sampling": 0.5}, "compiled with `scheduled_sampling`"),
    ],
)
def test_what_cannot_draw_from_its_priors_is_refused_before_it_trains(name: str, options: dict, message: str) -> None:
    model = cases.make(name)
    model.compile("adam", **options)
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"cannot come from the prior: .*{message}"):
        model.fit(cases.training_data(name), verbose=0, callbacks=[Phases(1, 0)])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="Phases of no epochs change nothing"):
        Phases(0, 0)
    with pytest.raises(ValueError, match="`free_epochs` must not be negative, got -1"):
        Phases(1, -1)
    with pytest.raises(ValueError, match="one of posterior, prior, got 'data'"):
        sv2p().draw_latents_from("data")
    with pytest.raises(ValueError, match="Compile and build the model first"):
        tfdvae.SV2P(2).draw_latents_from("prior")
    model = cases.make("vrnn")
    model.compile("adam", bound="nasmc")
    with pytest.raises(ValueError, match="Phases have nothing to weigh: NASMC"):
        model.fit(cases.training_data("vrnn"), verbose=0, callbacks=[Phases(0, 1)])
    assert model.evaluate(cases.training_data("vrnn"), verbose=0) is not None
