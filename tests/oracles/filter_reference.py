"""A particle filter in float64 numpy that moves no states: each particle is the path of its ancestors, run anew."""

from typing import Any, NamedTuple

import numpy as np

from tests.oracles import reference
from tests.oracles.support import logsumexp


class Frame(NamedTuple):
    """A frame of a filter: evidence in nats, ancestors [K] (None: not resampled), paths [K, t + 1, Z], weights [K]."""

    evidence: float
    ancestors: np.ndarray | None
    paths: np.ndarray
    weights: np.ndarray


def incremental(model: Any, x: np.ndarray, draw: reference.Draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log p(x_t | .), log p(z_t | .), log q(z_t | .) of the last frame of paths [K, t + 1, Z], and z_t."""
    path = reference.follow(model, x, draw)
    last = [y[:, -1] for y in (path.z, *path.p, *path.q, path.params)]
    observed = reference.observation_log_density(model.observation, last[5], reference.array(x)[:, -1])
    prior = reference.normal_log_density(last[0], last[1], last[2])
    return np.stack([observed, prior, reference.normal_log_density(last[0], last[3], last[4])]), last[0]


def choose(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Ancestors by one number (systematic) or by K of them (multinomial): the inverse of the cumulated weights."""
    count = len(weights)
    positions = (np.arange(count) + uniform[0]) / count if len(uniform) == 1 else uniform
    return np.array([int(np.argmax(np.cumsum(weights) > p)) for p in positions])


def run(
    model: Any,
    x: np.ndarray,
    noise: np.ndarray,
    uniform: np.ndarray,
    ratio: float | None,
    known: list[Frame] | None = None,
) -> list[Frame]:
    """A filter over one sequence [T, D], noise [K, T, Z], uniform [T, n].

    Args:
        ratio: resample where the effective sample size is below it times K; infinity always does, None never.
        known: a filter whose ancestors are taken over.
    """
    count, frames = len(noise), []
    log_weights, paths = np.full(count, -np.log(count)), np.zeros([count, 0, noise.shape[-1]])
    for t in range(len(x)):
        weights, ancestors = np.exp(log_weights), None
        if known is not None:
            ancestors = known[t].ancestors
        elif ratio is not None and 1.0 / (weights**2).sum() < ratio * count:
            ancestors = choose(weights, uniform[t])
        before = paths
        if ancestors is not None:
            before, log_weights = paths[ancestors], np.full(count, -np.log(count))

        def draw(s: int, loc: np.ndarray, scale: np.ndarray, before: np.ndarray = before, t: int = t) -> np.ndarray:
            return before[:, s] if s < t else loc + scale * noise[:, t]

        (observed, prior, posterior), z = incremental(model, np.repeat(x[None, : t + 1], count, axis=0), draw)
        log_weights = log_weights + observed + prior - posterior
        evidence = logsumexp(log_weights)
        log_weights = log_weights - evidence
        paths = np.concatenate([before, z[:, None]], axis=1)
        frames.append(Frame(evidence, ancestors, paths, np.exp(log_weights)))
    return frames


def surrogate(model: Any, x: np.ndarray, frames: list[Frame]) -> float:
    """sum_t sum_k w_t^k (log p(x_t | .) + log p(z_t^k | .) + log q(z_t^k | .)), particles and weights from `frames`."""
    total = 0.0
    for t, frame in enumerate(frames):
        repeated = np.repeat(x[None, : t + 1], len(frame.weights), axis=0)
        densities, _ = incremental(model, repeated, reference.given(frame.paths))
        total += float(frame.weights @ densities.sum(axis=0))
    return total
