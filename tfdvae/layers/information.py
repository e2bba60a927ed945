"""Linear-Gaussian dynamics under Gaussian potentials, in information form: what a Kalman smoother knows, without a
matrix inverse or a library's Cholesky factor.

Potentials are exp(h' z - z' J z / 2), with J = 0 where nothing is known. The noise of the dynamics is diagonal, so it
is taken in one dimension at a time by the rank-one update of the Kalman filter (`tfdvae.layers.kalman`), here of a
precision; what is left are products of small matrices, and elimination that is written out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfdvae import loop
from tfdvae.families.numerics import solve_lower
from tfdvae.families.triangular import Triangular
from tfdvae.layers.kalman import Belief, joseph, matvec, outer, symmetric

__all__ = [
    "Chain",
    "Potential",
    "affine_path",
    "associative_scan",
    "diagonal",
    "factor_of_inverse",
    "marginals",
    "messages",
    "messages_in_parallel",
    "transposed_matvec",
]


class Potential(NamedTuple):
    """exp(h' z - z' J z / 2): `vector` h `[..., Z]`, `precision` J `[..., Z, Z]`, or its diagonal `[..., Z]`."""

    vector: tf.Tensor
    precision: tf.Tensor


class Chain(NamedTuple):
    """z_t = F_t z_{t-1} + c_t + L_t noise from z_0 = 0, a Gaussian over whole paths: `moves` F `[..., Z, Z]`, `shifts`
    c `[..., Z]`, `factor` L `[..., Z, Z]`, lower triangular."""

    moves: tf.Tensor
    shifts: tf.Tensor
    factor: tf.Tensor

    def given(self, before: tf.Tensor) -> Triangular:
        """z_t given z_{t-1}, `[..., Z]`."""
        return Triangular(matvec(self.moves, before) + self.shifts, self.factor)

    def path(self, noise: tf.Tensor | None = None) -> tf.Tensor:
        """z_1:T `[B, T, Z]` from normal noise of that shape, in log2 T rounds; without noise the mean."""
        return affine_path(self.moves, self.shifts if noise is None else self.shifts + matvec(self.factor, noise))


def diagonal(x: tf.Tensor) -> tf.Tensor:
    """`[..., Z]` as the diagonal of `[..., Z, Z]`."""
    return tf.expand_dims(x, -1) * tf.eye(x.shape[-1], dtype=x.dtype)


def _as_matrix(potential: Potential) -> tf.Tensor:
    """J as a matrix, `[..., Z, Z]`."""
    vector, precision = potential
    return diagonal(precision) if precision.shape.rank == vector.shape.rank else precision


def transposed_matvec(matrix: tf.Tensor, vector: tf.Tensor) -> tf.Tensor:
    """The transpose of `[..., M, N]` times `[..., M]`: `[..., N]`."""
    return tf.reduce_sum(matrix * tf.expand_dims(vector, -1), axis=-2)


def _lower_factor(matrix: tf.Tensor) -> tf.Tensor:
    """Lower triangular G with G' G equal to a positive definite matrix `[..., Z, Z]`: elimination from its last row."""
    size, rows = matrix.shape[-1], []
    for i in reversed(range(size)):
        pivot = tf.maximum(matrix[..., i, i : i + 1], 1e-30)
        row = matrix[..., i, :] * tf.math.rsqrt(pivot)
        matrix = (matrix - outer(row, row))[..., :i, :i]
        rows.append(tf.pad(row, [[0, 0]] * (row.shape.rank - 1) + [[0, size - 1 - i]]))
    return tf.stack(rows[::-1], axis=-2)


def factor_of_inverse(precision: tf.Tensor) -> tf.Tensor:
    """Lower triangular L, `[..., Z, Z]`, whose L L' is the inverse of a positive definite precision."""
    factor = _lower_factor(precision)
    units = tf.eye(factor.shape[-1], dtype=factor.dtype) + tf.zeros_like(factor)
    return solve_lower(factor, units)


def _through_noise(known: Potential, variance: tf.Tensor) -> Potential:
    """The integral of N(z; y, diag(variance)) times a potential of z, as a potential of y; `variance` `[..., Z]`."""
    vector, precision = known
    units = tf.eye(variance.shape[-1], dtype=precision.dtype)
    for i in range(variance.shape[-1]):
        reach, own = precision[..., i], tf.nn.relu(precision[..., i, i : i + 1])
        # Of the precision this is the update by an observation of row i whose noise has the variance 1 / variance_i.
        noise = variance[..., i : i + 1]
        gain = reach * (noise / (1.0 + noise * own))
        vector -= gain * vector[..., i : i + 1]
        precision = joseph(precision, units[i], reach, gain, gain / noise)
    return Potential(vector, precision)


def _look_back(
    later: Potential,
    transition: tf.Tensor,
    variance: tf.Tensor,
    drift: tf.Tensor | None,
    mixing: tf.Tensor | None,
) -> Potential:
    """What a potential of z_{t+1} = S (A z_t + drift + noise) says of z_t; S is the identity where `mixing` is None."""
    if mixing is not None:
        mixed = tf.matmul(mixing, tf.matmul(later.precision, mixing), transpose_a=True)
        later = Potential(transposed_matvec(mixing, later.vector), mixed)
    if drift is not None:
        later = later._replace(vector=later.vector - matvec(later.precision, drift))
    vector, precision = _through_noise(later, variance)
    moved = tf.matmul(tf.matmul(transition, precision, transpose_a=True), transition)
    return Potential(transposed_matvec(transition, vector), symmetric(moved))


def messages(
    nodes: Potential,
    transition: tf.Tensor,
    variance: tf.Tensor,
    drift: tf.Tensor | None = None,
    mixing: tf.Tensor | None = None,
    beside: Potential | None = None,
) -> Potential:
    """What the frames from t on say of z_t, `[B, T, Z]` and `[B, T, Z, Z]`, frame by frame against time.

    The dynamics are z_t = S_t (A_t z_{t-1} + drift_t + noise).

    Args:
        nodes: potentials of each frame, `[B, T, Z]` and `[B, T, Z, Z]`, or `[B, T, Z]` for a diagonal; zero at frames
            that say nothing, padding included.
        transition: A `[Z, Z]`, the same at all frames, or A_t `[B, T, Z, Z]`, which moves z_{t-1} to z_t.
        variance: of the noise of that move, `[Z]`, or `[B, T, Z]`.
        drift: `[B, T, Z]`.
        mixing: S_t, `[B, T, Z, Z]`; None for the identity.
        beside: what the move to frame t says of z_{t-1} beside, `[B, T, Z]` and `[B, T, Z, Z]`.
    """
    moves = None if transition.shape.rank == 2 else transition
    noises = None if variance.shape.rank == 1 else variance

    def frame(later: Potential, inputs: tuple) -> tuple[Potential, Potential]:
        vector, precision, move, noise, arriving, mixed, told = inputs
        own = _as_matrix(Potential(vector, precision))
        found = Potential(later.vector + vector, later.precision + own)
        move, noise = transition if move is None else move, variance if noise is None else noise
        before = _look_back(found, move, noise, arriving, mixed)
        return before if told is None else Potential(*(a + b for a, b in zip(before, told, strict=True))), found

    start = Potential(tf.zeros_like(nodes.vector[:, 0]), tf.zeros_like(diagonal(nodes.vector[:, 0])))
    inputs = (*nodes, moves, noises, drift, mixing, beside)
    series = tf.nest.map_structure(lambda y: None if y is None else tf.reverse(y, [1]), inputs)
    _, found = loop.scan(frame, start, series)
    return Potential(*(tf.reverse(y, [1]) for y in found))


class _Stretch(NamedTuple):
    """Some frames in a row: N(z_after; A z_first + b, C) times exp(h' z_first - z_first' J z_first / 2), where z_after
    is that of the frame behind the last of them."""

    transition: tf.Tensor
    shift: tf.Tensor
    covariance: tf.Tensor
    vector: tf.Tensor
    precision: tf.Tensor


def _joined(first: _Stretch, second: _Stretch) -> _Stretch:
    """Two stretches in a row as one (Saerkkae and Garcia-Fernandez 2021, lemma 8).

    Their (I + C J)^-1 is I - G' (I + G J G')^-1 G J with C = G' G, whose middle is symmetric and at least I.
    """
    units = tf.eye(first.shift.shape[-1], dtype=first.shift.dtype)
    factor = _lower_factor(first.covariance)
    seen = tf.matmul(factor, second.precision)
    middle = factor_of_inverse(units + tf.matmul(seen, factor, transpose_b=True))
    pull = tf.matmul(factor, tf.matmul(middle, tf.matmul(middle, seen, transpose_a=True)), transpose_a=True)
    mixed = units - pull
    forward = tf.matmul(second.transition, mixed)
    backward = tf.matmul(first.transition, mixed, transpose_a=True, transpose_b=True)
    shift = first.shift + matvec(first.covariance, second.vector)
    vector = second.vector - matvec(second.precision, first.shift)
    covariance = tf.matmul(tf.matmul(forward, first.covariance), second.transition, transpose_b=True)
    precision = tf.matmul(tf.matmul(backward, second.precision), first.transition)
    return _Stretch(
        tf.matmul(forward, first.transition),
        matvec(forward, shift) + second.shift,
        symmetric(covariance) + second.covariance,
        matvec(backward, vector) + first.vector,
        symmetric(precision) + first.precision,
    )


def messages_in_parallel(
    nodes: Potential,
    transition: tf.Tensor,
    variance: tf.Tensor,
    drift: tf.Tensor | None = None,
    mixing: tf.Tensor | None = None,
) -> Potential:
    """The same as `messages`, by an associative scan: log2 T rounds over all frames in place of T frames in turn."""
    own = _as_matrix(nodes)
    moves = transition + tf.zeros_like(own)
    shifts = tf.zeros_like(nodes.vector) if drift is None else drift
    covariance = diagonal(variance) + tf.zeros_like(own)
    if mixing is not None:
        moves, shifts = tf.matmul(mixing, moves), matvec(mixing, shifts)
        covariance = tf.matmul(mixing * variance, mixing, transpose_b=True)
    # From each frame to the next; nothing comes after the last.
    onward = (tf.concat([y[:, 1:], tf.zeros_like(y[:, :1])], 1) for y in (moves, shifts, covariance))
    against_time = _Stretch(*(tf.reverse(y, [1]) for y in (*onward, nodes.vector, own)))
    zeros = tf.zeros_like(variance)
    none = _Stretch(tf.eye(zeros.shape[0], dtype=zeros.dtype), zeros, diagonal(zeros), zeros, diagonal(zeros))
    found = associative_scan(lambda a, b: _joined(b, a), against_time, none)
    return Potential(*(tf.reverse(y, [1]) for y in found[-2:]))


def marginals(chain: Chain) -> Belief:
    """Of each z_t by itself, mean `[B, T, Z]` and covariance `[B, T, Z, Z]`, frame by frame."""

    def frame(before: Belief, inputs: tuple) -> tuple[Belief, Belief]:
        move, shift, added = inputs
        moved = tf.matmul(move, tf.matmul(before.covariance, move, transpose_b=True))
        covariance = symmetric(moved) + added
        belief = Belief(matvec(move, before.mean) + shift, covariance)
        return belief, belief

    own = tf.matmul(chain.factor, chain.factor, transpose_b=True)
    start = Belief(tf.zeros_like(chain.shifts[:, 0]), tf.zeros_like(own[:, 0]))
    return loop.scan(frame, start, (chain.moves, chain.shifts, own))[1]


def affine_path(moves: tf.Tensor, shifts: tf.Tensor) -> tf.Tensor:
    """z_t = F_t z_{t-1} + c_t from z_0 = 0, `[B, T, Z]`, in log2 T rounds; F `[B, T, Z, Z]`, c `[B, T, Z]`."""

    def joined(first: tuple, second: tuple) -> tuple:
        return tf.matmul(second[0], first[0]), matvec(second[0], first[1]) + second[1]

    units = tf.eye(shifts.shape[-1], dtype=shifts.dtype)
    return associative_scan(joined, (moves, shifts), (units, tf.zeros_like(units[0])))[1]


def associative_scan(combine: Callable[[Any, Any], Any], elements: Any, identity: Any) -> Any:
    """Of elements e_1, ..., e_T the e_1 ... e_t for each t (Hillis and Steele 1986): a nest of `[B, T, ...]`.

    Args:
        combine: of nests of elements, the earlier first; associative.
        elements: nest of `[B, T, ...]`.
        identity: the same nest of one element without batch and time, which changes no other.
    """
    first = tf.nest.flatten(elements)[0]
    length = first.shape[1] or tf.shape(first)[1]

    def joined(reach: tf.Tensor | int, current: Any) -> Any:
        place = tf.range(length)
        source, there = tf.maximum(place - reach, 0), place >= reach

        def earlier(y: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
            moved = tf.ensure_shape(tf.gather(y, source, axis=1), y.shape)
            return tf.where(tf.reshape(there, [-1, *[1] * (y.shape.rank - 2)]), moved, unit)

        return combine(tf.nest.map_structure(earlier, current, identity), current)

    if isinstance(length, int):
        reach = 1
        while reach < length:
            elements, reach = joined(reach, elements), 2 * reach
        return elements
    return tf.while_loop(
        lambda reach, _: reach < length, lambda reach, y: (2 * reach, joined(reach, y)), (tf.constant(1), elements)
    )[1]
