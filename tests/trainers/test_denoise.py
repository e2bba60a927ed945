"""`trainers.denoise`: a table over recordings, and one WAV file out of another, with a run that was trained here."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import program, smoke
from tfdvae.enhancement import Denoiser, denoise_file, make_noise, mixed
from trainers import building, denoise, train

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: the extra `speech`")
RATE = 16000
SPEAKERS = (19, 26, 103, 118, 201, 250, 254, 307, 311, 322, 328, 332)


def voice(seed: int, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    loud = np.clip(np.sin(2.0 * np.pi * (3.0 + 0.2 * seed) * time), 0.0, None)
    return 0.4 * loud * sum(np.sin(2.0 * np.pi * (110.0 + 9.0 * seed) * k * time) / k for k in range(1, 9))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a VAE's run on twelve speakers."""
    folder = tmp_path_factory.mktemp("denoise")
    for i, speaker in enumerate(SPEAKERS):
        path = folder / "data" / f"{speaker}" / "7" / f"{speaker}-7-0000.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(path, voice(i), RATE)
    options = {"test_ratio": 0.2, "limit": None, "cache_dir": str(folder / "cache")}
    config = smoke("speech_spectrogram", "vae", folder / "data", data=options, evaluation={"bounds": ("elbo",)})
    train.run(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def denoiser(finished: Path) -> Denoiser:
    return Denoiser(building.load_model(finished), rank=2, steps=4, settling=2)


@pytest.mark.slow
def test_the_table_has_a_row_per_noise_and_ratio(finished: Path, capsys: pytest.CaptureFixture) -> None:
    sizes = {"recordings": 2, "seconds": 0.9, "steps": 3, "rank": 2}
    scores = denoise.run(finished, "test", ["white", "babble"], [0.0, 10.0], **sizes)
    printed = capsys.readouterr().out
    assert (finished / "denoise_test.md").read_text() in printed
    found = json.loads((finished / "denoise_test.json").read_text())
    assert found["split"] == "test" and len(found["recordings"]) == 2
    assert {row["method"] for row in found["scores"]} == set(scores) >= {"noisy", "Wiener filter", "run"}
    noisy = {(row["noise"], row["snr_db"]): row for row in found["scores"] if row["method"] == "noisy"}
    assert set(noisy) == {(noise, snr) for noise in ("white", "babble") for snr in (0.0, 10.0)}
    assert noisy["white", 10.0]["si_sdr_db"] == pytest.approx(10.0, abs=0.3)
    assert printed.count("\n") == 2 + 4 + 1
    with pytest.raises(ValueError, match="expected other names than run twice"):
        denoise.run(finished, compare=[finished])
    with pytest.raises(ValueError, match="the table has one called 'noisy'"):
        denoise.run(finished, compare=[finished.parent / "noisy"])
    with pytest.raises(ValueError, match="Unknown split 'tests'"):
        denoise.run(finished, "tests")
    with pytest.raises(ValueError, match="No recording is as long as 99 s"):
        denoise.run(finished, seconds=99.0)


@pytest.mark.parametrize(("rate", "samples"), [(RATE, 9001), pytest.param(44100, 20001, marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_a_file_keeps_its_rate_length_and_scale(denoiser: Denoiser, tmp_path: Path, rate: int, samples: int) -> None:
    time = np.arange(samples) / rate
    clean = 0.2 * np.sin(2.0 * np.pi * 300.0 * time) * (np.sin(2.0 * np.pi * 3.0 * time) > 0.0)
    soundfile.write(tmp_path / "noisy.wav", mixed(clean, make_noise("white", samples, rate, 0), 20.0), rate)
    denoise_file(denoiser, tmp_path / "noisy.wav", tmp_path / "speech.wav")
    speech, found = soundfile.read(tmp_path / "speech.wav")
    assert (found, speech.shape) == (rate, (samples,))
    assert np.corrcoef(speech, clean)[0, 1] > 0.9 and 0.5 < speech.std() / clean.std() < 1.2


def test_files_that_cannot_be_right_are_named_and_nothing_is_written(denoiser: Denoiser, tmp_path: Path) -> None:
    wave = voice(0)
    files = {"stereo": np.stack([wave, wave], axis=1), "silent": np.zeros(RATE), "short": wave[:500], "fine": wave}
    for name, samples in files.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE)
    soundfile.write(tmp_path / "nan.wav", np.where(np.arange(RATE) == 9, np.nan, wave), RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no sound")
    out = tmp_path / "out.wav"
    for name, message in {
        "stereo": "stereo.wav has 2 channels; expected one",
        "silent": "silent.wav: Recording 0 is digital silence",
        "short": "short.wav: Recording 0 has 500 samples",
        "nan": "nan.wav holds NaN",
        "text": "text.wav is no WAV or FLAC file",
    }.items():
        with pytest.raises(ValueError, match=message):
            denoise_file(denoiser, tmp_path / f"{name}.wav", out)
    with pytest.raises(FileNotFoundError, match="no file .*none.wav"):
        denoise_file(denoiser, tmp_path / "none.wav", out)
    for target in (tmp_path / "speech.mp3", tmp_path / "fine.wav"):
        with pytest.raises(ValueError, match="another file, .wav, for the speech"):
            denoise_file(denoiser, tmp_path / "fine.wav", target)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_program_turns_one_file_into_another(finished: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noisy.wav", voice(0), RATE)
    files = ["--wav", tmp_path / "noisy.wav", "--out", tmp_path / "speech.wav"]
    result = program("denoise", "--workdir", finished, *files, "--steps", 2)
    assert result.returncode == 0, result.stderr
    assert "the speech in" in result.stdout and soundfile.info(tmp_path / "speech.wav").frames == RATE


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_recording_without_a_place_for_its_speech_is_refused(tmp_path: Path) -> None:
    alone = program("denoise", "--workdir", tmp_path, "--wav", tmp_path / "noisy.wav")
    assert alone.returncode == 1 and "--wav and --out belong together" in alone.stderr


@pytest.mark.slow
def test_recordings_are_of_as_many_speakers_as_there_are() -> None:
    waveforms = tuple(np.full(n, i, np.float32) for i, n in enumerate((9, 5, 9, 9, 9)))
    found = denoise.chosen(denoise.Utterances(waveforms, tuple("abcde"), tuple("xyxyz"), 10), 4, 8)
    assert found.names == ("a", "d", "e", "c") and found.speakers == ("x", "y", "z", "x")
    assert {len(waveform) for waveform in found.waveforms} == {8}
    with pytest.raises(ValueError, match="at least one recording"):
        denoise.chosen(found, 0, 8)
