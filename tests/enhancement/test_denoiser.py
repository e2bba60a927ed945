"""EM and the denoiser: the objective rises, limits are exact, estimates those of numpy, wrong recordings named."""

import numpy as np
import pytest
import tensorflow as tf

import tfdvae
from tests.enhancement.conftest import TRANSFORM, voice
from tfdvae import random
from tfdvae.enhancement import Denoiser, LowRankNoise, Mixture, Transform, make_noise, mixed
from tfdvae.enhancement.variational_em import VariationalEM
from tfdvae.metrics import si_sdr

VOICES = [voice(seed) for seed in range(3)]
NOISY = [mixed(v, make_noise("white", len(v), TRANSFORM.rate, i), 5.0) for i, v in enumerate(VOICES)]


def frames(waveforms: list[np.ndarray]) -> tuple[tf.Tensor, tf.Tensor]:
    power = np.stack([np.square(np.abs(TRANSFORM.spectra(w))) for w in waveforms])
    return tf.constant(power), tf.ones(power.shape[:2], tf.bool)


@pytest.fixture(scope="module")
def denoiser(prior: tfdvae.DVAE) -> Denoiser:
    return Denoiser(prior, rank=2, steps=40, settling=20, learning_rate=0.2)


@pytest.fixture(scope="module")
def em(prior: tfdvae.DVAE) -> VariationalEM:
    return VariationalEM(prior, 2, 4, "frame", 10.0)


@pytest.mark.parametrize("settling", [0, 100])
@pytest.mark.slow
def test_the_objective_rises_under_the_same_noise(em: VariationalEM, settling: int) -> None:
    """With one draw for all iterations it is a function of q, W, H and g alone, and small steps climb it."""
    power, exists = frames(NOISY)
    seed = random.make_seed(0)
    search, values = em._start(power, exists, seed), []
    for step in range(25):
        learns = tf.constant(step >= settling)
        search, bound = em._iterate(power, exists, search, seed, tf.constant(step + 1.0), tf.constant(0.01), learns)
        values.append(bound.numpy())
    rises = np.diff(values, axis=0)
    assert (rises > -1e-5 * np.abs(values[0])).all() and (values[-1] - values[0] > 10.0).all()
    again = em.objective(power, exists, search, seed, 4)[0].numpy()
    assert (again >= values[-1] - 1e-5 * np.abs(values[0])).all()


def test_the_objective_is_that_of_numpy(prior: tfdvae.DVAE, em: VariationalEM) -> None:
    """log p(x | z) + log p(z) - log q(z), from the model's own posterior where nothing was moved yet."""
    power, exists = frames(NOISY)
    seed = random.make_seed(5)
    search = em._start(power, exists, seed)
    search = search._replace(mixture=search.mixture._replace(gain=search.mixture.gain * 0.7))
    bound, speech = em.objective(power, exists, search, seed, 1)
    path, _ = prior.moved_path(tfdvae.Batch(search.seen, exists), search.moves, seed)
    z, (loc, scale) = path.latents["z"].z.numpy(), (y.numpy() for y in path.latents["z"].q)
    templates, activations = (y.numpy() for y in search.mixture.noise)
    variance = 0.7 * speech.numpy()[:, 0] + activations @ templates
    expected = -(np.log(variance) + power.numpy() / variance).sum(axis=(1, 2))
    expected += (0.5 * (np.square((z - loc) / scale) - np.square(z)) + np.log(scale)).sum(axis=(1, 2))
    expected -= 10.0 * (np.log(activations) + 0.5 / activations).sum(axis=(1, 2))
    np.testing.assert_allclose(bound.numpy(), expected, rtol=1e-4)


def test_the_speech_is_the_mean_over_samples_of_wiener_filters(prior: tfdvae.DVAE, em: VariationalEM) -> None:
    power, exists = frames(NOISY)
    seed = random.make_seed(1)
    search = em._start(power, exists, seed)
    found = em._filter(exists, search, seed, 6).numpy()
    path, _ = prior.moved_path(tfdvae.Batch(search.seen, exists), search.moves, seed, 6)
    speech = np.exp(path.x.numpy()).reshape(3, 6, *power.shape[1:])
    noise = np.matmul(*(y.numpy() for y in search.mixture.noise[::-1]))
    np.testing.assert_allclose(found, (speech / (speech + noise[:, None])).mean(axis=1), rtol=1e-3)


@pytest.mark.slow
def test_without_noise_the_recording_stays(prior: tfdvae.DVAE, denoiser: Denoiser, monkeypatch) -> None:
    def silent(power: tf.Tensor, exists: tf.Tensor, uniform: tf.Tensor) -> LowRankNoise:
        return LowRankNoise(tf.zeros_like(uniform), tf.ones([*power.shape[:2], uniform.shape[1]]))

    monkeypatch.setattr("tfdvae.enhancement.variational_em.start_noise", silent)
    quiet = Denoiser(prior, steps=3, settling=3)
    recordings = [VOICES[0], 40.0 * VOICES[1][:900]]
    found = quiet.denoise(recordings)
    for waveform, speech, noise in zip(recordings, found.speech, found.noise, strict=True):
        assert speech.dtype == np.float32 and speech.shape == waveform.shape
        np.testing.assert_allclose(speech, waveform, atol=2e-4 * np.abs(waveform).max())
        np.testing.assert_array_equal(noise, waveform - speech)


@pytest.mark.slow
def test_noise_becomes_less_in_the_scale_of_the_recording_and_by_the_seed(denoiser: Denoiser) -> None:
    scales = (1.0, 0.02, 300.0)
    recordings = [scale * y for scale, y in zip(scales, NOISY, strict=True)]
    found, again = (denoiser.denoise(recordings, rate=2000, seed=4) for _ in range(2))
    np.testing.assert_array_equal(found.speech[0], again.speech[0])
    assert found.bounds.shape == (40, 3) and (found.bounds[-1] > found.bounds[0] + 100.0).all()
    for scale, noisy, clean, speech in zip(scales, NOISY, VOICES, found.speech, strict=True):
        assert si_sdr(speech, clean) > si_sdr(noisy, clean) + 3.0
        assert 0.5 * scale < np.abs(speech).max() / np.abs(clean).max() < 2.0 * scale


def test_padding_changes_nothing_of_the_start(em: VariationalEM) -> None:
    power, exists = frames([NOISY[0]])
    padded = tf.pad(power, [[0, 0], [0, 9], [0, 0]])
    longer = tf.pad(exists, [[0, 0], [0, 9]])
    seed = random.make_seed(0)
    alone, beside = em._start(power, exists, seed), em._start(padded, longer, seed)
    np.testing.assert_allclose(beside.seen[:, : power.shape[1]], alone.seen, rtol=1e-5)
    np.testing.assert_allclose(beside.mixture.noise.templates, alone.mixture.noise.templates, rtol=1e-5)


@pytest.mark.slow
def test_batches_bring_speech_in_the_order_of_the_recordings(denoiser: Denoiser) -> None:
    lengths = (1600, 800, 1200)
    found = denoiser.denoise([y[:n] for y, n in zip(NOISY, lengths, strict=True)], batch_size=2)
    assert tuple(map(len, found.speech)) == lengths
    for clean, n, speech in zip(VOICES, lengths, found.speech, strict=True):
        assert np.corrcoef(speech, clean[:n])[0, 1] > 0.8


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["rvae", "srnn", "rvae_noncausal", "dsae"])
def test_any_model_with_latents_of_normal_noise_denoises(name: str) -> None:
    options = {"units": 8} if name != "srnn" else {"units": 8, "phi_x": (8,)}
    model = tfdvae.MODELS[name](2, observation="gamma", x_scale="log", standardize=None, **options)
    power, _ = frames(VOICES)
    model.adapt(power.numpy())
    model.compile("adam")
    model.fit(power.numpy(), epochs=1, verbose=0)
    assert model.hears_frames == (name == "srnn")
    found = Denoiser(model, transform=TRANSFORM, rank=2, steps=6, settling=3, learning_rate=0.05).denoise(NOISY)
    assert (found.bounds[-1] > found.bounds[0]).all()
    assert all(np.isfinite(speech).all() for speech in found.speech)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.slow
def test_digital_silence_within_a_recording_stays_silent() -> None:
    """By a model that hears frames, and noise that may change at will: both divide by what is 0 there."""
    model = tfdvae.VRNN(2, units=4, phi_x=(4,), phi_z=(4,), observation="gamma", x_scale="log", standardize=None)
    model.build_for(33)
    recording = np.where(np.arange(400) < 200, NOISY[0][:400], 0.0).astype(np.float32)
    options = {"rank": 2, "steps": 4, "settling": 1, "steadiness": 0.0, "final_samples": 2}
    found = Denoiser(model, transform=TRANSFORM, **options).denoise([recording])
    assert np.isfinite(found.bounds).all() and np.abs(found.speech[0][:200]).max() > 0.0
    np.testing.assert_allclose(found.speech[0][300:], 0.0, atol=1e-6)


@pytest.mark.parametrize(("name", "hears"), [("vae", False), ("dkf", False), ("storn", True), ("vrnn", True)])
def test_models_say_whether_they_hear_frames(name: str, hears: bool) -> None:
    model = tfdvae.MODELS[name](2, observation="gamma", **({} if name == "vae" else {"units": 3}))
    model.build_for(4)
    assert model.hears_frames == hears


SOUND = VOICES[0]


@pytest.mark.parametrize(
    ("recordings", "options", "message"),
    [
        ([SOUND], {"rate": 16000}, "Expected recordings at 2000 Hz, got 16000 Hz"),
        ([np.stack([SOUND, SOUND])], {}, r"Recording 0: expected samples of one channel \[L\], got shape \[2, 1600\]"),
        ([SOUND, np.zeros(1600)], {}, "Recording 1 is digital silence"),
        ([SOUND, np.where(np.arange(1600) == 7, np.nan, SOUND)], {}, "Recording 1 holds NaN"),
        ([SOUND[:63]], {}, "63 samples; expected at least one window of 64 .* too short"),
        ([np.ones(2000 * 601, np.float32)], {}, "at most 600 s: cut it"),
        ([], {}, "at least one recording, got none"),
        (SOUND, {}, r"a list of waveforms; for a single one that is \[waveform\]"),
        ([np.array(["a"] * 99)], {}, "expected samples of one channel"),
        ([SOUND], {"batch_size": 0}, "`batch_size` must be"),
    ],
)
def test_recordings_that_cannot_be_right_are_named(denoiser: Denoiser, recordings, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        denoiser.denoise(recordings, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": Transform(2000, 128, 32)}, "17 features"),
        ({"transform": Transform(2000, 64, 17)}, "window_length must be even"),
        ({"gain": "loud"}, "`gain` must be one of frame, sequence, none; got 'loud'"),
        ({"rank": 0}, "`rank` must be"),
        ({"steps": -1}, "`steps` must not be negative"),
        ({"learning_rate": 0.0}, "`learning_rate` must be"),
        ({"steadiness": -1.0}, "`steadiness` must be a finite number that is not negative"),
    ],
)
def test_options_that_cannot_be_right_are_named(prior: tfdvae.DVAE, options, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("17 features", f"{prior.x_dim} features")):
        Denoiser(prior, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gain": "loud"}, "`gain` must be one of frame, sequence, none; got 'loud'"),
        ({"rank": 2.5}, "`rank` must be a whole number, got 2.5"),
        ({"num_samples": 0}, "`num_samples` must be at least 1, got 0"),
        ({"steadiness": float("nan")}, "`steadiness` must be a finite number that is not negative, got nan"),
    ],
)
def test_options_of_em_that_cannot_be_right_are_named(prior: tfdvae.DVAE, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VariationalEM(prior, **options)


def test_models_that_are_no_prior_of_power_spectra_are_refused(prior: tfdvae.DVAE) -> None:
    with pytest.raises(ValueError, match="never built"):
        Denoiser(tfdvae.VAE(2, observation="gamma"))
    gaussian = tfdvae.VAE(2)
    gaussian(np.ones([1, 2, 33], np.float32))
    with pytest.raises(ValueError, match="observation='gamma', .* got Gaussian"):
        Denoiser(gaussian)
    driven = tfdvae.VAE(2, observation="gamma")
    driven({"x": np.ones([1, 2, 33], np.float32), "u": np.ones([1, 2, 3], np.float32)})
    with pytest.raises(ValueError, match="neither inputs, context nor given frames"):
        Denoiser(driven)
    exact = tfdvae.RNN(observation="gamma")
    exact(np.ones([1, 2, 33], np.float32))
    with pytest.raises(ValueError, match="no latents of normal noise"):
        Denoiser(exact)
    with pytest.raises(ValueError, match="Expected a DVAE of clean speech, got Sequential"):
        Denoiser(tf.keras.Sequential())


def test_frames_follow_from_what_the_model_says_of_its_data(prior: tfdvae.DVAE) -> None:
    assert Denoiser(prior).transform == TRANSFORM
    unknown = tfdvae.VAE(2, observation="gamma")
    unknown(np.ones([1, 2, 65], np.float32))
    assert Denoiser(unknown).transform == Transform(16000, 128, 32)


@pytest.mark.slow
def test_known_variances_give_the_posterior_mean() -> None:
    """Where v_s and v_n are what the speech and the noise were drawn with, no other part of the mixture is nearer."""
    rng = np.random.default_rng(0)
    speech, noise = rng.gamma(0.5, size=(1, 1, 200, 9)), rng.gamma(0.5, size=(1, 200, 9))
    mixture = Mixture(LowRankNoise(tf.constant(np.eye(9)[None]), tf.constant(noise)), tf.ones([1, 200, 1], tf.float64))
    gain = tfdvae.enhancement.wiener_gain(tf.constant(speech), mixture.noise.power[:, None]).numpy()[0, 0]
    expected = speech[0, 0] / (speech[0, 0] + noise[0])
    np.testing.assert_allclose(gain, expected, atol=1e-5)

    def draw(variance: np.ndarray) -> np.ndarray:
        return np.sqrt(variance / 2.0) * (rng.normal(size=variance.shape) + 1j * rng.normal(size=variance.shape))

    s, n = draw(speech[0, 0]), draw(noise[0])

    def error(part: np.ndarray) -> float:
        return float(np.square(np.abs(part * (s + n) - s)).sum())

    assert error(gain) < min(error(gain**2), error(np.sqrt(gain)), error(np.ones_like(gain)))
