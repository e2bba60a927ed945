"""A car on an oval track: a switching linear system whose regimes are known."""

import os

import numpy as np

from tfdvae.arguments import switch
from tfdvae.data.sequences import Splits, from_arrays
from tfdvae.data.simulated.shared import Arrays, Simulated, cached, check_positive, counts_of, generators, splits_of

__all__ = ["TRACK_REGIMES", "load_nascar", "simulate_nascar"]

TRACK_REGIMES = (
    *("right bend, left turn", "left bend, left turn", "straight to the left", "straight to the right"),
    *("right bend, right turn", "left bend, right turn"),
)
"""What the numbers of the regimes mean; the last two are driven with `both_ways` alone."""

_BEND = 2.0
_RADIUS = 1.0


def simulate_nascar(
    num_train: int = 200,
    num_valid: int = 50,
    num_test: int = 50,
    length: int = 100,
    features: int = 10,
    speed: float = 0.25,
    process_scale: float = 0.02,
    noise_scale: float = 0.2,
    both_ways: bool = False,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
) -> Simulated:
    """Frames of a car on an oval track, after the NASCAR example of Linderman et al., "Bayesian learning and inference
    in recurrent switching linear dynamical systems" (AISTATS 2017).

    The car is in a plane. Beyond 2 to the right and to the left of the origin it turns about the points (2, 0) and
    (-2, 0), between them it drives straight: in each of these four regimes its place at the next frame is an affine
    function of the last one, and noise of `process_scale`. Frames are a linear function of the place, the same for all
    sequences, and noise. It starts anywhere on the track of radius 1 and drives counterclockwise; with `both_ways`
    every other sequence is driven clockwise, which makes two turns more and so six regimes (`TRACK_REGIMES`), and a
    place tells no regime any more. Regimes follow from the place, so that they are no Markov chain of their own, as in
    the paper; its sizes are not at hand, and those here are our choice.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: frames per sequence, T.
        features: D, of a frame.
        speed: way per frame on the track; a lap takes (8 + 2 pi) / speed frames.
        process_scale: standard deviation of the noise of the place, per frame.
        noise_scale: of the noise of a frame, whose own standard deviation is about 1.5.
        both_ways: whether every other sequence goes the other way round.
        seed: of the linear function, of first places and of all noise.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.

    Returns:
        x float32 [T, D] without inputs; truth [N, T, 3]: place to the right and up, and the number of the regime that
        has moved the car there. The first frame has the regime of its place.

    Raises:
        ValueError: a count below 1, a number that is negative, or zero where that means nothing; a `speed` above 1, at
            which a regime may be left out; `both_ways` that is no bool.
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, features=features, seed=seed)
    positive = {"speed": speed, "noise_scale": noise_scale}
    check_positive(**positive)
    check_positive(or_zero=True, process_scale=process_scale)
    if speed > 1.0:
        raise ValueError(f"speed must be at most 1, the radius of the bends; got {speed}.")
    both_ways = switch("both_ways", both_ways)

    def simulate() -> Arrays:
        emission = np.random.default_rng(seed).standard_normal((2, features))
        arrays = {}
        for split, rng in generators(seed).items():
            states = _laps(rng, counts[split], length, speed, process_scale, both_ways)
            noise = noise_scale * rng.standard_normal((counts[split], length, features))
            arrays |= {split: states, f"{split}_frames": states[..., :2] @ emission + noise}
        return arrays

    shapes = {split: (count, length, 3) for split, count in counts.items()}
    shapes |= {f"{split}_frames": (count, length, features) for split, count in counts.items()}
    options = integers | positive | {"process_scale": process_scale, "both_ways": both_ways}
    arrays = cached("nascar", options, shapes, simulate, cache_dir)
    splits = Splits(*(from_arrays(arrays[f"{split}_frames"]) for split in counts))
    about = {"origin": f"simulated: a car on an oval track{', both ways' if both_ways else ''}, seed {seed}"}
    return Simulated(splits.described(**about), {split: arrays[split] for split in counts})


load_nascar = splits_of(simulate_nascar, "load_nascar")


def _laps(
    rng: np.random.Generator, count: int, length: int, speed: float, process_scale: float, both_ways: bool
) -> np.ndarray:
    """Places and regimes [N, T, 3]."""
    way = np.where(np.arange(count) % 2 == 1, -1.0, 1.0) if both_ways else np.ones(count)
    place = _start(rng, count)
    states = np.empty((count, length, 3))
    regime = _regime(place, way)
    for t in range(length):
        if t:
            regime = _regime(place, way)
            place = _move(place, regime, way, speed) + process_scale * rng.standard_normal(place.shape)
        states[:, t] = np.concatenate([place, regime[:, None]], axis=1)
    return states


def _start(rng: np.random.Generator, count: int) -> np.ndarray:
    """Places [N, 2] that are uniform along the track."""
    straight, bend = 2 * _BEND, np.pi * _RADIUS
    way = rng.uniform(0, 2 * (straight + bend), size=count)
    upper, along = way < straight + bend, way % (straight + bend)
    angle = np.pi / 2 + (along - straight) / _RADIUS
    on_straight = along < straight
    x = np.where(on_straight, _BEND - along, -_BEND + _RADIUS * np.cos(angle))
    y = np.where(on_straight, _RADIUS, _RADIUS * np.sin(angle))
    return np.stack([x, y], axis=1) * np.where(upper, 1.0, -1.0)[:, None]


def _regime(place: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Which regime moves on from places [N, 2], for those who go counterclockwise (`way` 1) or clockwise (-1): [N]."""
    x, y = place.T
    bends = np.where(x > _BEND, 0, 1) + np.where(way > 0, 0, 4)
    straights = np.where((y >= 0) == (way > 0), 2, 3)
    return np.where(np.abs(x) > _BEND, bends, straights)


def _move(place: np.ndarray, regime: np.ndarray, way: np.ndarray, speed: float) -> np.ndarray:
    """The next places without noise."""
    angle = way * speed / _RADIUS
    center = np.where(regime % 4 == 0, _BEND, -_BEND)
    x, y = place[:, 0] - center, place[:, 1]
    turned = np.stack([center + np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=1)
    straight = place + np.stack([np.where(regime == 2, -speed, speed), np.zeros(len(place))], axis=1)
    return np.where(np.isin(regime, (2, 3))[:, None], straight, turned)
