"""Small models and sequences to compress."""

from typing import Any

import numpy as np

import tfdvae
from tfdvae.data import Sequences, from_arrays

SMALL = {"units": 8}


def waves(count: int, features: int = 12, low: int = 12, high: int = 24, seed: int = 0) -> Sequences:
    """Frames of 0 and 1 whose probabilities move up and down, in sequences of different lengths."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        phase = np.arange(rng.integers(low, high))[:, None] / 2.0 + rng.uniform(0.0, 6.0) + np.arange(features)
        found.append((rng.random(phase.shape) < 1.0 / (1.0 + np.exp(-2.0 * np.sin(phase)))).astype(np.float32))
    return from_arrays(found)


def trained(model: tfdvae.DVAE, epochs: int) -> tfdvae.DVAE:
    """The model after a few epochs on waves."""
    train = waves(80)
    model.build_for(train.features)
    model.adapt(train)
    model.compile("adam")
    model.optimizer.learning_rate = 1e-2
    model.fit(train, epochs=epochs, batch_size=20, verbose=0)
    return model


def built(model: tfdvae.DVAE, sequences: Sequences) -> tfdvae.DVAE:
    """The model for sequences like these, without training."""
    model.build_for(sequences.features)
    model.adapt(sequences)
    return model


def equal(one: Sequences, other: Sequences) -> bool:
    """Whether two sets of sequences hold the same frames."""
    return len(one.x) == len(other.x) and all(np.array_equal(a, b) for a, b in zip(one.x, other.x, strict=True))


def of_kind(kind: str) -> tuple[Any, Sequences]:
    """An observation, and sequences that it explains."""
    rng = np.random.default_rng(3)
    lengths = [5, 3, 6]
    if kind in ("bernoulli", "autoregressive_bernoulli"):
        return kind, waves(3, 4, 3, 7)
    if kind == "categorical":
        groups = [np.concatenate([np.eye(k)[rng.integers(0, k, t)] for k in (3, 2)], axis=1) for t in lengths]
        return tfdvae.observations.Categorical((3, 2)), from_arrays(groups)
    whole = [np.rint(np.cumsum(rng.normal(size=(t, 3)), axis=0) * 4.0) for t in lengths]
    if kind == "pen":
        return kind, from_arrays([np.concatenate([x[:, :2], x[:, 2:] > 0.0], axis=1) for x in whole])
    return kind, from_arrays([x.astype(np.float32) / np.float32(10.0) for x in whole])
