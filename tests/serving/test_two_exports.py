"""Exports that are at it at the same time, in one folder."""

from pathlib import Path

import pytest

from tfdvae import serving


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
