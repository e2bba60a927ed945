"""Time series from a CSV file, split by time, for training programs."""

import os
from collections.abc import Sequence

from tfdvae.arguments import whole
from tfdvae.data.seasons import Seasons, forecast_windows, rolling_origins
from tfdvae.data.sequences import Splits
from tfdvae.data.timeseries import TimeSeries, read_csv, regular_series

__all__ = ["load_timeseries", "read_timeseries", "split_steps"]


def read_timeseries(
    path: str | os.PathLike,
    *,
    time: str = "date",
    targets: Sequence[str] = (),
    past: Sequence[str] = (),
    known: Sequence[str] = (),
    context: Sequence[str] = (),
    group: str | None = None,
    gaps: str = "refuse",
) -> TimeSeries:
    """The series of a CSV file, see `regular_series`.

    Args:
        targets: columns to forecast; by default all columns of numbers that have no other role.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as `read_csv` and `regular_series`.
    """
    table = read_csv(path)
    taken = {time, group, *past, *known, *context}
    found = list(targets) or [name for name, column in table.items() if name not in taken and column.dtype.kind == "f"]
    return regular_series(table, found, time=time, past=past, known=known, context=context, group=group, gaps=gaps)


def split_steps(
    series: TimeSeries, train_steps: int | None = None, valid_steps: int | None = None, test_steps: int | None = None
) -> tuple[int, int, int]:
    """Where validation begins, where the test begins, and where it ends, in steps of each series.

    By default six tenths of the longest series are trained on, two tenths are for validation, and the rest for the
    test.

    Raises:
        ValueError: a number below 1, or no step is left for the test.
    """
    longest = int(series.lengths.max())
    train = longest * 3 // 5 if train_steps is None else whole("train_steps", train_steps, at_least=1)
    valid = longest // 5 if valid_steps is None else whole("valid_steps", valid_steps, at_least=1)
    rest = longest - train - valid
    test = rest if test_steps is None else whole("test_steps", test_steps, at_least=1)
    if rest < 1 or test > rest:
        raise ValueError(
            f"The longest series has {longest} steps: {train} for training, {valid} for validation and {test} for the "
            "test are more, or leave none; set train_steps, valid_steps and test_steps."
        )
    return train, train + valid, train + valid + test


def load_timeseries(
    path: str | os.PathLike,
    *,
    time: str = "date",
    targets: Sequence[str] = (),
    past: Sequence[str] = (),
    known: Sequence[str] = (),
    context: Sequence[str] = (),
    group: str | None = None,
    gaps: str = "refuse",
    horizon: int = 24,
    season: int = 24,
    given: int = 14,
    lags: Sequence[int] = (),
    calendar: Sequence[str] = ("hour", "weekday"),
    holidays: str | None = None,
    separate: bool = True,
    shift: int = 1,
    train_steps: int | None = None,
    valid_steps: int | None = None,
    test_steps: int | None = None,
) -> Splits:
    """Windows of the series of a CSV file, see `forecast_windows`, split by time.

    A window belongs to the split that holds its horizon; what it is given may lie before. Training windows begin every
    `shift` steps, those of the other splits every season.

    Args:
        path, time, targets, past, known, context, group, gaps: see `read_timeseries`.
        horizon, season, given, lags, calendar, holidays, separate: see `Seasons`.
        shift: steps from training window to training window.
        train_steps, valid_steps, test_steps: see `split_steps`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: as these functions, or a split without a window.
    """
    columns = {"targets": targets, "past": past, "known": known, "context": context}
    series = read_timeseries(path, time=time, group=group, gaps=gaps, **columns)
    seasons = Seasons(horizon, season, given, tuple(lags), tuple(calendar), holidays, separate).checked()
    borders = split_steps(series, train_steps, valid_steps, test_steps)
    first = seasons.given * seasons.season
    spans = zip((first, *borders[:2]), borders, (whole("shift", shift, at_least=1), season, season), strict=True)
    parts = []
    for start, stop, stride in spans:
        origins = rolling_origins(series, seasons.horizon, start=max(start, first), stop=stop, stride=stride)
        parts.append(forecast_windows(series, seasons, origins))
    return Splits(*parts)
