"""Spectrograms against sums written out, the way back to a waveform, and the rule of silence."""

import numpy as np
import pytest
import scipy.signal

from tfdvae.data import istft, peak_normalised, power_spectrogram, resynthesise, stft, trim_silence
from tfdvae.data.spectrograms import num_stft_frames


def noise(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


@pytest.mark.parametrize(("length", "window", "hop"), [(1, 8, 2), (57, 8, 2), (64, 8, 4), (4099, 1024, 256)])
def test_the_way_back_is_exact(length: int, window: int, hop: int) -> None:
    x = noise(length)
    spectra = stft(x, window, hop)
    assert spectra.shape == (num_stft_frames(length, window, hop), window // 2 + 1)
    np.testing.assert_allclose(istft(spectra, length, window, hop), x, atol=2e-6)
    np.testing.assert_allclose(resynthesise(power_spectrogram(x, window, hop), x, window, hop), x, atol=2e-6)


def test_spectra_are_sums_over_windows_with_zeros_around() -> None:
    x, window, hop = noise(23), 8, 2
    sine = np.sin(np.pi * (np.arange(window) + 0.5) / window)
    spectra = stft(x, window, hop)
    for t in range(len(spectra)):
        first = (t + 1) * hop - window
        segment = [x[i] if 0 <= i < len(x) else 0.0 for i in range(first, first + window)]
        for f in range(window // 2 + 1):
            waves = np.exp(-2j * np.pi * f * np.arange(window) / window)
            np.testing.assert_allclose(spectra[t, f], np.sum(sine * segment * waves), atol=1e-5)
    assert len(spectra) * hop >= len(x) + window - hop > (len(spectra) - 1) * hop


def test_spectra_are_those_of_scipy() -> None:
    x = noise(4096)
    _, _, expected = scipy.signal.stft(
        np.concatenate([np.zeros(768), x, np.zeros(768)]), window=scipy.signal.windows.cosine(1024), noverlap=768,
        nperseg=1024, boundary=None, padded=False,
    )  # fmt: skip
    scale = scipy.signal.windows.cosine(1024).sum()
    np.testing.assert_allclose(stft(x), expected.T * scale, atol=2e-4)


def test_resynthesis_takes_magnitudes_from_one_and_phases_from_the_other() -> None:
    x = noise(600)
    power = power_spectrogram(x, 64, 16)
    np.testing.assert_allclose(resynthesise(9.0 * power, x, 64, 16), 3.0 * x, atol=1e-5)
    assert resynthesise(np.ones_like(power), np.zeros(600), 64, 16).shape == (600,)


def test_spectrograms_that_fit_nothing_are_refused() -> None:
    x = noise(100)
    with pytest.raises(ValueError, match=r"Expected spectra \[\d+, 5\] for 90 samples.*got \[53, 5\]"):
        istft(stft(x, 8, 2), 90, 8, 2)
    with pytest.raises(ValueError, match="Expected a power spectrogram"):
        resynthesise(np.ones((3, 5)), x, 8, 2)
    power = power_spectrogram(x, 8, 2)
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="at least 0; got negative ones or NaN"):
            resynthesise(np.full_like(power, bad), x, 8, 2)
    for window, hop in ((9, 3), (8, 3), (8, 8), (8, 0)):
        with pytest.raises(ValueError, match="even and at least twice hop_length"):
            stft(x, window, hop)
    with pytest.raises(ValueError, match=r"A waveform is \[L\]"):
        stft(np.ones((2, 9)))
    with pytest.raises(ValueError, match="digital silence"):
        peak_normalised(np.zeros(9, np.float32))


def test_the_peak_is_one() -> None:
    np.testing.assert_allclose(peak_normalised(np.array([0.1, -0.4], np.float32)), [0.25, -1.0])


def test_silence_at_both_ends_goes_and_that_in_the_middle_stays() -> None:
    tone = np.sin(0.3 * np.arange(8000)).astype(np.float32)
    x = np.concatenate([1e-3 * noise(10000), tone, np.zeros(9000), tone, 1e-3 * noise(7000)]).astype(np.float32)
    start, end = trim_silence(x, 30.0)
    # A window of 2048 sees a tone of amplitude 1 at 30 dB below it as soon as it holds a thousandth of one window.
    assert 10000 - 1024 - 512 <= start <= 10000
    assert 35000 <= end <= 35000 + 1024 + 512
    assert (start % 512, end % 512) == (0, 0)
    # The far weaker noise counts where the threshold is below it.
    assert trim_silence(x, 80.0) == (0, len(x))


@pytest.mark.slow
def test_the_rule_of_silence_written_out() -> None:
    x = noise(6000) * np.exp(-np.square((np.arange(6000) - 3000) / 700.0)).astype(np.float32)
    padded = np.pad(x, 1024)
    loudness = []
    for centre in range(0, len(x) + 1, 512):
        loudness.append(20 * np.log10(max(1e-5, np.sqrt(np.mean(np.square(padded[centre : centre + 2048]))))))
    sounding = [i for i, value in enumerate(loudness) if value > max(loudness) - 12.0]
    assert trim_silence(x, 12.0) == (sounding[0] * 512, min(6000, (sounding[-1] + 1) * 512))
    with pytest.raises(ValueError, match="above 0 dB"):
        trim_silence(x, 0.0)
