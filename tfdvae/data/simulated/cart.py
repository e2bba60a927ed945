"""Videos of a cart that is pushed along a track, with a pole that swings on it."""

import os

import numpy as np

from tfdvae.data.simulated.shared import (
    Arrays,
    Simulated,
    cached,
    check_positive,
    counts_of,
    generators,
    picture,
    splits_of,
)

__all__ = ["load_cart_pole", "simulate_cart_pole"]

_STEP = 0.1
"""Steps of the integration are this fraction of the shortest time in which anything changes."""
_MOST_STEPS = 10_000
_RETURN, _BRAKE = 2.0, 2.0
"""How hard a policy without chance pulls the cart to the middle (N / m), and brakes it (N s / m)."""


def simulate_cart_pole(
    num_train: int = 500,
    num_valid: int = 100,
    num_test: int = 100,
    length: int = 50,
    interval: float = 0.1,
    resolution: int = 32,
    cart_mass: float = 1.0,
    pole_mass: float = 0.1,
    pole: float = 1.0,
    gravity: float = 9.81,
    friction: float = 0.05,
    max_force: float = 10.0,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Simulated:
    """Videos of the cart and pole of Barto, Sutton and Anderson (1983), the usual driven system of world models
    (RSSM, Hafner et al. 2019), in the form with the corrected friction of the hinge (Florian 2007): a uniform pole of
    length 2 l and mass m on a cart of mass M that a force u pushes along a track without friction,

        phi'' = (g sin(phi) - cos(phi) (u + m l phi'^2 sin(phi)) / (M + m) - mu phi' / (m l))
                / (l (4/3 - m cos(phi)^2 / (M + m)))
        x''   = (u + m l (phi'^2 sin(phi) - phi'' cos(phi))) / (M + m),

    where phi is the angle from the upright position. A picture shows both and no velocity, which must be inferred from
    several frames and inputs. The pole begins at any angle, at rest, since nobody balances it; the cart near the
    middle.

    The force u_t is constant between frames t - 1 and t, so u_t and the state of frame t - 1 determine the state of
    frame t; u_0 has led to the first frame. Half of a force is chance, drawn afresh for each interval, half pulls the
    cart back to the middle and brakes it, which keeps it in the picture: what a model is told is their sum.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        interval: seconds from frame to frame.
        resolution: pixels per side; D is its square, the top row first. A picture is four poles wide and high.
        cart_mass: M, kg.
        pole_mass: m, kg.
        pole: its length 2 l, m.
        gravity: g, m / s^2; 0 for none.
        friction: mu of the hinge, N m s; 0 for none.
        max_force: of either half of the force, N; 0 for none.
        seed: of forces and first states.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.

    Returns:
        x float32 [T, D] in [0, 1]; u float32 [T, 1], N; truth [N, T, 4]: place of the cart in m, 0 in the middle and
        growing to the right, angle in rad, 0 upright, growing clockwise and past pi without a jump (compare sines and
        cosines), velocity of the cart in m / s and angular velocity in rad / s.

    Raises:
        ValueError: a count below 1, a number that is negative, or zero where that means nothing; an interval of
            thousands of times the shortest time in which the pole changes.
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, resolution=resolution, seed=seed)
    positive = {"interval": interval, "cart_mass": cart_mass, "pole_mass": pole_mass, "pole": pole}
    perhaps_zero = {"gravity": gravity, "friction": friction, "max_force": max_force}
    check_positive(**positive)
    check_positive(or_zero=True, **perhaps_zero)
    physics = {"cart_mass": cart_mass, "pole_mass": pole_mass, "half": pole / 2}
    physics |= {"gravity": gravity, "friction": friction}
    # What turns the pole fastest: its weight and the push of the cart, or the friction of its hinge.
    swing = np.sqrt((gravity + 2 * max_force / cart_mass) / pole)
    rate = max(swing, friction / (pole_mass * (pole / 2) ** 2), (_RETURN + _BRAKE) / cart_mass)
    steps = max(1, int(np.ceil(interval * rate / _STEP)))
    if steps > _MOST_STEPS:
        raise ValueError(
            f"interval is {interval} s, which is too long for a pole that changes in {1 / rate:.1g} s; choose a "
            "shorter interval, less friction or weaker forces."
        )

    def simulate() -> Arrays:
        arrays = {}
        for split, rng in generators(seed).items():
            size = counts[split]
            first = np.zeros((size, 4))
            first[:, 0] = rng.uniform(-0.5, 0.5, size=size)
            first[:, 1] = rng.uniform(-np.pi, np.pi, size=size)
            chance = rng.uniform(-max_force, max_force, size=(size, length))
            arrays[split], arrays[f"{split}_force"] = _drive(first, chance, max_force, interval, steps, physics)
        return arrays

    shapes = {split: (count, length, 4) for split, count in counts.items()}
    shapes |= {f"{split}_force": (count, length, 1) for split, count in counts.items()}
    arrays = cached("cart_pole", integers | positive | perhaps_zero, shapes, simulate, cache_dir)
    return picture(
        {split: arrays[split] for split in counts},
        lambda part: _drawn(part, resolution, pole),
        resolution**2,
        inputs={split: arrays[f"{split}_force"] for split in counts},
        verbose=verbose,
        about={"inputs": ("force [N]",), "frame_period": interval, "origin": f"simulated: cart and pole, seed {seed}"},
    )


load_cart_pole = splits_of(simulate_cart_pole, "load_cart_pole")


def _drive(
    state: np.ndarray, chance: np.ndarray, max_force: float, interval: float, steps: int, physics: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """States [N, T, 4] and forces [N, T, 1], from states [N, 4] before the first frame."""
    states, forces = np.empty((*chance.shape, 4)), np.empty((*chance.shape, 1))
    for t in range(chance.shape[1]):
        back = np.clip(-_RETURN * state[:, 0] - _BRAKE * state[:, 2], -max_force, max_force)
        forces[:, t, 0] = chance[:, t] + back
        state = states[:, t] = _push(state, forces[:, t, 0], interval, steps, **physics)
    return states, forces


def _push(state: np.ndarray, force: np.ndarray, interval: float, steps: int, **physics: float) -> np.ndarray:
    """States [N, 4] after `interval` under forces [N], by `steps` of the classical Runge-Kutta method."""
    h = interval / steps
    for _ in range(steps):
        k1 = _derivative(state, force, **physics)
        k2 = _derivative(state + h / 2 * k1, force, **physics)
        k3 = _derivative(state + h / 2 * k2, force, **physics)
        k4 = _derivative(state + h * k3, force, **physics)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def _derivative(
    state: np.ndarray,
    force: np.ndarray,
    cart_mass: float,
    pole_mass: float,
    half: float,
    gravity: float,
    friction: float,
) -> np.ndarray:
    """Velocities and accelerations, [N, 4]."""
    _, angle, velocity, turning = state.T
    sine, cosine, total = np.sin(angle), np.cos(angle), cart_mass + pole_mass
    push = (force + pole_mass * half * turning**2 * sine) / total
    moment = gravity * sine - cosine * push - friction * turning / (pole_mass * half)
    turn = moment / (half * (4.0 / 3.0 - pole_mass * cosine**2 / total))
    return np.stack([velocity, turning, push - pole_mass * half * turn * cosine / total, turn], axis=1)


def _drawn(states: np.ndarray, resolution: int, pole: float) -> np.ndarray:
    """[n, T, 4] to [n, T, resolution, resolution]: the cart is a box with soft edges, the pole a line to its tip."""
    pixel = np.float32(4 * pole / resolution)
    centres = (np.arange(resolution, dtype=np.float32) + np.float32(0.5)) * pixel - np.float32(2 * pole)
    place, angle = states[..., :1, None], states[..., 1:2, None]
    across, up = centres - place, -centres[:, None]
    box = np.maximum(np.abs(across) - np.float32(0.25 * pole), np.abs(up) - np.float32(0.1 * pole))
    # The distance from a pixel to the nearest point of the pole, which begins in the middle of the cart.
    sine, cosine = np.float32(pole) * np.sin(angle), np.float32(pole) * np.cos(angle)
    along = np.clip((across * sine + up * cosine) / np.float32(pole**2), 0.0, 1.0)
    line = np.hypot(across - along * sine, up - along * cosine) - np.float32(0.05 * pole)
    return np.clip(np.float32(0.5) - np.minimum(box, line) / pixel, 0.0, 1.0).astype(np.float32)
