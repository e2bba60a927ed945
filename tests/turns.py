"""Whose turn it is: of tests that are marked exhaustive a share runs at a time, which the commit chooses."""

import functools
import subprocess
import zlib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    *("SHARES", "SLOW_SHARES", "chosen_share", "commit", "is_chosen", "is_turn", "is_whole", "params", "slow_turns"),
]

SHARES = 10
"""How many runs it takes until each of those tests had its turn, which is what keeps `.ci/run` below an hour."""
SLOW_SHARES = 8
"""How many runs of the whole suite it takes until each test that is marked slow had its turn: a few hundred tests of
thousands take four fifths of its time."""


def commit() -> str | None:
    """The commit that is checked out; None outside of a git checkout."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@functools.cache
def chosen_share(shares: int = SHARES) -> int | None:
    """Which of so many shares takes its turn at this commit; None for all of them, where there is no commit."""
    found = commit()
    return None if found is None else int(found, 16) % shares


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


def is_whole(config: pytest.Config) -> bool:
    """Whether a run is of the whole suite; one that is narrowed by a path, -k or -m leaves no slow test out."""
    suite = {config.rootpath, Path(__file__).parent}
    asked = {(config.invocation_params.dir / one.partition("::")[0]).resolve() for one in config.args}
    return asked <= suite and not config.getoption("keyword") and not config.getoption("markexpr")


def _waits(item: pytest.Item) -> bool:
    alternates = item.get_closest_marker("alternating") is not None
    odd = alternates and sum(item.callspec.indices.values()) % 2 == 1
    return odd or item.get_closest_marker("exhaustive") is not None


def _shared_by(item: pytest.Item) -> str:
    """The file of a test and its model: what tests of both share is made once, so they have one turn."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return f"{item.nodeid.partition('::')[0]} {parameters.get('name', '')}"


def slow_turns(items: Iterable[pytest.Item]) -> dict[str, int]:
    """Turns of the slow tests among these, by file and model: dealt out in the order of their names, so that the models
    of a file are spread over all turns, and each costs about as much as another."""
    slow = {_shared_by(item) for item in items if item.get_closest_marker("slow") and not _waits(item)}
    return {of: number % SLOW_SHARES for number, of in enumerate(sorted(slow))}


def is_chosen(item: pytest.Item, option: str | None, slow: Mapping[str, int] | None = None) -> bool:
    """Whether a test runs: one that is marked exhaustive has to wait for its turn, in a whole run a slow one as well,
    by the turns that `slow_turns` tells; None for a run that is narrowed.

    The mark may name the turn, `exhaustive(turn=number)`, which keeps the tests of one variant of a model together;
    without one it follows from the test's name. Of a test that is marked `alternating` every second combination of its
    parameters waits, like the black squares of a board, so that any two values still meet every time where there are
    three parameters, and each value is met where there are two; of one parameter every second value waits.
    """
    if _waits(item):
        named = [mark.kwargs["turn"] for mark in item.iter_markers("exhaustive") if "turn" in mark.kwargs]
        return any(is_turn(turn, option) for turn in named or [item.nodeid])
    if slow is None or option == "all" or not item.get_closest_marker("slow"):
        return True
    return chosen_share(SLOW_SHARES) in (None, slow[_shared_by(item)])
