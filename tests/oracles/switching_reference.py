"""A switching linear system in float64 numpy: all z as one dense Gaussian, all paths of regimes one by one."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from tests.oracles.kalman_reference import log_density
from tests.oracles.networks import affine, array, mlp, softplus

__all__ = ["Field", "Weights", "log_softmax", "potentials"]


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


class Weights(NamedTuple):
    """Of a model: A `[K, Z, Z]`, b `[K, Z]`, noise `[K, Z]`, m_1 and s_1 `[Z]`, log p(s_t | s_{t-1}) and log p(s_1);
    and B u_t, `push` `[T, Z]`."""

    transition: np.ndarray
    offset: np.ndarray
    noise: np.ndarray
    first: np.ndarray
    first_noise: np.ndarray
    chain: np.ndarray
    start: np.ndarray
    push: np.ndarray

    @classmethod
    def of(cls, cell: Any, length: int, u: np.ndarray | None = None) -> "Weights":
        positive = softplus if cell.scale == "softplus" else lambda y: np.exp(0.5 * y)
        noise, first_noise = (positive(array(y)) + cell.min_scale for y in (cell.raw_scale, cell.raw_initial_scale))
        push = np.zeros([length, cell.latent_dim]) if u is None else u @ array(cell.drift)
        logs = (log_softmax(array(y)) for y in (cell.regime_logits, cell.initial_regime))
        return cls(array(cell.transition), array(cell.offset), noise, array(cell.initial_loc), first_noise, *logs, push)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """T, K and Z."""
        return len(self.push), *self.offset.shape

    def paths(self) -> np.ndarray:
        """All s_1:T, `[K^T, T]`."""
        length, count, _ = self.sizes
        return np.array(list(itertools.product(range(count), repeat=length)))

    def log_paths(self, paths: np.ndarray) -> np.ndarray:
        """log p(s_1:T)."""
        return self.start[paths[:, 0]] + self.chain[paths[:, :-1], paths[:, 1:]].sum(axis=1)

    def given(self, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean `[T Z]` and covariance of z_1:T given s_1:T, of which s_1 is not used."""
        length, _, size = self.sizes
        moves = np.zeros([length * size, length * size])
        shift, noise = self.push.copy(), self.noise[path]
        shift[0] += self.first
        noise[0] = self.first_noise
        for t in range(1, length):
            moves[t * size : (t + 1) * size, (t - 1) * size : t * size] = self.transition[path[t]]
            shift[t] += self.offset[path[t]]
        spread = np.linalg.inv(np.eye(length * size) - moves)
        return spread @ shift.ravel(), spread @ np.diag(noise.ravel() ** 2) @ spread.T


class Field(NamedTuple):
    """q(z) q(s): mean `[T, Z]` and covariance `[T, Z, T, Z]` of z, and the logarithm of q for each path of s."""

    mean: np.ndarray
    covariance: np.ndarray
    log_paths: np.ndarray

    @property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """As one vector and one matrix."""
        size = self.mean.size
        return self.mean.ravel(), self.covariance.reshape(size, size)

    def regimes(self, weights: Weights) -> np.ndarray:
        """q(s_t), `[T, K]`."""
        paths, count = weights.paths(), weights.sizes[1]
        return np.stack([np.exp(self.log_paths) @ (paths == k) for k in range(count)], axis=-1)

    def log_densities(self, weights: Weights) -> np.ndarray:
        """E_q(z) log N(z_t; A_k z_{t-1} + b_k + B u_t, .), `[T, K]`; 0 at the first frame."""
        length, count, _ = weights.sizes
        found = np.zeros([length, count])
        for t, k in itertools.product(range(1, length), range(count)):
            a = weights.transition[k]
            error = self.mean[t] - a @ self.mean[t - 1] - weights.offset[k] - weights.push[t]
            now, across, before = (self.covariance[i, :, j] for i, j in ((t, t), (t, t - 1), (t - 1, t - 1)))
            squares = error**2 + np.diag(now - across @ a.T - a @ across.T + a @ before @ a.T)
            variance = weights.noise[k] ** 2
            found[t, k] = -0.5 * np.sum(squares / variance + np.log(2 * np.pi * variance))
        return found

    def divergence(self, weights: Weights) -> tuple[float, float]:
        """KL(q(s) || p(s)) and E_q(s) KL(q(z) || p(z | s))."""
        paths = weights.paths()
        q = np.exp(self.log_paths)
        of_s = q @ (self.log_paths - weights.log_paths(paths))
        mean, covariance = self.moments
        entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
        expected = 0.0
        for path, weight in zip(paths, q, strict=True):
            center, spread = weights.given(path)
            squares = np.trace(np.linalg.solve(spread, covariance)) + (mean - center) @ np.linalg.solve(
                spread, mean - center
            )
            expected += weight * -0.5 * (squares + np.linalg.slogdet(2 * np.pi * spread)[1])
        return float(of_s), float(-entropy - expected)

    @classmethod
    def after(cls, weights: Weights, vector: np.ndarray, precision: np.ndarray, rounds: int) -> "Field":
        """The mean field after some rounds, from q(s_t) = 1 / K; potentials `[T, Z]`.

        q(z) is made of E_q(s) of the inverse covariances of p(z | s) over whole paths, q(s) of all paths.
        """
        length, count, size = weights.sizes
        paths = weights.paths()
        logs = np.full(len(paths), -length * np.log(count))
        for _ in range(rounds):
            inverse, pull = np.diag(precision.ravel()), vector.ravel().copy()
            for path, weight in zip(paths, np.exp(logs), strict=True):
                mean, covariance = weights.given(path)
                own = np.linalg.inv(covariance)
                inverse, pull = inverse + weight * own, pull + weight * own @ mean
            covariance = np.linalg.inv(inverse)
            shape = (length, size, length, size)
            field = cls((covariance @ pull).reshape(length, size), covariance.reshape(shape), logs)
            told = field.log_densities(weights)
            logs = log_softmax(weights.log_paths(paths) + told[np.arange(length), paths].sum(axis=1))
            field = field._replace(log_paths=logs)
        return field

    @classmethod
    def of(cls, weights: Weights, chain: Any, conditionals: np.ndarray) -> "Field":
        """That of a model's chains of one sequence, `[T, ...]`: a Gaussian one, and log q(s_t | s_{t-1})."""
        length, _, size = weights.sizes
        move, shift, factor = (np.float64(y) for y in chain)
        moves, noise = (np.zeros([length * size, length * size]) for _ in range(2))
        for t in range(length):
            here, before = slice(t * size, (t + 1) * size), slice((t - 1) * size, t * size)
            noise[here, here] = factor[t] @ factor[t].T
            if t:
                moves[here, before] = move[t]
        spread = np.linalg.inv(np.eye(length * size) - moves)
        covariance = (spread @ noise @ spread.T).reshape(length, size, length, size)
        paths = weights.paths()
        logs = np.float64(conditionals)
        own = logs[0, 0, paths[:, 0]] + sum(logs[t, paths[:, t - 1], paths[:, t]] for t in range(1, length))
        return cls((spread @ shift.ravel()).reshape(length, size), covariance, own)

    def log_z(self, z: np.ndarray) -> float:
        """log q(z_1:T)."""
        return log_density(z.ravel(), *self.moments)


def potentials(cell: Any, x: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """h and J of frames `[T, X]`, zero where nothing is `known` `[T]`."""
    vector, raw = np.split(affine(cell.potentials, mlp(cell.encoder, x)), 2, axis=-1)
    return vector * known[:, None], softplus(raw) * known[:, None]
