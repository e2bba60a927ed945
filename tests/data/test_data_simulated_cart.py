"""The cart and pole: its energy and momentum, its pictures, and the table that asks for its forces."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import smoke
from tfdvae.data import simulate_cart_pole
from tfdvae.data.simulated import cart
from trainers import loading, regress, train
from trainers.tables import TABLES, Finished

PHYSICS = {"cart_mass": 1.3, "pole_mass": 0.4, "half": 0.6, "gravity": 9.0}


def energy(states: np.ndarray) -> np.ndarray:
    """Of a cart and a uniform rod whose end is on it, from the velocities of its middle and its moment of inertia."""
    _, angle, velocity, turning = states.T
    m, half = PHYSICS["pole_mass"], PHYSICS["half"]
    right, up = velocity + half * turning * np.cos(angle), -half * turning * np.sin(angle)
    moving = 0.5 * PHYSICS["cart_mass"] * velocity**2 + 0.5 * m * (right**2 + up**2)
    return moving + 0.5 * m * (2 * half) ** 2 / 12 * turning**2 + m * PHYSICS["gravity"] * half * np.cos(angle)


def momentum(states: np.ndarray) -> np.ndarray:
    """Of cart and pole along the track."""
    middle = states[:, 2] + PHYSICS["half"] * states[:, 3] * np.cos(states[:, 1])
    return PHYSICS["cart_mass"] * states[:, 2] + PHYSICS["pole_mass"] * middle


def test_energy_changes_by_the_power_of_force_and_friction_alone() -> None:
    rng = np.random.default_rng(0)
    states, force, small = rng.normal(scale=2.0, size=(50, 4)), rng.uniform(-9, 9, size=50), 1e-5
    for friction in (0.0, 0.2):
        after, before = (cart._push(states, force, h, steps=1, friction=friction, **PHYSICS) for h in (small, -small))
        power = force * states[:, 2] - friction * states[:, 3] ** 2
        np.testing.assert_allclose((energy(after) - energy(before)) / (2 * small), power, rtol=1e-6, atol=1e-5)
    # Energy does not say how it is divided. The force alone changes the momentum of both along the track.
    after, before = (cart._push(states, force, h, steps=1, friction=0.2, **PHYSICS) for h in (small, -small))
    np.testing.assert_allclose((momentum(after) - momentum(before)) / (2 * small), force, rtol=1e-6, atol=1e-5)


def test_a_free_pole_keeps_its_energy_over_a_whole_sequence_and_truth_follows_from_forces(tmp_path: Path) -> None:
    options = {"num_train": 5, "num_valid": 1, "num_test": 1, "length": 40, "resolution": 8, "cache_dir": tmp_path}
    options |= {"cart_mass": 1.3, "pole_mass": 0.4, "pole": 1.2, "gravity": 9.0}
    free = simulate_cart_pole(**options, friction=0.0, max_force=0.0).truth["train"].astype(float)
    energies = energy(free.reshape(-1, 4)).reshape(5, 40)
    np.testing.assert_allclose(energies, np.repeat(energies[:, :1], 40, axis=1), atol=2e-4)
    found = simulate_cart_pole(**options, friction=0.1, max_force=8.0)
    truth, u = found.truth["train"].astype(float), np.stack(found.splits.train.u)
    assert np.abs(u).max() > 4.0 and np.abs(truth[..., 0]).max() < 2.4
    for t in range(1, 40):
        following = cart._push(truth[:, t - 1], u[:, t, 0], 0.1, 200, friction=0.1, **PHYSICS)
        np.testing.assert_allclose(truth[:, t], following, atol=5e-4)


def test_a_picture_shows_cart_and_pole_and_no_velocity() -> None:
    quarter = np.pi / 2
    states = np.array([[[0, 0, 3, 1], [1, quarter, 0, 0], [-1, -quarter, 0, 0], [0, 2 * quarter, 0, 9]]], np.float32)
    image = cart._drawn(states, 40, 1.0)[0]
    centres = (np.arange(40) + 0.5) * 0.1 - 2.0
    across, down = (image.sum(axis=axis) @ centres / image.sum(axis=(1, 2)) for axis in (1, 2))
    np.testing.assert_array_equal(np.sign(np.round(across, 2)), [0, 1, -1, 0])
    assert across[1] > 1.0 and across[2] < -1.0  # the pole lies beside the cart
    np.testing.assert_array_equal(np.sign(np.round(down, 2)), [-1, 0, 0, 1])
    np.testing.assert_allclose(image[0], image[3][::-1], atol=1e-5)
    assert image.min() == 0.0 and image.max() == 1.0
    np.testing.assert_array_equal(image[0, :, 20] > 0.5, (centres > -1.02) & (centres < 0.1))


def test_an_interval_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too long for a pole"):
        simulate_cart_pole(1, 1, 1, interval=1e4, cache_dir=tmp_path)


@pytest.mark.slow
def test_the_table_compares_forces_that_were_with_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDVAE_CACHE", str(tmp_path / "cache"))
    data = {"num_valid": 12, "num_test": 6, "max_sequences": None, "length": 9}
    config = smoke("cart_pole", "rssm", training={"epochs": 1}, data=data)
    run = Finished(config, *train.run(config, tmp_path / "run"))
    found = TABLES["cart-pole"].measure(run)
    assert set(found) == {column.name for column in TABLES["cart-pole"].columns}
    x, u = loading.stacked(run.splits.test)
    options = {"u": u[:, :3], "horizon": 6, "num_samples": 16, "seed": 0}
    for name, own in {"own forces": u[:, 3:], "others' forces": np.roll(u[:, 3:], 1, axis=0)}.items():
        mean = loading.as_vectors(run.model.forecast(x[:, :3], future_u=own, **options).mean)
        assert found[name] == pytest.approx(np.square(mean - x[:, 3:]).sum(-1).mean(), rel=1e-5)
    assert found["place"] == regress.regressed(config, run.model, states=True)[0]["place"]
