"""CSV lines as people have them: marks, separators, names of columns, and clocks with gaps."""

import numpy as np
import pytest

from export.edge.rows import Clock, Format, Row, read_rows


def values(lines: list[str], features: int = 2, **options) -> list[list[float]]:
    return [row.values.tolist() for row in read_rows(lines, features, **options)]


@pytest.mark.parametrize("mark", ["", "\ufeff", "\u00ef\u00bb\u00bf"])
def test_a_mark_before_the_first_line_is_no_part_of_it(mark: str) -> None:
    assert values([f"{mark}1,2\n", "3,4\n"]) == [[1, 2], [3, 4]]
    assert values([f"{mark}a,b\n", "3,4\n"], names=("a", "b"), columns=("a", "b")) == [[3, 4]]


def test_other_delimiters_and_decimals() -> None:
    lines = ["t;a;b\n", "0;1,5;-2e1\n", "1;;3\n"]
    found = list(read_rows(lines, 2, time="t", form=Format(";", ",")))
    assert [row.label for row in found] == ["0", "1"]
    np.testing.assert_array_equal([row.values for row in found], [[1.5, -20.0], [np.nan, 3.0]])
    assert values(["1\t2\n"], form=Format("tab")) == [[1, 2]]
    for form in (Format(";;"), Format(",", ","), Format(";", "'"), Format("")):
        with pytest.raises(ValueError, match="one character or 'tab'"):
            form.checked()


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["1;2\n"], {}, "line 1 has 1: --delimiter ';' parts fields by it"),
        (["1,2,3\n"], {}, "line 1 has 3: choose with --columns .*, and name a column of time stamps with --time NAME"),
        (["1;2\n", "1,5;2\n"], {"form": Format(";")}, r"Line 2 holds '1,5', .* \(--decimal , reads decimal commas\)"),
        (["b,a\n"], {"names": ("a", "b")}, "Line 1 has the columns b, a, and the model's features are a, b: --columns"),
        (["a,c\n"], {"names": ("a", "b")}, "Line 1 has the columns a, c, .* features are a, b: name with --columns"),
        (["a,b\n"], {"names": ("a", "b"), "columns": ("b", "a")}, "has the columns b, a"),
    ],
)
def test_what_is_refused_says_what_to_do(lines: list[str], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values(lines, **options)


def test_other_names_that_were_asked_for_are_taken_with_a_warning(capsys: pytest.CaptureFixture) -> None:
    assert values(["x,y\n", "1,2\n"], names=("a", "b"), columns=("y", "x")) == [[2, 1]]
    assert "WARNING: the columns y, x are taken for the model's features a, b" in capsys.readouterr().err


def ticks(clock: Clock, *labels: str) -> list[int]:
    return [clock(Row(i + 2, label, np.zeros(1))) for i, label in enumerate(labels)]


def test_gaps_between_time_stamps() -> None:
    assert ticks(Clock(0.5), "0", "0.5", "1.02", "3.0", "3.5") == [0, 0, 0, 3, 0]
    assert ticks(Clock(0.5, unit=0.001), "1000", "1500", "3000") == [0, 0, 2]
    dates = [f"2026-01-31T12:{minute:02d}:00" for minute in (0, 1, 2, 5, 6)]
    assert ticks(Clock(0.5, decimal=","), "0,0", "0,5", "2,0", "2.5") == [0, 0, 2, 0]
    assert ticks(Clock(60.0), *dates) == [0, 0, 0, 2, 0]
    assert ticks(Clock(86400.0), "2026-02-27", "2026-03-01") == [0, 1]


def test_a_period_that_nobody_told_is_what_is_usual() -> None:
    assert ticks(Clock(), "0", "10", "20", "60", "70", "80", "90", "120") == [0, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    ("clock", "labels", "message"),
    [
        (Clock(1.0), ["0", "10", "20", "30", "40", "50"], "Up to line 7 there is a frame every 10 s, .* every 1 s"),
        (Clock(1.0), ["0", "1", "1"], "Line 4: time goes back or stands still at '1'"),
        (Clock(1.0), ["noon"], "Line 2: 'noon' is neither a number nor a date .* --no_clock"),
        (Clock(), ["1", "noon"], "Line 3: 'noon' is neither"),
    ],
)
def test_clocks_that_are_wrong(clock: Clock, labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ticks(clock, *labels)


@pytest.mark.slow
def test_labels_that_are_no_stamps_are_labels(capsys: pytest.CaptureFixture) -> None:
    assert ticks(Clock(), "12:00", "noon", "1") == [0, 0, 0]
    assert capsys.readouterr().err.count("WARNING: Line 2: '12:00'") == 1
    with pytest.raises(ValueError, match="The period must be positive, got 0"):
        Clock(0.0)
