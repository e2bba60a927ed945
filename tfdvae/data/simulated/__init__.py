"""Simulated data: systems whose true state is known, as videos, as spikes, and as frames of other kinds.

Each system has two functions with the same arguments: `load_*` returns `Splits` as every loader does, and
`simulate_*` the same splits together with the true states, for experiments that ask what a model has understood.
"""

from tfdvae.data.simulated.balls import (
    load_ball_in_box,
    load_bouncing_balls,
    simulate_ball_in_box,
    simulate_bouncing_balls,
)
from tfdvae.data.simulated.cart import load_cart_pole, simulate_cart_pole
from tfdvae.data.simulated.digits import load_moving_digits, simulate_moving_digits
from tfdvae.data.simulated.dot import load_dot, simulate_dot
from tfdvae.data.simulated.faces import load_faces, simulate_faces
from tfdvae.data.simulated.healing import load_healing_digits, simulate_healing_digits
from tfdvae.data.simulated.pendulum import load_pendulum, simulate_pendulum
from tfdvae.data.simulated.shared import Simulated
from tfdvae.data.simulated.spikes import load_spikes, simulate_spikes
from tfdvae.data.simulated.track import TRACK_REGIMES, load_nascar, simulate_nascar

__all__ = [
    "Simulated",
    "TRACK_REGIMES",
    "load_ball_in_box",
    "load_bouncing_balls",
    "load_cart_pole",
    "load_dot",
    "load_faces",
    "load_healing_digits",
    "load_moving_digits",
    "load_nascar",
    "load_pendulum",
    "load_spikes",
    "simulate_ball_in_box",
    "simulate_bouncing_balls",
    "simulate_cart_pole",
    "simulate_dot",
    "simulate_faces",
    "simulate_healing_digits",
    "simulate_moving_digits",
    "simulate_nascar",
    "simulate_pendulum",
    "simulate_spikes",
]
