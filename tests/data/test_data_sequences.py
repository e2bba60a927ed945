import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdvae.data import Sequences, describe, from_arrays, pad, windows

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=8)


def numbered(lengths, features=3, inputs=None, names=True):
    """Sequences in which each frame is unlike every other frame of the set."""
    ends = np.cumsum(lengths)
    numbers = [np.arange(end - length, end) + 1 for length, end in zip(lengths, ends, strict=True)]
    return from_arrays(
        [np.repeat(n[:, None], features, axis=1) for n in numbers],
        u=None if inputs is None else [np.repeat(-n[:, None], inputs, axis=1) for n in numbers],
        names=[f"s{i}" for i in range(len(lengths))] if names else None,
    )


def test_from_arrays_takes_an_array_or_a_list():
    array = np.arange(24.0).reshape(2, 4, 3)
    for value in (array, list(array), array.tolist(), array.astype(np.int16)):
        sequences = from_arrays(value)
        assert isinstance(sequences.x, tuple) and len(sequences.x) == 2
        assert all(x.dtype == np.float32 for x in sequences.x)
        np.testing.assert_array_equal(np.stack(sequences.x), array)


def test_from_arrays_drops_masked_frames_whatever_they_hold():
    x = np.ones((2, 4, 3))
    x[1, 2:] = np.nan
    u = np.ones((2, 4, 2))
    u[1, 3] = np.inf
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    sequences = from_arrays(x, mask=mask, u=u)
    assert sequences.lengths.tolist() == [4, 2]
    assert [len(a) for a in sequences.u] == [4, 2]
    assert (sequences.num_sequences, sequences.num_frames) == (2, 6)
    assert (sequences.features, sequences.inputs) == (3, 2)


def test_padding_an_array_and_reading_it_back_is_the_identity():
    sequences = numbered([3, 1, 5], inputs=2)
    batch = pad(sequences, 7)
    again = from_arrays(batch["x"], batch["mask"], batch["u"], sequences.names)
    for a, b in zip(again.x + again.u, sequences.x + sequences.u, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.names == sequences.names


def bad_frame(value):
    x = [np.zeros((4, 2)), np.zeros((5, 2))]
    x[1][3, 1] = value
    return x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros((4, 2))}, r"x must be an array \[B, T, D\].*\[4, 2\]"),
        ({"x": np.zeros((1, 2, 3, 4))}, r"\[1, 2, 3, 4\]"),
        ({"x": [np.zeros(4)]}, r"x\[0\] must be \[T, D\].*\[4\]"),
        ({"x": [np.zeros((4, 2)), np.zeros((4, 3))]}, r"x\[1\] has 3 features.* 2"),
        ({"x": []}, "no sequence"),
        ({"x": np.zeros((0, 4, 2))}, "no sequence"),
        ({"x": [np.zeros((4, 2)), np.zeros((0, 2))]}, r"x\[1\] has no frame"),
        ({"x": np.zeros((2, 0, 2))}, r"x\[0\] has no frame"),
        ({"x": np.zeros((2, 4, 0))}, "no feature"),
        ({"x": bad_frame(np.nan)}, r"x\[1\] holds NaN or infinity.*frame 3"),
        ({"x": bad_frame(-np.inf)}, r"x\[1\].*frame 3"),
        ({"x": bad_frame(1e300)}, r"x\[1\].*frame 3"),
        ({"x": [["a", "b"]]}, "dtype"),
        ({"x": np.zeros((1, 2, 3), dtype=complex)}, "complex"),
        ({"x": [[[1.0, 2.0], [3.0]]]}, r"x\[0\] must be an array of numbers"),
        ({"x": np.zeros((2, 4, 3)), "u": np.zeros((2, 5, 1))}, r"u\[0\] must be as long as x\[0\].* 4.* 5"),
        ({"x": np.zeros((2, 4, 3)), "u": np.zeros((3, 4, 1))}, "expected 2, got 3"),
        ({"x": np.zeros((2, 4, 3)), "u": np.full((2, 4, 1), np.nan)}, r"u\[0\] holds NaN"),
        ({"x": np.zeros((2, 4, 3)), "mask": np.ones((2, 5))}, r"the shape.*\[2, 4\].*\[2, 5\]"),
        ({"x": np.zeros((1, 3, 2)), "mask": [[1, 0, 1]]}, "sequence 0.*frame 1"),
        ({"x": np.zeros((1, 3, 2)), "mask": [[2, 1, 0]]}, "only 0 and 1"),
        ({"x": np.zeros((2, 3, 2)), "mask": [[1, 1, 1], [0, 0, 0]]}, r"x\[1\] has no frame"),
        ({"x": [np.zeros((3, 2))], "mask": [[1, 1, 1]]}, "a list of arrays"),
        ({"x": np.zeros((2, 3, 2)), "names": ["one"]}, "2; got 1"),
    ],
)
def test_bad_arrays_are_one_clear_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**arguments)


@settings(deadline=None, max_examples=50)
@given(LENGTHS, st.integers(0, 5), st.booleans())
def test_pad_keeps_frames_and_marks_them(lengths, extra, with_inputs):
    sequences = numbered(lengths, inputs=2 if with_inputs else None)
    batch = pad(sequences, max(lengths) + extra)
    assert ("u" in batch) == with_inputs
    assert batch["x"].shape == (len(lengths), max(lengths) + extra, 3)
    assert batch["x"].dtype == np.float32 and batch["mask"].dtype == bool
    assert batch["mask"].sum(axis=1).tolist() == lengths
    np.testing.assert_array_equal(batch["x"][batch["mask"]], np.concatenate(sequences.x))
    assert not batch["x"][~batch["mask"]].any()
    if with_inputs:
        np.testing.assert_array_equal(batch["u"][batch["mask"]], np.concatenate(sequences.u))


def test_pad_refuses_to_cut():
    with pytest.raises(ValueError, match="5 frames; got 4"):
        pad(numbered([3, 5]), 4)


@settings(deadline=None, max_examples=100)
@given(LENGTHS, st.integers(1, 12), st.data())
def test_overlapping_windows_cover_each_frame(lengths, length, data):
    hop = data.draw(st.integers(1, length))
    cut = windows(numbered(lengths, inputs=1), length, hop)
    assert set(np.concatenate(cut.x)[:, 0]) == set(range(1, sum(lengths) + 1))
    assert max(cut.lengths) <= length
    for x, u in zip(cut.x, cut.u, strict=True):
        np.testing.assert_array_equal(np.diff(x[:, 0]), np.ones(len(x) - 1))
        np.testing.assert_array_equal(u[:, 0], -x[:, 0])
    if hop == length:
        assert cut.num_frames == sum(lengths)


@settings(deadline=None, max_examples=100)
@given(LENGTHS, st.integers(1, 12), st.integers(1, 15))
def test_full_windows_begin_every_hop(lengths, length, hop):
    expected = sum((n - length) // hop + 1 for n in lengths if n >= length)
    if expected == 0:
        with pytest.raises(ValueError, match="No sequence has"):
            windows(numbered(lengths), length, hop, keep_short=False)
        return
    cut = windows(numbered(lengths), length, hop, keep_short=False)
    assert cut.lengths.tolist() == [length] * expected


def test_windows_by_hand():
    cut = windows(numbered([7, 2]), 4, 2)
    assert cut.names == ("s0[0:4]", "s0[2:6]", "s0[4:7]", "s1[0:2]")
    assert [x[:, 0].tolist() for x in cut.x] == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7], [8, 9]]
    assert windows(numbered([7, 2]), 4, 2, keep_short=False).names == ("s0[0:4]", "s0[2:6]")
    assert windows(numbered([6]), 4, 2).names == ("s0[0:4]", "s0[2:6]")
    assert windows(numbered([7], names=False), 4).names is None


@pytest.mark.parametrize(("length", "hop"), [(0, 1), (4, 0), (-1, None)])
def test_windows_need_a_positive_length_and_hop(length, hop):
    with pytest.raises(ValueError, match="at least 1"):
        windows(numbered([5]), length, hop)


def test_take_and_describe():
    sequences = numbered([3, 1, 5], inputs=2)
    taken = sequences.take(np.array([2, 0]))
    assert isinstance(taken, Sequences) and taken.names == ("s2", "s0")
    assert taken.lengths.tolist() == [5, 3] and taken.u[0][0, 0] == -taken.x[0][0, 0]
    line = describe(sequences)
    assert line == "3 sequences, 9 frames, 3 features, 2 inputs, 1 to 5 frames each (median 3)"


def test_the_first_sequences_are_all_where_there_are_no_more():
    sequences = numbered([3, 1, 5], inputs=2)
    assert sequences.first(2).names == ("s0", "s1") and sequences.first(np.int64(1)).lengths.tolist() == [3]
    for count in (3, 7, None):
        assert sequences.first(count) is sequences
    with pytest.raises(ValueError, match="`count` must be at least 1, got 0"):
        sequences.first(0)


@pytest.mark.slow
def test_by_length_puts_the_shortest_first_and_keeps_what_belongs_together():
    sequences = numbered([3, 5, 2, 3], inputs=1)
    ordered = sequences.by_length()
    assert ordered.lengths.tolist() == [2, 3, 3, 5]
    assert ordered.names == tuple(sequences.names[i] for i in (2, 0, 3, 1))
    assert [u[0, 0] for u in ordered.u] == [sequences.u[i][0, 0] for i in (2, 0, 3, 1)]
