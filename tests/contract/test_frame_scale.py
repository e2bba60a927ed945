"""Networks that see the logarithm of frames: everywhere, and the density sees the frames themselves."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae import recurrence
from tfdvae.models.sequence import SequenceDVAE
from tfdvae.recurrence import Feedback
from tfdvae.testing import assert_close
from tfdvae.types import Batch

WITH_CELL = tuple(filter(cases.has_cell, cases.PRIMARY))
LOOPS = tuple(name for name in WITH_CELL if not issubclass(cases.kind(name), SequenceDVAE))


def powers(name: str) -> Batch:
    """Frames over ten decades."""
    batch = cases.frames(name)
    return batch._replace(x=tf.exp(4.0 * batch.x))


def logarithm(x: tf.Tensor) -> tf.Tensor:
    return tf.constant(0.1 * np.log(np.asarray(x, np.float64) + 1e-8), tf.float32)


def pair(name: str, **options: Any) -> tuple[tfdvae.DVAE, tfdvae.DVAE]:
    """The same networks, one that sees logarithms and one that does not."""
    logs, plain = (cases.make(name, x_scale=x_scale, dropout=0.0, **options) for x_scale in ("log", "linear"))
    plain.set_weights(logs.get_weights())
    return logs, plain


def present(structure: Any) -> list[tf.Tensor]:
    return [y for y in tf.nest.flatten(structure) if y is not None]


@pytest.mark.parametrize("name", cases.part(0, WITH_CELL))
def test_all_that_is_known_before_the_loop_is_made_of_logarithms_but_for_the_frames(name: str) -> None:
    logs, plain = pair(name)
    batch = powers(name)
    noise = cases.noise(logs)
    packed, _ = logs.pack(batch)
    found, expected = logs.hoist(packed, noise), plain.cell.hoist(logarithm(batch.x), *batch[1:3], noise)
    assert_close(present(found), present(expected), 1e-5)
    assert_close(packed.x, batch.x, 1e-6)


@pytest.mark.parametrize("name", cases.part(1, WITH_CELL))
@pytest.mark.slow
def test_the_density_is_that_of_the_frames(name: str) -> None:
    logs, plain = pair(name, observation="gamma")
    batch = powers(name)
    path = plain.infer(logarithm(batch.x), *batch[1:])
    terms = logs.terms(logs.infer(*batch), batch)
    assert_close(terms.log_px, plain.observation.log_prob(path.x, batch.x), 1e-4)


@pytest.mark.parametrize("name", cases.part(0, LOOPS))
@pytest.mark.slow
def test_frames_that_the_model_made_are_seen_as_logarithms_as_well(name: str) -> None:
    logs, plain = pair(name, observation="gamma")
    batch = powers(name)
    given = logs.hoist(logs.pack(batch)[0], None)
    every = Feedback(logs.frames, batch.x, tf.fill(tf.shape(batch.x)[:2], True))
    fed = logs.observation(recurrence.teacher_forced(logs.cell, given, feedback=every)[0].features)
    alone = logs.reconstruct(*batch, mode="generation")
    assert_close(logs.observation.mean(fed), alone, 1e-4)
    # What was made, given to the networks without a scale by hand.
    own = plain.cell.embed(logarithm(alone))
    fed_by_hand = recurrence.teacher_forced(plain.cell, given._replace(e=own), last=True)[0]
    assert_close(plain.observation(fed_by_hand.features), fed, 1e-4)


def test_the_kvae_encodes_logarithms_and_explains_frames() -> None:
    logs, plain = pair("kvae-u", observation="gamma")
    batch = powers("kvae-u")
    found, expected = logs.infer(*batch), plain.infer(logarithm(batch.x), *batch[1:])
    assert_close(present(found), present(expected), 1e-4)
    assert_close(logs.terms(found, batch).log_px, plain.observation.log_prob(expected.x, batch.x), 1e-4)


@pytest.mark.parametrize("name", ["vae", "kvae"])
@pytest.mark.slow
def test_negative_frames_have_no_logarithm(name: str) -> None:
    model = cases.make(name, x_scale="log")
    model.compile("adam")
    x = np.ones([2, 3, cases.X_DIM], np.float32)
    model.evaluate(x, verbose=0)
    x[1, 1] = -0.5
    with pytest.raises(ValueError, match="x_scale='log' .* must not be negative; got a minimum of -0.5"):
        model.evaluate(x, verbose=0)
    model.evaluate({"x": x, "mask": x[..., 0] >= 0}, verbose=0)


def test_a_stream_is_the_whole_sequence() -> None:
    logs, _ = pair("vrnn")
    batch = powers("vrnn")
    whole, state, steps = logs.infer(*batch), logs.initial_state(cases.BATCH), []
    for x in tf.unstack(batch.x, axis=1):
        output = logs.step(state, x)
        state = output.state
        steps.append(output.x)
    assert_close(tf.stack(steps, axis=1), whole.x, 1e-5)


@pytest.mark.slow
def test_an_unknown_scale_is_refused() -> None:
    for name in ("vae", "kvae"):
        with pytest.raises(ValueError, match="`x_scale` must be 'linear' or 'log', got 'db'"):
            cases.make(name, x_scale="db")
