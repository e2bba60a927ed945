"""What the tables on simulated data measure, on few made sequences."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from tests import turns
from tests.trainers.helpers import smoke
from tfdvae.metrics import best_of_samples, linear_r2, squared_error_per_frame, video_scores
from trainers import building, loading, predict, regress, train
from trainers.scoring import Score, Scores
from trainers.tables import TABLES, Finished
from trainers.tables.healing import missing_pixels
from trainers.tables.regimes import matching
from trainers.tables.simulated import partners


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def finished(dataset: str, model: str, folder: Path, **sections) -> Finished:
    config = smoke(dataset, model, training={"epochs": 1}, **sections)
    return Finished(config, *train.run(config, folder / "run"))


def test_partners_are_the_next_of_other_physics() -> None:
    constants = np.array([[4.0, 0.1], [4.0, 0.1], [16.0, 0.1], [4.0, 0.1], [4.0, 0.2]])
    np.testing.assert_array_equal(partners(constants), [2, 2, 3, 4, 0])
    with pytest.raises(ValueError, match="different physics"):
        partners(np.ones([3, 2]))


@pytest.mark.slow
def test_physics_are_measured_by_whose_v_a_forecast_has(tmp_path: Path) -> None:
    data = {"num_valid": 12, "num_test": 9, "max_sequences": None, "length": 9}
    run = finished("pendulum", "dssm", tmp_path, data=data)
    found = TABLES["physics"].measure(run)
    simulated = loading.load_simulated(run.config.data)
    x, u = (np.stack(y) for y in (simulated.splits.test.x, simulated.splits.test.u))
    options = {"u": u[:, :3], "future_u": u[:, 3:], "horizon": 6, "seed": 0}

    def error(v: np.ndarray | None) -> float:
        forecast = run.model.forecast(x[:, :3], latents=None if v is None else {"v": v}, **options)
        return squared_error_per_frame(np.asarray(forecast.mean), x[:, 3:])

    assert found["own v"] == pytest.approx(error(None))
    assert found["no v"] == pytest.approx(error(np.zeros([9, run.model.cell.global_dim])))
    assert found["swapped v"] not in (found["own v"], found["no v"])
    assert found["last frame"] == pytest.approx(np.square(x[:, 3:] - x[:, 2:3]).sum(-1).mean(), rel=1e-5)
    v = {
        s: np.asarray(run.model.encode(np.stack(y.x), u=np.stack(y.u))["v"].loc)
        for s, y in simulated.splits._asdict().items()
    }
    gravity = {split: simulated.constants[split][:, :1] for split in v}
    expected = linear_r2(v["valid"], gravity["valid"], v["test"], gravity["test"])
    assert found["gravity from v"] == pytest.approx(float(expected[0]))
    on_valid = TABLES["physics"].measure(run._replace(split="valid"))
    expected = linear_r2(v["train"], gravity["train"], v["valid"], gravity["valid"])
    assert on_valid["gravity from v"] == pytest.approx(float(expected[0]))
    x = np.stack(simulated.splits.valid.x)
    assert on_valid["last frame"] == pytest.approx(np.square(x[:, 3:] - x[:, 2:3]).sum(-1).mean(), rel=1e-5)


@pytest.mark.slow
def test_regimes_are_matched_on_the_validation_split(tmp_path: Path) -> None:
    found, true = np.array([[0, 0, 1], [2, 2, 0]]), np.array([[2, 2, 0], [1, 1, 2]])
    np.testing.assert_array_equal(matching(found, true, 3), [2, 0, 1])
    # Each name is used once, though two of what was found agree best with the same.
    np.testing.assert_array_equal(matching(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 1, 1, 0]), 2), [1, 0])
    # Of three true ones two were found.
    np.testing.assert_array_equal(matching(np.array([0, 1, 1]), np.array([2, 0, 0]), 2), [2, 0])
    run = finished("nascar", "switching_lds", tmp_path, data={"num_train": 20, "num_valid": 6, "max_sequences": None})
    found = TABLES["regimes"].measure(run)
    simulated = loading.load_simulated(run.config.data)
    labels = {s: run.model.segment(np.stack(y.x)).path.numpy() for s, y in simulated.splits._asdict().items()}
    true = {split: simulated.truth[split][..., 2].astype(int) for split in labels}
    for known, split in (("valid", "test"), ("train", "valid")):
        names = matching(labels[known][:, 1:], true[known][:, 1:], 4)
        accuracy = TABLES["regimes"].measure(run._replace(split=split))["accuracy"]
        assert accuracy == pytest.approx(100 * (names[labels[split]] == true[split])[:, 1:].mean())
    # Places tell where the car is, but for the borders.
    assert 60.0 < found["k-means, frames"] <= 100.0 and found["k-means, pairs"] > 60.0
    assert found["ELBO"] == pytest.approx(run.scores.elbo.nats_per_frame)


@pytest.mark.exhaustive
def test_the_pendulum_is_regressed_from_latents_and_from_states(tmp_path: Path) -> None:
    run = finished("pendulum", "rssm", tmp_path)
    found, on_valid = (TABLES["pendulum"].measure(run._replace(split=split)) for split in ("test", "valid"))
    for states in (False, True):
        expected, width = regress.regressed(run.config, run.model, states=states)
        other, _ = regress.regressed(run.config, run.model, states=states, split="valid")
        assert {name: on_valid[f"{name}, states" if states else name] for name in other} == other != expected
        assert width == 2 + states * run.model.cell.units
        assert {name: found[f"{name}, states" if states else name] for name in expected} == expected
    assert found["sin"] != found["sin, states"]


@pytest.mark.exhaustive
def test_spikes_are_scored_by_bounds_and_by_the_oscillator(tmp_path: Path) -> None:
    table = TABLES["spikes"]
    assert len({row.labels for row in table.rows}) == len(table.rows)
    run = finished("spikes", "dkf", tmp_path)
    found = table.measure(run)
    assert set(found) == {column.name for column in table.columns}
    assert (found["ELBO"], found["importance-sampled"]) == (
        run.scores.elbo.nats_per_frame,
        run.scores.iwae.nats_per_frame,
    )
    simulated = loading.load_simulated(run.config.data)
    means, states = [], []
    for split in ("valid", "test"):
        z = run.model.encode(np.stack(getattr(simulated.splits, split).x))["z"].loc
        means.append(np.asarray(z)[:, 1:].reshape(-1, run.model.latent_dim))
        states.append(simulated.truth[split][:, 1:].reshape(-1, 2))
    expected = linear_r2(means[0], states[0], means[1], states[1])
    np.testing.assert_allclose([found["oscillator 1"], found["oscillator 2"]], expected, rtol=1e-5)


@pytest.mark.slow
def test_the_dot_is_regressed_by_its_place_and_its_way() -> None:
    config = smoke("dot", "latent_lds")
    simulated = loading.load_simulated(config.data)
    model = building.build_model(config)
    building.build_for(model, config, simulated.splits.train)
    found, width = regress.regressed(config, model, skip=2)
    means = [model.encode(np.stack(split.x))["z"].loc.numpy()[:, 2:].reshape(-1, 2) for split in simulated.splits[1:]]
    states = [simulated.truth[split][:, 2:].reshape(-1, 2) for split in ("valid", "test")]
    expected = linear_r2(means[0], states[0], means[1], states[1])
    assert width == 2 and list(found) == ["position", "velocity"]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-4)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A file of three pictures of noise, for training and for tests."""
    images = np.random.default_rng(0).integers(256, size=(3, 28, 28), dtype=np.uint8)
    kinds = {"images": images, "labels": np.arange(3)}
    np.savez(tmp_path / "digits.npz", **{f"{s}_{what}": y for s in ("train", "test") for what, y in kinds.items()})
    return tmp_path / "digits.npz"


def missing_nll(p: np.ndarray, x: np.ndarray) -> float:
    """Of pixels that are 1 with probabilities p, nats, a mean."""
    return -float(np.log(np.clip(np.where(x == 1.0, p, 1.0 - p), 1e-6, 1.0)).mean())


@pytest.mark.slow
def test_missing_pixels_are_scored_against_what_is_there(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smoke("healing_digits", "gpvae", digits)
    model, splits = building.build_model(config), loading.load_splits(config.data)
    building.build_for(model, config, splits.train)
    scores = Scores("gpvae", "healing_digits", "test", 4, 32, 4, elbo=Score(-2.0, -2.5, -16.0))
    run = Finished(config, model, splits, scores)
    model.partly_observed = True  # as training leaves it
    monkeypatch.setattr("trainers.tables.healing.SAMPLES", 3)
    monkeypatch.setattr("trainers.tables.healing.CHUNK", 3)
    found = TABLES["healing"].measure(run)
    assert config.data.missing_rate == 0.6
    config.data.missing_rate = 0.0
    truth = np.stack(loading.load_splits(config.data).test.x)
    x, observed = (np.stack(y) for y in (run.splits.test.x, run.splits.test.observed))
    parts = [run.model.impute(x[i : i + 3], observed=observed[i : i + 3], num_samples=3, seed=i).mean for i in (0, 3)]
    p, missing = np.concatenate(parts)[~observed], truth[~observed]
    assert 0.3 < missing.mean() < 0.7 and not x[~observed].any()
    assert found["NLL"] == pytest.approx(missing_nll(p, missing), rel=1e-4)
    assert found["squared error"] == pytest.approx(np.square(p - missing).mean(), rel=1e-4)
    seen = [np.concatenate(y) for y in (splits.train.x, splits.train.observed)]
    means = np.broadcast_to(seen[0].sum(axis=0) / seen[1].sum(axis=0), truth.shape)[~observed]
    assert found["squared error, means"] == pytest.approx(np.square(means - missing).mean(), rel=1e-4)
    assert found["NLL, means"] == pytest.approx(missing_nll(means, missing), rel=1e-4)
    assert found["ELBO"] == -2.0


def test_a_pixel_that_is_sure_and_wrong_costs_a_finite_number() -> None:
    mean, truth = np.array([[[0.0, 1.0, 0.25]]]), np.array([[[1.0, 1.0, 0.0]]])
    found = missing_pixels(mean, truth, np.array([[[True, True, False]]]))
    assert found == {"NLL": pytest.approx(-np.log(1e-6) / 2.0, rel=1e-5), "squared error": 0.5}


@pytest.mark.slow
def test_digits_are_scored_after_the_given_frames(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = smoke(
        "moving_digits", "rssm", digits, training={"epochs": 1}, model={"frame_encoder": None, "frame_decoder": None}
    )
    config.data.digit_size = 7
    run = Finished(config, *train.run(config, tmp_path / "run"))
    monkeypatch.setattr("trainers.tables.video.SAMPLES", 3)
    found = TABLES["video"].measure(run)
    x = np.stack(run.splits.test.x).reshape(4, 8, 12, 12, 1)
    forecast = run.model.forecast(x[:, :5], horizon=3, num_samples=3, seed=0)
    for what, scores in (
        ("mean", video_scores(np.asarray(forecast.mean), x[:, 5:])),
        ("best", best_of_samples(np.asarray(forecast.samples), x[:, 5:])),
    ):
        assert found[f"SSIM, {what}"] == pytest.approx(scores.ssim.mean(), rel=1e-5)
        assert found[f"PSNR, {what}"] == pytest.approx(scores.psnr.mean(), rel=1e-5)
    assert found["ELBO"] == pytest.approx(run.scores.elbo.nats_per_frame)


@pytest.mark.exhaustive
def test_balls_are_predicted_one_frame_ahead(tmp_path: Path) -> None:
    run = finished("bouncing_balls", "vrnn", tmp_path, data={"window": None})
    found = TABLES["bouncing-balls"].measure(run)
    errors, _ = predict.predicted(run.model, np.stack(run.splits.test.x), None, num_samples=8)
    assert found == {"squared error": errors.model, "frame before": errors.previous_frame, "line": errors.straight_line}


@pytest.mark.parametrize("model", turns.params(["draw", "vae"], always=["draw"]))
@pytest.mark.slow
def test_drawn_digits_are_scored_per_picture(model: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = {"images": rng.integers(256, size=(8, 28, 28), dtype=np.uint8), "labels": np.arange(8)}
    path = tmp_path / "digits.npz"
    np.savez(path, **{f"{s}_{what}": y for s in ("train", "test") for what, y in kinds.items()})
    config = smoke("mnist", model, path, training={"epochs": 1})
    run = Finished(config, *train.run(config, tmp_path / "run"), tmp_path / "run")
    found = TABLES["draw"].measure(run)
    assert found == {
        "-log p(x) <=": pytest.approx(-run.scores.elbo.nats_per_frame),
        "importance-sampled": pytest.approx(-run.scores.iwae.nats_per_frame),
    }
    pictures = sorted(p.name for p in (tmp_path / "run").glob("*.png"))
    expected = ["drawing.png", "imagined.png"] if model == "draw" and importlib.util.find_spec("matplotlib") else []
    assert pictures == expected
