"""Intensive-care stays from an archive written here in the layout of the challenge's, and from the real one."""

import time
from pathlib import Path

import numpy as np
import pytest

from tfdvae.data import (
    DATASETS,
    ICU_CONTEXT,
    ICU_VARIABLES,
    Splits,
    hold_out,
    impute_forward,
    impute_linear,
    impute_mean,
    load_icu,
    masked_errors,
    observed_moments,
    pad,
    read_icu_deaths,
)

PARAMS = [*ICU_VARIABLES, "MechVent", "Weight"]
HR, TEMP, PH, VENT = (PARAMS.index(name) for name in ("HR", "Temp", "pH", "MechVent"))
SMALL = {"num_train": 2, "num_valid": 1}
# Minute, variable and value of each event of each stay.
STAYS = [
    [(7, HR, 80), (37, HR, 90), (37, TEMP, 36.5), (61, VENT, 1), (2880, HR, 70)],
    [(0, TEMP, -17.8), (5, PH, 735), (100, PH, 7.35)],
    [(2879, HR, 60)],
    [(125, HR, 50), (120, HR, 40)],
]


def archive(path: Path, **changes) -> Path:
    """With `changes` in place of its arrays; without those that are None."""
    events = [event for stay in STAYS for event in stay]
    arrays = {
        "len": np.array([len(stay) for stay in STAYS], np.int32),
        "minute": np.array([event[0] for event in events], np.uint16),
        "param": np.array([event[1] for event in events], np.uint8),
        "value": np.array([event[2] for event in events], np.float32),
        "params": np.array(PARAMS),
        "static_names": np.array(["Age", "Gender", "Height", "ICUType", "Weight"]),
        "static": np.float32(
            [[50, 0, np.nan, 1, 80], [200, 1, 170, 4, 60], [70, np.nan, 1.8, np.nan, np.nan], [60, 1, 180, 2, 90]]
        ),
        "record": np.array([132539, 132540, 132541, 132543], np.int32),
        "death": np.array([0, 1, 0, 0], np.int8),
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return archive(tmp_path / "stays.npz")


def value(sequences, stay: int, frame: int, variable: str) -> float | None:
    """None where it was not observed."""
    d = ICU_VARIABLES.index(variable)
    return float(sequences.x[stay][frame, d]) if sequences.observed[stay][frame, d] else None


def test_stays_by_hand(path: Path) -> None:
    assert DATASETS["icu"] is load_icu
    splits = load_icu(path, **SMALL)
    assert isinstance(splits, Splits)
    assert [part.names for part in splits] == [("132539", "132540"), ("132541",), ("132543",)]
    assert splits.train.x[0].shape == splits.train.observed[0].shape == (48, 35)
    assert value(splits.train, 0, 0, "HR") == 85
    assert value(splits.train, 0, 0, "Temp") == 36.5
    assert value(splits.train, 0, 47, "HR") == 70
    # The ventilator is no feature, so that nothing of the second hour is left; the hour is a frame all the same.
    assert not splits.train.observed[0][1].any() and splits.train.observed[0].sum() == 3
    assert pad(splits.train)["mask"].all()
    assert value(splits.valid, 0, 47, "HR") == 60
    assert value(splits.test, 0, 2, "HR") == 45
    # Events need not be in the order of time.
    assert value(load_icu(path, aggregate="last", **SMALL).test, 0, 2, "HR") == 50


def test_implausible_readings_count_as_not_taken(path: Path) -> None:
    train = load_icu(path, **SMALL).train
    assert value(train, 1, 0, "Temp") is None and value(train, 1, 0, "pH") is None
    assert value(train, 1, 1, "pH") == pytest.approx(7.35)
    train = load_icu(path, plausible=False, **SMALL).train
    assert value(train, 1, 0, "Temp") == pytest.approx(-17.8) and value(train, 1, 0, "pH") == 735


def test_the_interval_sets_the_number_of_frames(path: Path) -> None:
    train = load_icu(path, interval=30, **SMALL).train
    assert train.lengths.tolist() == [96, 96]
    assert [value(train, 0, frame, "HR") for frame in (0, 1, 2, 95)] == [80, 90, None, 70]
    for interval in (7, 0, -60, 2881):
        with pytest.raises(ValueError, match=f"interval must divide the 2880 minutes of 48 hours; got {interval}"):
            load_icu(path, interval=interval, **SMALL)


def test_context_is_filled_from_the_training_stays_and_marked(path: Path) -> None:
    splits = load_icu(path, standardize_context=False, **SMALL)
    found = np.concatenate([np.stack(part.context) for part in splits])
    assert found.shape == (4, len(ICU_CONTEXT)) and found.dtype == np.float32
    expected = [
        [50, 0, 170, 80, 0, 0, 1, 0, 1, 0, 0, 0],
        [50, 1, 170, 60, 1, 0, 0, 0, 0, 0, 0, 1],
        [70, 0.5, 170, 70, 0, 1, 1, 1, 0, 0, 0, 0],
        [60, 1, 180, 90, 0, 0, 0, 0, 0, 1, 0, 0],
    ]
    np.testing.assert_array_equal(found, expected)
    raw = load_icu(path, plausible=False, standardize_context=False, **SMALL)
    assert raw.train.context[1][0] == 200 and raw.valid.context[0][2] == np.float32(1.8)


def test_context_is_standardised_by_the_training_stays_that_have_a_value(path: Path) -> None:
    found = np.concatenate([np.stack(part.context) for part in load_icu(path, **SMALL)])
    # By hand: ages 50 and none, genders 0 and 1, heights none and 170, weights 80 and 60 are the training stays'.
    expected = [[0, -1, 0, 1], [0, 1, 0, -1], [20, 0, 0, 0], [10, 1, 10, 2]]
    np.testing.assert_allclose(found[:, :4], expected, atol=1e-6)
    raw = np.concatenate([np.stack(part.context) for part in load_icu(path, standardize_context=False, **SMALL)])
    np.testing.assert_array_equal(found[:, 4:], raw[:, 4:])


def test_a_covariate_that_no_training_stay_has_is_zero(tmp_path: Path) -> None:
    static = np.full((4, 5), np.nan, np.float32)
    static[3, 0] = 60
    changed = archive(tmp_path / "stays.npz", static=static)
    for standardize in (True, False):
        test = load_icu(changed, standardize_context=standardize, **SMALL).test
        np.testing.assert_array_equal(test.context[0], [60, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0])


def test_variables_are_found_by_name(tmp_path: Path, path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(PARAMS))
    place = np.argsort(order)
    events = np.array([event[1] for stay in STAYS for event in stay])
    shuffled = archive(tmp_path / "shuffled.npz", params=np.array(PARAMS)[order], param=place[events].astype(np.uint8))
    for a, b in zip(load_icu(path, **SMALL), load_icu(shuffled, **SMALL), strict=True):
        np.testing.assert_array_equal(np.stack(a.x), np.stack(b.x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minute": None, "static": None}, "has no minute and no static; expected events"),
        ({"len": np.array([5, 3, 1, 3])}, "adds up to 12 events, but there are 11 times"),
        ({"len": np.array([5, 3, 4, -1])}, "lengths must not be negative"),
        ({"minute": np.array([2881] + [0] * 10)}, "event 0 is at 2881"),
        ({"param": np.array([37] + [0] * 10)}, "variables must be 0 to 36; event 0"),
        ({"value": np.array([np.nan] + [0.0] * 10)}, "values must be finite"),
        ({"value": np.array(["x"] * 11)}, "values must be a vector of integers or floats"),
        ({"params": np.array(PARAMS[1:])}, r"params must be names, .*; it lacks \['ALP'\]"),
        ({"params": np.array([*PARAMS, "HR"])}, "params holds a name twice"),
        ({"static_names": np.array(["Age", "Sex", "Height", "ICUType", "Weight"])}, r"it lacks \['Gender'\]"),
        ({"static": np.zeros((3, 5))}, r"static must be numbers or NaN of shape \[4, 5\]"),
        ({"static": np.full((4, 5), np.inf)}, "static must be numbers or NaN"),
        ({"static": np.full((4, 5), 3.0)}, r"Gender must be one of \(0, 1\) or missing"),
        ({"static": np.zeros((4, 5))}, r"ICUType must be one of \(1, 2, 3, 4\) or missing"),
        ({"record": np.arange(3)}, "record must hold the numbers of 4 stays"),
        ({"value": np.array([{}] * 11)}, "cannot be read: expected events"),
    ],
)
def test_a_damaged_archive_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    path = archive(tmp_path / "stays.npz", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_icu(path, **SMALL)
    assert str(path) in str(caught.value)


def test_other_files_and_arguments_are_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        load_icu(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="is not a file"):
        load_icu(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read: expected events"):
        load_icu(path, **SMALL)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="leave stays for test; got 2400 and 400 of 4"):
        load_icu(path)
    with pytest.raises(ValueError, match="aggregate must be one of"):
        load_icu(path, aggregate="sum", **SMALL)


@pytest.fixture(scope="module")
def icu(tfdvae_data: Path) -> Splits:
    begin = time.process_time()
    splits = load_icu(tfdvae_data / "icu" / "physionet2012_a.npz")
    # 1.7 million events: a loop over them takes far longer.
    assert time.process_time() - begin < 10
    return splits


def test_the_archive_of_the_challenge(icu: Splits) -> None:
    assert [part.num_sequences for part in icu] == [2400, 400, 1196]
    assert {(part.features, part.covariates, *part.lengths) for part in icu} <= {
        (35, 12, *(48,) * count) for count in (2400, 400, 1196)
    }
    observed = np.concatenate([np.stack(part.observed) for part in icu])
    assert observed.mean() == pytest.approx(0.195, abs=0.0005)
    assert not observed.all(axis=-1).any()
    assert (~observed.any(axis=-1)).mean() == pytest.approx(0.065, abs=0.0005)


@pytest.mark.slow
def test_imputation_baselines_of_the_archive(icu: Splits) -> None:
    """The mean absolute errors that are noted beside the archive, within five standard deviations over ten choices of
    what is held out (0.004 for each of the three)."""
    train, test = pad(icu.train), pad(icu.test)
    mean, scale = observed_moments(train["x"], train["observed"])
    kept, held = hold_out(test["observed"], 0.1, seed=0)
    hidden = np.where(kept, test["x"], np.nan)
    for impute, expected in ((impute_mean, 0.733), (impute_forward, 0.469), (impute_linear, 0.375)):
        found = masked_errors(impute(hidden, kept, mean), test["x"], held, scale)
        assert found.mae == pytest.approx(expected, abs=5 * 0.004)


def test_deaths_are_told_by_the_name_of_the_stay(path: Path) -> None:
    assert read_icu_deaths(path) == {"132539": 0, "132540": 1, "132541": 0, "132543": 0}
    assert list(read_icu_deaths(path)) == [name for part in load_icu(path, **SMALL) for name in part.names]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"death": None}, "death must hold 0 or 1 for each of 4 stays"),
        ({"death": np.array([0, 1, 2, 0])}, "death must hold 0 or 1"),
        ({"death": np.array([0, 1])}, "death must hold 0 or 1"),
        ({"record": np.array([1, 1, 2, 3])}, "record holds a number twice"),
        ({"params": None}, "has no params"),
    ],
)
def test_an_archive_without_deaths_is_named(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"bad.npz.*{message}"):
        read_icu_deaths(archive(tmp_path / "bad.npz", **changes))
