"""What is built around models refuses what it cannot use in its own words: detectors, denoisers, the codec."""

from typing import Any

import numpy as np
import pytest

import tfdvae
from tests.gate.support import D
from tfdvae.anomalies import Detector, Learning, Views
from tfdvae.data import regular_series
from tfdvae.enhancement import Transform
from tfdvae.enhancement.waveforms import checked_recordings

SERIES = regular_series({"t": np.arange(12.0), "a": np.sin(np.arange(12.0))}, ["a"], time="t")


@pytest.fixture(scope="module")
def model() -> tfdvae.DVAE:
    made = tfdvae.RNN(units=3, phi_x=(), decoder_units=(), observation="bernoulli", standardize=None)
    made.build_for(D)
    return made


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: d.score("abc"), TypeError, "Expected a TimeSeries .*, or a list of them, got str"),
        (lambda d: d.score(None), TypeError, "Expected a TimeSeries .*, or a list of them, got NoneType"),
        (lambda d: d.score([]), ValueError, "got an empty list"),
        (lambda d: d.follow(SERIES, stop=2.5), ValueError, "`stop` must be a whole number, got 2.5"),
        (lambda d: d.follow(SERIES, stop="a"), ValueError, "`stop` must be a whole number, got 'a'"),
        (lambda d: d.stream(0.5), ValueError, "`index` must be a whole number, got 0.5"),
        (lambda d: Detector(None), TypeError, "Expected a DVAE to score by, got NoneType"),
        (lambda d: Detector(d.model, Learning(length=2.5)), ValueError, "`length` must be a whole number, got 2.5"),
        (lambda d: Detector(d.model, Learning(updates=0)), ValueError, "`updates` must be at least 1, got 0"),
        (lambda d: Detector(d.model, Learning(season="a")), ValueError, "`season` must be a whole number, got 'a'"),
    ],
)
def test_detectors(model: tfdvae.DVAE, call: Any, error: type, message: str) -> None:
    detector = Detector(model, views=[Views((0.0,), (1.0,), 0, 5, ())])
    with pytest.raises(error, match=message):
        call(detector)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Expected frames of shape .*, or a dict with 'x'; got None"),
        ({"x": None}, "Expected frames of shape .*, or a dict with 'x'; got None"),
        ({}, r"Expected a dict with 'x' and optionally 'mask', .*, got the keys \[\]"),
        ({"x": np.ones([1, 2, D]), 1: 1}, r"got the keys \['1', 'x'\]"),
        ([1.0], r"Expected frames of shape .*, got shape \[1\]"),
        ([[1.0, [2.0]]], "Expected arrays of numbers"),
    ],
)
def test_the_codec(model: tfdvae.DVAE, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tfdvae.codec.compress(model, given)


def test_the_codec_names_what_is_no_model_and_no_code(model: tfdvae.DVAE) -> None:
    with pytest.raises(TypeError, match="Expected a DVAE to code by, got NoneType"):
        tfdvae.codec.compress(None, np.ones([1, 2, D]))
    with pytest.raises(
        TypeError, match="Expected a model and what `compress` or `read_coded` returned, got .* and bytes"
    ):
        tfdvae.codec.decompress(model, b"words")
    for step in ("a", np.nan, None):
        with pytest.raises(ValueError, match="`step` must be from 0.001 to 1000"):
            tfdvae.codec.compress_lossy(model, np.ones([1, 2, D]), step=step)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "Expected a list of waveforms, got NoneType"),
        ("a.wav", "Expected a list of waveforms, got str"),
        ([[1.0, [2.0]]], "Recording 0: expected samples of one channel"),
    ],
)
def test_recordings(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_recordings(given, Transform(16000, 8, 2), None)


@pytest.mark.parametrize("names", [3, None, object()])
def test_names_of_data(names: Any) -> None:
    with pytest.raises(TypeError, match="`features` must be names, got"):
        tfdvae.DataDescription(features=names).checked()


def test_a_swap_is_told_whether_to_sample() -> None:
    for made in (tfdvae.DSAE(2, global_dim=2, units=3), tfdvae.FHVAE(2, global_dim=2, units=3)):
        with pytest.raises(ValueError, match="`sample` must be True or False, got 'no'"):
            made.swap(np.zeros([1, 2, D]), np.zeros([1, 2, D]), sample="no")
