"""Whose turn it is: of tests that are marked exhaustive a third runs at a time, which the commit chooses."""

import functools
import subprocess
import zlib
from pathlib import Path

import pytest

__all__ = ["THIRDS", "chosen_third", "commit", "is_chosen", "is_turn"]

THIRDS = 3


def commit() -> str | None:
    """The commit that is checked out; None outside of a git checkout."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@functools.cache
def chosen_third() -> int | None:
    """Which tests take their turn at this commit; None for all of them, where there is no commit."""
    found = commit()
    return None if found is None else int(found, 16) % THIRDS


def is_turn(turn: int | str, option: str | None) -> bool:
    """Whether what has this turn runs, under that --exhaustive; a name has a turn as well, the same every time."""
    if isinstance(turn, str):
        turn = zlib.crc32(turn.encode())
    return option == "all" or (option == "third" and chosen_third() in (None, turn % THIRDS))


def is_chosen(item: pytest.Item, option: str | None) -> bool:
    """Whether a test runs: one that is marked exhaustive has to wait for its turn.

    The mark may name the turn, `exhaustive(turn=number)`, which keeps the tests of one variant of a model together;
    without one it follows from the test's name.
    """
    marks = list(item.iter_markers("exhaustive"))
    turns = [mark.kwargs["turn"] for mark in marks if "turn" in mark.kwargs] or [item.nodeid] * bool(marks)
    return not marks or any(is_turn(turn, option) for turn in turns)
