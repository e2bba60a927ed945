"""Scheduled sampling: the loop fed with the model's own output now and then, for every model that feeds frames back."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import random, recurrence, simulation
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.recurrence import Feedback
from tfdvae.simulation import Frames
from tfdvae.testing import assert_close, drawn
from tfdvae.types import Batch

FED = pytest.mark.parametrize(
    "name",
    cases.params(n for n in cases.SUITE if cases.has_cell(n) and not issubclass(cases.kind(n), SequenceDVAE)),
    indirect=True,
    scope="module",
)


@FED
def test_nothing_replaced_is_teacher_forcing_and_all_replaced_is_generation_mode(
    model: tfdvae.DVAE, name: str, batch: Batch, noise: dict
) -> None:
    given = model.cell.hoist(batch.x, None, batch.u, noise)

    def path(replaced: bool) -> tuple:
        every = Feedback(model.frames, batch.x, tf.fill(tf.shape(batch.x)[:2], replaced))
        return recurrence.teacher_forced(model.cell, given, feedback=every)[0]

    forced = recurrence.teacher_forced(model.cell, given, last=True)[0]
    found = path(False)
    assert_close([found.features, found.penalties], [forced.features, forced.penalties], 1e-6)
    assert_close(drawn(found), drawn(forced), 1e-6)
    frames = Frames(None, None, given.g, None, given.c, given.noise, given.samples())
    alone = simulation.simulate(model.cell, model.frames, frames, state=given.state, length=batch.x.shape[1])[0]
    fed = path(True)
    own = {k: v.z for k, v in fed.latents.items()}
    assert_close([own, model.frames.params(fed.features)], [{k: alone.latents[k] for k in own}, alone.params], 3e-5)


@FED
def test_only_frames_after_a_replaced_one_can_change(model: tfdvae.DVAE, name: str, batch: Batch) -> None:
    given = model.cell.hoist(batch.x, None, batch.u, None)
    third = tf.tile(tf.constant([[False, False, True, False, False]]), [batch.x.shape[0], 1])
    fed = recurrence.teacher_forced(model.cell, given, feedback=Feedback(model.frames, batch.x, third))[0]
    forced = recurrence.teacher_forced(model.cell, given, last=True)[0]
    assert_close(fed.features[:, :3], forced.features[:, :3], 1e-6)
    reached = not np.allclose(fed.features[:, 3:], forced.features[:, 3:], atol=1e-6)
    x_before = tf.tensor_scatter_nd_add(batch.x, [[0, 2, 0]], [1.0])
    e = model.cell.embed(x_before)
    moved = recurrence.teacher_forced(model.cell, given._replace(e=e), last=True)[0]
    assert reached == (not np.allclose(moved.features[:, 3:], forced.features[:, 3:], atol=1e-6))


def vrnn() -> tfdvae.DVAE:
    return cases.make("vrnn", dropout=0.0)


def test_the_part_that_is_replaced_is_the_rate() -> None:
    x = tf.zeros([64, 50, 3])
    assert random.replaced_frames(x) is None
    for rate in (0.0, 0.3, 1.0):
        with random.replacement_scope(tf.constant(rate), random.make_seed(3)):
            assert np.mean(random.replaced_frames(x)) == pytest.approx(rate, abs=4 * (0.25 / 3200) ** 0.5)
    with random.replacement_scope(None, random.make_seed(3)):
        assert random.replaced_frames(x) is None


@pytest.mark.parametrize(
    "bound",
    ["elbo", pytest.param(tfdvae.bounds.IWAE(4, chunk=2), marks=pytest.mark.exhaustive)],
    ids=["elbo", "iwae"],
)
@pytest.mark.slow
def test_fine_tuning_makes_a_model_better_in_generation_mode(bound) -> None:
    """A dear KL makes the model lean on the frames before, which is what breaks where these are its own."""
    options = {"bound": bound, "beta": 4.0}
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 6, [64, 1, 1]) + 0.7 * np.arange(12)[:, None]
    x = (np.sin(phase) + 0.05 * rng.normal(size=[64, 12, cases.X_DIM])).astype("float32")

    def error(model: tfdvae.DVAE) -> float:
        return float(np.square(model.reconstruct(x, mode="generation") - x).mean())

    model = vrnn()
    model.compile("adam", **options)
    model.optimizer.learning_rate = 0.02
    model.fit(x, epochs=15, batch_size=64, verbose=0)
    before, weights = error(model), model.get_weights()
    tuned = {}
    for part in (0.0, 1.0):
        model.set_weights(weights)
        model.compile("adam", scheduled_sampling=part, **options)
        model.optimizer.learning_rate = 0.02
        history = model.fit(x, epochs=15, batch_size=64, verbose=0).history
        assert history.get("own_output", [0.0])[-1] == part
        tuned[part] = error(model)
    assert tuned[1.0] < 0.9 * min(before, tuned[0.0])


@pytest.mark.slow
def test_evaluation_stays_teacher_forced_and_the_setting_is_saved_with_the_model() -> None:
    model, x = vrnn(), cases.frames("vrnn").x
    model.compile("adam", jit_compile=False)
    plain = model.evaluate(x, return_dict=True, verbose=0)
    model.compile("adam", scheduled_sampling=tfdvae.schedules.LinearWarmup(10), jit_compile=False)
    assert model.evaluate(x, return_dict=True, verbose=0) == plain
    again = vrnn()
    again.compile_from_config(model.get_compile_config())
    assert again.scheduled_sampling.get_config() == model.scheduled_sampling.get_config()


@pytest.mark.slow
def test_what_cannot_be_fed_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1, got 1.5"):
        vrnn().compile("adam", scheduled_sampling=1.5)
    with pytest.raises(ValueError, match="is fed no frames"):
        cases.make("kvae-u").compile("adam", scheduled_sampling=0.5)
    with pytest.raises(ValueError, match="FIVO weighs particles"):
        vrnn().compile("adam", bound="fivo", scheduled_sampling=0.5)
