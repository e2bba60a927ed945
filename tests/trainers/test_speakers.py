"""Speakers from latents of whole sequences, and swapped voices, on recordings made here."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import smoke
from tfdvae.data import from_arrays, numbered, pad, windows
from trainers import loading, train
from trainers.tables import TABLES, Finished
from trainers.tables.speakers import nearest_neighbours

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: the extra `speech`")


def speech(folder: Path) -> Path:
    """One recording of two training speakers and of a validation speaker each, two of two test speakers each."""
    rng = np.random.default_rng(0)
    for split, speaker, count in (("train", 0, 1), ("train", 1, 1), ("valid", 2, 1), ("test", 3, 2), ("test", 4, 2)):
        for i in range(count):
            wave = 0.3 * np.sin(0.05 * (speaker + 1) * np.arange(9000 + 500 * i)) + 0.01 * rng.normal(
                size=9000 + 500 * i
            )
            path = folder / split / f"{speaker}" / "7" / f"{speaker}-7-000{i}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wave, 16000)
    return folder


@pytest.mark.parametrize("model", ["fhvae", pytest.param("dsae", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_speakers_are_told_from_latents_and_voices_are_written(model: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path / "cache"))
    config = smoke(
        "speech_spectrogram", model, speech(tmp_path / "data"), training={"epochs": 1}, data={"num_frames": 15}
    )
    if model == "fhvae":
        config.model.update(num_sequences=2, segment_length=4)
    run = Finished(config, *train.run(config, tmp_path / "run"), tmp_path)
    found = TABLES["speakers"].measure(run)
    assert found["chance, %"] == pytest.approx(100.0 / 3.0)
    # Tones of two heights are no riddle.
    assert found["from mean log spectra, %"] == 100.0
    name = {"fhvae": "mu2", "dsae": "v"}[model]
    means = np.concatenate([run.model.encode(x[None])[name].loc for x in run.splits.test.x])
    distances = np.square(means[:, None] - means).sum(-1) + np.diag([np.inf] * 4)
    assert found["test recordings, %"] == 100.0 * np.mean(distances.argmin(1) // 2 == np.arange(4) // 2)
    assert found["ELBO"] == run.scores.elbo.nats_per_frame
    waves = {path.stem: soundfile.read(path) for path in tmp_path.glob("*.wav")}
    assert set(waves) == {"3", "4", "3_as_4", "4_as_3"}
    for own, other in (("3", "4"), ("4", "3")):
        (original, rate), (changed, _) = waves[own], waves[f"{own}_as_{other}"]
        assert rate == 16000 and original.shape == changed.shape
        assert np.abs(changed).max() == pytest.approx(1.0, abs=1e-3) and np.abs(changed - original).max() > 0.01


def test_nearest_neighbours_are_others() -> None:
    features = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    assert nearest_neighbours(features, list("aabbb")) == (100.0, pytest.approx(100.0 * (2 * 1 + 3 * 2) / 5 / 4))
    assert nearest_neighbours(features, list("ababb"))[0] == pytest.approx(20.0)


@pytest.mark.slow
def test_windows_have_the_number_of_their_recording() -> None:
    whole = from_arrays([np.zeros([5, 2]), np.zeros([3, 2])], names=["a[1]", "b"])
    cut = windows(whole, 2)
    assert loading.origins(windows(cut, 1)) == ["a[1]"] * 5 + ["b"] * 3
    assert loading.numbered_by_origin(cut).index == windows(numbered(whole), 2).index == (0, 0, 0, 1, 1)
    np.testing.assert_array_equal(pad(numbered(whole).take([1, 0]))["sequence_index"], [1, 0])
    assert numbered(cut, ["x", "y", "x", "z", "y"]).index == (0, 1, 0, 2, 1)
    with pytest.raises(ValueError, match="one name per sequence, 5; got 1"):
        numbered(cut, ["x"])
