"""What a date tells: hour, weekday, time of year, holidays, as numbers for networks."""

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["CALENDAR", "calendar_features"]


def _circle(part: np.ndarray) -> np.ndarray:
    angle = 2.0 * np.pi * part
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _hour(times: np.ndarray) -> np.ndarray:
    return _circle((times - times.astype("datetime64[D]")) / np.timedelta64(1, "D"))


def _weekday(times: np.ndarray) -> np.ndarray:
    # 1970-01-01 was a Thursday; Monday comes first.
    return np.eye(7)[(times.astype("datetime64[D]").astype(np.int64) + 3) % 7]


def _month(times: np.ndarray) -> np.ndarray:
    year = times.astype("datetime64[Y]")
    length = (year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")
    return _circle((times.astype("datetime64[D]") - year.astype("datetime64[D]")) / length)


CALENDAR: dict[str, Callable[[np.ndarray], np.ndarray]] = {"hour": _hour, "weekday": _weekday, "month": _month}
"""Features by name: "hour", where in the day, and "month", where in the year, as sine and cosine; "weekday", one of
seven. Each takes datetime64 `[N]`."""


def calendar_features(times: np.ndarray, names: Sequence[str], holidays: str | None = None) -> np.ndarray:
    """Features of dates side by side, float32 `[N, F]`.

    Args:
        times: datetime64 `[N]`.
        names: names in CALENDAR, in the order of the columns.
        holidays: country whose public holidays are one more column of 0 and 1, by its ISO 3166 code; it needs the
            package holidays.

    Raises:
        ValueError: unknown names, an unknown country, or times that are no dates.
        ImportError: `holidays` is given, and the package is not installed.
    """
    times = np.asarray(times)
    unknown = [name for name in names if name not in CALENDAR]
    if unknown:
        raise ValueError(f"Unknown time feature {unknown[0]!r}: expected some of {', '.join(CALENDAR)}.")
    if (names or holidays) and times.dtype.kind != "M":
        raise ValueError(
            f"Time features need dates, and the times are {times.dtype}: give dates, or calendar=() and holidays=None."
        )
    columns = [CALENDAR[name](times) for name in names]
    if holidays is not None:
        columns.append(_holidays(times, holidays)[:, None])
    return np.concatenate([np.zeros([len(times), 0]), *columns], axis=-1).astype(np.float32)


def _holidays(times: np.ndarray, country: str) -> np.ndarray:
    try:
        import holidays
    except ImportError as error:
        raise ImportError("Holidays need the package holidays: pip install holidays") from error
    try:
        known = holidays.country_holidays(country)
    except (KeyError, NotImplementedError) as error:
        raise ValueError(f"The package holidays knows no country {country!r}: {error}") from error
    days, which = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    return np.array([day in known for day in days.astype(object)], np.float64)[which]
