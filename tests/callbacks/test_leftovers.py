"""What writers that were killed leave behind goes at the next start; what is being written stays."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfdvae import serving
from tfdvae.callbacks import Resume, checkpoint
from tfdvae.data.files import atomic_write

HEX = "0123456789abcdef" * 2


def killed(write: Callable[[], None]) -> None:
    """Runs a writer in a process of its own, which is killed in the middle of it."""
    child = os.fork()
    if child == 0:
        try:
            write()
        finally:
            os._exit(1)  # The writer kills the process before it comes here.
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def half_a_file(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def half_a_folder(path: Path) -> None:
    with serving.new_folder(path) as folder:
        (folder / "saved_model.pb").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def aged(path: Path, days: float) -> Path:
    for one in (*path.rglob("*"), path):
        os.utime(one, (time.time() - days * 24 * 3600.0,) * 2)
    return path


def test_resume_removes_what_a_killed_run_left_and_nothing_that_is_being_written(tmp_path: Path) -> None:
    killed(lambda: half_a_file(tmp_path / "epoch-00003.npz"))
    assert len(hidden(tmp_path)) == 1
    with atomic_write(tmp_path / "epoch-00004.npz") as file:
        file.write(b"another run's")
        (being_written,) = hidden(tmp_path)
        killed(lambda: half_a_file(tmp_path / "epoch-00005.npz"))
        # An old writer is one all the same, as long as it lives.
        aged(tmp_path / being_written, days=9)
        Resume(tmp_path)
        assert hidden(tmp_path) == [being_written]
    assert (tmp_path / "epoch-00004.npz").read_bytes() == b"another run's" and not hidden(tmp_path)


def test_leftovers_without_a_lock_go_by_their_age_and_name(tmp_path: Path) -> None:
    """As earlier versions left them, or where a file system has no locks."""
    for name, days in ((".epoch-00001.npz", 2), (".epoch-00002.npz", 0.5), (".notes", 2)):
        (tmp_path / f"{name}.{HEX}").write_bytes(b"half")
        aged(tmp_path / f"{name}.{HEX}", days)
    (tmp_path / f".epoch-00007.npz.{HEX}").mkdir()
    aged(tmp_path / f".epoch-00007.npz.{HEX}", days=2)
    (tmp_path / ".epoch-00001.npz.short").write_bytes(b"a name of somebody else's")
    Resume(tmp_path)
    assert hidden(tmp_path) == [".epoch-00001.npz.short", f".epoch-00002.npz.{HEX}", f".notes.{HEX}"]


def test_an_export_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed(lambda: half_a_folder(tmp_path / "1"))
    assert len(hidden(tmp_path)) == 1
    killed(lambda: half_a_file(tmp_path / "models.config"))
    assert [name[:15] for name in hidden(tmp_path)] == [".models.config."]
    with serving.new_folder(tmp_path / "2") as folder:
        (folder / "saved_model.pb").write_bytes(b"whole")
        assert len(hidden(tmp_path)) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["2", "saved_model.pb"]


def test_a_writer_that_was_killed_before_it_had_a_lock_leaves_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfdvae.data import unfinished

    (tmp_path / f".scores.txt.{HEX}").mkdir()
    with atomic_write(tmp_path / "a"):
        assert len(hidden(tmp_path)) == 1
    assert hidden(tmp_path) == []
    open_file, raced = os.open, []

    def too_late(path: Path, *args: int, **options: int) -> int:
        if not raced:
            raced.append(path)
            unfinished.remove_leftovers(tmp_path)
        return open_file(path, *args, **options)

    monkeypatch.setattr(unfinished.os, "open", too_late)
    with atomic_write(tmp_path / "b") as file:
        file.write(b"whole")
    assert raced and (tmp_path / "b").read_bytes() == b"whole" and hidden(tmp_path) == []


def test_where_there_are_no_locks_files_are_written_all_the_same(tmp_path: Path, monkeypatch) -> None:
    from tfdvae.data import unfinished

    monkeypatch.setattr(unfinished, "fcntl", None)
    killed(lambda: half_a_file(tmp_path / "a"))
    with atomic_write(tmp_path / "a") as file:
        file.write(b"whole")
        assert len(hidden(tmp_path)) == 2
    (left,) = hidden(tmp_path)
    aged(tmp_path / left, days=2)
    with atomic_write(tmp_path / "b"):
        pass
    assert hidden(tmp_path) == [left]
    with atomic_write(tmp_path / "a"):
        pass
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("change", ["epoch", "history", "weights", "no weights", "state"])
def test_a_checkpoint_that_lacks_what_it_says_is_damaged(tmp_path: Path, change: str) -> None:
    """Its checksums are right, and yet Resume would have stumbled over it later, without a word about the file."""
    fingerprint = {"weights": [["w", [2], "float32"]], "optimizer": [[[], "int64"]]}
    meta = {"epoch": 1, "stopped": False, "history": {"loss": [1.0]}, "fingerprint": fingerprint, "callbacks": []}
    arrays = {"weights/0": np.zeros(2, np.float32), "optimizer/0": np.int64(3)}
    checkpoint.write(tmp_path, checkpoint.Checkpoint(meta, arrays), keep=2)
    assert Resume(tmp_path).initial_epoch == 1
    match change:
        case "epoch":
            meta = meta | {"epoch": 1.5}
        case "history":
            meta = meta | {"history": [1.0]}
        case "weights":
            arrays = arrays | {"weights/0": np.zeros(3, np.float32)}
        case "no weights":
            arrays = {"optimizer/0": np.int64(3)}
        case "state":
            meta = meta | {"callbacks": [{"class": "BestWeights", "state": {"best_weights": {"arrays": 10**9}}}]}
    (tmp_path / "epoch-00001.npz").unlink()
    checkpoint.write(tmp_path, checkpoint.Checkpoint(meta | {"epoch": 2}, arrays), keep=2)
    if change == "epoch":
        path = tmp_path / "epoch-00002.npz"
        with np.load(path) as archive:
            contents = {name: archive[name] for name in archive.files}
        text = contents["meta"].tobytes().replace(b'"epoch": 2', b'"epoch": {}')
        np.savez(path, **contents | {"meta": np.frombuffer(text, np.uint8)})
    with pytest.raises(ValueError, match=r"No checkpoint in .* can be read.*epoch-00002\.npz"):
        Resume(tmp_path)
