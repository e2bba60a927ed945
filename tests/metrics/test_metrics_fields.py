"""SI-SDR against its definition, PESQ and ESTOI by their packages, and the error of joints."""

import sys

import numpy as np
import pytest

from tfdvae.metrics import estoi, mpjpe, pesq, si_sdr, speech_scores

RATE = 16000


def voice(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    """Harmonics and breath whose loudness changes by syllables, with pauses: enough to find speech in."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * 140 * k * time + rng.uniform(0, 6)) / k for k in range(1, 20))
    wave = wave + rng.normal(size=len(time)) * np.clip(np.sin(2 * np.pi * 1.7 * time + 1.0), 0.1, None)
    return 0.1 * wave * np.clip(np.sin(2 * np.pi * 2.5 * time), 0.02, None)


def test_si_sdr_of_noise_that_is_orthogonal() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(3, 400))
    noise = rng.normal(size=(3, 400))
    noise -= (noise * reference).sum(-1, keepdims=True) / np.square(reference).sum(-1, keepdims=True) * reference
    for scale in (0.01, 0.5, 3.0):
        expected = 10 * np.log10(np.square(reference).sum(-1) / np.square(scale * noise).sum(-1))
        np.testing.assert_allclose(si_sdr(reference + scale * noise, reference), expected, rtol=1e-9)
        np.testing.assert_allclose(si_sdr(-7.0 * (reference + scale * noise), 0.1 * reference), expected, rtol=1e-9)
    assert si_sdr(reference[0] + noise[0], reference[0]).shape == ()


def test_si_sdr_at_its_ends() -> None:
    assert si_sdr([2.0, 4.0], [1.0, 2.0]) == np.inf
    assert si_sdr([2.0, -1.0], [1.0, 2.0]) == -np.inf
    # The mean counts: it is not subtracted.
    assert si_sdr([1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("estimate", "reference", "message"),
    [
        (np.ones(3), np.zeros(3), "not defined for silence"),
        (np.zeros(3), np.ones(3), "not defined for silence"),
        (np.ones(3), np.ones(4), r"Expected waveforms of one shape \[\.\.\., L\]"),
        (np.array([1.0, np.nan]), np.ones(2), "must be finite"),
        (np.ones(0), np.ones(0), "Expected waveforms"),
    ],
)
def test_si_sdr_of_what_is_no_pair(estimate, reference, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        si_sdr(estimate, reference)


def test_estoi_is_one_for_the_original_and_falls_with_noise() -> None:
    pytest.importorskip("pystoi", reason="pystoi is not installed: the extra `speech`")
    x = voice()
    noise = np.random.default_rng(1).normal(size=len(x))
    values = [estoi(x + level * noise, x) for level in (0.0, 0.01, 0.3)]
    assert values[0] == pytest.approx(1.0, abs=1e-6) and values[0] > values[1] > values[2]
    with pytest.raises(ValueError, match=r"ESTOI cannot be computed for these 0\.10 s of audio"):
        estoi(x[:1600], x[:1600])
    with pytest.raises(ValueError, match=r"one waveform \[L\] at a time"):
        estoi(x[None], x[None])


def test_pesq_is_highest_for_the_original_and_falls_with_noise() -> None:
    pytest.importorskip("pesq", reason="pesq is not installed: the extra `pesq`, which needs a C compiler")
    x = voice()
    noise = np.random.default_rng(1).normal(size=len(x))
    values = [pesq(x + level * noise, x) for level in (0.0, 0.002, 0.05)]
    # The best wide-band score of P.862.2.
    assert values[0] == pytest.approx(4.644, abs=1e-3) and values[0] > values[1] > values[2] > 0.9
    assert pesq(x[::2], x[::2], rate=8000) == pytest.approx(4.549, abs=1e-3)
    with pytest.raises(ValueError, match="defined at 16000 and 8000 Hz; got 44100"):
        pesq(x, x, rate=44100)
    with pytest.raises(ValueError, match="PESQ cannot be computed"):
        pesq(x[:2000], x[:2000])


def test_all_three_per_recording() -> None:
    pytest.importorskip("pesq", reason="pesq is not installed: the extra `pesq`, which needs a C compiler")
    pytest.importorskip("pystoi", reason="pystoi is not installed: the extra `speech`")
    x, y = voice(1.2), voice(1.0, seed=2)
    noisy = [a + 0.02 * np.random.default_rng(3).normal(size=len(a)) for a in (x, y)]
    scores = speech_scores(noisy, [x, y])
    assert scores.pesq.shape == (2,)
    assert scores.si_sdr_db[1] == pytest.approx(si_sdr(noisy[1], y))
    assert scores.estoi[0] == pytest.approx(estoi(noisy[0], x)) and scores.pesq[0] == pytest.approx(pesq(noisy[0], x))
    with pytest.raises(ValueError, match="Recording 1: SI-SDR is not defined"):
        speech_scores([x, y], [x, 0.0 * y])
    with pytest.raises(ValueError, match="as many estimates as references, got 1 and 2"):
        speech_scores([x], [x, y])


@pytest.mark.parametrize(("measure", "package", "extra"), [(pesq, "pesq", "pesq"), (estoi, "pystoi", "speech")])
def test_without_the_package_the_error_says_what_to_install(measure, package: str, extra: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package}: pip install \"tfdvae\[{extra}\]\""):
        measure(voice(), voice())


def test_the_error_of_joints_in_millimetres() -> None:
    x = np.zeros((2, 3, 6))
    prediction = x.copy()
    prediction[0, 0] = [0.003, 0.004, 0.0, 0.0, 0.0, 0.012]
    assert mpjpe(prediction, x) == pytest.approx((5.0 + 12.0) / 12)
    assert mpjpe(prediction, x, mm_per_unit=1.0) == pytest.approx(17.0 / 12 / 1000)
    mask = np.zeros((2, 3), bool)
    mask[0, :2] = True
    assert mpjpe(prediction, x, mask) == pytest.approx(17.0 / 4)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 4, 12))
    total = sum(np.sqrt(np.sum((a[i, t, 3 * j : 3 * j + 3] - b[i, t, 3 * j : 3 * j + 3]) ** 2))
                for i in range(5) for t in range(4) for j in range(4))  # fmt: skip
    assert mpjpe(a, b, mm_per_unit=1.0) == pytest.approx(total / 80)


@pytest.mark.parametrize(
    ("prediction", "x", "mask", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), None, "Expected positions of one shape"),
        (np.zeros((2, 4)), np.zeros((2, 4)), None, "Expected positions of one shape"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2, bool), "with a frame that counts"),
        (np.zeros((2, 3)), np.zeros((2, 3)), np.ones(3, bool), "Expected a mask"),
    ],
)
def test_positions_that_cannot_be_compared(prediction, x, mask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mpjpe(prediction, x, mask)
