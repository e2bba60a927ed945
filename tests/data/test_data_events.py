"""Events on a grid, hiding and imputing, each against a loop over single values; and how batches carry the result."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdvae.data import (
    batches,
    describe,
    events_to_grid,
    from_arrays,
    hold_out,
    impute_forward,
    impute_linear,
    impute_mean,
    masked_errors,
    observed_moments,
    pad,
    transposed,
    windows,
)

GRID = {"num_variables": 2, "interval": 60, "num_frames": 2}


def grid_by_loop(times, variables, values, lengths, num_variables, interval, num_frames, aggregate, limits=None):
    x = np.zeros((len(lengths), num_frames, num_variables))
    observed = np.zeros(x.shape, bool)
    found: dict = {}
    event = 0
    for n, length in enumerate(lengths):
        for _ in range(length):
            time, d, value = times[event], variables[event], values[event]
            event += 1
            if time > num_frames * interval or (limits is not None and not limits[d][0] <= value <= limits[d][1]):
                continue
            t = num_frames - 1 if time == num_frames * interval else math.floor(time / interval)
            found.setdefault((n, t, d), []).append((time, value))
    for place, events in found.items():
        # max() takes the first of equal ones, and the last one is wanted.
        latest = max(reversed(events), key=lambda event: event[0])[1]
        x[place] = latest if aggregate == "last" else math.fsum(value for _, value in events) / len(events)
        observed[place] = True
    return x, observed


@st.composite
def records(draw):
    num_variables, num_frames = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    interval = draw(st.sampled_from([1, 7, 60, 0.25]))
    event = st.tuples(
        # Quarters are exact in binary, so that the two ways to find a frame agree at its border.
        st.integers(0, int(4 * interval * num_frames) + 3).map(lambda quarters: quarters / 4),
        st.integers(0, num_variables - 1),
        st.floats(-1e6, 1e6, width=32),
    )
    stays = draw(st.lists(st.lists(event, max_size=12), min_size=1, max_size=5))
    events = [event for stay in stays for event in stay]
    return {
        "times": [event[0] for event in events],
        "variables": [event[1] for event in events],
        "values": [event[2] for event in events],
        "lengths": [len(stay) for stay in stays],
        "num_variables": num_variables,
        "interval": interval,
        "num_frames": num_frames,
    }


@settings(deadline=None, max_examples=200)
@given(records(), st.sampled_from(["last", "mean"]), st.booleans())
@pytest.mark.slow
def test_a_grid_is_what_a_loop_over_events_makes(record, aggregate, limited):
    limits = [(-100.0, math.inf)] * record["num_variables"] if limited else None
    x, observed = events_to_grid(**record, aggregate=aggregate, outside="drop", limits=limits)
    expected, seen = grid_by_loop(**record, aggregate=aggregate, limits=limits)
    assert x.dtype == np.float32 and observed.dtype == bool
    np.testing.assert_array_equal(observed, seen)
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(initial=1.0))
    assert not x[~observed].any()


def test_the_example_and_the_end_of_the_last_frame():
    x, observed = events_to_grid([5, 70, 80], [0, 1, 1], [36.6, 90.0, 94.0], [3, 0], **GRID)
    np.testing.assert_array_equal(x, np.float32([[[36.6, 0], [0, 94]], [[0, 0], [0, 0]]]))
    np.testing.assert_array_equal(observed[0], [[True, False], [False, True]])
    assert not observed[1].any()
    times = np.array([120, 60], np.uint16)
    x, _ = events_to_grid(times, [0, 0], [2, 1], [2], **GRID)
    np.testing.assert_array_equal(x[0, :, 0], [0, 2])
    with pytest.raises(ValueError, match=r"must not exceed num_frames \* interval = 120; event 0 is at 121 \(1 such"):
        events_to_grid([121], [0], [1.0], [1], **GRID)


def test_an_event_of_zero_is_observed_and_no_event_at_all_is_fine():
    x, observed = events_to_grid([0], [1], [0.0], [1], **GRID)
    assert observed.sum() == 1 and not x.any()
    x, observed = events_to_grid([], [], [], [0, 0, 0], **GRID)
    assert x.shape == (3, 2, 2) and not observed.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": [1, 1]}, "adds up to 2 events, but there are 3 times, 3 variables, 3 values"),
        ({"values": [1.0, 2.0]}, "adds up to 3 events, but there are 3 times, 3 variables, 2 values"),
        ({"lengths": [4, -1]}, "lengths must not be negative; got -1"),
        ({"lengths": []}, "lengths holds no sequence"),
        ({"lengths": [3.0]}, "lengths must be a vector of integers; got float64"),
        ({"lengths": [[3]]}, r"lengths must be a vector of integers; got int64 of shape \[1, 1\]"),
        ({"times": [0, -1, 2]}, "times must be finite and not negative; event 1, of sequence 0, has -1"),
        ({"times": [0, 1, np.nan]}, "times must be finite.*event 2, of sequence 1, has nan"),
        ({"times": ["a", "b", "c"]}, "times must be a vector of integers or floats; got <U1"),
        ({"variables": [0, 2, 1]}, "variables must be 0 to 1; event 1, of sequence 0, has 2"),
        ({"variables": [0, 0, -1]}, "variables must be 0 to 1; event 2, of sequence 1, has -1"),
        ({"variables": [0.0, 1.0, 1.0]}, "variables must be a vector of integers; got float64"),
        ({"values": [0, np.inf, np.inf]}, r"values must be finite in float32; event 1.* has inf \(2 such events\)"),
        ({"values": [0, 1, 1e300]}, "values must be finite in float32; event 2"),
        ({"values": [True, True, False]}, "values must be a vector of integers or floats; got bool"),
        ({"num_variables": 0}, "num_variables must be at least 1; got 0"),
        ({"num_frames": 0}, "num_frames must be at least 1; got 0"),
        ({"interval": 0}, "interval must be a time above 0; got 0"),
        ({"interval": np.nan}, "interval must be a time above 0; got nan"),
        ({"aggregate": "sum"}, "aggregate must be one of 'last', 'mean'; got 'sum'"),
        ({"outside": "clip"}, "outside must be one of 'refuse', 'drop'; got 'clip'"),
        ({"limits": [[0, 1]]}, r"limits must be \[2, 2\], a row per variable; got shape \[1, 2\]"),
        ({"limits": [[0, 1], [2, 1]]}, r"variable 1 has \[2.0, 1.0\]"),
        ({"limits": [[np.nan, 1], [0, 1]]}, r"variable 0 has \[nan, 1.0\]"),
    ],
)
def test_damaged_events_are_one_clear_error(changes, message):
    events = {"times": [0, 1, 2], "variables": [0, 1, 1], "values": [1.0, 2.0, 3.0], "lengths": [2, 1]}
    with pytest.raises(ValueError, match=message):
        events_to_grid(**events | GRID | changes)


@st.composite
def grids(draw):
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    observed = rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    # What is not observed must not matter, whatever it is.
    return np.where(observed, rng.normal(size=shape), np.nan), observed


@settings(deadline=None, max_examples=150)
@given(grids())
def test_imputers_against_loops_and_numpys_interpolation(grid):
    x, observed = grid
    fill = np.arange(x.shape[-1]) + 10.0
    found = {f: f(x, observed, fill) for f in (impute_mean, impute_forward, impute_linear)}
    for n, d in np.ndindex(x.shape[0], x.shape[2]):
        seen = np.flatnonzero(observed[n, :, d])
        last = fill[d]
        for t in range(x.shape[1]):
            last = x[n, t, d] if observed[n, t, d] else last
            assert found[impute_forward][n, t, d] == np.float32(last)
            expected = x[n, t, d] if observed[n, t, d] else fill[d]
            assert found[impute_mean][n, t, d] == np.float32(expected)
        line = np.interp(np.arange(x.shape[1]), seen, x[n, seen, d]) if len(seen) else np.full(x.shape[1], fill[d])
        np.testing.assert_allclose(found[impute_linear][n, :, d], line, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(grids())
def test_moments_are_those_of_the_observed_values(grid):
    x, observed = grid
    mean, scale = observed_moments(x, observed)
    for d in range(x.shape[-1]):
        values = x[..., d][observed[..., d]]
        assert mean[d] == pytest.approx(values.mean() if len(values) else 0.0, rel=1e-5, abs=1e-6)
        assert scale[d] == pytest.approx(values.std() if len(values) > 1 else 1.0, rel=1e-5)


def test_a_constant_variable_has_scale_one():
    mean, scale = observed_moments(np.full((3, 7, 1), 0.1), np.ones((3, 7, 1), bool))
    assert mean[0] == np.float32(0.1) and scale[0] == 1.0


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 400), st.sampled_from([0.01, 0.1, 0.5, 0.99]), st.integers(0, 9))
def test_holding_out_splits_what_was_observed(count, rate, seed):
    observed = np.zeros((40, 5, 2), bool)
    observed.flat[np.random.default_rng(1).permutation(400)[:count]] = True
    kept, held = hold_out(observed, rate, seed)
    np.testing.assert_array_equal(kept | held, observed)
    assert not (kept & held).any() and kept.any()
    assert held.sum() == min(max(1, round(rate * count)), count - 1)
    np.testing.assert_array_equal(hold_out(observed, rate, seed)[1], held)


def test_each_value_is_as_likely_held_out():
    observed = np.ones((1, 5, 4), bool)
    observed[0, 1] = False
    share = np.mean([hold_out(observed, 0.25, seed)[1] for seed in range(2000)], axis=0)
    assert not share[~observed].any()
    # Five standard errors of a share of 2,000 draws.
    assert np.abs(share[observed] - 0.25).max() < 5 * math.sqrt(0.25 * 0.75 / 2000)


def test_errors_by_hand_and_only_at_held_places():
    truth, estimate = np.zeros((1, 2, 2)), np.array([[[2.0, np.nan], [np.inf, -9.0]]])
    found = masked_errors(estimate, truth, np.array([[[True, False], [False, True]]]), np.array([2.0, 3.0]))
    assert found == (2.0, math.sqrt(5.0), 2)


ONES = np.ones((1, 2, 2))
ALL = ONES.astype(bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hold_out(ONES), "observed must be boolean; got dtype float64"),
        (lambda: hold_out(ALL, 0.0), "rate must be above 0 and below 1; got 0.0"),
        (lambda: hold_out(ALL, 1.0), "rate must be above 0 and below 1; got 1.0"),
        (lambda: hold_out(~ALL), "at least two observed values; there are 0"),
        (lambda: observed_moments(ONES, ALL[:, :1]), r"shape of x, \[1, 2, 2\]; got \[1, 1, 2\]"),
        (lambda: observed_moments(ONES[0, 0], ALL[0, 0]), r"x must be \[..., T, D\]"),
        (lambda: impute_forward(ONES, ALL, [0.0]), r"fill must hold a finite number for each of 2 variables"),
        (lambda: impute_linear(ONES, ALL, [0.0, np.nan]), "fill must hold a finite number"),
        (lambda: masked_errors(ONES[0], ONES, ALL, [1, 1]), "estimate must have the shape of truth"),
        (lambda: masked_errors(ONES, ONES, ~ALL, [1, 1]), "held marks no value"),
        (lambda: masked_errors(ONES, ONES, ALL, [1, 0]), "scale must be above 0 for each variable"),
        (lambda: masked_errors(ONES * np.nan, ONES, ALL, [1, 1]), "NaN or infinity at 4 of 4 held places"),
    ],
)
def test_scoring_refuses_what_does_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def partly_observed(lengths, features=3, seed=0):
    """Sequences whose observed places hold random numbers, elsewhere NaN, and whose context is their own index."""
    rng = np.random.default_rng(seed)
    observed = [rng.random((length, features)) < 0.4 for length in lengths]
    observed[0][:] = False
    x = [np.where(seen, rng.normal(size=seen.shape), np.nan) for seen in observed]
    context = [[i, 1.0] for i in range(len(lengths))]
    return x, observed, context, from_arrays(x, observed=observed, context=context, names=map(str, range(len(lengths))))


def test_from_arrays_fills_unobserved_places_with_zero():
    x, observed, context, sequences = partly_observed([3, 1, 5])
    for found, given_x, seen, other in zip(sequences.x, x, observed, sequences.observed, strict=True):
        np.testing.assert_array_equal(found, np.where(seen, given_x, 0).astype(np.float32))
        np.testing.assert_array_equal(other, seen)
        assert other.dtype == bool
    np.testing.assert_array_equal(np.stack(sequences.context), context)
    assert sequences.covariates == 2 and from_arrays(np.zeros((1, 2, 3))).covariates == 0
    batch = pad(sequences, 7)
    again = from_arrays(batch["x"], batch["mask"], observed=batch["observed"], context=batch["context"])
    fields = [part.x + part.observed + part.context for part in (again, sequences)]
    for a, b in zip(*fields, strict=True):
        np.testing.assert_array_equal(a, b)
    share = sum(map(np.sum, observed)) / 27
    assert describe(sequences) == (
        f"3 sequences, 9 frames, 3 features ({share:.1%} observed), 2 static covariates, 1 to 5 frames each (median 3)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"observed": np.ones((2, 5, 3))},
            r"observed\[0\] must have the shape of x\[0\]: expected \[4, 3\], got \[5, 3\]",
        ),
        ({"observed": np.ones((2, 4, 1))}, r"expected \[4, 3\], got \[4, 1\]"),
        ({"observed": np.ones((3, 4, 3))}, "expected 2, got 3"),
        ({"observed": np.full((2, 4, 3), 2)}, r"observed\[0\] must be boolean, or hold only 0 and 1"),
        ({"observed": np.ones((2, 4))}, r"observed must be an array \[B, T, D\]"),
        ({"x": np.full((2, 4, 3), np.nan), "observed": np.eye(4, 3)[None].repeat(2, 0)}, r"x\[0\] holds NaN"),
        ({"context": np.ones((3, 2))}, r"context must be \[B, C\].*2 sequences; got shape \[3, 2\]"),
        ({"context": np.ones(2)}, r"got shape \[2\]"),
        ({"context": np.ones((2, 0))}, r"got shape \[2, 0\]"),
        ({"context": [[1.0], [np.nan]]}, "context holds NaN or infinity.*first for sequence 1"),
        ({"context": [[1.0], [1.0, 2.0]]}, "context must be an array of numbers"),
    ],
)
def test_observed_and_context_must_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**{"x": np.zeros((2, 4, 3))} | changes)


def test_windows_cut_what_was_observed_and_repeat_the_context():
    _, _, _, sequences = partly_observed([7, 2])
    cut = windows(sequences, 4, 2)
    assert cut.names == ("0[0:4]", "0[2:6]", "0[4:7]", "1[0:2]")
    assert [c[0] for c in cut.context] == [0, 0, 0, 1]
    for i, (n, a, b) in enumerate([(0, 0, 4), (0, 2, 6), (0, 4, 7), (1, 0, 2)]):
        np.testing.assert_array_equal(cut.observed[i], sequences.observed[n][a:b])
        np.testing.assert_array_equal(cut.x[i], sequences.x[n][a:b])


def test_transposing_moves_what_was_observed_along():
    roll, observed = np.zeros((2, 3, 88)), np.random.default_rng(0).random((2, 3, 88)) < 0.5
    roll[:, 0, 40] = 1
    found = transposed(from_arrays(roll, observed=observed, context=[[0.0], [1.0]]), [1])
    np.testing.assert_array_equal(np.stack(found.observed), np.roll(observed, 1, axis=-1))
    assert [c[0] for c in found.context] == [0, 1]


@settings(deadline=None, max_examples=20)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9),
    batch_size=st.integers(1, 4),
    buckets=st.none() | st.integers(1, 3),
    seed=st.none() | st.integers(0, 5),
    pad_to=st.none() | st.just(11),
)
@pytest.mark.slow
def test_batches_keep_together_what_belongs_together(lengths, batch_size, buckets, seed, pad_to):
    _, _, _, sequences = partly_observed(lengths)
    dataset = batches(sequences, batch_size, seed=seed, buckets=buckets, pad_to=pad_to)
    assert dataset.element_spec["observed"] == tf.TensorSpec([None, pad_to, 3], tf.bool)
    assert dataset.element_spec["context"] == tf.TensorSpec([None, 2], tf.float32)
    who = []
    for batch in dataset.as_numpy_iterator():
        assert batch["observed"].shape == batch["x"].shape
        assert not batch["observed"][~batch["mask"]].any()
        for row, i in enumerate(batch["context"][:, 0].astype(int)):
            # A frame of which nothing was observed is not masked.
            assert batch["mask"][row].sum() == lengths[i]
            np.testing.assert_array_equal(batch["observed"][row, : lengths[i]], sequences.observed[i])
            np.testing.assert_array_equal(batch["x"][row, : lengths[i]], sequences.x[i])
            who.append(i)
    assert sorted(who) == list(range(len(lengths)))


@pytest.mark.slow
def test_sequences_without_these_have_batches_without_them():
    assert set(batches(from_arrays(np.zeros((2, 3, 1))), 2).element_spec) == {"x", "mask"}
