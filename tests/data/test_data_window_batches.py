"""Batches of windows that follow on each other: every frame once, in order, with rows that only end."""

import numpy as np
import pytest

from tfdvae.data import Sequences, from_arrays, numbered, window_batches, window_steps


def sequences(*lengths: int) -> Sequences:
    """Frames that say where they are from: (number of the sequence, number of the frame)."""
    frames = [np.stack([np.full(n, i), np.arange(n)], axis=1).astype(np.float32) for i, n in enumerate(lengths)]
    return from_arrays(frames, u=[f[:, :1] for f in frames])


def rows(batches: list[dict[str, np.ndarray]]) -> list[list[tuple[np.ndarray, bool]]]:
    """What each row reads: frames `[T, 2]` that exist, and whether they follow on what it read before."""
    found: list = [[] for _ in batches[0]["x"]]
    for batch in batches:
        for row, (x, mask, follows) in enumerate(zip(batch["x"], batch["mask"], batch["continues"], strict=True)):
            found[row].append((x[mask], bool(follows)))
    return found


def read(data: Sequences, batch_size: int, window: int, **options: object) -> list[dict[str, np.ndarray]]:
    return list(window_batches(data, batch_size, window, **options).as_numpy_iterator())


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
def test_every_frame_comes_once_and_follows_where_it_says_so(whole: bool, seed: int | None) -> None:
    data = sequences(23, 4, 50, 11, 8, 1)
    batches = read(data, 4, 5, whole=whole, seed=seed)
    assert len(batches) == window_steps(data, 4, 5, whole=whole)
    sizes = [len(batch["x"]) for batch in batches]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 4
    seen = set()
    for row in rows(batches):
        before = None
        for frames, follows in row:
            assert len(frames) and (frames[:, 0] == frames[0, 0]).all()
            assert follows == (before is not None and before == (frames[0, 0], frames[0, 1] - 1))
            seen |= {tuple(frame) for frame in frames}
            before = tuple(frames[-1])
    assert len(seen) == data.num_frames == sum(int(batch["mask"].sum()) for batch in batches)


def test_rows_end_together_or_sequences_stay_whole() -> None:
    data = sequences(100)
    assert [len(batch["x"]) for batch in read(data, 4, 5)] == [4] * 5
    assert [len(batch["x"]) for batch in read(data, 4, 5, whole=True)] == [1] * 20
    anew = [[follows for _, follows in row].count(False) for row in rows(read(data, 4, 5))]
    assert anew == [1, 1, 1, 1]
    assert [len(batch["x"]) for batch in read(sequences(100, 5, 10), 3, 5, whole=True)] == [3, 2, *[1] * 18]


def test_an_epoch_has_an_order_of_its_own_and_rows_that_begin_elsewhere() -> None:
    data = sequences(40, 40, 40)
    first, second = (read(data, 2, 10, seed=1, epochs=[epoch]) for epoch in (0, 1))
    both = read(data, 2, 10, seed=1, epochs=2)
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(both, [*first, *second], strict=True))
    starts = {tuple(batches[0]["x"][row, 0]) for batches in (first, second) for row in (0, 1)}
    assert len(starts) > 2


def test_shapes_are_known_where_all_batches_have_them() -> None:
    even = window_batches(numbered(sequences(40, 20)), 3, 5).element_spec
    assert even["x"].shape == (3, 5, 2) and even["u"].shape == (3, 5, 1) and even["continues"].shape == (3,)
    assert even["sequence_index"].shape == (3,)
    assert window_batches(sequences(41, 20), 3, 5).element_spec["x"].shape.as_list() == [None, 5, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"window": 0}, "`window` must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative; got -1"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_arguments_out_of_range(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        window_batches(sequences(9), **{"batch_size": 2, "window": 3, **options})


@pytest.mark.slow
def test_arrays_are_no_sequences() -> None:
    with pytest.raises(TypeError, match="use from_arrays"):
        window_batches(np.zeros([2, 3, 4]), 2, 3)
