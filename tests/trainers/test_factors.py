"""Faces that see the same film: what the table measures, and the factorisation that it compares with."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import smoke
from tfdvae.data import simulate_faces
from trainers import building, loading
from trainers.scoring import Score, Scores
from trainers.tables import TABLES, Finished
from trainers.tables.factors import Factorisation, recovered


def test_factors_are_told_whatever_their_order_sign_and_size() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=[50, 3])
    assert recovered(true[:, [2, 0, 1]] * [-3.0, 0.1, 2.0] + 5.0, true) == pytest.approx(1.0)
    found = np.stack([true[:, 1], np.ones(50)], axis=1)
    # Two true factors are left with a constant, which tells nothing.
    assert recovered(found, true) == pytest.approx(1.0 / 3.0)
    mixed = true[:, :1] + true[:, 1:2]
    expected = max(abs(np.corrcoef(mixed[:, 0], true[:, k])[0, 1]) for k in range(3)) / 3.0
    assert recovered(mixed, true) == pytest.approx(expected)


def test_what_is_a_product_is_factorised_and_filled_in() -> None:
    rng = np.random.default_rng(1)
    individuals, times, means = rng.normal(size=[60, 2, 3]), rng.normal(size=[12, 2, 3]), rng.normal(size=[12, 3])
    x = means + np.einsum("ikd,tkd->itd", individuals, times)
    seen = rng.uniform(size=x.shape[:2]) > 0.2
    found = Factorisation(np.where(seen[:40, :, None], x[:40], 99.0), seen[:40], rank=2, ridge=1e-3)
    predicted = found.predict(np.where(seen[40:, :, None], x[40:], 99.0), seen[40:])
    missing = ~seen[40:]
    # Means of what was seen are not quite those of all, which two factors take up in part.
    error = np.square(predicted - x[40:])[missing].mean() / np.square(found.means - x[40:])[missing].mean()
    assert error < 0.1
    stiff = Factorisation(x[:40], seen[:40], rank=2, ridge=1e9)
    np.testing.assert_allclose(stiff.predict(x[40:], seen[40:]), np.tile(stiff.means, [20, 1, 1]), atol=1e-3)


@pytest.mark.parametrize("model", ["fvae", pytest.param("vae", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_new_individuals_are_scored_where_they_were_not_seen(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path))
    monkeypatch.setattr("trainers.tables.factors.SAMPLES", 2)
    config = smoke("faces", model, data={"missing_rate": 0.4, "num_factors": 2, "seed": 2})
    built, splits = building.build_model(config), loading.load_splits(config.data)
    building.build_for(built, config, splits.train)
    built.partly_observed = True  # as training leaves it
    scores = Scores(model, "faces", "test", 4, 32, 4, elbo=Score(-2.0, -2.5, -16.0))
    found = TABLES["factors"].measure(Finished(config, built, splits, scores))
    assert set(found) == {column.name for column in TABLES["factors"].columns}
    options = {"num_train": 8, "num_valid": 4, "num_test": 4, "length": 8, "num_factors": 2, "seed": 2}
    whole = simulate_faces(**options, missing_rate=0.0)
    x, observed = (np.stack(y) for y in (splits.test.x, splits.test.observed))
    truth, missing = np.stack(whole.splits.test.x), ~observed
    seen = np.concatenate(splits.train.observed)
    frames = np.concatenate(splits.train.x).astype(float)
    centre = frames.sum(axis=0) / seen.sum(axis=0)
    unit = np.sqrt((np.square(frames - centre) * seen).sum(axis=0) / seen.sum(axis=0))
    filled = built.impute(x, observed=observed, num_samples=2, seed=0).mean.numpy()
    assert found["squared error"] == pytest.approx(np.square((filled - truth) / unit)[missing].mean(), rel=1e-4)
    at_times = np.stack(splits.train.x).astype(float).sum(axis=0) / np.maximum(
        np.stack(splits.train.observed).sum(0), 1
    )
    assert found["means"] == pytest.approx(np.square((at_times - truth) / unit)[missing].mean(), rel=1e-4)
    assert np.isfinite(found["factorised"]) and found["ELBO"] == -2.0
    if model == "vae":
        assert found["U"] is found["V"] is None
        return
    factors = built.factors(x, observed=observed)
    assert found["U"] == pytest.approx(recovered(factors.individuals.numpy(), whole.constants["test"]))
    # V has not been trained, so that it is the same at all times, and tells nothing.
    assert found["V"] == 0.0
