"""What a process holds in memory, for tests of what must not grow."""

import os
from pathlib import Path

import pytest

__all__ = ["needs_linux", "resident"]

STATM = Path("/proc/self/statm")

needs_linux = pytest.mark.skipif(not STATM.exists(), reason="needs Linux")


def resident() -> int:
    """Bytes."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
