"""Videos of a pendulum that is driven by a known torque."""

import os
from collections.abc import Sequence

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

__all__ = ["load_pendulum", "simulate_pendulum"]

# Steps of the integration are this fraction of the shortest time in which anything changes.
_STEP = 0.03
_MOST_STEPS = 10_000


def simulate_pendulum(
    num_train: int = 500,
    num_valid: int = 100,
    num_test: int = 100,
    length: int = 15,
    interval: float = 0.1,
    resolution: int = 16,
    mass: float = 1.0,
    rod: float = 1.0,
    friction: float = 0.5,
    gravity: float = 9.81,
    max_torque: float = 5.0,
    max_velocity: float = 5.0,
    gravities: Sequence[float] = (),
    frictions: Sequence[float] = (),
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Simulated:
    """Videos of a pendulum with friction, driven by a random torque u, as Karl et al., "Deep variational Bayes filters"
    (ICLR 2017) and VSSN, section 3.1, use it:

        mass rod^2 phi'' = -friction phi' + mass gravity rod sin(phi) + u,

    where phi is the angle from the upright position. A picture shows the bob alone, a Gaussian blob at (sin phi,
    cos phi), so it depends on the angle only: the angular velocity must be inferred from several frames and inputs.

    The torque u_t is constant between frames t - 1 and t, so u_t and the state of frame t - 1 determine the state of
    frame t; u_0 has led to the first frame. Torques are drawn afresh for each interval.

    The papers have 500 sequences of 15 frames; 30 to 50 frames show some swings. They leave interval, torques and first
    states open; those here are our choice.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        interval: seconds from frame to frame.
        resolution: pixels per side; D is its square, the top row first.
        mass: m, kg.
        rod: l, m.
        friction: mu, N m s; 0 for none.
        gravity: g, m / s^2; 0 for none.
        max_torque: torques are uniform in [-max_torque, max_torque], N m; 0 for none.
        max_velocity: angular velocities at the beginning are uniform in [-max_velocity, max_velocity], rad / s; 0 for
            none. Angles at the beginning are uniform in all directions.
        gravities: each sequence has one of these, drawn at random, in place of `gravity`: physics that differ.
        frictions: likewise in place of `friction`.
        seed: of torques and first states.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.

    Returns:
        x float32 [T, D] in [0, 1]; u float32 [T, 1], N m; truth [N, T, 2]: angle in rad, 0 upright, growing clockwise
        and past pi without a jump (compare sines and cosines), and angular velocity in rad / s; constants [N, 2] of
        each sequence: gravity and friction.

    Raises:
        ValueError: a count below 1, a number that is negative, or zero where that means nothing; an interval of
            hundreds of times the shortest time in which the pendulum changes.
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, resolution=resolution, seed=seed)
    positive = {"interval": interval, "mass": mass, "rod": rod}
    perhaps_zero = {
        "friction": friction,
        "gravity": gravity,
        "max_torque": max_torque,
        "max_velocity": max_velocity,
    }
    check_positive(**positive)
    check_positive(or_zero=True, **perhaps_zero)
    for name, values in {"gravities": gravities, "frictions": frictions}.items():
        check_positive(or_zero=True, **{f"{name}[{i}]": value for i, value in enumerate(values)})
    choices = {"gravity": [*gravities] or [gravity], "friction": [*frictions] or [friction]}
    inertia, strongest = mass * rod**2, {name: max(values) for name, values in choices.items()}
    rate = max(
        *(strongest["friction"] / inertia, (strongest["gravity"] / rod) ** 0.5),
        *((max_torque / inertia) ** 0.5, max_velocity),
    )
    steps = _steps(interval, rate)

    def simulate() -> Arrays:
        arrays = {}
        for split, rng in generators(seed).items():
            angles = rng.uniform(-np.pi, np.pi, size=counts[split])
            velocities = rng.uniform(-max_velocity, max_velocity, size=counts[split])
            torques = rng.uniform(-max_torque, max_torque, size=(counts[split], length))
            first = np.stack([angles, velocities], axis=1)
            physics = {name: rng.choice(values, size=counts[split]) for name, values in choices.items()}
            arrays[split] = _swing(first, torques, interval, steps, mass, rod, **physics)
            arrays[f"{split}_torque"] = torques[..., None]
            arrays[f"{split}_constants"] = np.stack([physics["gravity"], physics["friction"]], axis=1)
        return arrays

    shapes = {split: (count, length, 2) for split, count in counts.items()}
    shapes |= {f"{split}_torque": (count, length, 1) for split, count in counts.items()}
    shapes |= {f"{split}_constants": (count, 2) for split, count in counts.items()}
    options = integers | positive | perhaps_zero | {"gravities": [*gravities], "frictions": [*frictions]}
    arrays = cached("pendulum", options, shapes, simulate, cache_dir)
    found = picture(
        {split: arrays[split] for split in counts},
        lambda part: _bob(part, resolution),
        resolution**2,
        inputs={split: arrays[f"{split}_torque"] for split in counts},
        verbose=verbose,
        about={"inputs": ("torque [N m]",), "frame_period": interval, "origin": f"simulated: a pendulum, seed {seed}"},
    )
    return found._replace(constants={split: arrays[f"{split}_constants"] for split in counts})


load_pendulum = splits_of(simulate_pendulum, "load_pendulum")


def _steps(interval: float, rate: float) -> int:
    steps = max(1, np.ceil(interval * rate / _STEP))
    if steps > _MOST_STEPS:
        raise ValueError(
            f"interval is {interval} s, which is too long for a pendulum that changes in {1 / rate:.1g} s; "
            "choose a shorter interval, less friction or weaker forces."
        )
    return int(steps)


def _swing(
    state: np.ndarray,
    torques: np.ndarray,
    interval: float,
    steps: int,
    mass: float,
    rod: float,
    friction: np.ndarray | float,
    gravity: np.ndarray | float,
) -> np.ndarray:
    """States [N, T, 2] at the end of each torque [N, T], from states [N, 2] before the first, by `steps` per interval
    of the classical Runge-Kutta method of fourth order. Friction and gravity may differ by sequence, [N]."""
    inertia = mass * rod**2

    def derivative(state: np.ndarray, torque: np.ndarray) -> np.ndarray:
        angle, velocity = state[:, 0], state[:, 1]
        moment = -friction * velocity + mass * gravity * rod * np.sin(angle) + torque
        return np.stack([velocity, moment / inertia], axis=1)

    h = interval / steps
    states = np.empty((*torques.shape, 2))
    for t, torque in enumerate(torques.T):
        for _ in range(steps):
            k1 = derivative(state, torque)
            k2 = derivative(state + h / 2 * k1, torque)
            k3 = derivative(state + h / 2 * k2, torque)
            k4 = derivative(state + h * k3, torque)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states[:, t] = state
    return states


def _bob(states: np.ndarray, resolution: int) -> np.ndarray:
    """[n, T, 2] to [n, T, resolution, resolution]. The picture is three rods wide and a blob half a rod."""
    centres = (np.arange(resolution, dtype=np.float32) + np.float32(0.5)) * np.float32(3 / resolution) - np.float32(1.5)
    angle = states[..., :1]
    across = np.square(np.sin(angle) - centres)[..., None, :]
    down = np.square(np.cos(angle) + centres)[..., :, None]
    return np.exp(-(across + down) / np.float32(2 * 0.25**2))
