"""Videos of balls that bounce in a box: three soft ones in grey, and one hard one in black and white."""

import os

import numpy as np

from tfdvae.data.simulated.collisions import bounce, place
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

__all__ = ["load_ball_in_box", "load_bouncing_balls", "simulate_ball_in_box", "simulate_bouncing_balls"]


def simulate_bouncing_balls(
    num_train: int = 4000,
    num_valid: int = 200,
    num_test: int = 200,
    length: int = 100,
    resolution: int = 30,
    num_balls: int = 3,
    radius: float = 1.2,
    box: float = 10.0,
    speed: float = 0.5,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Simulated:
    """Videos of balls that bounce off each other and off the walls, as Sutskever, Hinton and Taylor, "The recurrent
    temporal restricted Boltzmann machine" (NIPS 2008) made them; the counts are those of Gan et al., "Deep temporal
    sigmoid belief networks" (NIPS 2015) with 200 videos for validation, as in VSSN.

    Balls have equal masses and collisions are elastic. They begin anywhere without overlap. The velocities of all
    balls of a video together are one random direction of norm `speed` (so a ball's speed is `speed` / sqrt(num_balls)
    in the root mean square). A ball at distance d from the centre of a pixel lights it by exp(-(d^2 / radius^2)^4);
    the lights add up and are cut off at 1.

    Where this departs from the videos of the papers: they are other draws; collisions are solved exactly, not in time
    steps in which balls overlap; a pixel stands for its centre. Errors per frame are comparable, not equal.

    The states are cached, some 20 MB; the pictures are rendered at every call and need 4 bytes per pixel: 1.6 GB
    by default.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        resolution: pixels per side; D is its square, rows from the wall at vertical position 0.
        num_balls: J.
        radius: of a ball, in the unit of `box`.
        box: side of the box.
        speed: norm of all velocities together, per frame.
        seed: of places and velocities.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.

    Returns:
        x float32 [T, D] in [0, 1] without inputs; truth [N, T, J, 4]: horizontal and vertical position in [radius,
        box - radius], velocity per frame.

    Raises:
        ValueError: a count below 1, a number that is not positive, balls that do not fit the box.
    """
    counts, integers = counts_of(
        num_train, num_valid, num_test, length=length, resolution=resolution, num_balls=num_balls, seed=seed
    )
    numbers = {"radius": radius, "box": box, "speed": speed}
    check_positive(**numbers)
    _check_fit(radius, box)

    def simulate() -> Arrays:
        states = {}
        for split, rng in generators(seed).items():
            positions = place(rng, counts[split], num_balls, box, radius)
            velocities = rng.standard_normal(positions.shape)
            velocities *= speed / np.linalg.norm(velocities, axis=(1, 2), keepdims=True)
            states[split] = bounce(positions, velocities, box, radius, length)
        return states

    shapes = {split: (count, length, num_balls, 4) for split, count in counts.items()}
    states = cached("bouncing_balls", integers | numbers, shapes, simulate, cache_dir)
    about = {"origin": f"simulated: {num_balls} bouncing balls, seed {seed}"}
    return picture(
        states, lambda part: _soft(part, resolution, box, radius), resolution**2, verbose=verbose, about=about
    )


def simulate_ball_in_box(
    num_train: int = 5000,
    num_valid: int = 1000,
    num_test: int = 1000,
    length: int = 20,
    resolution: int = 32,
    radius: float = 3.0,
    min_speed: float = 1.0,
    max_speed: float = 3.0,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    verbose: int = 1,
) -> Simulated:
    """Black and white videos of one ball that bounces in a square box without loss, after Fraccaro et al., "A
    disentangled recognition and nonlinear dynamics model for unsupervised learning" (NIPS 2017; the KVAE).

    The ball begins anywhere, in any direction; its speed, uniform in [`min_speed`, `max_speed`], never changes. Pixels
    whose centre is inside the ball are 1, the others 0. Lengths are in pixels. The paper leaves speeds and radius
    open; those here are our choice.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        resolution: pixels per side, and side of the box; D is its square, rows from the wall at vertical position 0.
        radius: of the ball, pixels, at least 0.71 so that every picture shows it.
        min_speed: pixels per frame.
        max_speed: pixels per frame.
        seed: of places and velocities.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.
        verbose: 1 shows a progress bar where it takes more than a few seconds, 0 shows nothing.

    Returns:
        x float32 [T, D], 0 or 1, without inputs; truth [N, T, 4]: horizontal and vertical position in [radius,
        resolution - radius] pixels, velocity in pixels per frame.

    Raises:
        ValueError: a count below 1, a number that is not positive, a ball that does not fit the box, `min_speed`
            above `max_speed`.
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, resolution=resolution, seed=seed)
    numbers = {"radius": radius, "min_speed": min_speed, "max_speed": max_speed}
    check_positive(**numbers)
    if min_speed > max_speed:
        raise ValueError(f"min_speed must be at most max_speed; got {min_speed} and {max_speed}.")
    if radius < 0.71:
        raise ValueError(f"radius must be at least 0.71 pixels, or some pictures would be empty; got {radius}.")
    _check_fit(radius, resolution)

    def simulate() -> Arrays:
        states = {}
        for split, rng in generators(seed).items():
            positions = place(rng, counts[split], 1, resolution, radius)
            speeds = rng.uniform(min_speed, max_speed, size=(counts[split], 1))
            angles = rng.uniform(0, 2 * np.pi, size=(counts[split], 1))
            velocities = np.stack([speeds * np.cos(angles), speeds * np.sin(angles)], axis=-1)
            states[split] = bounce(positions, velocities, resolution, radius, length)[:, :, 0]
        return states

    shapes = {split: (count, length, 4) for split, count in counts.items()}
    states = cached("ball_in_box", integers | numbers, shapes, simulate, cache_dir)
    about = {"origin": f"simulated: a ball in a box, seed {seed}"}
    return picture(states, lambda part: _hard(part, resolution, radius), resolution**2, verbose=verbose, about=about)


load_bouncing_balls = splits_of(simulate_bouncing_balls, "load_bouncing_balls")
load_ball_in_box = splits_of(simulate_ball_in_box, "load_ball_in_box")


def _check_fit(radius: float, box: float) -> None:
    if 2 * radius >= box:
        raise ValueError(f"radius must be less than half the side of the box, {box / 2}; got {radius}.")


def _squares(positions: np.ndarray, resolution: int, box: float) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances of positions [..., 2] from columns, [..., 1, resolution], and rows, [..., resolution, 1]."""
    centres = (np.arange(resolution, dtype=np.float32) + np.float32(0.5)) * np.float32(box / resolution)
    across, down = (np.square(positions[..., axis, None] - centres) for axis in (0, 1))
    return across[..., None, :], down[..., :, None]


def _soft(states: np.ndarray, resolution: int, box: float, radius: float) -> np.ndarray:
    """[n, T, J, 4] to [n, T, resolution, resolution]."""
    image = np.zeros((*states.shape[:2], resolution, resolution), dtype=np.float32)
    for ball in range(states.shape[2]):
        across, down = _squares(states[:, :, ball, :2] / np.float32(radius), resolution, box / radius)
        light = across + down
        # A small ball is so many radii away from most pixels that the fourth power exceeds float32; its light is 0.
        with np.errstate(over="ignore"):
            np.square(light, out=light)
            np.square(light, out=light)
        np.negative(light, out=light)
        image += np.exp(light, out=light)
    return np.minimum(image, 1, out=image)


def _hard(states: np.ndarray, resolution: int, radius: float) -> np.ndarray:
    """[n, T, 4] to [n, T, resolution, resolution]."""
    across, down = _squares(states[..., :2], resolution, resolution)
    return across + down <= np.float32(radius**2)
