"""Made noises have the spectra that their names say, follow from their seeds, and are mixed at the ratio asked for."""

import numpy as np
import pytest

from tests.enhancement.conftest import TRANSFORM, voice
from tfdvae.enhancement import NOISES, make_noise, mixed, noisy_speech

RATE = 8000
VOICES = [voice(seed) for seed in range(8)]


def band(noise: np.ndarray, low: float, high: float) -> float:
    frequencies = np.fft.rfftfreq(len(noise), 1.0 / RATE)
    return float(np.square(np.abs(np.fft.rfft(noise)))[(frequencies >= low) & (frequencies < high)].sum())


@pytest.mark.parametrize("name", sorted(NOISES))
def test_noise_follows_from_its_seed_and_has_unit_power(name: str) -> None:
    first, again, other = (make_noise(name, 4000, RATE, seed, VOICES) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1 and first.shape == (4000,)
    assert np.square(first).mean() == pytest.approx(1.0)


def test_octaves_have_equal_power_in_pink_noise_and_double_in_white() -> None:
    white, pink = (make_noise(name, 1 << 16, RATE, 0) for name in ("white", "pink"))
    assert band(white, 1000, 2000) / band(white, 500, 1000) == pytest.approx(2.0, rel=0.1)
    assert band(pink, 1000, 2000) / band(pink, 500, 1000) == pytest.approx(1.0, rel=0.1)


def test_hum_is_at_multiples_of_fifty_hertz() -> None:
    hum = make_noise("hum", 4 * RATE, RATE, 0)
    lines = sum(band(hum, 50.0 * k - 2.0, 50.0 * k + 2.0) for k in range(1, 13))
    assert lines > 0.95 * band(hum, 0.0, RATE)
    assert band(hum, 48.0, 52.0) > 2.0 * band(hum, 98.0, 102.0)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_speech_stands_above_noise_by_the_ratio(snr_db: float) -> None:
    speech = VOICES[0]
    noise = mixed(speech, make_noise("pink", len(speech), RATE, 0), snr_db).astype(np.float64) - speech
    ratio = 10.0 * np.log10(np.square(speech, dtype=np.float64).sum() / np.square(noise).sum())
    assert ratio == pytest.approx(snr_db, abs=1e-3)


def test_babble_is_of_other_speakers_and_noise_the_same_at_all_ratios() -> None:
    names = [f"speaker {i % 7}" for i in range(8)]
    tests = noisy_speech(VOICES[:1], names[:1], TRANSFORM.rate, ["babble"], [0.0, 10.0], 0, (VOICES, names))
    weak, strong = (tests[i].noisy[0].astype(np.float64) - VOICES[0] for i in (1, 0))
    np.testing.assert_allclose(weak * np.sqrt(10.0), strong, atol=1e-5)
    # All six other speakers are in it, and no other: its own and its double are left out.
    level = [np.sqrt(np.square(v).mean()) for v in VOICES]
    starts = np.random.default_rng(0)
    parts = []
    for i in starts.choice(6, 6, replace=False):
        own = VOICES[1:7][i].astype(np.float64)
        parts.append(np.roll(own, -starts.integers(len(own))) / level[1:7][i])
    made = np.sum(parts, axis=0)
    assert np.corrcoef(made, strong)[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_noise("brown", 10, RATE, 0), "Unknown noise 'brown': expected one of babble, hum, pink, white"),
        (lambda: make_noise("babble", 10, RATE, 0, VOICES[:5]), "at least 6 other speakers, got 5"),
        (lambda: make_noise("white", 0, RATE, 0), "`length` must be"),
        (lambda: mixed(np.zeros(9), np.ones(9), 0.0), "Silence cannot be mixed"),
        (lambda: mixed(np.ones(9), np.ones(8), 0.0), "one shape"),
    ],
)
def test_what_cannot_be_made_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
