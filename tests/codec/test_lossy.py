"""Sequences with loss: what the writer saw comes out, and bits buy accuracy."""

import numpy as np
import pytest

import tfdvae
from tests.codec.subjects import SMALL, built, equal, of_kind, waves
from tfdvae import codec
from tfdvae.data import from_arrays


@pytest.fixture(scope="module")
def moving() -> tfdvae.data.Sequences:
    rng = np.random.default_rng(0)
    return from_arrays([np.sin(np.arange(t)[:, None] / 3.0 + rng.uniform(0, 6, [1, 3])) for t in (7, 4, 9, 6)])


@pytest.fixture(scope="module")
def vrnn(moving: tfdvae.data.Sequences) -> tfdvae.VRNN:
    """Latents that the frames hang on: trained for a few updates."""
    model = built(tfdvae.VRNN(2, phi_x=(8,), phi_z=(8,), observation="identity_gaussian", **SMALL), moving)
    model.compile("adam", beta=0.01)
    model.optimizer.learning_rate = 1e-2
    model.fit(moving, epochs=60, batch_size=4, verbose=0)
    return model


@pytest.mark.slow
def test_what_the_writer_saw_comes_out(vrnn: tfdvae.VRNN, moving: tfdvae.data.Sequences) -> None:
    coded, frames = codec.compress_lossy(vrnn, moving, step=0.5)
    assert [len(x) for x in frames] == moving.lengths.tolist()
    assert equal(codec.decompress(vrnn, coded), tfdvae.data.Sequences(frames))
    assert coded.initial_bits == 0 and coded.header.kind == "lossy"


@pytest.mark.slow
def test_small_steps_are_the_reconstruction_that_hears_itself(vrnn: tfdvae.VRNN, moving: tfdvae.data.Sequences) -> None:
    """With steps that round nothing away, the path is that of `reconstruct(mode="generation")`."""
    _, frames = codec.compress_lossy(vrnn, moving, step=0.001)
    expected = vrnn.reconstruct(moving, mode="generation").numpy()
    for x, own in zip(frames, expected, strict=True):
        np.testing.assert_allclose(x, own[: len(x)], atol=2e-3)


@pytest.mark.slow
def test_more_bits_buy_a_smaller_error(vrnn: tfdvae.VRNN, moving: tfdvae.data.Sequences) -> None:
    points = codec.rate_distortion(vrnn, moving, steps=(0.25, 4.0, 64.0))
    assert [point.step for point in points] == [0.25, 4.0, 64.0]
    rates, errors = [p.bits_per_frame for p in points], [p.squared_error for p in points]
    assert rates[0] > 1.5 * rates[1] > 1.5 * rates[2] > 0.0
    assert errors[0] < errors[1] < errors[2]


def test_latents_of_classes(eagerly: None) -> None:
    sequences = waves(3, 4, 3, 7)
    groups = {"class_name": "categorical", "config": {"classes": 4}}
    rssm = built(tfdvae.RSSM(8, family=groups, observation="bernoulli", **SMALL), sequences)
    coded, frames = codec.compress_lossy(rssm, sequences)
    assert equal(codec.decompress(rssm, coded), tfdvae.data.Sequences(frames))
    assert coded.header.steps == {}


@pytest.mark.slow
def test_what_cannot_be_compressed(vrnn: tfdvae.VRNN, moving: tfdvae.data.Sequences) -> None:
    observation, sequences = of_kind("gaussian")
    with pytest.raises(ValueError, match="no latents to quantise"):
        codec.compress_lossy(built(tfdvae.RNN(observation=observation, **SMALL), sequences), sequences)
    for step in (0.0, -1.0, float("nan"), 1e4):
        with pytest.raises(ValueError, match="`step` must be from 0.001 to 1000"):
            codec.compress_lossy(vrnn, moving, step)
    with pytest.raises(ValueError, match="`step` must be from 0.001 to 1000"):
        codec.rate_distortion(vrnn, moving, (1.0, 0.0))
