"""Time-varying linear-Gaussian systems in float64: as one dense Gaussian, and by the textbook's recursions."""

from typing import NamedTuple

import numpy as np

__all__ = ["Dense", "System", "random_system", "rauch_tung_striebel"]


class System(NamedTuple):
    """z_1 ~ N(0, s0^2 I), z_{t+1} ~ N(A_t z_t + drift_{t+1}, q^2 I), a_t ~ N(C_t z_t, r^2 I); one sequence."""

    transition: np.ndarray
    emission: np.ndarray
    drift: np.ndarray
    transition_scale: float
    emission_scale: float
    initial_scale: float

    @property
    def sizes(self) -> tuple[int, int, int]:
        """T, A and Z."""
        return self.emission.shape


def random_system(length: int, width: int, size: int, seed: int, **scales: float) -> System:
    rng = np.random.default_rng(seed)
    transition = np.eye(size) + 0.3 * rng.normal(size=(length, size, size))
    transition /= np.linalg.norm(transition, 2, axis=(1, 2), keepdims=True)
    drift = rng.normal(size=(length, size))
    drift[0] = 0.0
    scales = {"transition_scale": 0.4, "emission_scale": 0.3, "initial_scale": 2.0, **scales}
    return System(transition, rng.normal(size=(length, width, size)), drift, **scales)


class Dense(NamedTuple):
    """All z and all a of a system as one Gaussian: mean `[T (Z + A)]` and covariance, z before a."""

    mean: np.ndarray
    covariance: np.ndarray
    length: int
    size: int

    @classmethod
    def of(cls, system: System) -> "Dense":
        """From the noises, of which z and a are linear functions."""
        length, width, size = system.sizes
        moves = np.zeros([length, size, length, size])
        mean = np.zeros([length, size])
        scale = np.full([length], system.transition_scale)
        scale[0] = system.initial_scale
        for t in range(length):
            if t:
                moves[t] = np.tensordot(system.transition[t - 1], moves[t - 1], 1)
                mean[t] = system.transition[t - 1] @ mean[t - 1] + system.drift[t]
            moves[t, :, t] += scale[t] * np.eye(size)
        emits = np.einsum("taz,tzsy->tasy", system.emission, moves).reshape(length * width, -1)
        moves = moves.reshape(length * size, -1)
        own = np.concatenate(
            [np.zeros([length * size, length * width]), system.emission_scale * np.eye(length * width)]
        )
        factor = np.concatenate([np.concatenate([moves, emits]), own], axis=1)
        emitted = np.einsum("taz,tz->ta", system.emission, mean)
        return cls(np.concatenate([mean.ravel(), emitted.ravel()]), factor @ factor.T, length, size)

    @property
    def states(self) -> int:
        return self.length * self.size

    def evidence(self, a: np.ndarray) -> float:
        """log p(a_1:T)."""
        return log_density(a.ravel(), self.mean[self.states :], self.covariance[self.states :, self.states :])

    def joint(self, z: np.ndarray, a: np.ndarray) -> float:
        """log p(z_1:T, a_1:T)."""
        return log_density(np.concatenate([z.ravel(), a.ravel()]), self.mean, self.covariance)

    def given(self, a: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean `[T Z]` and covariance of all z given the frames `seen` `[T]` of a."""
        width = a.shape[1]
        known = self.states + np.flatnonzero(np.repeat(seen, width))
        z = np.arange(self.states)
        gain = self.covariance[np.ix_(z, known)] @ np.linalg.inv(self.covariance[np.ix_(known, known)])
        mean = self.mean[z] + gain @ (a[seen].ravel() - self.mean[known])
        return mean, self.covariance[np.ix_(z, z)] - gain @ self.covariance[np.ix_(known, z)]

    def marginals(self, a: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean `[T, Z]` and covariance `[T, Z, Z]` of each z_t given the frames `seen`."""
        mean, covariance = self.given(a, seen)
        blocks = covariance.reshape(self.length, self.size, self.length, self.size)
        return mean.reshape(self.length, self.size), np.stack([blocks[t, :, t] for t in range(self.length)])


def log_density(x: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    factor = np.linalg.cholesky(covariance)
    whitened = np.linalg.solve(factor, x - mean)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum() - 0.5 * len(x) * np.log(2.0 * np.pi))


def rauch_tung_striebel(system: System, a: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed means `[T, Z]` and covariances `[T, Z, Z]`, by the filter and the smoother with their inverses."""
    length, width, size = system.sizes
    mean, covariance = np.zeros(size), system.initial_scale**2 * np.eye(size)
    predicted, updated = [], []
    for t in range(length):
        mean = mean + system.drift[t]
        predicted.append((mean, covariance))
        if seen[t]:
            c = system.emission[t]
            innovation = c @ covariance @ c.T + system.emission_scale**2 * np.eye(width)
            gain = covariance @ c.T @ np.linalg.inv(innovation)
            mean, covariance = mean + gain @ (a[t] - c @ mean), covariance - gain @ c @ covariance
        updated.append((mean, covariance))
        move = system.transition[t]
        mean, covariance = move @ mean, move @ covariance @ move.T + system.transition_scale**2 * np.eye(size)
    smoothed = [updated[-1]]
    for t in reversed(range(length - 1)):
        gain = updated[t][1] @ system.transition[t].T @ np.linalg.inv(predicted[t + 1][1])
        mean = updated[t][0] + gain @ (smoothed[0][0] - predicted[t + 1][0])
        covariance = updated[t][1] + gain @ (smoothed[0][1] - predicted[t + 1][1]) @ gain.T
        smoothed.insert(0, (mean, covariance))
    means, covariances = zip(*smoothed, strict=True)
    return np.stack(means), np.stack(covariances)
