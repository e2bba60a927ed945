"""What is known of a sequence as a whole: it joins inference, transition and observation, in every verb."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests import cases
from tfdvae.testing import assert_close, differs
from tfdvae.types import Batch

CONTEXT_DIM = 3
SOME, OTHERS = (cases.some(number, cases.PRIMARY) for number in range(2))


@pytest.fixture(scope="module", params=cases.params(cases.PRIMARY))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> tfdvae.DVAE:
    """The model of the case, built for a context."""
    case = cases.CASES[name]
    keras.utils.set_random_seed(1)
    model = tfdvae.MODELS[case.model](**case.options)
    model.build_for(cases.X_DIM, case.u_dim, CONTEXT_DIM)
    cases.jitter(model.trainable_variables, 2)
    return model


@pytest.fixture
def batch(name: str) -> Batch:
    rng = np.random.default_rng(4)
    return cases.frames(name)._replace(context=tf.constant(rng.normal(size=(cases.BATCH, CONTEXT_DIM)), tf.float32))


def future(model: tfdvae.DVAE, length: int = 3) -> dict[str, Any]:
    u = np.random.default_rng(8).normal(size=(cases.BATCH, length, cases.U_DIM)).astype("float32")
    return {"u": u} if model.u_dim else {}


def test_frames_and_latents_hang_on_it(model: tfdvae.DVAE, batch: Batch) -> None:
    noise = cases.noise(model)
    other = batch._replace(context=batch.context + 1.0)
    first, second = model.infer(*batch, noise), model.infer(*other, noise)
    assert differs(first.x, second.x)
    # The observation sees it even where no latent does: with latents held at one value.
    features = tf.ones([cases.BATCH, model.features_dim])
    assert differs(*(model.frames.within(b.context).params(features) for b in (batch, other)))
    for latent in model.latents:
        a, b = (path.latents[latent.name] for path in (first, second))
        assert differs(a.q[0], b.q[0]) or latent.level == "dataset", latent.name
        fixed = not differs(a.p[0], latent.p.standard(a.z)[0])
        assert fixed or differs(a.p[0], b.p[0]), latent.name


@SOME
@pytest.mark.usefixtures("mostly_eager")
@pytest.mark.slow
def test_the_verbs_take_it(model: tfdvae.DVAE, batch: Batch) -> None:
    data = cases.given(batch)
    moved = {**data, "context": data["context"] + 1.0}
    for verb in (model.reconstruct, lambda d: model.log_prob(d, num_samples=2, seed=1), model):
        assert differs(verb(data), verb(moved))
    drawn = [model.generate(3, context=d["context"], seed=1, **future(model)).x for d in (data, moved)]
    assert differs(*drawn) and drawn[0].shape[0] == cases.BATCH
    ahead = {"future_u": future(model)["u"]} if model.u_dim else {}
    forecasts = [model.forecast(d, horizon=3, num_samples=2, seed=1, **ahead).mean for d in (data, moved)]
    assert differs(*forecasts)
    observed = np.random.default_rng(0).random(data["x"].shape) < 0.5
    filled = [
        model.impute({**d, "observed": observed}, num_samples=2, num_sweeps=1, seed=1).mean for d in (data, moved)
    ]
    assert differs(*filled)


@pytest.mark.usefixtures("mostly_eager")
def test_a_stream_remembers_it(model: tfdvae.DVAE, batch: Batch) -> None:
    if not model.stepwise:
        with pytest.raises(ValueError, match="draws whole sequences"):
            model.initial_state(cases.BATCH, context=batch.context)
        return
    u = future(model)
    state, frames = model.initial_state(cases.BATCH, context=batch.context), []
    for t in range(3):
        frame, state = model.generate_step(state, u["u"][:, t] if u else None)
        frames.append(frame.x)
    whole = model.generate(3, context=batch.context, sample=False, **u)
    assert_close(tf.stack(frames, axis=1), whole.x, 3e-5)
    if model.causal:
        state, scores = model.initial_state(cases.BATCH, context=batch.context), []
        for t in range(cases.LENGTH):
            out = model.step(state, batch.x[:, t], None if batch.u is None else batch.u[:, t])
            state = out.state
            scores.append(out.log_px)
        terms = model.terms(model.infer(*batch), batch)
        assert_close(tf.stack(scores, axis=1), terms.log_px, 3e-5)


@OTHERS
@pytest.mark.slow
def test_it_trains_with_masks_and_sequences_do_not_share_it(model: tfdvae.DVAE, name: str) -> None:
    data = cases.training_data(name, 8, 5)
    data["context"] = np.random.default_rng(0).normal(size=(8, CONTEXT_DIM)).astype("float32")
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    history = model.fit(data, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["skipped_batches"] == [0.0]
    order = np.arange(8)[::-1]
    moved = {k: v[order] for k, v in data.items()}
    assert_close(model(moved), tf.gather(model(data), order), 1e-4)


def test_what_does_not_fit_is_refused(model: tfdvae.DVAE, batch: Batch) -> None:
    data = cases.given(batch)
    with pytest.raises(ValueError, match="built for a `context` with 3 entries, got none"):
        model.encode({k: v for k, v in data.items() if k != "context"})
    with pytest.raises(ValueError, match=r"Expected `context` of shape \[batch, entries\], one row per sequence"):
        model.encode({**data, "context": data["context"][:, None]})
    with pytest.raises(ValueError, match="`context` holds NaN or infinity at sequence 0"):
        model.encode({**data, "context": data["context"] * np.nan})
    with pytest.raises(ValueError, match=r"a `context` of shape \[batch, 3\]; got none"):
        model.generate(3, **future(model))


@pytest.mark.slow
def test_a_model_without_refuses_one() -> None:
    model, x = cases.make("vrnn"), cases.frames("vrnn").x
    with pytest.raises(ValueError, match="built for no `context`, got 3 entries"):
        model.encode(x, context=np.zeros((3, 3)))
