"""The regular calendar: a time is the number of a period, so that a series is a row of a matrix without gaps."""

import numpy as np
import pandas as pd

WEEKDAYS = ("THU", "FRI", "SAT", "SUN", "MON", "TUE", "WED")  # 1970-01-01 was a Thursday


def plain_times(values: pd.Series) -> pd.Series:
    """Times as datetime64[ns], naive UTC."""
    times = pd.to_datetime(values)
    if getattr(times.dt, "tz", None) is not None:
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    return times.astype("datetime64[ns]")


def to_period(times: pd.Series, frequency: str) -> tuple[np.ndarray, np.ndarray]:
    """Number the periods that start at `times`.

    Args:
        times: shape (n,), datetime64, naive UTC.
        frequency: h, D, W-MON to W-SUN, MS or QS.

    Returns:
        numbers of shape (n,), int64, one apart for neighbours; a mask of shape (n,): the time starts a period. For
        the others the number is that of the period they lie in.
    """
    stamps = times.to_numpy(dtype="datetime64[ns]")
    if frequency in ("MS", "QS"):
        months = stamps.astype("datetime64[M]")
        number = months.astype(np.int64)
        exact = stamps == months.astype("datetime64[ns]")
        if frequency == "QS":
            exact &= number % 3 == 0
            number = number // 3
        return number, exact
    unit, offset = _unit(frequency)
    ticks = stamps.astype(np.int64) - offset
    return ticks // unit, ticks % unit == 0


def to_time(numbers: np.ndarray, frequency: str) -> np.ndarray:
    """Starts of periods, datetime64[ns] of the shape of `numbers`; the inverse of `to_period`."""
    numbers = np.asarray(numbers, dtype=np.int64)
    if frequency in ("MS", "QS"):
        months = numbers * (3 if frequency == "QS" else 1)
        return months.astype("datetime64[M]").astype("datetime64[ns]")
    unit, offset = _unit(frequency)
    return (numbers * unit + offset).astype("datetime64[ns]")


def label(time: pd.Timestamp | np.datetime64, frequency: str) -> str:
    """A period as people and keys write it: the day, with the hour where periods are hours."""
    return str(pd.Timestamp(time).strftime("%Y-%m-%dT%H:%M" if frequency == "h" else "%Y-%m-%d"))


def _unit(frequency: str) -> tuple[int, int]:
    """Nanoseconds of a period, and of its first start after 1970-01-01."""
    hour = 3_600_000_000_000
    if frequency == "h":
        return hour, 0
    if frequency == "D":
        return 24 * hour, 0
    return 7 * 24 * hour, WEEKDAYS.index(frequency.removeprefix("W-")) * 24 * hour
