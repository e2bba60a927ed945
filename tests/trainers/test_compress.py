"""The program that compresses: files, tables and curves of a run on made-up piano-rolls."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainers.helpers import program
from tfdvae import codec
from tfdvae.data import load_pianoroll
from trainers import compress


@pytest.mark.slow
def test_a_split_becomes_a_file_and_comes_back(
    finished: Path, rolls: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    test = load_pianoroll(rolls).test
    coded = compress.run(finished, tmp_path / "rolls.dvae", max_sequences=2)
    assert coded.header.lengths == tuple(test.lengths[:2]) and coded.header.kind == "lossless"
    assert "Read again: the same frames" in capsys.readouterr().out
    compress.decompress(finished, tmp_path / "rolls.dvae", tmp_path / "rolls.npz")
    with np.load(tmp_path / "rolls.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["frames"], np.concatenate(test.x[:2]))
        np.testing.assert_array_equal(found["len"], test.lengths[:2])
    with pytest.raises(ValueError, match="more than 100 numbers in all"):
        compress.dispatch(finished, tmp_path / "few.npz", tmp_path / "rolls.dvae", max_values=100)
    with pytest.raises(ValueError, match=r"suffix \.npz"):
        compress.decompress(finished, tmp_path / "rolls.dvae", tmp_path / "rolls.txt")


@pytest.mark.slow
def test_the_table_says_what_others_need(finished: Path, capsys: pytest.CaptureFixture) -> None:
    rows = {row.method: row for row in compress.table(finished, num_samples=2)}
    written = json.loads((finished / "compression_test.json").read_text())
    assert [row["method"] for row in written["rows"]] == list(rows)
    ours = ["vrnn, -ELBO / ln 2", "vrnn, bits on the stack", "vrnn, the file"]
    assert list(rows) == [*ours, "xz -9e", "bzip2 -9", "zlib -9", "zstd -22", "MIDI, then xz -9e"]
    for row in rows.values():
        assert row.bits_per_frame == pytest.approx(8.0 * row.size / written["frames"])
    assert rows[ours[1]].size < rows[ours[2]].size
    # Eleven bytes hold the 88 keys of a frame.
    assert all(0 < rows[name].size < 11 * written["frames"] + 200 for name in list(rows)[3:])
    assert (finished / "compression_test.md").read_text() in capsys.readouterr().out


@pytest.mark.slow
def test_a_curve_and_a_file_with_loss(finished: Path, tmp_path: Path) -> None:
    points = compress.curve(finished, [1.0, 30.0], max_sequences=2)
    assert points[0].bits_per_frame > points[1].bits_per_frame
    written = json.loads((finished / "rate_distortion_test.json").read_text())
    assert [codec.RatePoint(**point) for point in written["points"]] == points
    assert (finished / "rate_distortion_test.png").read_bytes().startswith(b"\x89PNG")
    coded = compress.run(finished, tmp_path / "rolls.dvae", step=1.0, max_sequences=2)
    assert coded.header.kind == "lossy" and coded.bits_per_frame == points[0].bits_per_frame


@pytest.mark.slow
def test_another_process_reads_the_file(finished: Path, tmp_path: Path) -> None:
    """What a program wrote another one reads: the arithmetic is that of the machine, not of the process."""
    compress.run(finished, tmp_path / "rolls.dvae", max_sequences=1)
    arguments = ("--workdir", finished, "--decompress", tmp_path / "rolls.dvae")
    result = program("compress", *arguments, "--out", tmp_path / "rolls.npz")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "rolls.npz").is_file()


@pytest.mark.parametrize(
    ("package", "asked"),
    [
        ("constriction", {}),
        ("zstandard", {"with_table": True}),
        ("matplotlib", {"curve_steps": ["1"]}),
    ],
)
def test_packages_are_asked_for_before_any_work(
    package: str, asked: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(compress.settings, "load", lambda workdir: pytest.fail("it began to work"))
    with pytest.raises(ImportError, match=f"needs {package}: pip install"):
        compress.dispatch(tmp_path, tmp_path / "a.dvae", **asked)


@pytest.mark.slow
def test_what_the_command_line_refuses(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Unknown split"):
        compress.run(finished, tmp_path / "a.dvae", split="all")
    with pytest.raises(ValueError, match="Give --out"):
        compress.dispatch(finished)
    with pytest.raises(ValueError, match="leave out --step, --table and --curve"):
        compress.dispatch(finished, tmp_path / "a.npz", tmp_path / "a.dvae", with_table=True)
    with pytest.raises(ValueError, match="--step is that of the file to write"):
        compress.dispatch(finished, step=1.0, with_table=True)
    with pytest.raises(ValueError, match="--curve must be numbers such as 0.5,1,2; got 1,x"):
        compress.dispatch(finished, curve_steps=["1", "x"])
    assert not (tmp_path / "a.dvae").exists()
