"""Spikes of a latent oscillator: what the process says of their moments, and how they are asked for."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import DATASETS, SIMULATIONS, Splits, load_spikes, simulate_spikes
from tfdvae.data.simulated import spikes

SMALL = {"num_train": 3, "num_valid": 2, "num_test": 4, "length": 5, "num_neurons": 6}


def test_shapes_and_what_is_known_of_them(tmp_path: Path) -> None:
    splits, truth, constants = simulate_spikes(**SMALL, interval=0.01, seed=3, cache_dir=tmp_path)
    for split, count in (("train", 3), ("valid", 2), ("test", 4)):
        part = getattr(splits, split)
        assert part.lengths.tolist() == [5] * count and part.u is None
        x = np.stack(part.x)
        assert x.shape == (count, 5, 6) and x.dtype == np.float32
        assert np.array_equal(x, np.round(x)) and x.min() >= 0
        assert truth[split].shape == (count, 5, 2) and truth[split].dtype == np.float32
    about = splits.train.description
    assert (about.units, about.frame_period) == (("spikes",), 0.01) and "seed 3" in about.origin
    assert constants is None
    assert DATASETS["spikes"] is load_spikes and SIMULATIONS["spikes"] is simulate_spikes
    loaded = load_spikes(**SMALL, interval=0.01, seed=3, cache_dir=tmp_path)
    assert type(loaded) is Splits
    np.testing.assert_array_equal(np.stack(loaded.test.x), np.stack(splits.test.x))


def test_moments_are_those_of_the_process(tmp_path: Path) -> None:
    """z_t is N(0, I) with E z_t z_{t-1}' = a R, and E x_i z = mean_count modulation (cos phi_i, sin phi_i), since rates
    are log-normal. Sequences are independent, so errors of means over sequences are known."""
    options = {"interval": 0.02, "period": 0.3, "lifetime": 0.4, "mean_count": 0.5, "modulation": 0.8}
    found = simulate_spikes(3000, 1, 1, length=8, num_neurons=5, cache_dir=tmp_path, **options)
    x, z = np.stack(found.splits.train.x).astype(float), found.truth["train"].astype(float)
    turn, decay = 2.0 * np.pi * 0.02 / 0.3, np.exp(-0.02 / 0.4)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    phases = 2.0 * np.pi * np.arange(5) / 5
    expected = {
        "variance": (np.einsum("bti,btj->bij", z, z) / 8, np.eye(2)),
        "next": (np.einsum("bti,btj->bij", z[:, 1:], z[:, :-1]) / 7, decay * rotation),
        "count": (x.mean(axis=1), np.full(5, 0.5)),
        "tuning": (np.einsum("bti,btj->bij", x, z) / 8, 0.4 * np.stack([np.cos(phases), np.sin(phases)], axis=1)),
    }
    for name, (values, mean) in expected.items():
        error = values.std(axis=0) / len(values) ** 0.5
        assert np.all(np.abs(values.mean(axis=0) - mean) < 5 * error), name
    # Spikes are Poisson given z: the variance that z does not explain is the mean.
    rates = 0.5 * np.exp(0.8 * z @ np.stack([np.cos(phases), np.sin(phases)]) - 0.32)
    noise = np.square(x - rates).mean(axis=(1, 2)) - rates.mean(axis=(1, 2))
    assert abs(noise.mean()) < 5 * noise.std() / len(noise) ** 0.5


def test_neurons_that_know_nothing_fire_at_one_rate(tmp_path: Path) -> None:
    found = simulate_spikes(200, 1, 1, modulation=0.0, mean_count=0.2, cache_dir=tmp_path)
    counts = np.stack(found.splits.train.x)
    assert abs(counts.mean() - 0.2) < 5 * (0.2 / counts.size) ** 0.5


def test_every_argument_makes_other_data_which_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [p for p in inspect.signature(simulate_spikes).parameters if p != "cache_dir"]
    options = {p: inspect.signature(simulate_spikes).parameters[p].default for p in names} | SMALL
    first = simulate_spikes(**options, cache_dir=tmp_path)
    assert not any(np.array_equal(first.truth["train"][0], first.truth[split][0]) for split in ("valid", "test"))
    for number, name in enumerate(names, 2):
        other = {**options, name: options[name] + 1 if isinstance(options[name], int) else options[name] * 0.9}
        simulate_spikes(**other, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number, name
    monkeypatch.setattr(spikes, "_oscillate", lambda *_: pytest.fail("simulated although it is cached"))
    again = simulate_spikes(**options, cache_dir=tmp_path)
    np.testing.assert_array_equal(np.stack(again.splits.train.x), np.stack(first.splits.train.x))
    np.testing.assert_array_equal(again.truth["test"], first.truth["test"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neurons": 0}, "num_neurons must be an integer of at least 1; got 0"),
        ({"mean_count": 0.0}, "mean_count must be a finite number above 0; got 0.0"),
        ({"modulation": -1.0}, "modulation must be a finite number of at least 0; got -1.0"),
        ({"period": 0.03}, "period must be at least two bins, 0.04; got 0.03"),
        ({"lifetime": float("nan")}, "lifetime must be a finite number above 0; got nan"),
    ],
)
def test_bad_arguments(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_spikes(**SMALL | options, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
