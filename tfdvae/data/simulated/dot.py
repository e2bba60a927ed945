"""A dot that bounces on a line, in pictures of one row of pixels."""

import os

import numpy as np

from tfdvae.data.sequences import Splits, from_arrays
from tfdvae.data.simulated.shared import Arrays, Simulated, cached, check_positive, counts_of, generators, splits_of

__all__ = ["load_dot", "simulate_dot"]


def simulate_dot(
    num_train: int = 200,
    num_valid: int = 50,
    num_test: int = 50,
    length: int = 50,
    pixels: int = 20,
    speed: float = 0.05,
    spread: float = 0.3,
    radius: float = 0.08,
    noise_scale: float = 0.1,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
) -> Simulated:
    """Pictures of one row of pixels with a dot that moves steadily and turns back at both ends: the "dot on a line" of
    Johnson et al., "Composing graphical models with neural networks for structured representations and fast inference"
    (2016), figure 4. Its sizes are not at hand, and those here are our choice.

    The line goes from 0 to 1, and pixel j stands at (j + 1/2) / pixels. A dot at p lights it by
    exp(-(distance / radius)^2 / 2), and every pixel has noise. Dots begin anywhere, in either direction, each with a
    speed of its own.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        pixels: D.
        speed: of dots on average, lines per frame.
        spread: speeds are uniform between 1 - spread and 1 + spread times that; may be 0, below 1.
        radius: of a dot, in lines.
        noise_scale: standard deviation of the noise of a pixel; may be 0.
        seed: of places, speeds and noise.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.

    Returns:
        x float32 [T, D] without inputs; truth [N, T, 2]: position from 0 to 1, and velocity per frame, to the right.

    Raises:
        ValueError: a count below 1, a number that is not positive, or negative where it may be 0; a `spread` of 1 or
            more, or a speed at which a dot would meet both ends within a frame.
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, pixels=pixels, seed=seed)
    check_positive(speed=speed, radius=radius)
    check_positive(or_zero=True, spread=spread, noise_scale=noise_scale)
    if spread >= 1.0:
        raise ValueError(f"spread must be below 1, or dots would stand still; got {spread!r}.")
    if speed * (1.0 + spread) > 1.0:
        raise ValueError(f"speed * (1 + spread) must be at most 1, the line; got {speed * (1.0 + spread)}.")

    def simulate() -> Arrays:
        arrays = {}
        for split, rng in generators(seed).items():
            states = _bounce(rng, counts[split], length, speed, spread)
            noise = noise_scale * rng.standard_normal((counts[split], length, pixels))
            distance = (np.arange(pixels) + 0.5) / pixels - states[..., :1]
            arrays |= {split: states, f"{split}_frames": np.exp(-0.5 * np.square(distance / radius)) + noise}
        return arrays

    shapes = {split: (count, length, 2) for split, count in counts.items()}
    shapes |= {f"{split}_frames": (count, length, pixels) for split, count in counts.items()}
    options = integers | {"speed": speed, "spread": spread, "radius": radius, "noise_scale": noise_scale}
    arrays = cached("dot", options, shapes, simulate, cache_dir)
    splits = Splits(*(from_arrays(arrays[f"{split}_frames"]) for split in counts))
    about = {"origin": f"simulated: a dot that bounces on a line, seed {seed}", "units": ("brightness",)}
    return Simulated(splits.described(**about), {split: arrays[split] for split in counts})


load_dot = splits_of(simulate_dot, "load_dot")


def _bounce(rng: np.random.Generator, count: int, length: int, speed: float, spread: float) -> np.ndarray:
    """Positions and velocities [N, T, 2]: of dots that go round a circle of twice the line, folded."""
    own = speed * rng.uniform(1.0 - spread, 1.0 + spread, (count, 1))
    way = (rng.uniform(0.0, 2.0, (count, 1)) + own * np.arange(length)) % 2.0
    ahead = way < 1.0
    return np.stack([np.where(ahead, way, 2.0 - way), np.where(ahead, own, -own)], axis=-1)
