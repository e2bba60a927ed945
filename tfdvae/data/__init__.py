"""Data: loaders, user arrays, windows, padding, and batches for `tf.data`.

`DATASETS` maps a name to its loader, which returns `Splits`.
"""

from tfdvae.data.bach import load_bach
from tfdvae.data.batching import batches, steps_per_epoch
from tfdvae.data.midi import read_midi, write_midi
from tfdvae.data.pianoroll import load_pianoroll, save_pianoroll, transpose, transposed
from tfdvae.data.sequences import Sequences, Splits, describe, from_arrays, pad, windows
from tfdvae.data.simulated import (
    Simulated,
    load_ball_in_box,
    load_bouncing_balls,
    load_pendulum,
    simulate_ball_in_box,
    simulate_bouncing_balls,
    simulate_pendulum,
)

__all__ = [
    "DATASETS",
    "SIMULATIONS",
    "Sequences",
    "Simulated",
    "Splits",
    "batches",
    "describe",
    "from_arrays",
    "load_bach",
    "load_ball_in_box",
    "load_bouncing_balls",
    "load_pendulum",
    "load_pianoroll",
    "pad",
    "read_midi",
    "save_pianoroll",
    "simulate_ball_in_box",
    "simulate_bouncing_balls",
    "simulate_pendulum",
    "steps_per_epoch",
    "transpose",
    "transposed",
    "windows",
    "write_midi",
]

SIMULATIONS = {
    "ball_in_box": simulate_ball_in_box,
    "bouncing_balls": simulate_bouncing_balls,
    "pendulum": simulate_pendulum,
}
"""Data sets whose true states are known, by the same names: functions that return them too, as `Simulated`."""

DATASETS = {
    "bach": load_bach,
    "ball_in_box": load_ball_in_box,
    "bouncing_balls": load_bouncing_balls,
    "pendulum": load_pendulum,
    "pianoroll": load_pianoroll,
}
