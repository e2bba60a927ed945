"""The README's examples of what is new to a reader run as they stand there, on small data."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfdvae

README = Path(__file__).resolve().parents[2] / "README.md"


def example(heading: str) -> str:
    """The first Python block of a section."""
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return section.split("```python\n", 1)[1].split("```", 1)[0]


def executed(heading: str, **given: Any) -> dict[str, Any]:
    names = {"tfdvae": tfdvae, **given}
    exec(compile(example(heading), f"README.md, {heading}", "exec"), names)
    return names


@pytest.mark.slow
def test_data_as_they_are() -> None:
    rng = np.random.default_rng(0)
    x = (50.0 + 9.0 * rng.normal(size=(4, 6, 3))).astype("float32")
    seen = rng.random(x.shape) < 0.7
    patients = rng.normal(size=(4, 2)).astype("float32")
    pictures = (rng.random((2, 3, 16, 16, 1)) < 0.5).astype("float32")
    names = executed("Data as they are", x=x, seen=seen, patients=patients, pictures=pictures)

    np.testing.assert_array_equal(names["filled"].numpy()[seen], x[seen])
    assert names["filled"].shape == x.shape
    assert np.abs(names["filled"].numpy()[~seen] - 50.0).max() < 50.0, "not in the units of x"
    assert names["video"].reconstruct(pictures).shape == pictures.shape


@pytest.mark.slow
@pytest.mark.exhaustive
def test_forecasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = functools.partial(tfdvae.recipes.forecaster, updates=2, given=3, units=4, latent_dim=2)
    monkeypatch.setattr(tfdvae.recipes, "forecaster", small)
    hours, load = np.arange(400), np.where(np.arange(400) < 352, 50.0 + 9.0 * np.sin(np.arange(400) / 4.0), np.nan)
    table = {"hour": np.datetime64("2020-01-01", "h") + hours, "load": load, "plan": hours % 5.0}
    names = executed("Forecasts", table=table, valid_from=200, test_from=270)
    assert list(names["scores"]) == ["srnn", "last value", "seasonal naive", "last 7 seasons"]
    assert names["future"].samples.shape == (100, 1, 48, 1) and (names["lower"] < names["median"]).all()
    assert np.abs(names["median"] - 50.0).max() < 50.0, "not in the units of the table"
    assert (tmp_path / "fan.png").is_file() and tfdvae.forecasting.load_forecaster("load_forecaster").seasons.given == 3


@pytest.mark.slow
@pytest.mark.exhaustive
def test_denoising(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: the extra `speech`")
    monkeypatch.chdir(tmp_path)
    recording = 0.1 * np.random.default_rng(0).normal(size=4000).astype("float32")
    soundfile.write("noisy.wav", recording, 16000, subtype="FLOAT")
    model = tfdvae.VAE(2, encoder_units=(4,), decoder_units=(4,), observation="gamma", x_scale="log")
    model(np.ones([1, 2, 513], np.float32))
    few = functools.partial(tfdvae.enhancement.Denoiser, steps=2)
    monkeypatch.setattr(tfdvae.enhancement, "Denoiser", few)
    names = executed("Denoising", model=model)
    np.testing.assert_allclose(names["speech"] + names["noise"], recording, atol=1e-6)
    assert 0.0 < np.abs(names["speech"]).max() < 1.0


@pytest.mark.slow
def test_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = functools.partial(tfdvae.VRNN, units=4, phi_x=(4,), phi_z=(4,))
    monkeypatch.setattr(tfdvae, "VRNN", small)
    rolls = (np.random.default_rng(0).random((3, 5, 6)) < 0.3).astype("float32")
    names = executed("Compression", train=rolls, test=rolls, epochs=1)
    assert [np.array_equal(x, y) for x, y in zip(rolls, names["again"].x, strict=True)] == [True] * 3
    assert (tmp_path / "curve.png").is_file() and names["frames"][0].shape == (5, 6)


@pytest.mark.slow
def test_latents() -> None:
    names = executed("Latents")
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    widths = {"categorical": 64, "flow": 16, "full": 8}
    for name, width in widths.items():
        model = names[name]
        assert model(x).shape[-1] == 4
        assert [(latent.name, latent.latent_dim) for latent in model.latents] == [("z", width)], name


@pytest.mark.slow
@pytest.mark.exhaustive
def test_anomalies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = functools.partial(tfdvae.recipes.detector, updates=2, units=4, length=16, batch_size=8)
    monkeypatch.setattr(tfdvae.recipes, "detector", small)
    hours = np.delete(np.arange(600), 70)
    value = 50.0 + 9.0 * np.sin(hours / 24.0 * 2 * np.pi) + np.random.default_rng(0).normal(size=len(hours))
    table = {"time": np.datetime64("2020-01-01", "s") + hours * np.timedelta64(3600, "s"), "value": value}
    names = executed("Anomalies", table=table, clean=500, windows=[(520, 530)])
    assert names["scores"].shape == (600,) and np.isnan(names["scores"][70])
    np.testing.assert_allclose(names["nats"], names["scores"], rtol=1e-3, atol=1e-3)
    assert (tmp_path / "alarms.png").is_file() and tfdvae.anomalies.load_detector("sensor_detector").views
