"""The M-step and the Wiener gain against numpy, in float64; noise of low rank is found again."""

import numpy as np
import pytest
import tensorflow as tf

from tfdvae.enhancement import LowRankNoise, Mixture, log_likelihood, updated, wiener_gain
from tfdvae.enhancement.noise_model import FLOOR, log_steadiness, quiet_spectrum, start_noise

RNG = np.random.default_rng(0)
SIZES = {"B": 2, "K": 3, "T": 12, "F": 7, "R": 2}


def gamma(*axes: str, shape: float = 1.0) -> np.ndarray:
    return RNG.gamma(shape, size=[SIZES[axis] for axis in axes])


def problem() -> tuple[Mixture, np.ndarray, np.ndarray, np.ndarray]:
    noise = LowRankNoise(tf.constant(gamma("B", "R", "F")), tf.constant(gamma("B", "T", "R")))
    mixture = Mixture(noise, tf.constant(0.5 + gamma("B", "T")[..., None]))
    exists = np.ones([SIZES["B"], SIZES["T"]], bool)
    exists[1, 9:] = False
    return mixture, 4.0 * gamma("B", "T", "F"), gamma("B", "K", "T", "F", shape=0.5), exists


def likelihood(mixture: Mixture, power: np.ndarray, speech: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Mean over K, sum over frames that exist, `[B]`, in numpy."""
    templates, activations, gain = (y.numpy() for y in (*mixture.noise, mixture.gain))
    variance = gain[:, None] * speech + (np.einsum("btr,brf->btf", activations, templates) + FLOOR)[:, None]
    terms = -(np.log(variance) + power[:, None] / variance) * exists[:, None, :, None]
    return terms.sum(axis=(2, 3)).mean(axis=1)


@pytest.mark.parametrize(("gain", "steadiness"), [("frame", 0.0), ("sequence", 3.0), ("none", 0.0), ("frame", 20.0)])
def test_no_update_lets_the_objective_fall(gain: str, steadiness: float) -> None:
    mixture, power, speech, exists = problem()

    def objective() -> np.ndarray:
        level = mixture.noise.activations.numpy()
        held = (np.log(level) + 1.0 / (SIZES["R"] * level)) * exists[..., None]
        return likelihood(mixture, power, speech, exists) - steadiness * held.sum(axis=(1, 2))

    start, values = mixture, [objective()]
    for _ in range(40):
        mixture = updated(mixture, tf.constant(power), tf.constant(speech), tf.constant(exists), gain, steadiness)
        values.append(objective())
    prior = log_steadiness(mixture.noise, tf.constant(exists), steadiness)
    np.testing.assert_allclose(likelihood(mixture, power, speech, exists) + prior, values[-1])
    rises = np.diff(values, axis=0)
    assert (rises > -1e-10).all() and (rises[0] > 1.0).all()
    ratio = mixture.gain.numpy() / start.gain.numpy()
    if gain == "none":
        np.testing.assert_array_equal(ratio, 1.0)
    spread = np.ptp(ratio[0], axis=0)
    assert (spread > 0.01) if gain == "frame" else (spread < 1e-12)
    np.testing.assert_array_equal(mixture.noise.activations.numpy()[1, 9:], start.noise.activations.numpy()[1, 9:])


@pytest.mark.slow
def test_steadiness_holds_noise_to_one_level() -> None:
    mixture, power, speech, exists = problem()
    arguments = (tf.constant(power), tf.constant(speech), tf.constant(exists), "none")
    spreads = []
    for steadiness in (0.0, 100.0, 1e6):
        found = mixture
        for _ in range(60):
            found = updated(found, *arguments, steadiness)
        spreads.append(np.ptp(found.noise.activations.numpy()[0], axis=0).max())
    assert spreads[0] > 1.0 > 0.3 > spreads[1] > 1e-3 > spreads[2]


def test_it_is_at_rest_where_the_model_is_exact() -> None:
    mixture, _, speech, exists = problem()
    speech = speech[:, :1]
    power = mixture.variance(tf.constant(speech))[:, 0]
    after = updated(mixture, power, tf.constant(speech), tf.constant(exists), "frame")
    for old, new in zip(tf.nest.flatten(mixture), tf.nest.flatten(after), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-9)


def test_the_likelihood_is_that_of_complex_gaussians() -> None:
    mixture, power, speech, exists = problem()
    found = log_likelihood(tf.constant(power)[:, None], mixture.variance(tf.constant(speech)))
    expected = likelihood(mixture, power, speech, exists)
    np.testing.assert_allclose((found.numpy() * exists[:, None]).sum(axis=2).mean(axis=1), expected)
    x, v = 0.3 - 0.4j, 0.7
    both = -0.5 * np.log(2.0 * np.pi * v / 2.0) * 2.0 - 0.5 * (x.real**2 + x.imag**2) / (v / 2.0)
    one = log_likelihood(tf.constant([abs(x) ** 2]), tf.constant([v]))
    np.testing.assert_allclose(one - np.log(np.pi), both, rtol=1e-6)


def test_the_gain_is_the_best_linear_estimate() -> None:
    """Of s from x = s + n with known variances, by regression over many draws."""
    speech, noise = np.array([0.2, 1.0, 5.0]), np.array([1.0, 1.0, 0.5])
    s, n = (
        np.sqrt(v / 2.0) * (RNG.normal(size=(200000, 3)) + 1j * RNG.normal(size=(200000, 3))) for v in (speech, noise)
    )
    best = (s * (s + n).conj()).mean(axis=0).real / np.square(np.abs(s + n)).mean(axis=0)
    np.testing.assert_allclose(wiener_gain(tf.constant(speech), tf.constant(noise)), best, atol=0.01)
    np.testing.assert_array_equal(wiener_gain(tf.constant(speech), tf.zeros(3, tf.float64)), 1.0)


@pytest.mark.slow
def test_noise_of_low_rank_is_found_again_under_known_speech() -> None:
    rng = np.random.default_rng(3)
    length, bins = 300, 24
    shapes = np.stack([np.exp(-0.5 * np.square((np.arange(bins) - c) / 3.0)) + 0.01 for c in (5, 17)])
    truth = rng.gamma(0.7, size=(length, 2)) @ shapes
    speech = np.zeros([length, bins])
    speech[:, 8:14] = 3.0 * (rng.random(length) < 0.5)[:, None]
    power = rng.exponential(size=truth.shape) * (truth + speech)
    exists = tf.ones([1, length], tf.bool)
    noise = start_noise(tf.constant(power[None]), exists, tf.constant(rng.random((1, 2, bins))))
    mixture = Mixture(noise, tf.ones([1, length, 1], tf.float64))

    def error(found: LowRankNoise) -> float:
        return float(np.abs(np.log(found.power.numpy()[0]) - np.log(truth)).mean())

    before = error(noise)
    for _ in range(150):
        mixture = updated(mixture, tf.constant(power[None]), tf.constant(speech[None, None]), exists, "none")
    assert error(mixture.noise) < 0.35 < 2.0 * 0.35 < before


def test_the_quiet_spectrum_is_of_the_quiet_frames_that_exist() -> None:
    power = gamma("B", "T", "F") * np.linspace(9.0, 1.0, SIZES["T"])[:, None] ** 4
    exists = np.ones([2, SIZES["T"]], bool)
    exists[1, 5:] = False
    found = quiet_spectrum(tf.constant(power), tf.constant(exists)).numpy()
    for row, count in ((0, SIZES["T"]), (1, 5)):
        own = power[row, :count]
        np.testing.assert_allclose(found[row], own[np.argmin(own.sum(axis=-1))])
    long = RNG.gamma(1.0, size=(1, 40, 3))
    expected = long[0][np.argsort(long[0].sum(axis=-1))[:4]].mean(axis=0)
    np.testing.assert_allclose(quiet_spectrum(tf.constant(long), tf.ones([1, 40], tf.bool))[0], expected)


@pytest.mark.slow
def test_frames_of_digital_silence_have_neither_noise_nor_speech() -> None:
    mixture, power, speech, exists = problem()
    power[:, 4] = 0.0
    for _ in range(3):
        mixture = updated(mixture, tf.constant(power), tf.constant(speech), tf.constant(exists), "frame")
    np.testing.assert_array_equal(mixture.noise.activations.numpy()[:, 4], 0.0)
    np.testing.assert_array_equal(mixture.gain.numpy()[:, 4], 0.0)
    assert all(np.isfinite(y).all() for y in (*mixture.noise, mixture.gain))
    np.testing.assert_array_equal(log_steadiness(mixture.noise, tf.constant(exists), 0.0), 0.0)
