"""Balls of equal mass and radius in a square box, free of friction: from event to event, without a time step.

Axes: N sequences, T time, J balls; the last axis of positions and velocities is (horizontal, vertical). All float64.
"""

import numpy as np

__all__ = ["bounce", "place"]

_MOST_ROUNDS = 1000
# Balls that touch and approach each other slower than this fraction of their speed only graze: rounding decides
# the sign of their approach, and could exchange nothing for ever.
_GRAZING = 1e-9


def place(rng: np.random.Generator, sequences: int, balls: int, box: float, radius: float) -> np.ndarray:
    """Positions [N, J, 2], uniform among those where all balls are inside the box and none overlap.

    Raises:
        ValueError: so many balls are hardly ever free of overlap.
    """
    positions = np.empty((sequences, balls, 2))
    open_ones = np.arange(sequences)
    for _ in range(_MOST_ROUNDS):
        drawn = rng.uniform(radius, box - radius, size=(len(open_ones), balls, 2))
        positions[open_ones] = drawn
        first, second = np.triu_indices(balls, 1)
        squares = np.square(drawn[:, first] - drawn[:, second]).sum(axis=-1)
        open_ones = open_ones[(squares <= (2 * radius) ** 2).any(axis=1)]
        if not len(open_ones):
            return positions
    raise ValueError(
        f"{balls} balls of radius {radius} do not fit a box of side {box}: nearly all random places overlap. "
        "Use fewer or smaller balls, or a larger box."
    )


def bounce(positions: np.ndarray, velocities: np.ndarray, box: float, radius: float, length: int) -> np.ndarray:
    """Frames one unit of time apart; the first is the state that is given.

    Walls reflect a ball; two balls exchange the parts of their velocities along the line of centres, which is the
    elastic collision of equal masses. Between collisions balls move in straight lines, so that every event is
    found in closed form and energy is lost to rounding only.

    Args:
        positions: [N, J, 2], centres of balls, inside the box and without overlap.
        velocities: [N, J, 2], per frame.
        box: side of the box, whose corner is the origin.
        radius: of every ball.
        length: T.

    Returns:
        [N, T, J, 4]: position, velocity.
    """
    x, v = positions.astype(float), velocities.astype(float)
    states = np.empty((len(x), length, x.shape[1], 4))
    for t in range(length):
        states[:, t, :, :2], states[:, t, :, 2:] = x, v
        if t + 1 < length:
            _advance(x, v, box, radius)
    return states


def _advance(x: np.ndarray, v: np.ndarray, box: float, radius: float) -> None:
    """Moves all sequences on by one unit of time, in place."""
    left = np.ones(len(x))
    moving = np.arange(len(x))
    while len(moving):
        here, there = x[moving], v[moving]
        wait, event = _next_event(here, there, box, radius)
        hit = wait < left[moving]
        step = np.where(hit, wait, left[moving])
        here += step[:, None, None] * there
        there[hit] = _after(here[hit], there[hit], event[hit])
        x[moving], v[moving] = here, there
        left[moving] -= step
        moving = moving[hit]


def _next_event(x: np.ndarray, v: np.ndarray, box: float, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Time to the next collision, and which: number 2 j + axis is ball j and a wall, those from 2 J on are pairs."""
    room = np.where(v > 0, box - radius - x, x - radius)
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.where(v == 0, np.inf, np.maximum(room, 0) / np.abs(v))
    times = np.concatenate([walls.reshape(len(x), -1), _meetings(x, v, radius)], axis=1)
    event = times.argmin(axis=1)
    return times[np.arange(len(x)), event], event


def _meetings(x: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Time until each pair touches, [N, pairs]: the earlier root of |x + t v|^2 = (2 r)^2 in relative coordinates."""
    first, second = np.triu_indices(x.shape[1], 1)
    x, v = x[:, first] - x[:, second], v[:, first] - v[:, second]
    a, b = np.square(v).sum(axis=-1), (x * v).sum(axis=-1)
    c = np.maximum(np.square(x).sum(axis=-1) - (2 * radius) ** 2, 0)
    under_root = np.square(b) - a * c
    meet = (b < -_GRAZING * radius * np.sqrt(a)) & (under_root > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # This form of the root keeps its digits where c is small.
        return np.where(meet, c / (np.sqrt(np.maximum(under_root, 0)) - b), np.inf)


def _after(x: np.ndarray, v: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Velocities after each sequence's event."""
    v = v.copy()
    balls = x.shape[1]
    walls = np.flatnonzero(event < 2 * balls)
    ball, axis = np.divmod(event[walls], 2)
    v[walls, ball, axis] *= -1
    pairs = np.flatnonzero(event >= 2 * balls)
    first, second = (indices[event[pairs] - 2 * balls] for indices in np.triu_indices(balls, 1))
    centres = x[pairs, first] - x[pairs, second]
    centres /= np.linalg.norm(centres, axis=-1, keepdims=True)
    along = ((v[pairs, first] - v[pairs, second]) * centres).sum(axis=-1, keepdims=True)
    v[pairs, first] -= along * centres
    v[pairs, second] += along * centres
    return v
