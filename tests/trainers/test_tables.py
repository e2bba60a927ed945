"""What the tables measure, on data made here."""

from pathlib import Path

import numpy as np
import pytest

from tests import turns
from tests.trainers.helpers import smoke
from tests.trainers.test_field_programs import MAKERS
from tfdvae.metrics import SpeechScores, diagnose, si_sdr
from trainers import reproduce, train
from trainers.tables import TABLES, Finished, resynthesis


def finished(dataset: str, model: str, folder: Path, **data) -> Finished:
    config = smoke(dataset, model, MAKERS[dataset](folder / "data"), training={"epochs": 1}, data=data)
    return Finished(config, *train.run(config, folder / "run"))


@pytest.mark.slow
def test_motion_is_measured_in_both_modes(tmp_path: Path) -> None:
    run = finished("motion", "srnn", tmp_path)
    found = TABLES["motion"].measure(run)
    x = np.stack(run.splits.test.x)
    joints = [*x.shape[:2], -1, 3]
    for heading, mode in (("MPJPE, mm", "teacher_forced"), ("MPJPE, mm, own output", "generation")):
        apart = np.asarray(run.model.reconstruct(x, mode=mode)) - x
        expected = 1000.0 * np.linalg.norm(apart.reshape(joints), axis=-1).mean()
        assert found[heading] == pytest.approx(expected, rel=1e-5)
    assert found["MPJPE, mm"] != found["MPJPE, mm, own output"]
    assert found["active dimensions"] == diagnose(run.model, np.stack(run.splits.valid.x))["z"].active.sum()


@pytest.mark.slow
def test_speech_is_measured_as_waveforms_with_the_phase_of_the_original(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path / "cache"))
    run = finished("speech_spectrogram", "vae", tmp_path)

    def measured(own: list, originals: list, rate: int) -> SpeechScores:
        assert rate == 16000
        np.testing.assert_allclose([np.abs(y).max() for y in originals], 1.0, rtol=1e-6)
        ratios = np.array([si_sdr(*pair) for pair in zip(own, originals, strict=True)])
        return SpeechScores(ratios, np.full(len(own), 2.0), np.full(len(own), 0.5))

    monkeypatch.setattr(resynthesis, "speech_scores", measured)
    found = TABLES["speech-resynthesis"].measure(run)
    assert (found["PESQ"], found["ESTOI, own output"]) == (2.0, 0.5)
    assert np.isfinite(found["SI-SDR, dB"]) and found["SI-SDR, dB"] < 20.0
    monkeypatch.setattr(run.model, "reconstruct", lambda x, mode: x)
    assert TABLES["speech-resynthesis"].measure(run)["SI-SDR, dB"] > 60.0


@pytest.mark.parametrize("model", turns.params(["rnn", "vrnn"], always=["vrnn"]))
@pytest.mark.slow
def test_pens_are_scored_per_sequence_and_per_frame(model: str, tmp_path: Path) -> None:
    run = finished("handwriting", model, tmp_path)
    found = TABLES["handwriting"].measure(run)
    frames = np.mean(run.splits.test.lengths)
    assert found["IS, per sequence"] == pytest.approx(found["IS, per frame"] * frames, rel=1e-5)
    if model == "rnn":
        assert found["ELBO, per frame"] is None
    else:
        assert found["ELBO, per frame"] == pytest.approx(run.scores.elbo.nats_per_frame)


@pytest.mark.slow
def test_a_missing_package_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    table = TABLES["motion"]._replace(needs=(("no_such_package", "speech"),))
    with pytest.raises(ImportError, match=r'needs no_such_package: pip install "tfdvae\[speech\]"'):
        reproduce.run(table, tmp_path / "results")
    assert not (tmp_path / "results").exists()
