"""Classification from latents, on sequences that are made up here."""

import json
from pathlib import Path

import numpy as np
import pytest

from tfdvae import model_files
from trainers import probe


def write(path: Path, **changed) -> Path:
    """Sequences of two classes, which differ in level."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 18), ("test", 12)):
        lengths, labels = rng.integers(4, 8, count), np.arange(count) % 2
        frames = np.repeat(labels, lengths)[:, None] + 0.2 * rng.normal(size=(lengths.sum(), 2))
        arrays |= {f"{split}_frames": frames, f"{split}_len": lengths, f"{split}_label": labels}
    np.savez(path, **{name: value for name, value in {**arrays, **changed}.items() if value is not None})
    return path


@pytest.mark.slow
def test_classes_are_told_from_latents_frames_and_both(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra `sklearn`")
    found = probe.run(write(tmp_path / "a.npz"), tmp_path / "run", "vrnn", latent_dim=2, units=4, epochs=2)
    assert list(found) == ["latents", "frames", "both"] and found["frames"] == 1.0
    assert found["latents"] > 0.6
    text = capsys.readouterr().out
    assert "vrnn, 2 classes, 18 and 12 sequences" in text and f"{found['latents']:.4f}" in text
    saved = json.loads((tmp_path / "run" / "probe.json").read_text())
    assert saved["accuracy"] == found and saved["model"] == "vrnn"
    assert model_files.load_model(tmp_path / "run" / "model.keras").latents[0].latent_dim == 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_len": None}, r"a\.npz holds no labelled sequences: it has no array 'test_len'"),
        ({"train_label": np.zeros(5)}, "must hold one number per sequence"),
        ({"train_len": np.full(18, 3)}, "the lengths add up to"),
    ],
)
def test_a_file_that_holds_something_else_is_named(tmp_path: Path, changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        probe.read_labelled(write(tmp_path / "a.npz", **changed))
