"""A recording on the calendar: where it starts, which step of it a partition receives, and what time its rows get."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from baton.data.partitions import DAY, floor_key, format_key, parse_key, window
from baton.errors import NoData, SourceError
from baton.record.warehouse import meta_get, meta_set, transact
from baton.specs.source import RecordedSource

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection


ANCHOR_KEY = "replay_anchor"  # in the warehouse's meta table


@dataclass(frozen=True)
class ReplaySlot:
    """Where a partition lies in a recording: repetition `cycle` (from 0), step `number` of it (from 0)."""

    cycle: int
    number: int


def replay_slot(key: str, anchor: datetime, period: timedelta, step: timedelta) -> ReplaySlot:
    """Finds the step of a repeating recording that a partition receives.

    Raises:
        NoData: the partition lies before the recording's first day on the calendar.
        SourceError: the key is no start of a partition.
    """
    start, _ = window(key, step)
    if start < anchor:
        raise NoData(f"partition {key} lies before {format_key(anchor)}, where the replay starts")
    cycle, rest = divmod(start - anchor, period)
    if rest % step:
        raise SourceError(f"partition {key} is no whole number of steps after {format_key(anchor)}, the replay's start")
    return ReplaySlot(cycle, rest // step)


def recording_start(step: timedelta, before: timedelta | None) -> datetime:
    """Where a recording starts on the calendar: at the replay's anchor, or so much earlier on the grid of its steps."""
    anchor = replay_anchor()
    return anchor if before is None else parse_key(floor_key(anchor, step)) - before


def replay_anchor(conn: Connection | None = None, now: datetime | None = None) -> datetime:
    """The moment at which recordings start on the calendar: 00:00 UTC two days before the set-up.

    The first caller fixes it in the warehouse; from then on it never moves, so that a partition's rows stay
    the same. Two days, so that a whole recording of 48 hours lies in the past from the start.
    """

    def get_or_set(own: Connection) -> str:
        known = meta_get(ANCHOR_KEY, own)
        if known is None:
            known = floor_key((now or datetime.now(UTC)) - 2 * DAY, DAY)
            meta_set(ANCHOR_KEY, known, own)
        return known

    if conn is not None:
        return parse_key(get_or_set(conn))
    return parse_key(meta_get(ANCHOR_KEY) or transact(get_or_set))


def lay_on_calendar(
    frame: pd.DataFrame, source: RecordedSource, uri: str, anchor: datetime, cycle: int = 0
) -> pd.DataFrame:
    """Gives recorded rows the calendar time and the keys of one repetition of the recording.

    time = anchor + cycle * period + clock (seconds since its start); key += cycle * keys_per_period; a text key is hashed
    with the number of the cycle, the same in every source.

    Raises:
        SourceError: a column that the replay needs is missing or does not hold numbers.
    """
    import pandas as pd

    replay = source.replay
    if replay is None:
        return frame
    missing = [column for column in (replay.clock, replay.key, replay.text_key) if column and column not in frame]
    if missing:
        raise SourceError(
            f"source {source.name}: {uri} has no column {' and '.join(missing)} (replay.clock, .key, .text_key)"
        )
    frame = frame.copy(deep=False)
    if replay.text_key and cycle:
        frame[replay.text_key] = [
            hashlib.sha256(f"{key}\0{cycle}".encode()).hexdigest()[:20] for key in frame[replay.text_key]
        ]
    try:
        if replay.key:
            frame[replay.key] = pd.to_numeric(frame[replay.key]) + cycle * replay.keys_per_period
        if replay.clock and replay.time:
            start = pd.Timestamp(anchor + cycle * replay.period)
            times = start + pd.to_timedelta(pd.to_numeric(frame[replay.clock]), unit="s")
            frame = frame.drop(columns=replay.time, errors="ignore")
            frame.insert(list(frame.columns).index(replay.clock), replay.time, times)
    except (TypeError, ValueError) as error:
        raise SourceError(f"source {source.name}: {uri}: replay.clock or .key is no number: {error}") from error
    return frame
