"""The example runs at toy size."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import tfdvae

PATH = Path(__file__).resolve().parents[2] / "examples" / "denoise_speech.py"


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: the extra `speech`")
    pytest.importorskip("pystoi", reason="pystoi is not installed: the extra `speech`")
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(tfdvae.presets.speech._arguments, "rvae", {"latent_dim": 2, "units": 4, "observation": "gamma"})
    time = np.arange(16000) / 16000.0
    for speaker in range(1, 9):
        path = tmp_path / "speech" / f"{speaker}" / "7" / f"{speaker}-7-0000.flac"
        path.parent.mkdir(parents=True)
        loud = np.clip(np.sin(2.0 * np.pi * (3.0 + 0.1 * speaker) * time), 0.0, None)
        tone = sum(np.sin(2.0 * np.pi * (100.0 + 9.0 * speaker) * k * time) / k for k in range(1, 9))
        soundfile.write(path, 0.3 * loud * tone, 16000)
    spec = importlib.util.spec_from_file_location("example", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(tmp_path / "speech", tmp_path / "out", noise="babble", snr_db=10.0, epochs=1, steps=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if "SI-SDR" in line]
    assert [line.split(" SI-SDR")[0].strip() for line in lines] == ["noisy", "Wiener filter", "RVAE"]
    assert float(lines[0].split()[2]) == pytest.approx(10.0, abs=0.3)
    lengths = {soundfile.info(tmp_path / "out" / f"{name}.wav").frames for name in ("clean", "noisy", "speech")}
    assert len(lengths) == 1
