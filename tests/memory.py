"""What a process holds in memory, for tests of what must not grow."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["least_growth", "needs_linux", "resident"]

STATM = Path("/proc/self/statm")

needs_linux = pytest.mark.skipif(not STATM.exists(), reason="needs Linux")


def resident() -> int:
    """Bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def least_growth(run: Callable[[int], None], count: int) -> int:
    """Bytes by which resident memory grew in that quarter of a long run in which it grew least.

    What leaks grows in every quarter; the allocator may take some megabytes for itself in one of them.

    Args:
        run: what does so much.
        count: how much to do in all.
    """
    grown = []
    for _ in range(4):
        before = resident()
        run(count // 4)
        gc.collect()
        grown.append(resident() - before)
    return min(grown)
