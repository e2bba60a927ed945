"""Faces of an audience that see the same film, whose expressions are products of who looks and of what is shown."""

import os

import numpy as np

from tfdvae.data.sequences import Splits, from_arrays
from tfdvae.data.simulated.shared import Arrays, Simulated, cached, check_positive, counts_of, generators, splits_of

__all__ = ["load_faces", "simulate_faces"]

_EXPRESSIONS = 4


def simulate_faces(
    num_train: int = 200,
    num_valid: int = 50,
    num_test: int = 50,
    length: int = 60,
    num_factors: int = 4,
    lifetime: float = 4.0,
    process_scale: float = 0.2,
    noise_scale: float = 0.03,
    missing_rate: float = 0.2,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
) -> Simulated:
    """Landmarks of faces that react to a film, after the data of Deng et al., "Factorized variational autoencoders for
    modeling audience reactions to movies" (CVPR 2017), which are not public: those here are of the model's own kind.

        z_it = U_i * V_t + process_scale noise,    U_i ~ N(0, I),    log V_t ~ N(0, I), smooth over t,
        x_it = (face + sum_k tanh(z_itk) expression_k) + noise_scale noise

    Everybody sees the same film: V is the same in all splits, whose individuals differ. A factor opens the mouth,
    lifts its corners, lifts the brows, or opens the eyes; a negative one does the opposite. The tanh, since a mouth
    opens only so far, keeps frames from being products themselves. Of each individual whole frames are missing.

    Args:
        num_train: training individuals.
        num_valid: validation individuals.
        num_test: test individuals. The splits are drawn independently, all from `seed`.
        length: frames of the film, T.
        num_factors: K, from 1 to 4, of the expressions in the order above.
        lifetime: frames over which log V is smoothed, the deviation of a Gaussian window; may be 0.
        process_scale: standard deviation of z about U * V; may be 0.
        noise_scale: of the landmarks, whose own deviations are up to 0.3; the face is 2 wide.
        missing_rate: probability of each frame of each individual to be missing, below 1. With 0 the frames are the
            same, and complete: what to compare with.
        seed: of the film, the individuals and all noise.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.

    Returns:
        x float32 [T, 68], of 34 landmarks to the right and up, and "observed", unless nothing is missing; truth
        [N, T, 2 K]: z_it, and V_t, the same for all; constants [N, K]: U_i.

    Raises:
        ValueError: a count below 1, more factors than expressions, a negative number, or a rate that leaves nothing.
    """
    numbers = {"length": length, "num_factors": num_factors, "seed": seed}
    counts, integers = counts_of(num_train, num_valid, num_test, **numbers)
    scales = {"lifetime": lifetime, "process_scale": process_scale, "noise_scale": noise_scale}
    check_positive(or_zero=True, **scales, missing_rate=missing_rate)
    if num_factors > _EXPRESSIONS:
        raise ValueError(f"num_factors must be at most {_EXPRESSIONS}, one per expression; got {num_factors}.")
    if missing_rate >= 1.0:
        raise ValueError(f"missing_rate must be below 1, which leaves nothing to see; got {missing_rate!r}.")

    face, expressions = _face()

    def simulate() -> Arrays:
        times = np.exp(_smooth(np.random.default_rng(seed).standard_normal((length, num_factors)), lifetime))
        arrays = {}
        for split, rng in generators(seed).items():
            individuals = rng.standard_normal((counts[split], num_factors))
            z = individuals[:, None] * times
            z = z + process_scale * rng.standard_normal(z.shape)
            frames = face + np.tanh(z) @ expressions[:num_factors]
            arrays |= {
                split: np.concatenate([z, np.broadcast_to(times, z.shape)], axis=-1),
                f"{split}_constants": individuals,
                f"{split}_frames": frames + noise_scale * rng.standard_normal(frames.shape),
                f"{split}_chances": rng.uniform(size=z.shape[:2]),
            }
        return arrays

    widths = {"": (length, 2 * num_factors), "_constants": (num_factors,), "_frames": (length, len(face))}
    widths["_chances"] = (length,)
    shapes = {f"{split}{what}": (count, *width) for split, count in counts.items() for what, width in widths.items()}
    arrays = cached("faces", integers | scales, shapes, simulate, cache_dir)

    def sequences(split: str) -> tuple[np.ndarray, np.ndarray | None]:
        x, known = arrays[f"{split}_frames"], arrays[f"{split}_chances"][..., None] >= missing_rate
        return (x, None) if not missing_rate else (np.where(known, x, 0.0), np.broadcast_to(known, x.shape))

    given = {split: sequences(split) for split in counts}
    splits = Splits(*(from_arrays(x, observed=observed) for x, observed in given.values()))
    about = {"origin": f"simulated: faces that see the same film, seed {seed}", "units": ("halves of a face's width",)}
    constants = {split: arrays[f"{split}_constants"] for split in counts}
    return Simulated(splits.described(**about), {split: arrays[split] for split in counts}, constants)


load_faces = splits_of(simulate_faces, "load_faces")


def _smooth(noise: np.ndarray, lifetime: float) -> np.ndarray:
    """Each column of [T, K] by a Gaussian window over time; numbers keep their variance of 1, at the ends too."""
    if lifetime == 0.0:
        return noise
    distance = np.arange(len(noise))[:, None] - np.arange(len(noise))
    window = np.exp(-0.5 * np.square(distance / lifetime))
    return (window / np.linalg.norm(window, axis=1, keepdims=True)) @ noise


def _ellipse(count: int, centre: tuple[float, float], width: float, height: float) -> np.ndarray:
    """Landmarks [count, 2] around a centre, from the right end on, counterclockwise."""
    angle = 2.0 * np.pi * np.arange(count) / count
    return np.stack([centre[0] + width * np.cos(angle), centre[1] + height * np.sin(angle)], axis=1)


def _face() -> tuple[np.ndarray, np.ndarray]:
    """Where landmarks are, [68], and where expressions move them, [4, 68]: 12 of the mouth, 6 of each eye, 5 of each
    brow."""
    mouth = _ellipse(12, (0.0, -0.6), 0.4, 0.1)
    eyes = np.concatenate([_ellipse(6, (side, 0.25), 0.2, 0.07) for side in (-0.45, 0.45)])
    along = np.linspace(-0.25, 0.25, 5)
    arch = 0.5 + 0.08 * np.cos(2.0 * np.pi * along)
    brows = np.concatenate([np.stack([side + along, arch], axis=1) for side in (-0.45, 0.45)])
    face = np.concatenate([mouth, eyes, brows])
    moves = np.zeros((_EXPRESSIONS, *face.shape))
    moves[0, :12, 1] = 2.0 * (mouth[:, 1] + 0.6) - 0.05
    moves[1, :12, 1] = 1.2 * np.square(mouth[:, 0]) - 0.05
    moves[1, :12, 0] = 0.2 * mouth[:, 0]
    moves[2, 24:, 1] = 0.15
    moves[3, 12:24, 1] = 1.2 * (eyes[:, 1] - 0.25)
    moves[3, 24:, 1] = 0.05
    return face.ravel(), moves.reshape(_EXPRESSIONS, -1)
