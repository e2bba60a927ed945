"""Whose turn it is: of tests that are marked exhaustive a share runs at a time, which the commit chooses."""

import functools
import subprocess
import zlib
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["SHARES", "chosen_share", "commit", "is_chosen", "is_turn", "params"]

SHARES = 6
"""How many runs it takes until each of those tests had its turn, which is what keeps `.ci/run` below an hour."""


def commit() -> str | None:
    """The commit that is checked out; None outside of a git checkout."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@functools.cache
def chosen_share() -> int | None:
    """Which tests take their turn at this commit; None for all of them, where there is no commit."""
    found = commit()
    return None if found is None else int(found, 16) % SHARES


def is_turn(turn: int | str, option: str | None) -> bool:
    """Whether what has this turn runs, under that --exhaustive; a name has a turn as well, the same every time."""
    if isinstance(turn, str):
        turn = zlib.crc32(turn.encode())
    return option == "all" or (option == "share" and chosen_share() in (None, turn % SHARES))


def params(values: Iterable[Any], always: Container[Any]) -> list:
    """Values to run a test on, or tuples of them, those beside `always` with --exhaustive alone and by turns."""
    return [
        pytest.param(*(v if isinstance(v, tuple) else (v,)), marks=() if v in always else pytest.mark.exhaustive)
        for v in values
    ]


def is_chosen(item: pytest.Item, option: str | None) -> bool:
    """Whether a test runs: one that is marked exhaustive has to wait for its turn.

    The mark may name the turn, `exhaustive(turn=number)`, which keeps the tests of one variant of a model together;
    without one it follows from the test's name. Of a test that is marked `alternating` every second combination of its
    parameters waits, like the black squares of a board, so that any two values still meet every time where there are
    three parameters, and each value is met where there are two; of one parameter every second value waits.
    """
    marks = list(item.iter_markers("exhaustive"))
    waits = bool(marks) or (item.get_closest_marker("alternating") and sum(item.callspec.indices.values()) % 2 == 1)
    turns = [mark.kwargs["turn"] for mark in marks if "turn" in mark.kwargs] or [item.nodeid]
    return not waits or any(is_turn(turn, option) for turn in turns)
