"""Training and scoring on speech, handwriting and motion: smoke variants of their configs, on data made here."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import smoke
from trainers import train


def speech(folder: Path) -> Path:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: the extra `speech`")
    rng = np.random.default_rng(0)
    for speaker in range(4):
        wave = 0.3 * np.sin(0.05 * (speaker + 1) * np.arange(16000)) + 0.01 * rng.normal(size=16000)
        path = folder / f"{speaker}" / "7" / f"{speaker}-7-0000.flac"
        path.parent.mkdir(parents=True)
        soundfile.write(path, wave, 16000)
    return folder


def archive(folder: Path, suffix: str, shape: tuple[int, ...], length: int) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "valid", "test"):
        frames = rng.normal(size=(3 * length, *shape))
        frames[..., -1] = frames[..., -1] > 0
        arrays |= {f"{split}_{suffix}": frames, f"{split}_len": np.full(3, length)}
    folder.mkdir()
    np.savez(folder / "made.npz", **arrays)
    return folder / "made.npz"


MAKERS = {
    "handwriting": lambda folder: archive(folder, "frames", (3,), 9),
    "motion": lambda folder: archive(folder, "joints", (4, 3), 110),
    "speech_spectrogram": speech,
    "speech_waveform": speech,
}
EXPERIMENTS = [
    pytest.param("speech_spectrogram", "dkf"),
    pytest.param("handwriting", "vrnn_gmm", marks=pytest.mark.exhaustive),
    pytest.param("motion", "srnn", marks=pytest.mark.exhaustive),
    pytest.param("speech_waveform", "rnn_gmm", marks=pytest.mark.exhaustive),
]


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "model"), EXPERIMENTS)
def test_a_run_is_trained_and_scored(dataset: str, model: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path / "cache"))
    config = smoke(dataset, model, MAKERS[dataset](tmp_path / "data"), training={"epochs": 1})
    workdir = tmp_path / "run"
    train.run(config, workdir)
    scores = json.loads((workdir / "scores_test.json").read_text())
    assert (scores["model"], scores["split"]) == (config.model.name, "test")
    assert scores["data"] == config.data.get("set", dataset) and scores["sequences"] > 0
    assert all(np.isfinite(value) for bound in ("elbo", "iwae") for value in scores[bound].values())
