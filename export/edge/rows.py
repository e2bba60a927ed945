"""Frames from CSV lines as they come, and the clock that their time stamps tell."""

import csv
import datetime
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Clock", "Format", "Row", "read_rows"]


class Format(NamedTuple):
    """How numbers stand in lines: what is between fields, and what is before decimals."""

    delimiter: str = ","
    decimal: str = "."

    def checked(self) -> "Format":
        """The same, with a tab for "tab".

        Raises:
            ValueError: no single characters, or the same for both.
        """
        delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter)
        if len(delimiter) != 1 or self.decimal not in (".", ",") or delimiter == self.decimal or delimiter in '"\r\n':
            raise ValueError(
                "The delimiter must be one character or 'tab', the decimal '.' or ',', and not the same; got "
                f"{self.delimiter!r} and {self.decimal!r}."
            )
        return Format(delimiter, self.decimal)


class Row(NamedTuple):
    """A line: its number in the file from 1, its label, its values with NaN where they are missing."""

    number: int
    label: str
    values: np.ndarray


class Clock:
    """Tells from time stamps how many frames are missing between two lines.

    Args:
        period: time from one frame to the next; None: what is usual in the first lines.
        unit: seconds in one unit of stamps that are numbers; dates are ISO 8601.
        decimal: what stands before decimals in stamps that are numbers.

    Raises:
        ValueError: a period or unit that is not positive.

    Attributes:
        reads: false once a first stamp could not be read and no period was given: stamps are labels then.
    """

    FIRST, OFF = 5, 0.2

    def __init__(self, period: float | None = None, unit: float = 1.0, decimal: str = "."):
        for name, value in (("period", period), ("unit", unit)):
            if value is not None and not (value > 0.0 and math.isfinite(value)):
                raise ValueError(f"The {name} must be positive, got {value}.")
        self.period, self.unit, self.decimal, self.given = period, unit, decimal, period is not None
        self.reads = True
        self._last: float | None = None
        self._steps: list[float] = []

    def __call__(self, row: Row) -> int:
        """Frames missing before a row.

        Raises:
            ValueError: a stamp that is none, or not later than the last one; first rows in another period than the
                one that was given.
        """
        now = self._seconds(row) if self.reads else None
        last, self._last = self._last, now
        if last is None or now is None:
            return 0
        step = now - last
        if step <= 0.0:
            raise ValueError(f"Line {row.number}: time goes back or stands still at {row.label!r}.")
        if len(self._steps) < self.FIRST:
            self._steps.append(step)
            if len(self._steps) == self.FIRST:
                self._settle(row.number)
        if self.period is None:
            return 0
        return max(0, round(step / self.period) - 1)

    def _settle(self, number: int) -> None:
        usual = float(np.median(self._steps))
        if self.period is None:
            self.period = usual
        elif abs(usual / self.period - 1.0) > self.OFF:
            raise ValueError(
                f"Up to line {number} there is a frame every {usual:g} s, and the model's frames come every "
                f"{self.period:g} s: resample them. --period says otherwise, --time_unit how many seconds 1 is."
            )

    def _seconds(self, row: Row) -> float | None:
        found = _number(row.label, self.decimal)
        if found is not None and math.isfinite(found):
            return found * self.unit
        try:
            return datetime.datetime.fromisoformat(row.label.strip()).timestamp()
        except ValueError:
            what = f"Line {row.number}: {row.label!r} is neither a number nor a date such as 2026-01-31T12:00:00"
            if self.given or self._last is not None:
                raise ValueError(f"{what}. --no_clock takes time stamps for labels alone.") from None
            print(f"WARNING: {what}: time stamps are taken for labels alone.", file=sys.stderr, flush=True)
            self.reads = False
            return None


def read_rows(
    lines: Iterable[str],
    features: int,
    columns: Sequence[str] | None = None,
    time: str | None = None,
    keep_going: bool = False,
    names: Sequence[str] = (),
    form: Format | None = None,
) -> Iterator[Row]:
    """Frames of CSV lines, one at a time, as they come.

    Args:
        columns: names of the columns to read; by default all but `time`.
        time: name of the column that labels a line; by default frames are counted from 0.
        keep_going: report damaged lines on standard error, and go on with a missing frame.
        names: of the model's features, where they are known: columns with names must have these, in this order.
        form: how numbers are written; by default with a point, and commas between them.

    Raises:
        ValueError: a damaged line, with its number; names without a first line that has them; another number of
            columns than features, other names or another order.
    """
    form = (form or Format()).checked()
    chosen: list[int] | None = None
    width, label, count = 0, None, 0
    for number, fields in _split(lines, form.delimiter):
        if chosen is None:
            header = columns is not None or time is not None or all(_number(f, form.decimal) is None for f in fields)
            chosen, label = _choose(number, [field.strip() for field in fields], features, columns, time, form)
            width = len(fields)
            if header:
                _check_names(number, [fields[i].strip() for i in chosen], names, columns is not None)
                continue
        values, damage = np.full(features, np.nan), None
        if len(fields) != width:
            damage = f"has {len(fields)} fields instead of {width}"
        else:
            found = [_number(fields[i], form.decimal) for i in chosen]
            bad = [fields[i] for i, value in zip(chosen, found, strict=True) if value is None or math.isinf(value)]
            if bad:
                damage = f"holds {bad[0]!r}, which is no finite number"
                if _number(bad[0], ",") is not None:
                    damage += " (--decimal , reads decimal commas)"
            else:
                values = np.array(found)
        if damage is not None:
            message = f"Line {number} {damage}: {form.delimiter.join(fields)[:80]}"
            if not keep_going:
                raise ValueError(f"{message}. --keep_going takes such lines for missing frames.")
            print(message, file=sys.stderr, flush=True)
        known = label is not None and label < len(fields)
        yield Row(number, fields[label] if known else str(count), values)
        count += 1


def _choose(
    number: int, names: list[str], features: int, columns: Sequence[str] | None, time: str | None, form: Format
) -> tuple[list[int], int | None]:
    """Places of the columns to read, and of the one with labels, from the fields of the first line."""
    absent = [name for name in (*(columns or ()), *([time] if time else ())) if name not in names]
    if absent:
        raise ValueError(f"Line {number} names no column {absent[0]!r}, but {', '.join(names)}.")
    label = names.index(time) if time else None
    chosen = [names.index(name) for name in columns] if columns else [i for i in range(len(names)) if i != label]
    if len(chosen) != features:
        advice = "choose with --columns NAME NAME ..., and name a column of time stamps with --time NAME"
        if len(names) == 1:
            other = next((one for one in ";\t, |" if one != form.delimiter and one in names[0]), None)
            advice = advice if other is None else f"--delimiter '{other}' parts fields by it"
        raise ValueError(f"The model reads {features} columns, line {number} has {len(chosen)}: {advice}.")
    return chosen, label


def _check_names(number: int, found: Sequence[str], names: Sequence[str], told: bool) -> None:
    """Raises ValueError where columns are others than the model's features; warns where they were named so."""
    if not names or list(found) == list(names):
        return
    here, there = ", ".join(found), ", ".join(names)
    if sorted(found) == sorted(names):
        raise ValueError(
            f"Line {number} has the columns {here}, and the model's features are {there}: --columns {there}."
        )
    if not told:
        raise ValueError(
            f"Line {number} has the columns {here}, and the model's features are {there}: name with --columns those "
            "that mean these, in this order."
        )
    print(f"WARNING: the columns {here} are taken for the model's features {there}.", file=sys.stderr, flush=True)


def _split(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank; a byte order mark before the first is no part of it."""
    reader = csv.reader(_unmarked(lines), delimiter=delimiter)
    while True:
        try:
            fields = next(reader, None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"Line {reader.line_num + 1} cannot be read as CSV: {error}") from error
        if fields is None:
            return
        if fields:
            yield reader.line_num, fields


def _unmarked(lines: Iterable[str]) -> Iterator[str]:
    first = True
    for line in lines:
        yield line.removeprefix("\ufeff").removeprefix("\u00ef\u00bb\u00bf") if first else line
        first = False


def _number(text: str, decimal: str) -> float | None:
    """NaN where the text is empty, None where it is no number."""
    text = text.strip()
    if decimal == "," and "." not in text:
        text = text.replace(",", ".", 1)
    try:
        return float(text) if text else math.nan
    except ValueError:
        return None
