"""Partition keys, windows, ranges and the place of a recording on the calendar."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baton.data.partitions import (
    floor_key,
    format_key,
    is_own,
    key_range,
    last_complete,
    own_key,
    parse_key,
    read_key,
    safe_name,
    window,
)
from baton.errors import NoData, SourceError
from baton.record import warehouse
from baton.settings import settings
from baton.sources.replay import recording_start, replay_anchor, replay_slot

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ANCHOR = datetime(2026, 11, 18, tzinfo=UTC)
MOMENTS = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, tz=UTC))


@given(MOMENTS)
def test_a_key_survives_writing_and_reading(moment):
    assert parse_key(format_key(moment)) == moment


@given(st.lists(MOMENTS, min_size=2))
def test_keys_sort_like_time(moments):
    keys = [format_key(moment) for moment in moments]
    assert sorted(keys) == [format_key(moment) for moment in sorted(parse_key(key) for key in keys)]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "2026-11-20",
        "2026-11-20 09:00:00",
        "2026-1-2T3:4:5",
        "2026-11-20T09:00:00Z",
        "2026-11-20T09:00:00.5",
        "2026-11-20T09:00:00.",
        None,
    ],
)
def test_other_keys_are_refused(key):
    with pytest.raises(SourceError):
        parse_key(key)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("2026-11-20", "2026-11-20T00:00:00"),
        ("2026-11-20T11", "2026-11-20T11:00:00"),
        (" 2026-11-20 11:30Z", "2026-11-20T11:30:00"),
        ("2026-11-20T11:30:05.000007", "2026-11-20T11:30:05.000007"),
    ],
)
def test_a_short_spelling_is_read_as_the_one_that_is_kept(typed, key):
    assert read_key(typed) == read_key(key) == key


@pytest.mark.parametrize("typed", ["", "20.11.2026", "2026-11-20T1", "2026-02-30", "2026-11-20T11:00:00+01:00", "T11"])
def test_what_names_no_partition_is_refused_with_the_spelling(typed):
    with pytest.raises(SourceError, match="2026-11-20T09:00:00"):
        read_key(typed)


@given(MOMENTS, st.integers(0, 999_999))
def test_a_run_of_named_files_has_a_key_of_its_own(moment, micro):
    key = own_key(moment.replace(microsecond=micro))
    assert parse_key(key) == moment.replace(microsecond=micro)
    assert format_key(moment) < key < format_key(moment + timedelta(seconds=1))
    assert is_own(key)
    assert not is_own(format_key(moment))
    assert ":" not in safe_name(key)


def test_a_key_of_a_run_is_no_interval():
    for step in ("1h", "1d", "7d"):
        with pytest.raises(SourceError, match="run of named files"):
            window("2026-11-20T09:00:00.000000", step)


def test_a_key_in_another_zone_is_written_in_utc():
    assert format_key(datetime.fromisoformat("2026-11-20T10:00:00+01:00")) == "2026-11-20T09:00:00"


def test_file_names_hold_no_colon():
    assert safe_name("2026-11-20T09:00:00") == "2026-11-20T09-00-00"


def test_the_last_complete_partition_has_ended():
    now = datetime(2026, 11, 20, 9, 59, 59, tzinfo=UTC)
    assert last_complete("1h", now) == "2026-11-20T08:00:00"
    assert last_complete("1h", datetime(2026, 11, 20, 10, tzinfo=UTC)) == "2026-11-20T09:00:00"
    assert last_complete("1d", now) == "2026-11-19T00:00:00"


def test_windows_of_one_step_never_overlap():
    assert window("2026-11-20T09:00:00", "1h")[1] == datetime(2026, 11, 20, 10, tzinfo=UTC)
    with pytest.raises(SourceError, match="start at '2026-11-20T09:00:00'"):
        window("2026-11-20T09:30:00", "1h")
    assert window("2026-11-20T03:00:00", "1d")[1] == datetime(2026, 11, 21, 3, tzinfo=UTC)


def test_a_range_holds_both_ends():
    keys = key_range("2026-11-20T22:00:00", "2026-11-21T01:00:00", "1h")
    assert keys == [f"2026-11-{hour}:00:00" for hour in ("20T22", "20T23", "21T00", "21T01")]
    with pytest.raises(SourceError, match="before the first"):
        key_range("2026-11-20T01:00:00", "2026-11-20T00:00:00", HOUR)
    with pytest.raises(SourceError, match="at most"):
        key_range("2000-01-01T00:00:00", "2026-01-01T00:00:00", "1h")


@given(st.integers(min_value=0, max_value=1000))
def test_every_hour_finds_its_slot(hours):
    slot = replay_slot(format_key(ANCHOR + hours * HOUR), ANCHOR, 2 * DAY, HOUR)
    assert (slot.cycle * 48 + slot.number, 0 <= slot.number < 48) == (hours, True)


def test_before_the_anchor_there_is_no_data():
    with pytest.raises(NoData, match="where the replay starts"):
        replay_slot(format_key(ANCHOR - HOUR), ANCHOR, 2 * DAY, HOUR)


def test_a_recording_of_days_is_found_by_whole_days_only():
    with pytest.raises(SourceError, match="whole number of steps"):
        replay_slot("2026-11-19T03:00:00", ANCHOR, 4 * DAY, DAY)


def test_the_anchor_is_fixed_by_its_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("BATON_HOME", str(tmp_path))
    settings.cache_clear()
    warehouse.migrate()
    first = replay_anchor(now=datetime(2026, 11, 20, 15, 30, tzinfo=UTC))
    later = replay_anchor(now=datetime(2027, 1, 1, tzinfo=UTC))
    warehouse.engine().dispose()
    settings.cache_clear()
    assert first == later == ANCHOR
    assert floor_key(first, "1h") == "2026-11-18T00:00:00"


def test_weeks_start_on_mondays():
    moment = datetime(2026, 11, 22, 14, tzinfo=UTC)  # a Sunday
    assert floor_key(moment, "1w") == "2026-11-16T00:00:00"
    assert last_complete("1w", now=moment) == "2026-11-09T00:00:00"
    assert last_complete("1w", now=moment + timedelta(days=1)) == "2026-11-16T00:00:00"


def test_a_recording_may_lie_in_the_past(home):
    warehouse.migrate()
    anchor = replay_anchor(now=datetime(2026, 11, 22, 14, tzinfo=UTC))
    assert recording_start(timedelta(hours=1), None) == anchor
    start = recording_start(timedelta(weeks=1), timedelta(weeks=134))
    assert start.weekday() == 0
    assert timedelta(weeks=134) <= anchor - start < timedelta(weeks=135)
