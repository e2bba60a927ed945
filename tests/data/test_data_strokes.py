"""Pen strokes from archives and from XML written here in the layout of IAM-OnDB."""

import re
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import (
    DATASETS,
    SCALED,
    Splits,
    load_handwriting,
    offsets_to_points,
    points_to_offsets,
    read_line_strokes,
    scaled_handwriting,
)

XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<WhiteboardCaptureSession>
  <WhiteboardDescription><SensorLocation corner="top_left"/></WhiteboardDescription>
  <StrokeSet>
    <Stroke colour="black" start_time="1.0" end_time="1.1">
      <Point x="100" y="50" time="1.0"/>
      <Point x="103" y="46" time="1.1"/>
    </Stroke>
    <Stroke colour="black" start_time="2.0" end_time="2.0"><Point x="{x}" y="40" time="2.0"/></Stroke>
  </StrokeSet>
</WhiteboardCaptureSession>
"""


def archive(path: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for split, lengths in (("train", [4, 7, 3]), ("valid", [5]), ("test", [2, 6])):
        count = sum(lengths)
        frames = np.column_stack([rng.integers(-90, 90, (count, 2)), rng.integers(0, 2, count)])
        arrays |= {f"{split}_frames": frames.astype(np.int16), f"{split}_len": np.array(lengths, np.int32)}
    arrays |= {key: value for key, value in changes.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in arrays.items() if changes.get(key, 0) is not None})
    return path


@pytest.fixture
def iam(tmp_path: Path) -> Path:
    """Six lines of four forms."""
    for i, name in enumerate(
        ("a01-000u-01", "a01-000u-02", "a01-001x-01", "b02-003z-01", "b02-003z-02", "c04-100a-01")
    ):
        path = tmp_path / "iam" / "lineStrokes" / name[:3] / name[:7] / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML.format(x=110 + i))
    return tmp_path / "iam"


def test_offsets_have_the_training_sets_scale_and_pens_stay_bits(tmp_path: Path) -> None:
    path = archive(tmp_path / "s" / "pens.npz")
    raw = np.load(path)
    scale = raw["train_frames"][:, :2].std()
    for given in (path, path.parent):
        found = scaled_handwriting(given)
        np.testing.assert_allclose(found.scale, [scale, scale, 1.0], rtol=1e-6)
        assert [part.lengths.tolist() for part in found.splits] == [[4, 7, 3], [5], [2, 6]]
        np.testing.assert_allclose(found.restore(np.concatenate(found.splits.test.x)), raw["test_frames"], atol=1e-4)
    assert np.concatenate(found.splits.train.x)[:, :2].std() == pytest.approx(1.0)
    assert load_handwriting(path, limit=1).train.lengths.tolist() == [4]
    np.testing.assert_array_equal(load_handwriting(path, standardise=False).valid.x[0], raw["valid_frames"])
    assert DATASETS["handwriting"] is load_handwriting and SCALED["handwriting"] is scaled_handwriting


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_len": None}, r"pens\.npz has no test_len; it has test_frames"),
        ({"valid_len": np.array([4])}, r"pens\.npz: valid_frames has 5 frames, but valid_len adds up to 4"),
        ({"valid_len": np.array([5.0])}, "valid_len must hold positive integers"),
        ({"valid_frames": np.zeros((5, 2))}, r"valid_frames has dtype float64 and shape \[5, 2\]"),
        ({"valid_frames": np.full((5, 3), np.nan)}, "valid_frames holds NaN or infinity, first in sequence 0"),
        ({"test_frames": np.full((8, 3), 2)}, "the pen of test sequence 0 is not always 0 or 1"),
        ({"train_frames": np.zeros((14, 3), int)}, "All training offsets are equal"),
        ({"extra": np.array([{}], object)}, r"pens\.npz cannot be read: expected .* without pickles"),
    ],
)
def test_archives_that_hold_something_else(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_handwriting(archive(tmp_path / "pens.npz", **changes))


def test_files_and_folders_that_are_no_strokes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        load_handwriting(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="There is no data in"):
        load_handwriting(tmp_path)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ValueError, match=r"bad\.npz cannot be read"):
        load_handwriting(bad)
    archive(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"holds 2 \.npz files: name one of bad\.npz, other\.npz"):
        load_handwriting(tmp_path)
    with pytest.raises(ValueError, match="has its own split"):
        load_handwriting(tmp_path / "other.npz", valid_list="a.txt")
    text = tmp_path / "a.txt"
    text.write_text("")
    with pytest.raises(ValueError, match="is no file of pen strokes"):
        load_handwriting(text)


def test_points_and_offsets_are_inverse() -> None:
    strokes = [
        np.array([[3.0, 4.0], [5.0, 4.0], [5.0, 9.0]]),
        np.array([[0.0, 1.0]]),
        np.array([[2.0, 2.0], [3.0, 1.0]]),
    ]
    frames = points_to_offsets(strokes)
    np.testing.assert_array_equal(frames[:, 2], [0, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(frames[:4, :2], [[0, 0], [2, 0], [0, 5], [-5, -8]])
    for a, b in zip(offsets_to_points(frames), strokes, strict=True):
        np.testing.assert_allclose(a, b - [3.0, 4.0], atol=1e-6)
    assert [len(part) for part in offsets_to_points(np.array([[0, 0, 0], [1, 1, 0.0]]))] == [2]
    with pytest.raises(ValueError, match=r"Pen strokes are \[T, 3\]"):
        offsets_to_points(np.zeros((4, 2)))


def test_a_line_of_xml(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(XML.format(x=110))
    first, second = read_line_strokes(path)
    np.testing.assert_array_equal(first, [[100, 50], [103, 46]])
    np.testing.assert_array_equal(second, [[110, 40]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (XML.format(x=1)[:300], "damaged: "),
        (XML.format(x="nan"), "a coordinate is no finite number"),
        (XML.format(x="abc"), "could not convert string to float: 'abc'"),
        (XML.format(x=1).replace('y="40"', ""), "a point has no 'y'"),
        ("<WhiteboardCaptureSession/>", "it has no stroke"),
        ("<a><Stroke></Stroke></a>", "a stroke has no point"),
        ("<a><Point x='1' y='2'/></a>", "a point is outside of a stroke"),
        ('<!DOCTYPE a [<!ENTITY b "1">]><a><Stroke><Point x="&b;" y="1"/></Stroke></a>', "document types and entities"),
    ],
)
def test_a_damaged_line_is_named(iam: Path, tmp_path: Path, text: str, message: str) -> None:
    path = next(iam.rglob("b02-003z-01.xml"))
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"b02-003z-01\.xml is no lineStrokes file.*{re.escape(message)}"):
        load_handwriting(iam, cache_dir=tmp_path / "cache", verbose=0)


def test_iam_by_the_usual_lists_and_by_a_ratio_of_forms(iam: Path, tmp_path: Path, monkeypatch) -> None:
    options = {"cache_dir": tmp_path / "cache", "verbose": 0}
    found = scaled_handwriting(iam, **options)
    forms = [{name.rpartition("-")[0] for name in part.names} for part in found.splits]
    assert [len(part) for part in forms] == [2, 1, 1] and len(set.union(*forms)) == 4
    assert sum(part.num_sequences for part in found.splits) == 6
    for name, text in (("trainset", " a01-000u\n c04-100a\n"), ("testset_v", "a01-001x"), ("testset_f", "b02-003z\n")):
        (iam / f"{name}.txt").write_text(text)
    # The second time from the cache.
    monkeypatch.setattr("tfdvae.data.strokes_iam.read_line_strokes", lambda path: pytest.fail("read again"))
    found = scaled_handwriting(iam, standardise=False, **options)
    assert [part.names for part in found.splits] == [
        ("a01-000u-01", "a01-000u-02", "c04-100a-01"),
        ("a01-001x-01",),
        ("b02-003z-01", "b02-003z-02"),
    ]
    np.testing.assert_array_equal(found.splits.train.x[2], [[0, 0, 0], [3, -4, 1], [12, -6, 1]])
    (iam / "testset_f.txt").write_text("b02-003z\na01-001x-01\n")
    with pytest.raises(
        ValueError, match="lists of valid and test overlap: both name the line, form or folder 'a01-001x-01'"
    ):
        scaled_handwriting(iam, **options)
    lists = {"valid_list": iam / "testset_v.txt", "test_list": iam / "trainset.txt"}
    assert scaled_handwriting(iam, **lists, **options).splits.train.num_sequences == 2


def test_a_damaged_cache_of_iam_is_replaced(iam: Path, tmp_path: Path) -> None:
    options = {"cache_dir": tmp_path / "cache", "verbose": 0}
    first = load_handwriting(iam, **options)
    next((tmp_path / "cache").glob("*.npz")).write_bytes(b"x")
    with pytest.warns(UserWarning, match="read again: their cache is damaged"):
        again = load_handwriting(iam, **options)
    np.testing.assert_array_equal(first.train.x[0], again.train.x[0])


@pytest.mark.parametrize(
    ("name", "counts", "frames", "scale"),
    [("kanji", [10000, 600, 500], 406111, 99.71246), ("omniglot", [30000, 1000, 1000], 933430, 53.437046)],
)
@pytest.mark.slow
def test_the_open_sets(tfdvae_data: Path, name: str, counts: list, frames: int, scale: float) -> None:
    found = scaled_handwriting(tfdvae_data / f"strokes_{name}")
    assert [part.num_sequences for part in found.splits] == counts
    assert found.splits.train.num_frames == frames
    assert found.scale[0] == pytest.approx(scale, rel=1e-6)
    assert all(x[-1, 2] == 1 for part in found.splits for x in part.x)
    assert isinstance(found.splits, Splits)
