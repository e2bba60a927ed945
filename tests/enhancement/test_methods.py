"""Methods without a model, and their scores."""

import numpy as np
import pytest

from tests.enhancement.conftest import TRANSFORM, voice
from tfdvae.enhancement import (
    NoisySpeech,
    Transform,
    decision_directed,
    noisy_speech,
    score_methods,
    score_table,
    spectral_gating,
    unchanged,
)
from tfdvae.metrics import si_sdr

RATE = 10000
TRANSFORM_OF_SCORES = Transform(RATE, 256, 64)


def speechlike(seed: int, length: int = RATE) -> np.ndarray:
    time = np.arange(length) / RATE
    loud = np.clip(np.sin(2.0 * np.pi * (4.0 + 0.3 * seed) * time), 0.02, None)
    return (0.3 * loud * sum(np.sin(2.0 * np.pi * (120 + 7 * seed) * k * time) for k in range(1, 9))).astype(np.float32)


@pytest.fixture(scope="module")
def tests() -> list[NoisySpeech]:
    pytest.importorskip("pystoi", reason="pystoi is not installed: the extra `speech`")
    return noisy_speech([speechlike(0), speechlike(1)], ["a", "b"], RATE, ["white", "hum"], [0.0, 10.0], seed=3)


def test_decision_directed_filters_are_those_of_the_equations() -> None:
    """With hops of whole windows' quarter and numpy alone."""
    noisy = (voice(0) + 0.02 * np.random.default_rng(0).normal(size=1600)).astype(np.float32)
    x = TRANSFORM.spectra(noisy).astype(np.complex128)
    power = np.abs(x) ** 2
    quiet = power[np.argsort(power.sum(axis=1))[: len(power) // 10]].mean(axis=0) + 1e-10 * power.mean()
    expected, before = [], 0.0
    for frame in x:
        xi = np.maximum(0.98 * before / quiet + 0.02 * np.maximum(np.abs(frame) ** 2 / quiet - 1.0, 0.0), 10**-2.5)
        expected.append(frame * xi / (xi + 1.0))
        before = np.abs(expected[-1]) ** 2
    (found,) = decision_directed([noisy], TRANSFORM)
    np.testing.assert_allclose(found, TRANSFORM.waveform(np.array(expected), 1600), atol=1e-6)


def test_scores_are_those_of_the_metrics_and_a_filter_gains(tests: list[NoisySpeech]) -> None:
    seen = []

    def watched(waveforms, transform):
        seen.append(len(waveforms))
        return unchanged(waveforms, transform)

    scores = score_methods({"noisy": watched, "filter": decision_directed}, tests, TRANSFORM_OF_SCORES)
    assert seen == [8] and list(scores) == ["noisy", "filter"]
    for test, own, filtered in zip(tests, scores["noisy"], scores["filter"], strict=True):
        expected = [si_sdr(*pair) for pair in zip(test.noisy, test.clean, strict=True)]
        np.testing.assert_allclose(own.si_sdr_db, expected)
        np.testing.assert_allclose(own.si_sdr_db, test.snr_db, atol=0.3)
        assert filtered.si_sdr_db.mean() > own.si_sdr_db.mean() + 2.0
        assert filtered.seconds > 0.0 and own.estoi.shape == (2,)


def test_the_table_has_a_row_per_test_and_one_for_all(tests: list[NoisySpeech]) -> None:
    scores = score_methods({"noisy": unchanged}, tests, TRANSFORM_OF_SCORES)
    lines = score_table(tests, scores).splitlines()
    assert lines[0] == "| noise | SNR, dB | noisy |" and len(lines) == 2 + len(tests) + 1
    first = scores["noisy"][0]
    assert lines[2] == f"| white | 0 | {first.si_sdr_db.mean():.2f} / {first.estoi.mean():.3f} |"
    assert lines[-1].startswith("| all |  | ") and first.pesq is None


def test_a_method_that_returns_other_lengths_is_named(tests: list[NoisySpeech]) -> None:
    with pytest.raises(ValueError, match="short did not return a waveform of the same length for each of 8"):
        score_methods({"short": lambda given, _: [y[1:] for y in given]}, tests, TRANSFORM_OF_SCORES)


@pytest.mark.slow
def test_spectral_gating_keeps_lengths_and_takes_noise_away(tests: list[NoisySpeech]) -> None:
    pytest.importorskip("noisereduce", reason="noisereduce is not installed: the extra `enhancement`")
    found = spectral_gating(tests[0].noisy, TRANSFORM_OF_SCORES)
    for speech, noisy in zip(found, tests[0].noisy, strict=True):
        assert speech.shape == noisy.shape and speech.dtype == np.float32
        assert np.square(speech).mean() < 0.8 * np.square(noisy).mean()
