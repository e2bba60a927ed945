"""Exports that are at it at the same time, in one folder, and exports of the same model."""

import zipfile
from pathlib import Path

import pytest
import tensorflow as tf

from export import parity
from tests import cases
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


@pytest.mark.slow
def test_two_exports_of_one_model_are_equal_byte_by_byte(tmp_path: Path) -> None:
    """Whatever the process did between them: functions that were traced, numbers that were drawn."""
    model, names = cases.make("vrnn"), ("encode", "reconstruct", "generate", "reset", "step")
    for folder in ("1", "2"):
        serving.export_saved_model(model, tmp_path / folder, names)
        model.generate(2)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*") if path.is_file())
    assert {path.name for path in files} >= {"saved_model.pb", "fingerprint.pb", "signatures.json", "README.md"}
    assert files == sorted(p.relative_to(tmp_path / "2") for p in (tmp_path / "2").rglob("*") if p.is_file())
    for path in files:
        assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes(), path
    # What was renumbered runs as before.
    loaded, declared = tf.saved_model.load(str(tmp_path / "2")), serving.declare(model)
    for name in names:
        given = parity.examples(model, declared[name], declared)
        expected = parity.call(declared[name], given)
        for key, value in loaded.signatures[name](**{k: tf.constant(v) for k, v in given.items()}).items():
            tf.debugging.assert_near(value, expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_files_of_one_model_are_equal_byte_by_byte(tmp_path: Path) -> None:
    model = cases.make("vae")
    for name in ("1", "2"):
        serving.export_litert(model, tmp_path / name, ["reset", "step"])
        model.generate(2)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with zipfile.ZipFile(tmp_path / "1") as attached:
        assert all(one.date_time[0] == 1980 for one in attached.infolist())
