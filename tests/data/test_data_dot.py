"""A dot on a line: how it moves, what its pictures show, and how they are asked for."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import DATASETS, SIMULATIONS, Splits, load_dot, simulate_dot
from tfdvae.data.simulated import dot

SMALL = {"num_train": 3, "num_valid": 2, "num_test": 4, "length": 7, "pixels": 6}


def test_shapes_and_what_is_known_of_them(tmp_path: Path) -> None:
    splits, truth, constants = simulate_dot(**SMALL, seed=3, cache_dir=tmp_path)
    for split, count in (("train", 3), ("valid", 2), ("test", 4)):
        part = getattr(splits, split)
        assert part.lengths.tolist() == [7] * count and part.u is None and part.observed is None
        assert np.stack(part.x).shape == (count, 7, 6) and truth[split].shape == (count, 7, 2)
    assert splits.train.description.units == ("brightness",) and "seed 3" in splits.train.description.origin
    assert constants is None and DATASETS["dot"] is load_dot and SIMULATIONS["dot"] is simulate_dot
    loaded = load_dot(**SMALL, seed=3, cache_dir=tmp_path)
    assert type(loaded) is Splits
    np.testing.assert_array_equal(np.stack(loaded.test.x), np.stack(splits.test.x))


def test_dots_move_steadily_and_turn_back_at_the_ends(tmp_path: Path) -> None:
    found = simulate_dot(400, 1, 1, length=30, speed=0.1, spread=0.4, cache_dir=tmp_path)
    place, velocity = np.moveaxis(found.truth["train"].astype(float), -1, 0)
    speed = np.abs(velocity)
    np.testing.assert_allclose(speed, np.tile(speed[:, :1], 30), rtol=1e-5)
    assert speed.min() >= 0.06 and speed.max() <= 0.14 and place.min() >= 0.0 and place.max() <= 1.0
    # One step by another rule: straight on, and what lies beyond an end comes back.
    ahead = place[:, :-1] + velocity[:, :-1]
    np.testing.assert_allclose(place[:, 1:], np.where(ahead < 0.0, -ahead, np.minimum(ahead, 2.0 - ahead)), atol=1e-5)
    turned = np.sign(velocity[:, 1:]) != np.sign(velocity[:, :-1])
    np.testing.assert_array_equal(turned, (ahead < 0.0) | (ahead > 1.0))
    # Positions are uniform, and either direction is as likely as the other.
    assert abs(place[:, 0].mean() - 0.5) < 5 * (1 / 12 / 400) ** 0.5
    assert abs((velocity[:, 0] > 0.0).mean() - 0.5) < 5 * (0.25 / 400) ** 0.5


def test_pictures_show_the_dot_and_noise(tmp_path: Path) -> None:
    found = simulate_dot(50, 1, 1, length=20, pixels=10, radius=0.15, noise_scale=0.2, cache_dir=tmp_path)
    x, place = np.stack(found.splits.train.x).astype(float), found.truth["train"][..., 0].astype(float)
    noise = np.empty_like(x)
    for j in range(10):
        noise[..., j] = (x[..., j] - np.exp(-((place - (j + 0.5) / 10) ** 2) / (2 * 0.15**2))) / 0.2
    assert abs(noise.mean()) < 5 / noise.size**0.5
    assert abs(np.square(noise).mean() - 1.0) < 5 * (2 / noise.size) ** 0.5


def test_every_argument_makes_other_data_which_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [p for p in inspect.signature(simulate_dot).parameters if p != "cache_dir"]
    options = {p: inspect.signature(simulate_dot).parameters[p].default for p in names} | SMALL
    first = simulate_dot(**options, cache_dir=tmp_path)
    assert not any(np.array_equal(first.truth["train"][0], first.truth[split][0]) for split in ("valid", "test"))
    for number, name in enumerate(names, 2):
        other = {**options, name: options[name] + 1 if isinstance(options[name], int) else options[name] * 0.9}
        simulate_dot(**other, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number, name
    monkeypatch.setattr(dot, "_bounce", lambda *_: pytest.fail("simulated although it is cached"))
    again = simulate_dot(**options, cache_dir=tmp_path)
    np.testing.assert_array_equal(np.stack(again.splits.train.x), np.stack(first.splits.train.x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pixels": 0}, "pixels must be an integer of at least 1; got 0"),
        ({"radius": 0.0}, "radius must be a finite number above 0; got 0.0"),
        ({"spread": 1.0}, "spread must be below 1, or dots would stand still; got 1.0"),
        ({"speed": 0.9}, "must be at most 1, the line; got 1.17"),
        ({"noise_scale": -0.1}, "noise_scale must be a finite number of at least 0; got -0.1"),
    ],
)
def test_bad_arguments(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_dot(**SMALL | options, cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())
