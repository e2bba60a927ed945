"""Checks of single numbers and switches: counts, seeds, weights. Numpy's own numbers are as good as Python's."""

import math
import operator
from typing import Any

import numpy as np

__all__ = ["plain", "real", "scheduled", "switch", "whole"]


def plain(value: Any) -> Any:
    """`value` with Python's own numbers in place of numpy's, in lists, tuples and dicts as well.

    Keras' layers and JSON know Python's numbers alone, and sweeps over hyperparameters are made of numpy's.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value


def whole(name: str, value: Any, at_least: int | None = None) -> int:
    """A whole number as a Python integer.

    Args:
        name: of the argument, for the message.
        value: an integer of Python, numpy or TensorFlow.
        at_least: the smallest that is allowed.

    Raises:
        ValueError: it is no whole number (a bool and 2.0 are none), or it is too small.
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"`{name}` must be a whole number, got {value!r}.") from None
    if at_least is not None and number < at_least:
        if at_least == 0:
            raise ValueError(f"`{name}` must not be negative, got {number}.")
        raise ValueError(f"`{name}` must be at least {at_least}, got {number}.")
    return number


def real(name: str, value: Any, *, positive: bool = False, hint: str = "") -> float:
    """A finite number that is not negative, as a Python float.

    Args:
        name: of the argument, for the message.
        value: a number of Python or numpy.
        positive: whether 0 is refused as well.
        hint: what to do instead, as the end of the message.

    Raises:
        ValueError: it is anything else.
    """
    wanted = "a positive finite number" if positive else "a finite number that is not negative"
    try:
        if isinstance(value, bool | np.bool_ | str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}{hint}.") from None
    allowed = math.isfinite(number) and number >= 0.0 and not (positive and number == 0.0)
    if not allowed:
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}{hint}.")
    return number


def scheduled(name: str, value: Any) -> Any:
    """A number as for `real`, or a Keras schedule of the optimizer's step, which is returned as it is.

    Raises:
        ValueError: it is neither.
    """
    if callable(value):
        return value
    return real(name, value, hint="; or a schedule of Keras")


def switch(name: str, value: Any) -> bool:
    """True or False as a Python bool.

    Raises:
        ValueError: it is something else, of which Python would only ask whether it is empty.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False, got {value!r}.")
    return bool(value)
