"""Exports that were killed, and exports that are at it at the same time, in one folder."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tfdvae import serving
from tfdvae.serving import leftovers

KILLED = """
import os, runpy, signal, sys
from pathlib import Path
being_made = runpy.run_path(sys.argv[1])["being_made"]
with being_made(Path(sys.argv[2])) as folder:
    folder.mkdir()
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_export_left_is_removed_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".mine.lock").write_text("mine")
    command = [sys.executable, "-c", KILLED, leftovers.__file__, str(tmp_path / "1")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.name != ".mine.lock"]
    assert len(left) == 2 and any((path / "half").is_file() for path in left)
    with leftovers.being_made(tmp_path / "2") as alive:
        alive.mkdir()
        with serving.new_folder(tmp_path / "3") as folder:
            (folder / "whole").write_text("whole")
        assert not any(path.exists() for path in left) and alive.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.lock", "3"]


def test_the_slower_of_two_takes_another_place_or_says_that_there_is_none(tmp_path: Path) -> None:
    def make(name: str, slow: bool, **options) -> None:
        with serving.new_folder(tmp_path / name, **options) as folder:
            if slow:
                make(name, False)
            (folder / "file").write_text("slow" if slow else "fast")

    make("1", True, otherwise=lambda: tmp_path / "2")
    assert [(tmp_path / name / "file").read_text() for name in "12"] == ["fast", "slow"]
    with pytest.raises(FileExistsError, match="3 cannot be made: another process was faster"):
        make("3", True)
    assert (tmp_path / "3" / "file").read_text() == "fast"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]
