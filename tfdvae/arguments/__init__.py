"""Checks of arguments that are no sequences: numbers, switches, and what constructors take.

It knows nothing of the rest of the package, so that everything in it may ask; `tfdvae.validation` offers the same.
"""

from tfdvae.arguments.constructors import CheckedArguments, Only, idle, like_defaults, refuse_unused, widths
from tfdvae.arguments.scalars import plain, real, scheduled, switch, whole

__all__ = [
    "CheckedArguments",
    "Only",
    "idle",
    "like_defaults",
    "plain",
    "real",
    "refuse_unused",
    "scheduled",
    "switch",
    "whole",
    "widths",
]
