"""The edge runtime with models of several latents, pictures, partly observed frames and a context."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import parity
from export.edge.stream import Stream
from tests.export.edge.conftest import STREAMING
from tests.export.edge.test_stream import close
from tests.serving.test_kinds import KINDS

pytest.importorskip("ai_edge_litert")

LENGTH = 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["two_levels", "pictures", "partly_observed", "coupling_with_context", "in_units_of_its_own"]
)
def test_pushes_are_one_call(kind: str, tmp_path: Path) -> None:
    tf.keras.utils.set_random_seed(4)
    model = KINDS[kind]()
    model.export(tmp_path / "m.tflite", format="litert", signatures=STREAMING)
    batch = parity.sequences(model, 1, LENGTH)
    if model.partly_observed:
        observed = np.random.default_rng(1).uniform(size=batch.x.shape) < 0.6
        batch = batch._replace(observed=observed, x=np.where(observed, batch.x, np.nan))
    u, observed = ([None] * LENGTH if y is None else y[0] for y in (batch.u, batch.observed))
    given = batch.x[0, : model.given_frames] if model.given_frames else None
    context = None if batch.context is None else batch.context[0]
    stream = Stream(tmp_path / "m.tflite", context=context, given=given)
    assert stream.frame_shape == model.frame_shape and stream.latents == tuple(n.name for n in model.frame_latents)
    found = [stream.push(batch.x[0, t], u[t], u[t], observed[t]) for t in range(LENGTH)]

    tensors = model.tensors(batch._replace(x=np.nan_to_num(batch.x)))
    path = model.infer(*tensors)
    terms = model.terms(path, tensors)
    close(np.array([one.log_px for one in found]), terms.log_px[0].numpy())
    for latent in model.frame_latents:
        own = path.latents[latent.name]
        close(np.stack([one.latents[latent.name] for one in found]), latent.q.mode(own.q)[0].numpy())
        close(np.stack([one.latent_scales[latent.name] for one in found]), latent.q.scale(own.q)[0].numpy())
    drawn = stream.generate(3, None if batch.u is None else batch.u[0, :3])
    assert drawn.shape == (3, *model.frame_shape) and np.isfinite(drawn).all()


@pytest.mark.slow
def test_a_context_is_needed_where_the_model_has_one(tmp_path: Path) -> None:
    KINDS["coupling_with_context"]().export(tmp_path / "m.tflite", format="litert", signatures=STREAMING)
    for context, message in (
        (None, "has a context of 3 numbers: give `context`"),
        (np.ones(2), r"`context` must have the shape \[3\], got \[2\]"),
        (np.full(3, np.nan), "`context` holds NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            Stream(tmp_path / "m.tflite", context=context)
    stream, frame, u = Stream(tmp_path / "m.tflite", context=np.ones(3)), np.ones(4), np.ones(2)
    first = stream.push(frame, u).score
    stream.reset()
    assert stream.push(frame, u).score == first
    stream.reset(context=-np.ones(3))
    assert stream.push(frame, u).score != first


@pytest.mark.slow
def test_given_frames_are_needed_where_units_come_from_them(tmp_path: Path) -> None:
    model = KINDS["in_units_of_its_own"]()
    model.frames.scale.assign(np.full(4, 1e-4))  # nothing beside the deviations of what is given
    model.export(tmp_path / "m.tflite", format="litert", signatures=STREAMING)
    for given, message in (
        (None, "has its units from the first frames: give `given`"),
        (np.ones((2, 3)), r"`given` must have the shape \[2, 4\], got \[2, 3\]"),
        (np.ones(4), r"`given` must have the shape \[frames, 4\], got \[4\]"),
    ):
        with pytest.raises(ValueError, match=message):
            Stream(tmp_path / "m.tflite", given=given)
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(2, 4))
    stream = Stream(tmp_path / "m.tflite", given=frames)
    first = stream.push(frames[0]).latents["z"]
    stream.reset(given=1e4 * frames - 3e4)
    np.testing.assert_allclose(stream.push(1e4 * frames[0] - 3e4).latents["z"], first, rtol=1e-3)
