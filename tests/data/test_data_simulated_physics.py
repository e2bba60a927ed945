"""The mechanics of the simulated data, against closed forms, conservation laws and an adaptive integrator."""

import numpy as np
import pytest

from tfdvae.data import simulate_ball_in_box, simulate_bouncing_balls, simulate_pendulum
from tfdvae.data.simulated import balls, collisions, pendulum

BOX, RADIUS = 10.0, 1.2


def random_start(sequences, number, speed, seed=0):
    rng = np.random.default_rng(seed)
    return collisions.place(rng, sequences, number, BOX, RADIUS), speed * rng.standard_normal((sequences, number, 2))


def distances(positions):
    first, second = np.triu_indices(positions.shape[-2], 1)
    return np.linalg.norm(positions[..., first, :] - positions[..., second, :], axis=-1)


def test_balls_begin_inside_and_apart():
    positions = collisions.place(np.random.default_rng(0), 500, 4, BOX, RADIUS)
    assert positions.min() >= RADIUS and positions.max() <= BOX - RADIUS
    assert distances(positions).min() > 2 * RADIUS
    assert positions[:, :, 0].std() == pytest.approx(positions[:, :, 1].std(), rel=0.1)


@pytest.mark.parametrize("speed", [0.3, 4.0])
def test_energy_is_conserved_and_balls_stay_in_the_box_and_apart(speed):
    states = collisions.bounce(*random_start(40, 3, speed), BOX, RADIUS, 150)
    positions, velocities = states[..., :2], states[..., 2:]
    energy = 0.5 * np.square(velocities).sum(axis=(2, 3))
    np.testing.assert_allclose(energy, np.repeat(energy[:, :1], 150, axis=1), rtol=1e-11)
    assert positions.min() >= RADIUS and positions.max() <= BOX - RADIUS
    assert distances(positions).min() > 2 * RADIUS - 1e-9
    speeds = np.linalg.norm(velocities, axis=-1)
    assert (speeds.std(axis=1) > 1e-3).mean() > 0.5, "balls hardly ever met"


def test_one_ball_follows_the_folded_line():
    """Reflections unfold: the ball moves in a straight line through mirrored boxes."""
    positions, velocities = random_start(30, 1, 3.0)
    states = collisions.bounce(positions, velocities, BOX, RADIUS, 80)
    room = BOX - 2 * RADIUS
    line = positions[:, None] - RADIUS + np.arange(80)[:, None, None] * velocities[:, None]
    folded = RADIUS + np.abs((line + room) % (2 * room) - room)
    np.testing.assert_allclose(states[..., :2], folded, atol=1e-10)
    np.testing.assert_allclose(np.abs(states[..., 2:]), np.abs(np.broadcast_to(velocities[:, None], folded.shape)))


def test_a_frame_at_the_moment_of_contact_is_inside():
    velocities = np.random.default_rng(0).uniform(0.1, 3, size=(2000, 1, 2))
    states = collisions.bounce(BOX - RADIUS - velocities, velocities, BOX, RADIUS, 2)
    assert states[:, 1, :, :2].max() == BOX - RADIUS
    states = collisions.bounce(RADIUS + velocities, -velocities, BOX, RADIUS, 2)
    assert states[:, 1, :, :2].min() == RADIUS


def test_a_collision_exchanges_momentum_along_the_line_of_centres():
    x = np.array([[3.0, 5.0], [7.0, 5.7]])
    v = np.array([[0.9, 0.1], [-0.4, 0.05]])
    states = collisions.bounce(x[None], v[None], BOX, RADIUS, 4)[0]
    times = np.linspace(0, 3, 3_000_001)
    gaps = np.linalg.norm((x[0] - x[1]) + times[:, None] * (v[0] - v[1]), axis=1)
    meeting = times[np.argmax(gaps <= 2 * RADIUS)]
    line = (x[0] - x[1]) + meeting * (v[0] - v[1])
    line /= np.linalg.norm(line)
    across = np.array([-line[1], line[0]])
    after = states[-1, :, 2:]
    np.testing.assert_allclose(after @ line, (v @ line)[::-1], atol=1e-5)
    np.testing.assert_allclose(after @ across, v @ across, atol=1e-5)
    np.testing.assert_allclose(after.sum(axis=0), v.sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(states[-1, :, :2], x + meeting * v + (3 - meeting) * after, atol=1e-5)


def test_time_runs_backwards_too():
    positions, velocities = random_start(60, 3, 0.5)
    there = collisions.bounce(positions, velocities, BOX, RADIUS, 25)[:, -1]
    back = collisions.bounce(there[..., :2], -there[..., 2:], BOX, RADIUS, 25)[:, -1]
    assert np.abs(there[..., :2] - positions).max() > 1
    np.testing.assert_allclose(back[..., :2], positions, atol=1e-7)
    np.testing.assert_allclose(back[..., 2:], -velocities, atol=1e-7)


@pytest.mark.timeout(20)
def test_touching_grazing_resting_and_corners_end():
    side = 2 * RADIUS
    cases = [
        ([[3, 3], [3 + side, 3]], [[1, 0], [0, 0]]),
        ([[3, 3], [3 + side, 3]], [[0, 1], [0, 1]]),
        ([[3, 3], [3 + side, 3]], [[1e-20, 1], [0, 0.5]]),
        ([[3, 3], [6, 3 + side]], [[1, 0], [0, 0]]),
        ([[3, 3], [7, 7]], [[-1.8, -1.8], [1.8, 1.8]]),
        ([[RADIUS, RADIUS], [RADIUS + side, RADIUS]], [[-1, -1], [-1, 0]]),
        ([[3, 3], [7, 7]], [[0, 0], [0, 0]]),
    ]
    positions, velocities = (np.array(part, dtype=float) for part in zip(*cases, strict=True))
    states = collisions.bounce(positions, velocities, BOX, RADIUS, 40)
    assert np.isfinite(states).all()
    energy = np.square(states[..., 2:]).sum(axis=(2, 3))
    np.testing.assert_allclose(energy, np.repeat(energy[:, :1], 40, axis=1), rtol=1e-11)
    assert distances(states[..., :2]).min() > side - 1e-9
    np.testing.assert_array_equal(states[0, 1, :, 2:], [[0, 0], [1, 0]])


def test_a_sequence_does_not_depend_on_its_neighbours():
    positions, velocities = random_start(20, 3, 1.0)
    together = collisions.bounce(positions, velocities, BOX, RADIUS, 20)
    alone = collisions.bounce(positions[7:8], velocities[7:8], BOX, RADIUS, 20)
    np.testing.assert_array_equal(together[7:8], alone)


def test_velocities_at_the_beginning(tmp_path):
    small = {"num_train": 300, "num_valid": 1, "num_test": 1, "length": 2, "cache_dir": tmp_path}
    velocities = simulate_bouncing_balls(**small, resolution=3, speed=0.7).truth["train"][:, 0, :, 2:]
    np.testing.assert_allclose(np.square(velocities).sum(axis=(1, 2)), 0.49, rtol=1e-5)
    np.testing.assert_allclose(velocities.mean(axis=0), 0, atol=4 * 0.7 / np.sqrt(6 * 300))
    box = simulate_ball_in_box(**small, min_speed=1.5, max_speed=2.5).truth["train"]
    speeds = np.linalg.norm(box[:, 0, 2:], axis=-1)
    assert 1.5 <= speeds.min() < 1.6 and 2.4 < speeds.max() <= 2.5
    np.testing.assert_allclose(np.linalg.norm(box[:, 1, 2:], axis=-1), speeds, rtol=1e-5)


def test_soft_balls_light_their_pixels():
    states = np.zeros((2, 3, 2, 4), dtype=np.float32)
    states[..., :2] = collisions.place(np.random.default_rng(1), 6, 2, BOX, RADIUS).reshape(2, 3, 2, 2)
    states[0, 0, 1] = states[0, 0, 0]
    resolution = 7
    expected = np.zeros((2, 3, resolution, resolution))
    for index in np.ndindex(expected.shape):
        row, column = index[2:]
        for x, y, _, _ in states[index[:2]].astype(float):
            square = ((column + 0.5) * BOX / resolution - x) ** 2 + ((row + 0.5) * BOX / resolution - y) ** 2
            expected[index] += np.exp(-((square / RADIUS**2) ** 4))
    assert expected.max() > 1.5
    image = balls._soft(states, resolution, BOX, RADIUS)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.minimum(expected, 1), atol=1e-5)
    assert np.isfinite(balls._soft(states, resolution, BOX, 1e-6)).all()


def test_a_hard_ball_covers_the_pixels_inside_it():
    states = np.array([[[4.0, 9.5, 0, 0], [5.25, 3.0, 0, 0]]], dtype=np.float32)
    image = balls._hard(states, 13, 2.5)
    for frame, (x, y) in zip(image[0], states[0, :, :2], strict=True):
        for row, column in np.ndindex(13, 13):
            assert frame[row, column] == (np.hypot(column + 0.5 - x, row + 0.5 - y) <= 2.5)


def test_the_pendulum_agrees_with_an_adaptive_integrator(tmp_path):
    integrate = pytest.importorskip("scipy.integrate", reason="scipy is not installed")
    options = {"interval": 0.13, "mass": 0.7, "rod": 1.3, "friction": 0.4, "gravity": 9.0}
    rng = np.random.default_rng(0)
    first = rng.uniform(-4, 4, size=(5, 2))
    torques = rng.uniform(-5, 5, size=(5, 12))
    got = pendulum._swing(first, torques, steps=17, **options)
    m, rod, mu, g = (options[key] for key in ("mass", "rod", "friction", "gravity"))

    def derivative(_, state, torque):
        phi, omega = state
        return [omega, (-mu * omega + m * g * rod * np.sin(phi) + torque) / (m * rod**2)]

    for i in range(5):
        state = first[i]
        for t in range(12):
            solution = integrate.solve_ivp(
                derivative, (0, 0.13), state, "DOP853", args=(torques[i, t],), rtol=1e-12, atol=1e-12
            )
            state = solution.y[:, -1]
            np.testing.assert_allclose(got[i, t], state, atol=2e-6)
    finer = pendulum._swing(first, torques, steps=34, **options)
    exact = pendulum._swing(first, torques, steps=300, **options)
    order = np.log2(np.abs(got - exact).max() / np.abs(finer - exact).max())
    assert order == pytest.approx(4, abs=0.3)


def test_truth_follows_from_the_frame_before_and_the_input(tmp_path):
    options = {"mass": 1.2, "rod": 0.8, "friction": 0.3, "gravity": 9.81}
    result = simulate_pendulum(6, 2, 2, length=9, interval=0.2, cache_dir=tmp_path, **options)
    truth, u = result.truth["train"].astype(float), np.stack(result.splits.train.u)
    assert np.abs(u).max() > 2
    for t in range(1, 9):
        following = pendulum._swing(truth[:, t - 1], u[:, t], interval=0.2, steps=200, **options)
        np.testing.assert_allclose(truth[:, t], following[:, 0], atol=2e-5)


def test_a_free_pendulum_keeps_its_energy_and_friction_takes_it(tmp_path):
    small = {"num_train": 20, "num_valid": 1, "num_test": 1, "length": 40, "max_torque": 0, "cache_dir": tmp_path}

    def energy(**options):
        angle, velocity = np.moveaxis(simulate_pendulum(**small, **options).truth["train"].astype(float), -1, 0)
        return 0.5 * velocity**2 + 9.81 * np.cos(angle)

    free = energy(friction=0)
    np.testing.assert_allclose(free, np.repeat(free[:, :1], 40, axis=1), atol=1e-4)
    damped = energy(friction=0.5)
    assert (np.diff(damped, axis=1) < 1e-5).all() and (damped[:, -1] < damped[:, 0] - 1).any()


def test_the_picture_shows_the_angle_and_nothing_else():
    quarter = np.pi / 2
    states = np.array([[[0, 3], [quarter, 0], [2 * quarter, 0], [-quarter, 1], [0, -7], [4 * quarter, 2]]], np.float32)
    image = pendulum._bob(states, 15)[0]
    centres = (np.arange(15) + 0.5) * 0.2 - 1.5
    across, down = (image.sum(axis=axis) @ centres / image.sum(axis=(1, 2)) for axis in (1, 2))
    np.testing.assert_allclose(across, [0, 1, 0, -1, 0, 0], atol=0.03)
    np.testing.assert_allclose(down, [-1, 0, 1, 0, -1, -1], atol=0.03)
    np.testing.assert_array_equal(image[0], image[4])
    np.testing.assert_allclose(image[0], image[5], atol=1e-5)
    assert image.min() >= 0 and image.max() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(image[1, 7, 10], np.exp(-((1 - centres[10]) ** 2) / 0.125), rtol=1e-5)


@pytest.mark.slow
def test_physics_may_differ_between_sequences(tmp_path):
    options = {"length": 12, "resolution": 3, "interval": 0.2, "cache_dir": tmp_path}
    found = simulate_pendulum(200, 2, 2, gravities=(2.0, 20.0), frictions=(0.0, 0.3, 0.6), **options)
    gravity, friction = found.constants["train"].T.astype(float)
    assert set(np.round(gravity, 3)) == {2.0, 20.0} and set(np.round(friction, 3)) == {0.0, 0.3, 0.6}
    assert 60 < (gravity > 10).sum() < 140 and found.constants["test"].shape == (2, 2)
    truth, u = found.truth["train"].astype(float), np.stack(found.splits.train.u)
    others = {"interval": 0.2, "steps": 200, "mass": 1.0, "rod": 1.0}
    for t in (1, 11):
        following = pendulum._swing(truth[:, t - 1], u[:, t], friction=friction, gravity=gravity, **others)
        np.testing.assert_allclose(truth[:, t], following[:, 0], atol=5e-5)
    for i in (0, 7):
        alone = pendulum._swing(
            truth[i : i + 1, 0], u[i : i + 1, 1], friction=friction[i], gravity=gravity[i], **others
        )
        np.testing.assert_allclose(truth[i, 1], alone[0, 0], atol=5e-5)
    plain = simulate_pendulum(2, 1, 1, **options)
    np.testing.assert_allclose(plain.constants["train"], [[9.81, 0.5]] * 2, rtol=1e-6)
    with pytest.raises(ValueError, match=r"gravities\[1\] must be a finite number of at least 0; got -1"):
        simulate_pendulum(2, 1, 1, gravities=(1.0, -1.0), **options)
