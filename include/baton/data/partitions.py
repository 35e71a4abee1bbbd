"""Partitions: the unit of a batch, named by the UTC start of its interval; how a recording is laid on them.

A partition key is `%Y-%m-%dT%H:%M:%S` in UTC, without a zone suffix, for example `2026-11-20T09:00:00`: its
order as text is its order in time. In file names the colons become dashes. What a person types may be shorter (`read_key`);
this spelling is the only one that is kept.

A run that takes files which a person names is no interval. Its key is the run's own and has microseconds, always:
`2026-11-20T09:00:00.000000` is not the partition of nine o'clock, and sorts right behind it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from baton.errors import SourceError
from baton.specs.base import format_duration, parse_duration

if TYPE_CHECKING:
    import pandas as pd

KEY_FORMAT = "%Y-%m-%dT%H:%M:%S"
_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d{6})?)?)?)?Z?")
_OWN_FORMAT = f"{KEY_FORMAT}.%f"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_MAX_RANGE = 10_000


def parse_key(key: str) -> datetime:
    """Reads a partition key as an aware UTC time. Raises SourceError: the text is not a partition key."""
    write = own_key if is_own(key) else format_key
    try:
        moment = datetime.strptime(key, _OWN_FORMAT if is_own(key) else KEY_FORMAT).replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise SourceError(f"partition {key!r}: expected the UTC start, such as 2026-11-20T09:00:00") from error
    if write(moment) != key:  # strptime also takes 2026-1-2T3:4:5, which would sort and compare wrongly
        raise SourceError(f"partition {key!r}: write it {write(moment)!r}")
    return moment


def read_key(text: str) -> str:
    """The key of a partition as people write it: `2026-11-20` and `2026-11-20T11` are short for whole hours.

    Raises:
        SourceError: the text names no partition.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        example = "the UTC start, such as 2026-11-20T09:00:00, or short 2026-11-20T09 or 2026-11-20"
        raise SourceError(f"partition {text!r}: expected {example}")
    date, hour, minute, second, micro = (part or "" for part in found.groups())
    key = f"{date}T{hour or '00'}:{minute or '00'}:{second or '00'}{micro}"
    parse_key(key)
    return key


def format_key(moment: datetime) -> str:
    """Writes an aware time as a partition key."""
    return moment.astimezone(UTC).strftime(KEY_FORMAT)


def own_key(moment: datetime) -> str:
    """The key of a run of named files that was started at an aware time; no interval has it."""
    return moment.astimezone(UTC).strftime(_OWN_FORMAT)


def is_own(key: str) -> bool:
    """Does a key belong to a run of named files?"""
    return isinstance(key, str) and "." in key


def safe_name(key: str) -> str:
    """The key in a form that every file system takes: `2026-11-20T09-00-00`."""
    parse_key(key)
    return key.replace(":", "-")


def floor_key(moment: datetime, step: str | timedelta) -> str:
    """Key of the partition that a moment lies in, counted from 1970-01-01 00:00 UTC; weeks start on a Monday."""
    length = parse_duration(step)
    start = _grid(length)
    return format_key(start + (moment - start) // length * length)


def floor_times(times: pd.Series, step: timedelta) -> pd.Series:
    """Start of the partition that each aware time lies in, as `floor_key` has it."""
    start = _grid(step)
    return start + (times - start) // step * step


def _grid(length: timedelta) -> datetime:
    """From where partitions of a length are counted."""
    return _MONDAY if length % (7 * DAY) == timedelta(0) else _EPOCH


def last_complete(step: str | timedelta, now: datetime | None = None) -> str:
    """Key of the newest partition that has ended by `now`."""
    length = parse_duration(step)
    return floor_key((now or datetime.now(UTC)) - length, length)


def window(key: str, step: str | timedelta) -> tuple[datetime, datetime]:
    """Start (inclusive) and end (exclusive) of a partition.

    Parts of a day start on a grid counted from 00:00 UTC. A day or more may start at any time: a flow that
    runs at 03:00 has days from 03:00 to 03:00.

    Raises:
        SourceError: the key is no start of a partition of that length: its rows would overlap another's.
    """
    start, length = parse_key(key), parse_duration(step)
    if is_own(key):
        raise SourceError(f"partition {key!r} is that of a run of named files: name them again in the trigger form")
    if length < DAY and DAY % length == timedelta(0) and (start - _EPOCH) % length:  # longer ones may start at any hour
        begin = floor_key(start, length)
        raise SourceError(f"partition {key!r}: partitions of {format_duration(length)} start at {begin!r}")
    return start, start + length


def key_range(first: str, last: str, step: str | timedelta) -> list[str]:
    """All keys from first to last, both included, oldest first.

    Raises:
        SourceError: last lies before first, a key is no start of a partition, or there are over 10,000.
    """
    start, end, length = window(first, step)[0], window(last, step)[0], parse_duration(step)
    if end < start:
        raise SourceError(f"partitions {first} to {last}: the last one lies before the first one")
    count = (end - start) // length + 1
    if count > _MAX_RANGE:
        raise SourceError(f"partitions {first} to {last}: {count} of them; at most {_MAX_RANGE} at a time")
    return [format_key(start + length * number) for number in range(count)]
