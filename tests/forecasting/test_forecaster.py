"""A forecaster from a table to quantiles: better than the last season on a series that can be learnt."""

from pathlib import Path

import keras
import numpy as np
import pytest

import tfdvae
from tfdvae.forecasting import (
    Forecaster,
    Origin,
    Seasons,
    backtest,
    baselines,
    load_forecaster,
    regular_series,
    rolling_origins,
)


def made_series(steps: int = 400):
    """Days of six steps whose height follows the known plan of the day, with noise; a second target is its mirror."""
    rng = np.random.default_rng(0)
    plan = np.repeat(rng.normal(size=-(-steps // 6)), 6)[:steps]
    shape = np.resize([0.0, 1.0, 3.0, 4.0, 2.0, 1.0], steps)
    load = 50.0 + (2.0 + plan) * shape + 0.1 * rng.normal(size=steps)
    time = np.datetime64("2022-01-03", "s") + np.arange(steps) * np.timedelta64(4, "h")
    table = {"time": time, "load": load, "mirror": -3.0 * load, "plan": plan}
    return regular_series(table, ["load", "mirror"], time="time", known=["plan"])


@pytest.fixture(scope="module")
def trained() -> Forecaster:
    found = tfdvae.recipes.forecaster(
        12, 6, given=4, calendar=("weekday",), latent_dim=2, units=16, dropout=0.0, updates=220, learning_rate=0.01
    )
    history = found.fit(made_series(), valid_from=300, batch_size=64)
    assert {"loss", "val_loss"} <= set(history.history)
    assert len(history.history["loss"]) == round(220 * 64 / (2 * (300 - 24 - 12 + 1)))
    return found


@pytest.mark.slow
def test_it_beats_the_baselines_where_there_is_something_to_learn(trained: Forecaster) -> None:
    data = made_series()
    origins = rolling_origins(data, 12, start=330, stride=6)
    scores = backtest({"srnn": trained.method(40), **baselines(6)}, data, origins, 12, season=6, scale=[1.0, 3.0])
    best = min(scores[name].up_to(12)["crps"] for name in baselines(6))
    assert scores["srnn"].up_to(12)["crps"] < 0.75 * best
    naive = scores["seasonal naive"].up_to(12)["mae"]
    assert scores["srnn"].up_to(12)["mae"] < 0.75 * naive


@pytest.mark.slow
def test_a_forecast_is_in_the_units_of_the_series_and_knows_no_future(trained: Forecaster) -> None:
    data = made_series()
    found = trained.forecast(data, [Origin(0, 350)], num_samples=30)
    assert isinstance(found, tfdvae.Forecast) and found.samples.shape == (30, 1, 12, 2)
    assert np.abs(found.quantile(0.5)[0] - data.x[0][350:362]).max(axis=0)[1] < 15.0
    np.testing.assert_allclose(found.samples.mean(axis=0), found.mean, atol=12.0)
    again = trained.forecast(data.until(350), num_samples=30)
    np.testing.assert_array_equal(again.samples, found.samples)


@pytest.mark.slow
def test_it_comes_back_from_its_folder(trained: Forecaster, tmp_path: Path) -> None:
    trained.save(tmp_path / "saved")
    found = load_forecaster(tmp_path / "saved")
    assert found.seasons == trained.seasons and found.updates == 220
    data = made_series()
    expected, again = (f.forecast(data, [Origin(0, 350)], num_samples=3) for f in (trained, found))
    np.testing.assert_allclose(again.samples, expected.samples, rtol=1e-5)
    (tmp_path / "saved" / "seasons.json").write_text('{"season": "x", "lags": [], "calendar": [], "updates": 3}')
    with pytest.raises(ValueError, match=r"seasons\.json does not say how windows are cut"):
        load_forecaster(tmp_path / "saved")
    with pytest.raises(FileNotFoundError):
        load_forecaster(tmp_path / "nothing")


def test_what_does_not_fit_is_said_before_training(trained: Forecaster) -> None:
    data = made_series(100)
    with pytest.raises(ValueError, match=r"takes units from 4 frames, and windows give 3"):
        Forecaster(trained.model, trained.seasons._replace(given=3)).fit(data)
    with pytest.raises(ValueError, match="beyond the known covariates"):
        trained.forecast(made_series())
    with pytest.raises(ValueError, match="a horizon of 12 steps, asked for 13"):
        trained.method()(made_series(), [Origin(0, 300)], 13)
    with pytest.raises(ValueError, match="No series has 12 steps from step 24 on and before step 30"):
        trained.fit(data, valid_from=30)


def test_the_recipe_takes_any_model_and_observation() -> None:
    found = tfdvae.recipes.forecaster(
        7, 7, given=2, calendar=(), model="vrnn", observation="gaussian_mixture", separate=False, scheduled_sampling=0.2
    )
    assert isinstance(found.model, tfdvae.VRNN) and found.model.frames.given_frames == 2
    assert isinstance(found.model.observation, tfdvae.observations.GaussianMixture)
    assert found.seasons == Seasons(7, 7, 2, (), (), None, False) and found.model.scheduled_sampling == 0.2
    assert tfdvae.recipes.forecaster(24).model.cell.inference == "filter"
    with pytest.raises(ValueError, match="Unknown model 'lstm'"):
        tfdvae.recipes.forecaster(24, model="lstm")
    with pytest.raises(ValueError, match="lag of 12 steps is not known"):
        tfdvae.recipes.forecaster(24, lags=(12,))


@pytest.mark.slow
def test_the_same_seed_trains_the_same_forecaster() -> None:
    series = made_series(90)

    def weights(seed: int, of_process: int) -> np.ndarray:
        keras.utils.set_random_seed(of_process)
        found = tfdvae.recipes.forecaster(12, 6, given=2, latent_dim=2, units=4, updates=6)
        found.fit(series, batch_size=16, seed=seed)
        return np.concatenate([y.ravel() for y in found.model.get_weights()])

    first = weights(3, of_process=0)
    np.testing.assert_array_equal(weights(3, of_process=1), first)
    assert np.abs(weights(4, of_process=0) - first).max() > 1e-6


def test_what_is_no_series_is_refused() -> None:
    made = tfdvae.recipes.forecaster(12, 6, given=4, latent_dim=2, units=3)
    for verb in (made.fit, made.forecast):
        with pytest.raises(TypeError, match="Expected a TimeSeries of tfdvae.data.regular_series, got NoneType"):
            verb(None)
