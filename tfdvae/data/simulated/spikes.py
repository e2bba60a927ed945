"""Spike counts of neurons that follow an oscillator which nobody sees."""

import os

import numpy as np

from tfdvae.data.sequences import Splits, from_arrays
from tfdvae.data.simulated.shared import Arrays, Simulated, cached, check_positive, counts_of, generators, splits_of

__all__ = ["load_spikes", "simulate_spikes"]


def simulate_spikes(
    num_train: int = 200,
    num_valid: int = 50,
    num_test: int = 50,
    length: int = 100,
    num_neurons: int = 20,
    interval: float = 0.02,
    period: float = 0.5,
    lifetime: float = 1.0,
    mean_count: float = 0.3,
    modulation: float = 1.0,
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
) -> Simulated:
    """Counts of spikes per bin, x_{t,i} ~ Poisson(exp(b + modulation (z_{t,1} cos phi_i + z_{t,2} sin phi_i))), of
    neurons whose preferred phases phi_i are spread over a circle, and whose rates follow a noisy oscillator:

        z_t = a R z_{t-1} + (1 - a^2)^(1/2) noise,    z_1 ~ N(0, I),

    where R turns by 2 pi interval / period and a = exp(-interval / lifetime), so that every z_t is N(0, I). This is a
    linear dynamical system with Poisson observations, for which Archer et al., "Black box variational inference for
    state space models" (2015) made their posterior; the system and its numbers are ours. With the default ones a bin
    holds 0.3 spikes of a neuron on average and 6 of all, an oscillation takes 25 bins and is forgotten in 50: one bin
    says little.

    Args:
        num_train: training sequences.
        num_valid: validation sequences.
        num_test: test sequences. The splits are drawn independently, all from `seed`.
        length: bins per sequence, T.
        num_neurons: D.
        interval: seconds per bin.
        period: seconds of an oscillation; at least two bins.
        lifetime: seconds in which it is forgotten but for 1/e.
        mean_count: spikes per bin and neuron, on average.
        modulation: by how much the logarithm of a rate follows z; 0 for neurons that know nothing of it.
        seed: of the oscillator and of the spikes.
        cache_dir: the environment variable TFDVAE_CACHE, or else ~/.cache/tfdvae.

    Returns:
        x float32 [T, D], whole numbers, without inputs; truth [N, T, 2]: z_t.

    Raises:
        ValueError: a count below 1, a number that is not positive, a period of less than two bins.

    Example:
        splits, truth, _ = simulate_spikes(num_train=500, mean_count=0.1)
        model = tfdvae.DKF(2, inference="tridiagonal", transition="linear", decoder_units=(), observation="poisson")
    """
    counts, integers = counts_of(num_train, num_valid, num_test, length=length, num_neurons=num_neurons, seed=seed)
    positive = {"interval": interval, "period": period, "lifetime": lifetime, "mean_count": mean_count}
    check_positive(**positive)
    check_positive(or_zero=True, modulation=modulation)
    if period < 2 * interval:
        raise ValueError(f"period must be at least two bins, {2 * interval}; got {period}.")

    def simulate() -> Arrays:
        arrays = {}
        for split, rng in generators(seed).items():
            states = _oscillate(rng.normal(size=(counts[split], length, 2)), 2.0 * np.pi * interval / period, decay)
            rates = mean_count * np.exp(modulation * (states @ directions) - 0.5 * modulation**2)
            arrays[split] = states
            arrays[f"{split}_counts"] = rng.poisson(rates)
        return arrays

    phases = 2.0 * np.pi * np.arange(num_neurons) / num_neurons
    directions, decay = np.stack([np.cos(phases), np.sin(phases)]), float(np.exp(-interval / lifetime))
    shapes = {split: (count, length, 2) for split, count in counts.items()}
    shapes |= {f"{split}_counts": (count, length, num_neurons) for split, count in counts.items()}
    arrays = cached("spikes", {**integers, **positive, "modulation": modulation}, shapes, simulate, cache_dir)
    splits = Splits(*(from_arrays(arrays[f"{split}_counts"]) for split in Splits._fields))
    about = {"units": ("spikes",), "frame_period": interval, "origin": f"simulated: a latent oscillator, seed {seed}"}
    return Simulated(splits.described(**about), {split: arrays[split] for split in counts})


load_spikes = splits_of(simulate_spikes, "load_spikes")


def _oscillate(noise: np.ndarray, turn: float, decay: float) -> np.ndarray:
    """States [N, T, 2] that turn by an angle from frame to frame, from normal noise of that shape."""
    cosine, sine = np.cos(turn), np.sin(turn)
    move = decay * np.array([[cosine, -sine], [sine, cosine]])
    states = np.empty_like(noise)
    states[:, 0] = noise[:, 0]
    for t in range(1, noise.shape[1]):
        states[:, t] = states[:, t - 1] @ move.T + np.sqrt(1.0 - decay**2) * noise[:, t]
    return states
