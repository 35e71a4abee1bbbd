"""Cells as text, a row's identity, and keys at their limits: what a sample of small changes found untested."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from baton.data.cells import as_text, guarded, keys_of
from baton.data.conversions import convert
from baton.data.identity import plain_index, row_shas, with_row_identity
from baton.data.pages import store_page
from baton.data.partitions import floor_key, key_range, safe_name, window
from baton.errors import SourceError
from baton.settings import settings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""), ("a", "a"), (None, None), (pd.NA, None), (pd.NaT, None), (math.nan, None), (np.float64("nan"), None),
        (1, "1"), (1.5, "1.5"), (True, "true"), (False, "false"), (np.bool_(True), "true"), (np.int64(7), "7"),
        (np.float32(0.5), "0.5"), (Decimal("1.10"), "1.10"), (Decimal("nan"), None), (b"\xff\xc3\xa4", "\ufffdä"),
        (date(2026, 1, 2), "2026-01-02"), (pd.Timestamp("2026-01-02 03:04", tz="UTC"), "2026-01-02T03:04:00+00:00"),
        ({"ä": 1}, '{"ä": 1}'), ([1, "b"], '[1, "b"]'), ((1,), "[1]"), ([date(2026, 1, 2)], '["2026-01-02"]'),
    ],
    ids=repr,
)  # fmt: skip
def test_a_cell_as_text(value: Any, text: str | None) -> None:
    assert as_text(value) == text


def test_hashes_depend_on_every_cell_and_on_nothing_else() -> None:
    frame = pd.DataFrame({
        "f": [1.0, math.nan], "i": [1, 2], "b": [True, False], "t": ["x", None],
        "d": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
    })  # fmt: skip
    known = row_shas(frame)
    assert len(set(known)) == 2
    assert {len(one) for one in known} == {64}
    assert row_shas(frame[["d", "t", "b", "i", "f"]].assign(_row=[5, 6], _source="s")) == known
    assert row_shas(frame.iloc[[1]].reset_index(drop=True)) == known[1:]
    assert row_shas(frame.assign(d=frame["d"].dt.tz_convert("Asia/Tokyo"))) == known
    assert row_shas(frame.assign(d=frame["d"].dt.tz_localize(None))) == known
    assert row_shas(frame.assign(f=[1.0, -math.nan])) == known
    for column, value in (("f", 1.1), ("i", 3), ("b", False), ("t", "y"), ("d", pd.Timestamp("2026-01-03", tz="UTC"))):
        changed = frame.copy()
        changed.loc[0, column] = value
        assert (row_shas(changed)[0] != known[0], row_shas(changed)[1] == known[1]) == (True, True), column
    assert row_shas(frame.rename(columns={"t": "u"})) != known
    assert row_shas(frame.assign(t=["x", ""]))[1] != known[1], "nothing is not an empty text"
    assert row_shas(pd.DataFrame({"t": ["a"]})) != row_shas(pd.DataFrame({"t": ["b"]}))
    assert len(row_shas(pd.DataFrame({"i": [1, 2]}))) == 2
    large = pd.DataFrame({"i": np.array([2**63, 1], dtype="uint64")})  # hashed as they always were: as signed ones
    assert row_shas(large) == row_shas(pd.DataFrame({"i": [-(2**63), 1]}))


@pytest.mark.parametrize("kind", ["int64", "uint64"])
def test_large_integers_that_are_one_float_are_two_rows(kind: str) -> None:
    """An account's number of 18 digits and the next one."""
    frame = pd.DataFrame({"id": pd.Series([2**53, 2**53 + 1, 2**53 + 2, 7], dtype=kind)})
    found = row_shas(frame)
    assert len(set(found)) == 4
    assert found[3] == row_shas(frame.iloc[[3]].reset_index(drop=True).astype("float64"))[0], (
        "small ones are what they were"
    )
    assert row_shas(frame.iloc[[1, 3]].reset_index(drop=True)) == [found[1], found[3]]


def test_an_identity_that_is_there_stays() -> None:
    frame = pd.DataFrame({"x": [1, 1], "_source": "a", "_row": [7, 8], "_row_sha": ["p", "q"]}, index=[3, 4])
    given = with_row_identity(frame, "b")
    assert given[["_source", "_row", "_row_sha"]].to_numpy().tolist() == [["a", 7, "p"], ["a", 8, "q"]]
    assert given.index.tolist() == [0, 1]
    bare = pd.DataFrame({"x": [1, 1]})
    made = with_row_identity(bare, "b")
    assert list(bare) == ["x"], "the caller's frame is as it was"
    assert made["_source"].tolist() == ["b", "b"]
    assert made["_row"].tolist() == [1, 2]
    assert made["_row_sha"].nunique() == 1


def test_the_same_number_twice_is_refused_only_with_the_same_content() -> None:
    frame = pd.DataFrame({"x": [1, 2, 2], "_row": [1, 1, 2]})
    assert with_row_identity(frame, "s")["_row"].tolist() == [1, 1, 2]
    with pytest.raises(SourceError, match=r"s: 1 rows occur again .* the first is row 2"):
        with_row_identity(pd.concat([frame, frame.tail(1)]), "s")


@pytest.mark.parametrize(
    ("index", "plain"),
    [
        (pd.RangeIndex(3), True),
        (pd.RangeIndex(1, 4), False),
        (pd.RangeIndex(0, 6, 2), False),
        (pd.Index([0, 1, 2]), False),
    ],
)
def test_a_plain_index(index: pd.Index, plain: bool) -> None:
    frame = pd.DataFrame({"x": [1, 2, 3]}, index=index)
    assert (plain_index(frame) is frame) is plain
    assert plain_index(frame).index.equals(pd.RangeIndex(3))


def test_a_page_is_below_the_reports_and_nothing_else_is_left(home: Path) -> None:
    for text in ("<p>one</p>", "<p>two</p>"):
        assert store_page("a/b.html", text) == "a/b.html"
        folder = settings().reports_dir / "a"
        assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("b.html", text)]


def test_ten_thousand_partitions_at_a_time() -> None:
    first = "2026-01-01T00:00:00"
    last = "2027-02-21T15:00:00"
    keys = key_range(first, last, "1h")
    assert (len(keys), keys[0], keys[-1]) == (10_000, first, last)
    with pytest.raises(SourceError, match="10001 of them; at most 10000"):
        key_range(first, "2027-02-21T16:00:00", "1h")
    assert key_range(first, first, "1d") == [first]


@pytest.mark.parametrize("step", ["5h", "1d", "36h", "1w"])
def test_a_day_or_more_and_what_divides_no_day_may_start_at_any_time(step: str) -> None:
    start, end = window("2026-11-20T09:30:00", step)
    assert start == datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    assert end > start


@pytest.mark.parametrize("step", ["1h", "12h", "15m"])
def test_parts_of_a_day_start_on_the_grid(step: str) -> None:
    with pytest.raises(SourceError, match="start at"):
        window("2026-11-20T09:10:00", step)


def test_weeks_and_only_weeks_are_counted_from_a_monday() -> None:
    moment = datetime(2026, 11, 22, 14, tzinfo=UTC)  # a Sunday
    assert floor_key(moment, "1w") == "2026-11-16T00:00:00"
    assert datetime.fromisoformat(floor_key(moment, "2w")).weekday() == 0
    assert floor_key(moment, "3d") == "2026-11-21T00:00:00"
    assert floor_key(moment, timedelta(hours=1)) == "2026-11-22T14:00:00"


def test_a_name_is_made_of_a_key_only() -> None:
    with pytest.raises(SourceError):
        safe_name("../up")


@pytest.mark.parametrize(
    ("cells", "kind", "values", "bad"),
    [
        (pd.Series([True, False]), "bool", [True, False], [False, False]),
        (pd.Series([True, False]), "float", [None, None], [True, True]),
        (pd.Series([True, False]), "str", ["true", "false"], [False, False]),
        (pd.Series([1, 2]), "bool", [True, None], [False, True]),
        (pd.Series([pd.Timestamp("2026-01-02T03:00")]), "str", ["2026-01-02T03:00:00"], [False]),
        (pd.Series([pd.Timestamp("2026-01-02T03:00")]), "timestamp", [pd.Timestamp("2026-01-02T03:00Z")], [False]),
        (pd.Series([1, 2]), "str", ["1", "2"], [False, False]),
        (pd.Series(["a", "", None]), "str", ["a", None, None], [False, False, False]),
        (pd.Series([1.0, 1.5, 2.0**53, 2.0**53 + 2]), "int", [1, None, 2**53, None], [False, True, False, True]),
        (pd.Series([1.0, np.inf, np.nan]), "float", [1.0, np.inf, None], [False, True, False]),
    ],
)
def test_a_column_that_has_a_type_becomes_another_or_is_named(
    cells: pd.Series, kind: str, values: list[Any], bad: list[bool]
) -> None:
    made, wrong = convert(cells, kind)
    assert [None if pd.isna(value) else value for value in made.tolist()] == values
    assert wrong.tolist() == bad


def test_a_key_of_several_columns_is_joined() -> None:
    frame = pd.DataFrame({"shop": [7, 8, None], "week": ["2026-11-16", None, None]}, dtype=object)
    assert keys_of(frame, ["shop"]) == ["7", "8", None]
    assert keys_of(frame, ["shop", "week"]) == ["7@2026-11-16", "8@", None]
    assert keys_of(frame, ["shop", "day"]) == [None, None, None]


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1+1", "'=1+1"), ("-5", "-5"), ("+4e2", "+4e2"), ("-5 apples", "'-5 apples"), ("'a", "''a"), ("a=1", "a=1"), ("a'b", "a'b"), (None, "")],
)  # fmt: skip
def test_a_spreadsheet_runs_no_cell_and_keeps_numbers(cell: str | None, written: str) -> None:
    assert guarded(cell) == written
