"""What all random calls share: how arguments are chosen, and what is asked of results and of errors."""

import collections
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.fuzz import values
from tests.fuzz.values import Sizes, Subject

INTERNAL = re.compile(
    r"\{\{|__wrapped__|[Oo]p:|ConcatV2|node |\.py\b|Traceback|Graph execution|autograph|has no attribute"
    r"|unsupported operand|not subscriptable|not iterable|object is not|[Ii]ncompatible shapes|could not broadcast"
    r"|setting an array element|must be str|argument of type"
)
"""What only somebody who knows the inside of TensorFlow, numpy or this package would understand."""


class Tally:
    """What became of the calls."""

    def __init__(self) -> None:
        self.counts: collections.Counter = collections.Counter()

    def __call__(self, what: str, call: Callable[[], Any], verdict: str, told: str) -> Any:
        """The result of a call, where it may have one; fails where it should have been refused, and for an error that
        is none of ours."""
        try:
            found = call()
        except (ValueError, TypeError) as error:
            self.counts[what, "refused"] += 1
            assert not INTERNAL.search(str(error)), f"{told}: {type(error).__name__}: {error}"
            assert str(error) and verdict != "good", f"{told} was refused: {error}"
            return None
        self.counts[what, "done"] += 1
        assert verdict != "bad", f"{told} was not refused"
        for y in tf.nest.flatten(found) if verdict == "good" else ():
            y = np.asarray(y)
            assert y.dtype.kind != "f" or np.isfinite(y).all(), f"{told} gave numbers that are not finite"
        return found

    def __str__(self) -> str:
        return "\n".join(f"{what} {how}: {count}" for (what, how), count in sorted(self.counts.items()))


@st.composite
def arguments(draw: st.DrawFn, offered: Mapping[str, Any], wrong: int = 1, most: int | None = None) -> dict[str, Any]:
    """A value for each argument: right ones but for at most `wrong`; of up to `most` arguments."""
    names = sorted(offered)
    if most is not None:
        names = draw(st.lists(st.sampled_from(names), unique=True, max_size=most))
    spoiled = draw(st.lists(st.sampled_from(names), unique=True, max_size=wrong)) if names else []
    found = {}
    for name in names:
        fitting = [v for v in offered[name] if (v.verdict == "good") != (name in spoiled)]
        if fitting:
            found[name] = fitting[draw(st.integers(0, len(fitting) - 1))]
    return found


def verdict_of(chosen: Mapping[str, values.Value]) -> str:
    verdicts = {value.verdict for value in chosen.values()}
    return next((one for one in ("bad", "either") if one in verdicts), "good")


def made(chosen: Mapping[str, values.Value], sizes: Sizes | None) -> dict[str, Any]:
    return {name: value.make(sizes) for name, value in chosen.items()}


def told(what: str, given: Mapping[str, Any]) -> str:
    short = {k: f"{v.dtype} {list(v.shape)}" if hasattr(v, "shape") and np.size(v) > 1 else v for k, v in given.items()}
    return f"{what}({', '.join(f'{k}={v!r}' for k, v in short.items())})"[:600]


def of_subject(offered: Mapping[str, Any], subject: Subject) -> dict[str, list[values.Value]]:
    return {name: own(subject) if callable(own) else own for name, own in offered.items()}
