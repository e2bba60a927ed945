"""Tables, as pandas makes them, become sequences, or one sentence says which column cannot."""

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.gate.support import compiled, vae
from tfdvae.data import DataDescription, from_table, pad


class Table:
    """What pandas' and polars' frames have in common; columns may have the same name, as in pandas."""

    def __init__(self, columns: dict[str, Any], twice: str | None = None):
        self.columns = [*columns, *([twice] if twice else [])]
        self.held = {name: np.asarray(column) for name, column in columns.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.held[name]


COLUMNS: dict[str, Any] = {
    "id": ["b", "a", "b", "a", "b"],
    "hour": [0, 0, 1, 2, 5],
    "x": [1.0, 2.0, 3.0, 4.0, 5.0],
    "y": [1, 2, 3, 4, 5],
    "dose": [0.0, 0.5, 0.0, 0.5, 1.0],
    "age": [70, 33, 70, 33, 70],
    "name": list("vwxyz"),
    "gaps": np.array([1.0, None, 3.0, 4.0, np.nan], object),
}
NAMED = {"time": "hour", "group": "id"}


@pytest.mark.parametrize("form", [dict, Table])
def test_rows_of_a_group_are_a_sequence(form: Callable) -> None:
    found = from_table(form(COLUMNS), ["x", "y"], **NAMED, inputs=["dose"], context=["age"])
    assert found.names == ("b", "a") and found.observed is None
    np.testing.assert_array_equal(found.x[0], [[1, 1], [3, 3], [5, 5]])
    np.testing.assert_array_equal(found.x[1], [[2, 2], [4, 4]])
    np.testing.assert_array_equal(found.u[0], [[0.0], [0.0], [1.0]])
    np.testing.assert_array_equal(found.context, [[70], [33]])
    assert found.description == DataDescription(("x", "y"), inputs=("dose",), context=("age",))


def test_what_is_missing_was_not_observed() -> None:
    found = from_table(Table(COLUMNS), ["gaps"], **NAMED, missing="nan")
    np.testing.assert_array_equal(found.observed[0][:, 0], [True, True, False])
    np.testing.assert_array_equal(found.x[1][:, 0], [0, 4])
    with pytest.raises(ValueError, match="NaN or infinity"):
        from_table(Table(COLUMNS), ["gaps"], **NAMED)
    with pytest.raises(ValueError, match="NaN or infinity"):
        from_table(Table({**COLUMNS, "y": [1.0, np.inf, 3.0, 4.0, 5.0]}), ["y"], **NAMED, missing="nan")


def test_what_pandas_has_for_nothing_is_missing() -> None:
    class NAType:
        """As pandas.NA, which has no truth and equals nothing."""

        def __eq__(self, other: object) -> "NAType":
            return self

        def __bool__(self) -> bool:
            raise TypeError("boolean value of NA is ambiguous")

        __lt__ = __hash__ = None

    column = np.array([1, NAType(), 3, 4, 5], object)
    found = from_table(Table({**COLUMNS, "gaps": column}), ["gaps"], **NAMED, missing="nan")
    np.testing.assert_array_equal(found.observed[1][:, 0], [False, True])
    for name, message in (("hour", "has no time in row 1"), ("id", "says of row 1 to which sequence")):
        with pytest.raises(ValueError, match=message):
            from_table(Table({**COLUMNS, name: column}), ["x"], **NAMED)


def test_dates_and_a_single_sequence() -> None:
    days = np.datetime64("2026-01-01") + np.arange(5)
    zone = datetime.UTC
    aware = np.array([datetime.datetime(2026, 1, day, tzinfo=zone) for day in range(1, 6)], object)
    for times in (days, aware, np.array([0, 1, 2, 3.5, 4], object)):
        found = from_table(Table({**COLUMNS, "when": times}), ["x"], time="when")
        assert found.description.frame_period == (None if isinstance(times[0], int) else 86400.0)
        (x,) = found.x
        np.testing.assert_array_equal(x[:, 0], COLUMNS["x"])
        with pytest.raises(ValueError, match="Column 'when' falls from .* to .*: sort the rows by it"):
            from_table(Table({**COLUMNS, "when": times[::-1]}), ["x"], time="when")
        with pytest.raises(ValueError, match="Column 'when' holds .* twice: .* keep one row for each time"):
            from_table(Table({**COLUMNS, "when": times[[0, 1, 1, 2, 3]]}), ["x"], time="when")


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unsorted": ({"hour": [0, 2, 1, 1, 5]}, {}, "Column 'hour' of id a falls from 2 to 1: sort the rows by it"),
    "duplicates": ({"hour": [0, 0, 1, 2, 1]}, {}, "Column 'hour' of id b holds 1 twice: sort the rows by it, and keep"),
    "no time": ({"hour": [0, np.nan, 1, 2, 5]}, {}, "Column 'hour' has no time in row 1: drop the row, or give it one"),
    "text for time": ({}, {"time": "name"}, "Expected numbers or dates in column 'name', got <U1"),
    "no group": ({"id": ["b", None, "b", "b", "b"]}, {}, "Column 'id' says of row 1 .* by None: drop it"),
    "unknown": ({}, {"inputs": ["z"]}, "The table has no column 'z', its columns are id, hour, x"),
    "text": ({}, {"context": ["name"]}, "Expected real numbers in column 'name': it holds"),
    "dates": (
        {"y": np.datetime64("2026-01-01") + np.arange(5)},
        {},
        "Expected real numbers in column 'y': it holds datetime64",
    ),
    "complex": ({"y": [1j] * 5}, {}, "Expected real numbers in column 'y': it holds complex128"),
    "lengths": ({"y": [1.0]}, {}, r"column 'y' with one entry for each of 5 rows, got shape \[1\]"),
    "changing": ({}, {"context": ["dose"]}, "'dose' changes within id b: make it one of `inputs`, or of `values`"),
    "one name": ({}, {"inputs": "dose"}, "`inputs` must be a list of names of columns, got 'dose'"),
    "missing": ({}, {"missing": "zero"}, "`missing` must be None or 'nan', got 'zero'"),
    "infinite": ({"y": [1.0, 2.0, np.inf, 4.0, 5.0]}, {}, "NaN or infinity"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tables_that_cannot_be_right(what: str) -> None:
    columns, options, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        from_table(Table({**COLUMNS, **columns}), ["x", "y"], **{**NAMED, **options})


def test_other_things_that_are_no_tables() -> None:
    for table, message in (
        (np.zeros([3, 2]), "Expected a table with named columns, such as pandas' DataFrame; got ndarray"),
        (Table({name: [] for name in COLUMNS}), "at least one row"),
        (Table(COLUMNS, twice="x"), "The table has 2 columns 'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            from_table(table, ["x"], **NAMED)
    with pytest.raises(ValueError, match="`values` must name at least one column"):
        from_table(Table(COLUMNS), [], **NAMED)


@pytest.mark.slow
def test_every_verb_takes_what_became_of_a_table() -> None:
    model = compiled(vae(missing="nan"))
    made = from_table(Table(COLUMNS), ["x", "gaps"], **NAMED, missing="nan")
    model.fit(made, validation_data=made, verbose=0)
    arrays = pad(made)
    options = {"seed": 1}
    np.testing.assert_array_equal(model.predict(made, verbose=0), model.predict(arrays, verbose=0))
    assert model.evaluate(made, verbose=0) == model.evaluate(arrays, verbose=0)
    np.testing.assert_array_equal(model.log_prob(made, **options), model.log_prob(arrays, **options))
    np.testing.assert_array_equal(model.impute(made, **options).mean, model.impute(arrays, **options).mean)
    np.testing.assert_array_equal(
        model.forecast(made, horizon=2, **options).mean, model.forecast(arrays, horizon=2, **options).mean
    )
    np.testing.assert_array_equal(model(made), model(arrays))


@pytest.mark.slow
def test_a_table_itself_says_not_which_column_is_what() -> None:
    model = compiled(vae())
    for verb in (model.fit, model.evaluate, model.predict, model.encode, model.log_prob):
        with pytest.raises(ValueError, match=r"got a table \(Table\): say by tfdvae.data.from_table\(table, values"):
            verb(Table(COLUMNS))
