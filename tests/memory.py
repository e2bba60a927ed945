"""What a process holds in memory, for tests of what must not grow."""

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["Growth", "least_growth", "needs_linux", "resident"]

STATM = Path("/proc/self/statm")

needs_linux = pytest.mark.skipif(not STATM.exists(), reason="needs Linux")


def resident() -> int:
    """Bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class Growth(NamedTuple):
    """What a process holds more than before."""

    resident: int
    """Bytes of memory."""
    blocks: int
    """Blocks of memory that Python has allocated."""


def least_growth(run: Callable[[int], None], count: int) -> Growth:
    """By how much memory and blocks grew in that quarter of a long run in which each of them grew least.

    What leaks grows in every quarter; the allocator may take some megabytes for itself in one of them, and caches of
    TensorFlow and of Python fill up over some thousand calls, ever slower.

    Args:
        run: what does so much.
        count: how much to do in all.
    """
    grown = []
    for _ in range(4):
        before = Growth(resident(), sys.getallocatedblocks())
        run(count // 4)
        gc.collect()
        grown.append(Growth(resident() - before.resident, sys.getallocatedblocks() - before.blocks))
    return Growth(min(quarter.resident for quarter in grown), min(quarter.blocks for quarter in grown))
