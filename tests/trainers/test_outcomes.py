"""Outcomes told from latents: stays in intensive care that are made up here, of which the feverish end badly."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import smoke, write_stays
from tfdvae.data import ICU_VARIABLES
from trainers import impute, outcomes, train

STAYS, EVENTS = 64, 40


def archive(path: Path, deaths: np.ndarray | None = None) -> Path:
    """Every second patient has a fever, and dies where nothing else is said."""
    rng, feverish = np.random.default_rng(0), np.arange(STAYS) % 2 == 1
    minute = rng.integers(0, 2881, (STAYS, EVENTS))
    value = 36.5 + 3.0 * feverish[:, None] + 0.2 * rng.normal(size=minute.shape)
    alike = np.tile(np.float32([50, 0, 170, 1, 80]), (STAYS, 1))
    death = (feverish if deaths is None else deaths).astype(np.int8)
    return write_stays(
        path, minute, np.full_like(minute, ICU_VARIABLES.index("Temp")), value, static=alike, death=death
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "icu"
    path = archive(tmp_path_factory.mktemp("icu") / "stays.npz")
    sizes = {"num_train": 22, "num_valid": 20, "max_sequences": None}
    train.run(smoke("icu", "srnn", path, data=sizes, training={"epochs": 2}), workdir)
    return workdir


@pytest.mark.slow
def test_an_outcome_is_told_from_latents_and_from_frames(finished: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra `sklearn`")
    found = outcomes.run(finished)
    filled = [f"frames, {way}" for way in ("by the model", *impute.SIMPLE_METHODS)]
    assert list(found) == ["latents", *filled, "covariates"]
    assert min(found[way] for way in filled) > 0.95
    assert found["covariates"] == 0.5
    assert found["latents"] > 0.7
    text = capsys.readouterr().out
    assert "srnn on icu, split test, death in hospital, 11 of 22 sequences" in text
    assert f"{found['latents']:.4f}" in text
    saved = json.loads((finished / "outcomes.json").read_text())
    assert saved["auroc"] == found and (saved["outcome"], saved["split"]) == ("death in hospital", "test")
    outcomes.run(finished, split="valid")
    assert json.loads((finished / "outcomes_valid.json").read_text())["split"] == "valid"
    with pytest.raises(ValueError, match="Unknown split 'train': expected one of test, valid"):
        outcomes.run(finished, split="train")


@pytest.mark.slow
def test_what_cannot_be_told_is_said(finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra `sklearn`")
    config = json.loads((finished / "config.json").read_text())
    other = Path(config["data"]["path"])
    kept = other.read_bytes()
    try:
        archive(other, np.zeros(STAYS))
        with pytest.raises(ValueError, match="is 0 times in the 22 sequences of split .train.: too few"):
            outcomes.run(finished)
    finally:
        other.write_bytes(kept)
    train.run(smoke("dot", "latent_lds", None, training={"epochs": 1}), tmp_path / "dot")
    with pytest.raises(ValueError, match=r"Nothing is known of what came of 'dot': expected one of \['icu'\]"):
        outcomes.run(tmp_path / "dot")
