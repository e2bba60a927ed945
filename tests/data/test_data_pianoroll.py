import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import Splits, from_arrays, load_pianoroll, save_pianoroll, transpose, transposed


def rolls(seed, lengths, low=20, high=60):
    rng = np.random.default_rng(seed)
    out = []
    for length in lengths:
        roll = np.zeros((length, 88), np.uint8)
        roll[:, low:high] = rng.random((length, high - low)) < 0.1
        roll[0, [low, high - 1]] = 1
        out.append(roll)
    return out


@pytest.fixture
def splits():
    return Splits(
        train=from_arrays(rolls(0, [5, 3, 9]), names=["a", "b", "ä"]),
        valid=from_arrays(rolls(1, [4, 1]), names=["c", "d"]),
        test=from_arrays(rolls(2, [7])),
    )


def assert_equal(a, b):
    for split in Splits._fields:
        first, second = getattr(a, split), getattr(b, split)
        assert first.lengths.tolist() == second.lengths.tolist()
        for x, y in zip(first.x, second.x, strict=True):
            assert x.dtype == y.dtype == np.float32
            np.testing.assert_array_equal(x, y)


def test_npz_round_trip(tmp_path, splits):
    path = tmp_path / "new" / "rolls.npz"
    save_pianoroll(path, splits)
    again = load_pianoroll(path)
    assert_equal(again, splits)
    assert again.train.names == ("a", "b", "ä") and again.test.names is None
    assert [file.name for file in path.parent.iterdir()] == ["rolls.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, splits, monkeypatch):
    path = tmp_path / "rolls.npz"
    save_pianoroll(path, splits)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        save_pianoroll(path, splits)
    assert_equal(load_pianoroll(path), splits)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_mat_layout(tmp_path, splits):
    savemat = pytest.importorskip("scipy.io", reason="scipy is not installed").savemat
    cells = {}
    for split, key in {"train": "traindata", "valid": "validdata", "test": "testdata"}.items():
        x = getattr(splits, split).x
        cells[key] = np.empty((1, len(x)), dtype=object)
        for i, roll in enumerate(x):
            cells[key][0, i] = roll.astype(np.uint8)
    path = tmp_path / "rolls.mat"
    savemat(path, cells)
    assert_equal(load_pianoroll(path), splits)
    for size in (0, 100, path.stat().st_size // 2):
        cut = tmp_path / f"cut{size}.mat"
        cut.write_bytes(path.read_bytes()[:size])
        with pytest.raises(ValueError, match=rf"cut{size}\.mat cannot be read: expected a MATLAB file"):
            load_pianoroll(cut)
    del cells["testdata"]
    savemat(tmp_path / "foreign.mat", cells)
    with pytest.raises(ValueError, match=r"foreign\.mat cannot be read.*It has no testdata"):
        load_pianoroll(tmp_path / "foreign.mat")


def good():
    return {
        f"{split}_{part}": value
        for split in Splits._fields
        for part, value in {"frames": rolls(0, [6])[0], "len": np.array([2, 4], np.int32)}.items()
    }


def changed(key, change):
    arrays = good()
    arrays[key] = change(arrays[key])
    return arrays


def test_the_archive_that_the_damaged_ones_start_from_is_good(tmp_path):
    np.savez(tmp_path / "good.npz", **good())
    assert load_pianoroll(tmp_path / "good.npz").valid.lengths.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "train_frames"),
        (changed("train_frames", lambda x: x + 2), "only 0 and 1; sequence 0 of train"),
        (changed("valid_frames", lambda x: np.full(x.shape, np.nan)), "valid_frames holds NaN or infinity"),
        (changed("test_frames", lambda x: x[:, :87]), r"T, 88\]; sequence 0 of test has shape \[2, 87\]"),
        (changed("test_frames", lambda x: x[:5]), "adds up to 6"),
        (changed("test_frames", lambda x: x[:, 0]), r"\[6\]"),
        (changed("train_len", lambda x: np.array([6, 0])), "positive integers"),
        (changed("train_len", lambda x: np.array([2.0, 4.0])), "positive integers"),
        (changed("train_len", lambda x: x[None]), "positive integers"),
        (changed("train_frames", lambda x: x.astype(object)), "allow_pickle"),
    ],
)
def test_foreign_npz_is_one_clear_error(tmp_path, arrays, message):
    path = tmp_path / "foreign.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"foreign\.npz cannot be read: expected an \.npz.*{message}"):
        load_pianoroll(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_npz_is_one_clear_error(tmp_path, splits, share):
    path = tmp_path / "rolls.npz"
    save_pianoroll(path, splits)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"rolls\.npz cannot be read: expected an \.npz archive"):
        load_pianoroll(path)


def test_flipped_bytes_are_one_clear_error(tmp_path, splits):
    path = tmp_path / "rolls.npz"
    save_pianoroll(path, splits)
    data = bytearray(path.read_bytes())
    data[100:110] = bytes(255 - b for b in data[100:110])
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"rolls\.npz cannot be read"):
        load_pianoroll(path)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def test_pickles_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb()))
    np.savez(tmp_path / "b.npz", **good() | {"train_len": np.array([Bomb()], dtype=object)})
    np.save(tmp_path / "c.npy", np.zeros(3))
    (tmp_path / "c.npy").rename(tmp_path / "c.npz")
    for name in ("a", "b", "c"):
        with pytest.raises(ValueError, match=rf"{name}\.npz cannot be read"):
            load_pianoroll(tmp_path / f"{name}.npz")
    assert not (tmp_path / "exploded").exists()


def test_missing_file_folder_and_suffix(tmp_path, splits):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        load_pianoroll(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="not a file"):
        load_pianoroll(tmp_path)
    (tmp_path / "rolls.csv").write_text("1")
    with pytest.raises(ValueError, match=r"rolls\.csv.*\.mat or \.npz"):
        load_pianoroll(tmp_path / "rolls.csv")
    with pytest.raises(ValueError, match=r"suffix \.npz"):
        save_pianoroll(tmp_path / "rolls.mat", splits)
    with pytest.raises(ValueError, match="only 0 and 1; sequence 0 of valid"):
        save_pianoroll(tmp_path / "rolls.npz", splits._replace(valid=from_arrays(np.full((1, 2, 88), 0.5))))


def test_transpose_moves_all_notes_and_loses_none():
    (roll,) = rolls(0, [6], low=5, high=80)
    up = transpose(roll, 3)
    np.testing.assert_array_equal(up[:, 3:], roll[:, :-3])
    assert up.sum() == roll.sum()
    np.testing.assert_array_equal(transpose(up, -3), roll)
    transpose(roll, -5)
    transpose(roll, 8)
    for distance in (-6, 9):
        with pytest.raises(ValueError, match="Only -5 to 8 semitones"):
            transpose(roll, distance)


def test_transposed_leaves_out_what_does_not_fit():
    sequences = from_arrays(rolls(0, [4], low=1) + rolls(1, [5], high=88), names=["low", "high"])
    more = transposed(sequences, range(-2, 2))
    assert more.names == ("low-1", "low+0", "low+1", "high-2", "high-1", "high+0")
    np.testing.assert_array_equal(more.x[1], sequences.x[0])
    np.testing.assert_array_equal(more.x[3], transpose(sequences.x[1], -2))
    with pytest.raises(ValueError, match="None of the distances"):
        transposed(sequences.take([0]), [-60])


@pytest.mark.data
@pytest.mark.parametrize(
    ("npz", "mat", "sizes"),
    [
        ("jsb_chorales", "JSB_Chorales", (229, 76, 77)),
        ("piano_midi", "Piano_midi", (87, 12, 25)),
        ("nottingham", "Nottingham", (694, 173, 170)),
    ],
)
def test_published_files_agree_in_both_layouts(npz, mat, sizes):
    pytest.importorskip("scipy", reason="scipy is not installed")
    folder = Path(os.environ.get("TFDVAE_DATA", "")) / "polyphonic"
    if "TFDVAE_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("the environment variable TFDVAE_DATA names no folder with polyphonic/")
    first, second = load_pianoroll(folder / f"{npz}.npz"), load_pianoroll(folder / "raw" / f"{mat}.mat")
    assert tuple(split.num_sequences for split in first) == sizes
    assert_equal(first, second)
