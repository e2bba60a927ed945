"""Scoring imputation on data most of which was never measured: stays in intensive care that are made up here."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.trainers.helpers import smoke, write_stays
from tfdvae.data import Splits, from_arrays
from trainers import building, impute, train

STAYS = 16
METHODS = ["mean", "forward fill", "linear interpolation", "Kalman smoother", "modes of latents", "impute (samples)"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 events of four variables in each stay."""
    rng, shape = np.random.default_rng(0), (STAYS, 60)
    minute, param = rng.integers(0, 2881, shape), rng.choice([0, 5, 14, 29], shape)
    return write_stays(tmp_path_factory.mktemp("icu") / "stays.npz", minute, param, rng.normal(36.0, 2.0, shape))


@pytest.fixture(scope="module")
def finished(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "icu"
    train.run(smoke("icu", "srnn", path, training={"epochs": 1}), workdir)
    return workdir


@pytest.mark.slow
def test_a_run_on_partly_observed_data_is_scored_beside_simpler_ways(
    finished: Path, capsys: pytest.CaptureFixture
) -> None:
    model = building.load_model(finished)
    assert model.partly_observed and model.context_dim == 12
    np.testing.assert_allclose(model.frames.shift[1], 0.0)  # never measured
    assert 34.0 < model.frames.shift[0] < 38.0 and 1.0 < model.frames.scale[0] < 4.0
    table = impute.run(finished, rates=(0.1, 0.5))
    assert list(table) == [0.1, 0.5] and list(table[0.1]) == METHODS
    assert len({error.count for error in table[0.1].values()}) == 1
    assert table[0.1]["mean"].count < table[0.5]["mean"].count
    text = capsys.readouterr().out
    assert "srnn on icu" in text and "10% of observed" in text
    line = next(line for line in text.splitlines() if line.startswith("linear interpolation"))
    error = table[0.1]["linear interpolation"]
    assert line.split()[2:5] == [f"{error.mae:.4f}", "/", f"{error.rmse:.4f}"]
    saved = json.loads((finished / "imputation.json").read_text())
    assert saved["errors"]["0.5"] == {name: error._asdict() for name, error in table[0.5].items()}
    assert (saved["model"], saved["data"], saved["sequences"]) == ("srnn", "icu", 4)
    assert list(impute.run(finished, split="valid")) == [0.1]
    assert json.loads((finished / "imputation_valid.json").read_text())["split"] == "valid"
    with pytest.raises(ValueError, match=r"between 0 and 1, got \[1.5\]"):
        impute.run(finished, rates=(1.5,))
    with pytest.raises(ValueError, match="Unknown split 'dev': expected one of train, valid, test"):
        impute.run(finished, split="dev")


def splits() -> Splits:
    rng = np.random.default_rng(1)

    def part(count: int):
        x = [2.0 + 3.0 * rng.normal(size=(length, 3)) for length in rng.integers(3, 9, count)]
        return from_arrays(x, observed=[rng.random(y.shape) < 0.5 for y in x])

    return Splits(part(30), part(5), part(7))


@pytest.mark.slow
def test_a_model_sees_what_is_kept_and_is_scored_at_what_is_hidden() -> None:
    data, seen = splits(), []

    def constant(x, mask, observed, **options):
        seen.append((x, mask, observed))
        return SimpleNamespace(numpy=lambda: np.full(x.shape, 5.0), mean=SimpleNamespace(numpy=lambda: x + 2.0))

    model = SimpleNamespace(reconstruct=constant, impute=constant)
    found = impute.score_held_out(model, data.test, data.train, rate=0.3, batch_size=4)
    x, mask, observed = (np.concatenate([batch[i] for batch in seen[:2]]) for i in range(3))
    truth = np.zeros(x.shape)
    known = np.zeros(x.shape, bool)
    for row, (values, measured) in enumerate(zip(data.test.x, data.test.observed, strict=True)):
        truth[row, : len(values)], known[row, : len(values)] = values, measured
    hidden = known & ~observed
    assert hidden.sum() == round(0.3 * known.sum()) and not (observed & ~known).any()
    assert not (observed & ~mask[..., None]).any()
    assert (x[~observed] == 0.0).all() and (x[observed] == truth[observed].astype(np.float32)).all()
    train, measured = np.concatenate(data.train.x), np.concatenate(data.train.observed)
    scale = np.array([train[measured[:, d], d].std() for d in range(3)])
    for name, estimate in (("modes of latents", 5.0), ("impute (samples)", 2.0)):
        errors = ((estimate - truth) / scale)[hidden]
        assert found[name].mae == pytest.approx(np.abs(errors).mean(), rel=1e-5)
        assert found[name].rmse == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)
        assert found[name].count == hidden.sum()


@pytest.mark.slow
def test_simple_methods_see_the_steps_within_frames() -> None:
    """Two features of frames of four steps are lines in time, which interpolation finds and frames would not show."""
    steps = np.stack([np.arange(24.0), 50.0 - 2.0 * np.arange(24.0)], axis=-1)
    frames = np.moveaxis(steps.reshape(6, 4, 2), -1, -2).reshape(6, 8)
    data = from_arrays([frames] * 2, observed=[np.ones(frames.shape, bool)] * 2)

    def constant(x, **options):
        return SimpleNamespace(numpy=lambda: x, mean=SimpleNamespace(numpy=lambda: x))

    model = SimpleNamespace(reconstruct=constant, impute=constant)
    by_steps, by_frames = (
        impute.score_held_out(model, data, data, rate=0.05, seed=3, season=season) for season in (4, 1)
    )
    assert by_steps["linear interpolation"].mae < 1e-6 and by_frames["linear interpolation"].mae > 0.1
    assert by_steps["forward fill"].mae < 0.3 * by_frames["forward fill"].mae
